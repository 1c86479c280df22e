use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rustc_hash::FxBuildHasher;
use tokio_util::sync::CancellationToken;

use super::queue::{Cause, Queue, Taken};
use super::{EveryKind, Key};
use crate::api::{Api, Client, Kind, Reason, Service, Status, Target};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, Object, ObjectName};
use crate::watch::{Cache, Entry};

/// Why a run failed: a [`Status`], or any error of the reconciler's own.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// An error that no other try will mend, such as a specification that makes no sense: the object is not looked at again
/// before something changes.
///
/// ```
/// # use orchestra_core::control::{Action, Context, Error, Terminal};
/// async fn reconcile(context: Context) -> Result<Action, Error> {
///     Err(Terminal::new("the schedule is not one that can be read").into())
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Terminal(Error);

impl Terminal {
    /// Marks an error.
    pub fn new(error: impl Into<Error>) -> Self {
        Self(error.into())
    }
}

/// When an object is to be looked at again, if nothing about it changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Not before something changes.
    Done,
    /// After a time.
    Again(Duration),
}

impl Action {
    /// After a time if there is one, otherwise not before something changes.
    pub fn again(after: Option<Duration>) -> Self {
        after.map_or(Self::Done, Self::Again)
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::Again(a), Self::Again(b)) => Self::Again(a.min(b)),
            (Self::Done, again) | (again, Self::Done) => again,
        }
    }
}

/// Brings the world closer to what one object asks for.
///
/// [`reconcile`](Self::reconcile) is called with the *name* of an object, whatever happened to it or around it: it was
/// created, changed or deleted, something it owns or selects changed, time has passed, or the process has just
/// started. It is never told which, so it looks at the present state and makes the next step from there; an object
/// that is not there any more is a case like any other.
///
/// - It runs once for an object after the object, or something that leads to it, was last seen to change. Changes in
///   quick succession may be seen as one.
/// - It never runs twice at a time for one object. For different objects, as many run as
///   [`Controller::concurrency`](super::Controller::concurrency) allows.
/// - It does not run before the caches that the controller reads have seen what its last run for that object wrote
///   through [`Context::client`]. What *others* wrote may not have been seen yet: writes carry preconditions for that.
/// - `Ok(Action::Done)`: it runs again when something changes. `Ok(Action::Again(after))`: also when that time has
///   passed. Each answer replaces the one before.
/// - `Err`: it runs again after a delay that doubles with each failure in a row, from 5 ms to 30 s unless the
///   controller has [others](super::Controller::backoff), or earlier when something changes. An error is logged as a
///   warning, a [conflict](Status::is_conflict) only for debugging: as a rule what it read was old, and is not when it
///   runs again. A panic counts as an error. After a [`Terminal`] error it runs only when something changes.
/// - When the controller is told to stop, [`Context::stopping`] is cancelled. Runs under way may end in good order, for
///   no longer than the controller's [`grace`](super::Controller::grace); then they are dropped.
/// - It may be dropped at any await when the process dies, and finishes the job when it is called again.
///
/// Closures from a [`Context`] to a future are reconcilers.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// See the [trait](Self).
    ///
    /// # Errors
    /// Whatever keeps the object from being as it asks to be.
    async fn reconcile(&self, context: Context) -> Result<Action, Error>;
}

#[async_trait]
impl<F, Fut, E> Reconciler for F
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, E>> + Send + 'static,
    E: Into<Error>,
{
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        self(context).await.map_err(Into::into)
    }
}

/// What a run is given: which object it is for, and the means. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    key: Key,
    queue: Arc<Queue<Key>>,
    stop: CancellationToken,
    client: Client,
    caches: Arc<ReadCaches>,
    attempt: u32,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("object", &self.inner.key)
            .field("attempt", &self.inner.attempt)
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(super) fn new(
        taken: &Taken<Key>,
        client: Client,
        caches: Arc<ReadCaches>,
        queue: Arc<Queue<Key>>,
        stop: CancellationToken,
    ) -> Self {
        let (key, attempt) = (taken.key.clone(), taken.failures);
        Self { inner: Arc::new(Inner { key, queue, client, caches, attempt, stop }) }
    }

    /// The name of the object to look at.
    pub fn name(&self) -> &ObjectName {
        self.inner.key.name()
    }

    /// Its kind, for a controller of [every kind](super::Controller::every_kind); `None` if the controller has but one.
    pub fn kind(&self) -> Option<&Arc<Kind>> {
        self.inner.key.kind()
    }

    /// Cancelled when the controller is to stop, for what waits or goes on for long.
    pub fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// The object's namespace; empty for one of the whole cluster.
    pub fn namespace(&self) -> &str {
        self.name().namespace().unwrap_or_default()
    }

    /// A client. What is written through it is waited for before the next run for this object.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The objects of a kind in the object's namespace, to write.
    pub fn api<K: Object>(&self) -> Api<K> {
        self.inner.client.api(self.namespace())
    }

    /// The cache of a kind, to read. The first use makes it one of those that must have seen this object's last
    /// writes before its next run.
    ///
    /// # Errors
    /// When there is no such kind, or it may not be read.
    pub async fn cache<K: Object>(&self) -> Result<Cache, Status> {
        self.inner.caches.get(Target::of::<K>(None)).await
    }

    /// As [`Context::cache`], of a kind given as a value.
    ///
    /// # Errors
    /// As [`Context::cache`].
    pub async fn cache_of(&self, kind: &Kind) -> Result<Cache, Status> {
        self.inner.caches.get(kind.target(None)).await
    }

    /// The object this run is for, out of the cache of its kind.
    ///
    /// # Errors
    /// As [`Context::cache`].
    pub async fn entry<K: Object>(&self) -> Result<Option<Arc<Entry>>, Status> {
        Ok(self.cache::<K>().await?.get(self.name()))
    }

    /// As [`Context::entry`], of a kind given as a value.
    ///
    /// # Errors
    /// As [`Context::cache`].
    pub async fn entry_of(&self, kind: &Kind) -> Result<Option<Arc<Entry>>, Status> {
        Ok(self.cache_of(kind).await?.get(self.name()))
    }

    /// The object this run is for, as its Rust type, without `managedFields` ([`Entry::decode_bare`]).
    ///
    /// # Errors
    /// As [`Context::cache`], and when the object does not fit the type.
    pub async fn object<K: Object>(&self) -> Result<Option<K>, Error> {
        let entry = self.entry::<K>().await?;
        Ok(entry.map(|entry| entry.decode_bare()).transpose()?)
    }

    /// The caches of the kinds that the controller follows because it is one of
    /// [every kind](super::Controller::every_kind).
    pub fn every_kind(&self) -> Arc<EveryKind> {
        self.inner.caches.every_kind()
    }

    /// Has the controller also run for another object, as soon as it may.
    pub fn run_for(&self, key: impl Into<Key>) {
        self.inner.queue.add(key.into(), Cause::Asked);
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// The cluster's clock.
    pub fn clock(&self) -> &SharedClock {
        self.inner.client.clock()
    }

    /// How many runs for this object in a row have failed before this one.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }
}

/// The caches that a controller reads.
pub(super) struct ReadCaches {
    service: Arc<dyn Service>,
    held: Mutex<HashMap<GroupResource, Cache, FxBuildHasher>>,
    every_kind: ArcSwap<EveryKind>,
}

impl ReadCaches {
    pub(super) fn new(service: Arc<dyn Service>) -> Arc<Self> {
        Arc::new(Self { service, held: Mutex::default(), every_kind: ArcSwap::default() })
    }

    pub(super) fn held(&self, id: &GroupResource) -> Option<Cache> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        // A kind that went and came again has another cache.
        held.filter(|cache| !cache.is_closed())
    }

    pub(super) fn clock(&self) -> &SharedClock {
        self.service.clock()
    }

    pub(super) fn every_kind(&self) -> Arc<EveryKind> {
        self.every_kind.load_full()
    }

    /// Finds out which kinds are served, and has the caches of those that are meant at hand.
    pub(super) async fn learn(&self, is_meant: impl Fn(&Kind) -> bool) -> Result<Arc<EveryKind>, Status> {
        let mut learned = EveryKind::default();
        for kind in self.service.kinds().await?.into_iter().filter(is_meant) {
            let cache = self.get(kind.target(None)).await?;
            learned.insert(Arc::new(kind), cache);
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| {
            let was = self.every_kind.load().get(id).is_some();
            !was || learned.get(id).is_some()
        });
        let learned = Arc::new(learned);
        self.every_kind.store(Arc::clone(&learned));
        Ok(learned)
    }

    /// Ends when it is time to [learn](Self::learn) anew: as soon as the kinds are others than at the time of the call, or,
    /// of a service that cannot tell, after `pause`.
    pub(super) fn outdated(&self, pause: Duration) -> BoxFuture<'static, ()> {
        self.service.kinds_changed().unwrap_or_else(|| {
            let clock = Arc::clone(self.clock());
            Box::pin(async move { clock.sleep(pause).await })
        })
    }

    pub(super) async fn get(&self, target: Target) -> Result<Cache, Status> {
        let id = target.id();
        if let Some(cache) = self.held(&id) {
            return Ok(cache);
        }
        let cache = self.service.cache(&target).await?;
        if cache.is_closed() {
            return Err(Status::new(Reason::ServiceUnavailable, format!("the cache of {id} is closed")));
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(id, cache.clone());
        Ok(cache)
    }
}
