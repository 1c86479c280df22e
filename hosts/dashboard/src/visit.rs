//! A request for a page.

use crate::api::Asker;
use crate::ports::Ports;
use crate::route::Query;
use crate::session::Session;

/// A request on its way to a page.
pub(crate) struct Visit<'a> {
    pub(crate) asker: Asker<'a>,
    pub(crate) session: Session,
    pub(crate) ports: &'a Ports,
    pub(crate) query: Query,
    /// What it asks for, below the mount.
    pub(crate) page: String,
}
