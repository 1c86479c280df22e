//! The port by which objects of a custom kind are converted between its versions, when that takes more than a name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Status;

/// Converts objects of one kind.
#[async_trait]
pub trait Converter: Send + Sync + fmt::Debug + 'static {
    /// The objects in another version, in the same order. None of them is of that version.
    ///
    /// # Errors
    /// Why they cannot be had in it.
    async fn convert(&self, objects: Vec<Value>, api_version: &str) -> Result<Vec<Value>, Status>;
}

/// How objects are kept whose versions only a [`Converter`] knows. Requests then work on objects of the version that they
/// speak, from the first step to the last; what is read and what is stored is converted at the edge.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The version that objects are kept in from now on. Older ones may be kept in others.
    pub api_version: Arc<str>,
    /// What converts them.
    pub converter: Arc<dyn Converter>,
}
