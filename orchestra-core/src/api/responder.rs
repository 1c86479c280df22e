//! What is answered, and not kept: what is created to be answered, as reviews and the requests for tokens are, and what is
//! worked out when it is read, as figures of use are.

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

/// What of a kind that is not kept is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted<'a> {
    /// Only of this namespace.
    pub namespace: Option<&'a str>,
    /// Only the one of this name.
    pub name: Option<&'a str>,
}

/// Works out what there is of a kind that is not kept, when somebody reads it.
#[async_trait]
pub trait Computed: Send + Sync + fmt::Debug + 'static {
    /// What there is, each with a name and a uid. Selectors are applied afterwards.
    ///
    /// # Errors
    /// What the caller is told.
    async fn list(&self, wanted: &Wanted<'_>) -> Result<Vec<Value>, Status>;
}

/// Who answers what.
#[derive(Debug, Default)]
pub struct Responders {
    created: HashMap<Asked, Arc<dyn Responder>>,
    read: HashMap<GroupResource, Arc<dyn Computed>>,
}

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
        self.created.insert((id, None), Arc::new(responder));
        self
    }

    /// Has somebody answer what is created of a subresource.
    #[must_use]
    pub fn subresource(mut self, id: GroupResource, name: &str, responder: impl Responder) -> Self {
        self.created.insert((id, Some(name.into())), Arc::new(responder));
        self
    }

    /// Has somebody work out what there is of a kind.
    #[must_use]
    pub fn computed(mut self, id: GroupResource, computed: impl Computed) -> Self {
        self.read.insert(id, Arc::new(computed));
        self
    }

    /// Who works out what there is of this kind.
    pub(super) fn computes(&self, id: &GroupResource) -> Option<&Arc<dyn Computed>> {
        self.read.get(id)
    }

    /// Who answers this.
    pub(super) fn find(
        &self,
        id: &GroupResource,
        subresource: Option<&Arc<str>>,
    ) -> Option<&Arc<dyn Responder>> {
        self.created.get(&(id.clone(), subresource.cloned()))
    }
}
