//! What is created to be answered, and is not kept: reviews, and the requests for tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::request::{Target, User};
use super::{Resource, Status};
use crate::meta::GroupResource;

/// A question that is to be answered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Question<'a> {
    /// Who asks.
    pub user: &'a User,
    /// The kind that is asked, or that the subresource is one of.
    pub resource: &'a Resource,
    /// What it is about: the object, for a subresource.
    pub target: &'a Target,
    /// Whether nothing may come of it.
    pub dry_run: bool,
}

/// Answers what is created of a kind that is not kept, or of a subresource.
#[async_trait]
pub trait Responder: Send + Sync + fmt::Debug + 'static {
    /// The answer, of the same kind as what was sent, which is of its kind's type.
    ///
    /// # Errors
    /// What the caller is told.
    async fn respond(&self, question: &Question<'_>, body: Value) -> Result<Value, Status>;
}

/// Who answers what.
#[derive(Debug, Default)]
pub struct Responders(HashMap<Asked, Arc<dyn Responder>>);

/// A kind, or a subresource of it.
type Asked = (GroupResource, Option<Arc<str>>);

impl Responders {
    /// Nobody answers anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has somebody answer what is created of a kind.
    #[must_use]
    pub fn kind(mut self, id: GroupResource, responder: impl Responder) -> Self {
        self.0.insert((id, None), Arc::new(responder));
        self
    }

    /// Has somebody answer what is created of a subresource.
    #[must_use]
    pub fn subresource(mut self, id: GroupResource, name: &str, responder: impl Responder) -> Self {
        self.0.insert((id, Some(name.into())), Arc::new(responder));
        self
    }

    /// Who answers this.
    pub(super) fn find(
        &self,
        id: &GroupResource,
        subresource: Option<&Arc<str>>,
    ) -> Option<&Arc<dyn Responder>> {
        self.0.get(&(id.clone(), subresource.cloned()))
    }
}
