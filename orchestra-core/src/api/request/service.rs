use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::Value;

use super::{Kind, Operation, Target, User, WatchOptions};
use crate::api::Status;
use crate::api::connect::{Connect, Connection};
use crate::clock::SharedClock;
use crate::meta::Revision;
use crate::watch::{Cache, Entry};

/// A part of a collection, in order of namespace and name.
#[derive(Clone, Debug)]
pub struct ObjectList {
    /// The objects, in the stored version.
    pub objects: Vec<Arc<Entry>>,
    /// The revision they are all of.
    pub revision: Revision,
    /// Where the next part begins, if there is one.
    pub continue_token: Option<String>,
    /// How many objects follow, when that is known.
    pub remaining: Option<u64>,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An object, in the stored version of its kind.
    Object(Arc<Entry>),
    /// Objects.
    List(ObjectList),
    /// Something that is not stored as such: a scale, the status of a deletion.
    Value(Value),
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub struct Response {
    /// What comes back.
    pub reply: Reply,
    /// What the caller should know nevertheless.
    pub warnings: Vec<String>,
    /// Whether an object was made.
    pub created: bool,
}

impl Response {
    /// An answer with nothing to warn of.
    pub fn new(reply: Reply) -> Self {
        Self { reply, warnings: Vec::new(), created: false }
    }
}

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// An object came to be, or came to match.
    Added(Arc<Entry>),
    /// An object changed.
    Modified(Arc<Entry>),
    /// An object is gone, or no longer matches. It is as it was last, under the revision of the change.
    Deleted(Arc<Entry>),
    /// Everything up to a revision has been seen.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// Whether this ends the objects that were there at the start.
        initial_events_end: bool,
    },
}

/// A watch. An error ends it; one that [is expired](Status::is_expired) says to list again.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Status>>;

/// The API as something to call: the embedded server, or a remote one that looks like it.
#[async_trait]
pub trait Service: Send + Sync + fmt::Debug + 'static {
    /// Does one thing.
    ///
    /// # Errors
    /// A [`Status`] as the wire has it.
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status>;

    /// Watches a collection, or one object of it.
    ///
    /// # Errors
    /// A [`Status`], now or in the stream.
    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status>;

    /// Connects to what runs behind an object.
    ///
    /// # Errors
    /// That there is no such object or nothing behind it, that it may not be, or what the node says.
    async fn connect(&self, user: &User, target: Target, connect: Connect) -> Result<Connection, Status> {
        let _ = (user, target, connect);
        Err(Status::method_not_allowed())
    }

    /// A cache of a kind that follows the server's state: the server's own, or a copy kept up to date by a watch.
    /// Filled when this returns.
    ///
    /// # Errors
    /// When there is no such kind, or it may not be read.
    async fn cache(&self, target: &Target) -> Result<Cache, Status>;

    /// The kinds that are served now and whose objects are kept, each once, in the version it is stored in or that the
    /// server prefers.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn kinds(&self) -> Result<Vec<Kind>, Status>;

    /// Ends when other kinds are served than at the time of the call; `None` if the service does not know, and has to be
    /// asked for its [kinds](Self::kinds) from time to time.
    fn kinds_changed(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// The groups and versions that are served now. Unless the service knows better, those of its
    /// [kinds](Self::kinds).
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn group_versions(&self) -> Result<Vec<(Arc<str>, Arc<str>)>, Status> {
        let kinds = self.kinds().await?;
        let all: BTreeSet<_> = kinds.into_iter().map(|kind| (kind.id.group, kind.version)).collect();
        Ok(all.into_iter().collect())
    }

    /// The service as one user is to call it, where it is not one for all of them.
    fn for_user(&self, user: &User) -> Option<Arc<dyn Service>> {
        let _ = user;
        None
    }

    /// The time and chance that go with this cluster.
    fn clock(&self) -> &SharedClock;
}
