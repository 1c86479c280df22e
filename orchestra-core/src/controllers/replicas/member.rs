use std::sync::Arc;

use crate::controllers::pod::Pod;
use crate::watch::{Entry, EntryError};

/// A pod as the plan sees it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) entry: Arc<Entry>,
    pub(crate) pod: Arc<Pod>,
}

impl Member {
    pub(crate) fn new(entry: Arc<Entry>) -> Result<Self, EntryError> {
        Ok(Self { pod: Pod::of(&entry)?, entry })
    }
}
