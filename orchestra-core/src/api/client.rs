//! A way into a cluster, and changes to objects.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tracing::{Instrument as _, Span, debug_span};

use super::Status;
use super::connect::{Connect, Connection};
use super::request::{
    Operation, PatchKind, Response, Service, Target, User, Verb, WatchOptions, WatchStream, WriteOptions,
};
use crate::clock::SharedClock;
use crate::meta::Object;
use crate::watch::Cache;

/// A way into a cluster, embedded or remote, as one user. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    service: Arc<dyn Service>,
    user: Arc<User>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client of {:?} as {}", self.service, self.user.name)
    }
}

impl Client {
    /// A client of a service, as a user.
    pub fn new(service: Arc<dyn Service>, user: User) -> Self {
        Self { service: service.for_user(&user).unwrap_or(service), user: Arc::new(user) }
    }

    /// The same cluster as another user.
    #[must_use]
    pub fn as_user(&self, user: User) -> Self {
        Self::new(Arc::clone(&self.service), user)
    }

    /// A cache of a kind, filled.
    ///
    /// # Errors
    /// When there is no such kind, or it may not be read.
    pub async fn cache<K: Object>(&self) -> Result<Cache, Status> {
        self.service.cache(&Target::of::<K>(None)).await
    }

    /// Does one thing, with the kind given as a value.
    ///
    /// # Errors
    /// What the API says.
    pub async fn call(&self, target: Target, operation: Operation) -> Result<Response, Status> {
        let span = self.span(operation.verb(), &target);
        self.service.call(&self.user, target, operation).instrument(span).await
    }

    /// Watches, with the kind given as a value.
    ///
    /// # Errors
    /// What the API says.
    pub async fn watch(&self, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        let span = self.span(Verb::Watch, &target);
        self.service.watch(&self.user, target, options).instrument(span).await
    }

    /// What a call is for, for whoever follows them by `tracing`.
    fn span(&self, verb: Verb, target: &Target) -> Span {
        debug_span!(
            "call",
            %verb,
            group = &*target.group,
            resource = &*target.resource,
            subresource = target.subresource.as_deref(),
            namespace = target.namespace.as_deref(),
            name = target.name.as_deref(),
            user = &*self.user.name,
        )
    }

    /// Connects to what runs behind an object, with the kind given as a value.
    ///
    /// # Errors
    /// What the API says.
    pub async fn connect(&self, target: Target, connect: Connect) -> Result<Connection, Status> {
        self.service.connect(&self.user, target, connect).await
    }

    /// The service behind it.
    pub fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    /// As whom it calls.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The cluster's clock.
    pub fn clock(&self) -> &SharedClock {
        self.service.clock()
    }
}

/// A change to an object.
#[derive(Clone, Debug)]
pub enum Patch {
    /// A list of operations (RFC 6902).
    Json(Value),
    /// An object laid over the old one (RFC 7396). Works for every kind.
    Merge(Value),
    /// A merge that knows which lists are keyed sets. For built-in kinds.
    Strategic(Value),
    /// All that its manager wants of the object (server-side apply): what it wanted before and wants no more is given up.
    /// An object that is not there is made. Options name the manager.
    Apply {
        /// The object, with its `apiVersion` and `kind`, as far as the manager has a say.
        config: Value,
        /// Take over fields that others own, instead of failing with [a conflict](Status::is_conflict).
        force: bool,
    },
}

impl Patch {
    /// The operation that applies it.
    pub fn operation(self) -> Operation {
        self.with(WriteOptions::default())
    }

    /// The operation that applies it, with options.
    pub fn with(self, options: WriteOptions) -> Operation {
        let (kind, patch, force) = match self {
            Self::Json(patch) => (PatchKind::Json, patch, false),
            Self::Merge(patch) => (PatchKind::Merge, patch, false),
            Self::Strategic(patch) => (PatchKind::Strategic, patch, false),
            Self::Apply { config, force } => (PatchKind::Apply, config, force),
        };
        let patch = Bytes::from(patch.to_string());
        Operation::Patch { kind, patch, force, options }
    }
}
