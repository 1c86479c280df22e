//! What is asked before a write: may this be, and does anything have to be filled in that only the cluster knows?

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use super::request::User;
use super::{Resource, Status};
use crate::meta::ObjectName;
use crate::store::Txn;

/// What the caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// A new object.
    Create,
    /// A new state of an object.
    Update,
    /// The end of an object.
    Delete,
}

/// A write that is about to be made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// The kind.
    pub resource: &'a Resource,
    /// The object.
    pub name: &'a ObjectName,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// What is asked for.
    pub verb: WriteVerb,
    /// The object as it is stored now; `None` for a new one.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
}

/// What every write passes, in two steps: first all admissions may change the object, then, when it is known to be
/// valid, all see what will be stored. Both default to nothing.
///
/// When the transaction fails because of a key that an admission put into it, the write is made again from the start.
#[async_trait]
pub trait Admission: Send + Sync + fmt::Debug + 'static {
    /// Changes an object that is created or updated, before it is validated, and answers what its author should know.
    /// A deletion changes nothing that is the admission's to change, and does not come here.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn mutate(&self, _attributes: &Attributes<'_>, _object: &mut Value) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }

    /// Sees the object as it will be stored, and adds to the transaction what is to be written with it, such as the
    /// allocation of an address. `new` is `None` when the object goes in this very transaction, which frees what was
    /// allocated to it. Asked exactly once for each commit: a deletion that first only marks its object is two.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn check(
        &self,
        _attributes: &Attributes<'_>,
        _new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }
}
