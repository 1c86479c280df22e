//! From what happens to a watched kind to the keys of the objects to be looked at.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use futures::stream::{BoxStream, StreamExt};

use super::predicate::Predicate;
use super::queue::{Cause, Queue};
use super::reconciler::ReadCaches;
use super::{EveryKind, Key};
use crate::api::{Kind, Status, split_api_version};
use crate::clock::{SharedClock, sleep_until};
use crate::meta::{GroupResource, ObjectName, Scope};
use crate::selector::{Selector, SelectorIndex};
use crate::supervise::{Backoff, Supervisor, message_of};
use crate::watch::{Cache, Entry, Event, EventKind, Query};

/// How often a kind that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often a trigger of every kind looks for new ones, as garbage collection does in Kubernetes, where the service cannot
/// tell when there are some.
const LOOK_FOR_KINDS: Duration = Duration::from_secs(30);

/// What a trigger is told.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'e> {
    /// The object was there when the watch began, or began anew.
    Listed(&'e Entry),
    /// Something happened to an object.
    Event(&'e Event),
}

impl Seen<'_> {
    /// The object as it is now, or as it was last.
    pub fn object(&self) -> &Entry {
        match self {
            Self::Listed(entry) => entry,
            Self::Event(event) => &event.object,
        }
    }
}

/// From a kind, what was seen of it, and the caches of every kind, to keys.
type Map = dyn Fn(&EveryKind, &Arc<Kind>, Seen<'_>) -> Vec<Key> + Send + Sync;

/// Something to follow, and which objects it leads to.
///
/// A change leads to what the object led to before it, and to what it leads to now. When the watch has to begin
/// anew, every object of the kind counts as changed; so do objects that went meanwhile, by way of what is left of
/// them.
///
/// A function of a trigger that panics for one object is logged and told of that object again later, together with all
/// others; objects that do it no harm are not held up.
pub struct Trigger {
    source: Source,
    map: Arc<Map>,
    predicate: Option<Arc<dyn Predicate>>,
    query: Query,
    /// How long keys wait for more of the same.
    gather: Duration,
}

enum Source {
    Kind(Arc<Kind>),
    EveryKind(Arc<dyn Fn(&Kind) -> bool + Send + Sync>),
    Names(Arc<tokio::sync::Mutex<BoxStream<'static, ObjectName>>>),
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trigger({})", self.name())
    }
}

impl Trigger {
    /// A changed object of a kind leads to objects of the controller's own kind.
    pub fn new<I>(kind: Kind, leads_to: impl Fn(&Entry) -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator<Item = ObjectName>,
    {
        Self::from_map(Source::Kind(Arc::new(kind)), move |_, _, seen| {
            let mut names: Vec<Key> = leads_to(seen.object()).into_iter().map(Key::from).collect();
            if let Seen::Event(Event { kind: EventKind::Modified(before), .. }) = seen {
                names.extend(leads_to(before).into_iter().map(Key::from));
            }
            names
        })
    }

    /// Each object leads to itself.
    pub fn itself(kind: Kind) -> Self {
        Self::new(kind, |entry| [entry.name().clone()])
    }

    /// Each object of a kind leads to the one of the kind `owner` that controls it.
    pub fn owned(kind: Kind, owner: Kind) -> Self {
        Self::new(kind, move |entry| controller(entry, &owner))
    }

    /// Names that come from outside the cluster, for as long as the stream has any.
    pub fn names(names: impl Stream<Item = ObjectName> + Send + 'static) -> Self {
        let names = Arc::new(tokio::sync::Mutex::new(names.boxed()));
        Self::from_map(Source::Names(names), |_, _, _| Vec::new())
    }

    /// What happens to any object of any kind that is served and `is_meant`, also of kinds that come to be served
    /// later, leads to whatever `leads_to` says.
    pub fn every_kind(
        is_meant: impl Fn(&Kind) -> bool + Send + Sync + 'static,
        leads_to: impl Fn(&EveryKind, &Arc<Kind>, Seen<'_>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        Self::from_map(Source::EveryKind(Arc::new(is_meant)), leads_to)
    }

    fn from_map(
        source: Source,
        map: impl Fn(&EveryKind, &Arc<Kind>, Seen<'_>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        Self { source, map: Arc::new(map), predicate: None, query: Query::all(), gather: Duration::ZERO }
    }

    /// Each object leads to those that select it.
    pub(super) fn selected(kind: Kind, selectors: &Selectors) -> Self {
        let selectors = selectors.clone();
        Self::new(kind, move |entry| selectors.matching(entry))
    }

    /// Lets only some events lead anywhere. With one that was given before, both must let an event through.
    #[must_use]
    pub fn when(mut self, predicate: impl Predicate) -> Self {
        self.predicate = Some(match self.predicate.take() {
            Some(held) => Arc::new(move |event: &Event| held.admits(event) && predicate.admits(event)),
            None => Arc::new(predicate),
        });
        self
    }

    /// Lets keys wait for so long before they are run for, so that many changes in a row lead to few runs.
    #[must_use]
    pub fn gathering(mut self, time: Duration) -> Self {
        self.gather = time;
        self
    }

    /// Lets only events of objects lead anywhere that match, or did so before.
    pub(super) fn only(&mut self, query: Query) {
        self.query = query;
    }

    /// The kind it follows, if it is one.
    pub(super) fn kind(&self) -> Option<&Arc<Kind>> {
        match &self.source {
            Source::Kind(kind) => Some(kind),
            Source::EveryKind(_) | Source::Names(_) => None,
        }
    }

    /// For the log.
    pub(super) fn name(&self) -> String {
        match &self.source {
            Source::Kind(kind) => kind.id.to_string(),
            Source::EveryKind(_) => "every kind".into(),
            Source::Names(_) => "names from outside".into(),
        }
    }

    /// Follows its source for as long as there is one.
    pub(super) async fn run(self: Arc<Self>, caches: Arc<ReadCaches>, queue: Arc<Queue<Key>>) {
        match &self.source {
            Source::Kind(kind) => loop {
                // Its kind may go, and come again.
                self.follow(kind, &caches, &queue).await;
            },
            Source::EveryKind(is_meant) => self.follow_every(&**is_meant, &caches, &queue).await,
            Source::Names(names) => {
                while let Some(name) = names.lock().await.next().await {
                    queue.add(name.into(), Cause::External);
                }
            }
        }
    }

    async fn follow(&self, kind: &Arc<Kind>, caches: &ReadCaches, queue: &Queue<Key>) {
        let cache = patiently(caches, kind).await;
        follow(&cache, caches.clock(), &kind.kind, |seen| {
            let cause = match seen {
                Seen::Listed(_) => Cause::Listed(Arc::clone(&kind.kind)),
                Seen::Event(_) => Cause::Changed(Arc::clone(&kind.kind)),
            };
            if self.admits(seen) {
                let keys = (self.map)(&caches.every_kind(), kind, seen);
                keys.into_iter().for_each(|key| self.put(queue, key, cause.clone()));
            }
        })
        .await;
    }

    fn put(&self, queue: &Queue<Key>, key: Key, cause: Cause) {
        if self.gather.is_zero() {
            queue.add(key, cause);
        } else {
            queue.add_after(key, self.gather, cause);
        }
    }

    /// Whether what was seen matters. What is listed when the watch begins always does.
    fn admits(&self, seen: Seen<'_>) -> bool {
        let Seen::Event(event) = seen else { return self.query.matches(seen.object()) };
        let before = match &event.kind {
            EventKind::Modified(before) => self.query.matches(before),
            EventKind::Added | EventKind::Deleted => false,
        };
        (before || self.query.matches(&event.object))
            && self.predicate.as_ref().is_none_or(|predicate| predicate.admits(event))
    }

    /// Follows every kind that is served, those that come later too, and lets go of those that are not served any more.
    async fn follow_every(
        self: &Arc<Self>,
        is_meant: &(dyn Fn(&Kind) -> bool + Send + Sync),
        caches: &Arc<ReadCaches>,
        queue: &Arc<Queue<Key>>,
    ) {
        let clock = caches.clock();
        let mut followed = Supervisor::new(self.name(), Arc::clone(clock));
        loop {
            // From before they are learned, so that no change falls in between.
            let mut outdated = caches.outdated(LOOK_FOR_KINDS);
            match caches.learn(is_meant).await {
                Ok(kinds) => self.follow_these(&kinds, &mut followed, caches, queue),
                Err(error) => {
                    tracing::warn!(%error, "cannot find out which kinds are served, trying again");
                    let next = clock.elapsed() + RETRY;
                    outdated = Box::pin(async move { sleep_until(&**clock, Some(next)).await });
                }
            }
            loop {
                tokio::select! {
                    biased;
                    Some(_) = followed.next() => {}
                    () = &mut outdated => break,
                }
            }
        }
    }

    fn follow_these(
        self: &Arc<Self>,
        kinds: &EveryKind,
        followed: &mut Supervisor<GroupResource>,
        caches: &Arc<ReadCaches>,
        queue: &Arc<Queue<Key>>,
    ) {
        for (kind, _) in kinds.iter() {
            if followed.contains(&kind.id) {
                continue;
            }
            let (trigger, kind) = (Arc::clone(self), Arc::clone(kind));
            let (caches, queue) = (Arc::clone(caches), Arc::clone(queue));
            followed.start(kind.id.clone(), move || {
                let (trigger, kind) = (Arc::clone(&trigger), Arc::clone(&kind));
                let (caches, queue) = (Arc::clone(&caches), Arc::clone(&queue));
                async move { trigger.follow(&kind, &caches, &queue).await }
            });
        }
        let gone: Vec<_> = followed.keys().filter(|id| kinds.get(id).is_none()).cloned().collect();
        gone.iter().for_each(|id| {
            followed.stop(id);
        });
    }
}

/// The name of the object of the kind `owner` that controls an object, if one does.
fn controller(entry: &Entry, owner: &Kind) -> Option<ObjectName> {
    let reference = entry.controller()?;
    let (group, _) = split_api_version(&reference.api_version);
    let namespace = match owner.scope {
        Scope::Namespaced => entry.name().namespace(),
        Scope::Cluster => None,
    };
    let is_owner = *reference.kind == *owner.kind && *group == *owner.id.group;
    is_owner.then(|| ObjectName::new(namespace, &reference.name))
}

/// Tells of every object there is, then of every event; and again from the start when it has fallen behind, or some
/// time after `each` panicked. Ends when the kind is served no more.
async fn follow(cache: &Cache, clock: &SharedClock, what: &str, each: impl Fn(Seen<'_>)) {
    let tell = |seen: Seen<'_>| {
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| each(seen)));
        told.map_err(|panic| {
            let (panic, object) = (message_of(&*panic), seen.object().name());
            tracing::error!(kind = what, %object, panic, "a trigger panicked; it is told of all objects again");
        })
        .is_ok()
    };
    let (backoff, mut failures) = (Backoff::default(), 0);
    loop {
        let (objects, mut cursor) = cache.list_and_watch(&Query::all());
        let listed = objects.iter().filter(|entry| !tell(Seen::Listed(entry))).count() == 0;
        failures = if listed { 0 } else { failures + 1 };
        let again = |failures| clock.elapsed() + backoff.pause(failures);
        let mut again_at = (!listed).then(|| again(failures));
        drop(objects);
        loop {
            tokio::select! {
                biased;
                event = cursor.next() => {
                    let Ok(event) = event else { break };
                    if !tell(Seen::Event(&event)) && again_at.is_none() {
                        again_at = Some(again(failures));
                    }
                }
                () = sleep_until(&**clock, again_at) => break,
                () = cache.closed() => return,
            }
        }
        tracing::debug!(kind = what, "listing again");
    }
}

/// The cache of a kind, as soon as it can be had.
async fn patiently(caches: &ReadCaches, kind: &Kind) -> Cache {
    loop {
        match caches.get(kind.target(None)).await {
            Ok(cache) => return cache,
            Err(error) => {
                tracing::warn!(resource = %kind.id, %error, "cannot read a watched kind, trying again");
                caches.clock().sleep(RETRY).await;
            }
        }
    }
}

/// Fills the caches of kinds, until the time `limit` of the clock.
///
/// # Errors
/// Why one of them could not be read last.
pub(super) async fn fill(
    caches: &ReadCaches,
    kinds: impl Iterator<Item = &Kind>,
    limit: Option<Duration>,
) -> Result<(), Status> {
    let clock = caches.clock();
    for kind in kinds {
        tokio::select! {
            biased;
            _ = patiently(caches, kind) => {}
            () = sleep_until(&**clock, limit) => {
                let timeout = Status::internal(format!("the cache of {} is not filled yet", kind.id));
                return Err(caches.get(kind.target(None)).await.err().unwrap_or(timeout));
            }
        }
    }
    Ok(())
}

/// The selectors of the objects of one kind.
#[derive(Clone)]
pub(super) struct Selectors {
    index: Arc<Mutex<SelectorIndex<ObjectName>>>,
    selector: Arc<SelectorOf>,
}

/// Reads an object's selector.
type SelectorOf = dyn Fn(&Entry) -> Option<Selector> + Send + Sync;

impl Selectors {
    pub(super) fn new(selector: impl Fn(&Entry) -> Option<Selector> + Send + Sync + 'static) -> Self {
        Self { index: Arc::default(), selector: Arc::new(selector) }
    }

    fn matching(&self, entry: &Entry) -> Vec<ObjectName> {
        let namespace = entry.name().namespace().unwrap_or_default();
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.matching(namespace, entry.labels()).cloned().collect()
    }

    /// Follows the kind of the selecting objects for ever. A selected object that is seen before the selector is no
    /// harm: the selecting object is looked at when it comes itself.
    pub(super) async fn run(self, caches: Arc<ReadCaches>, kind: Kind) {
        loop {
            let cache = patiently(&caches, &kind).await;
            follow(&cache, caches.clock(), &kind.kind, |seen| match seen {
                Seen::Event(Event { kind: EventKind::Deleted, object }) => self.remove(object),
                seen => self.put(seen.object()),
            })
            .await;
        }
    }

    fn put(&self, entry: &Entry) {
        let Some(selector) = (self.selector)(entry) else { return self.remove(entry) };
        let namespace = entry.name().namespace().unwrap_or_default();
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.insert(namespace, entry.name().clone(), &selector);
    }

    fn remove(&self, entry: &Entry) {
        let namespace = entry.name().namespace().unwrap_or_default();
        self.index.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace, entry.name());
    }
}
