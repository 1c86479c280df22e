//! From what happens to a watched kind to the keys of the objects to be looked at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::predicate::Predicate;
use super::queue::{Cause, Queue};
use super::reconciler::Caches;
use crate::api::{Target, split_api_version};
use crate::meta::{Object, ObjectName, Scope};
use crate::selector::{Selector, SelectorIndex};
use crate::watch::{Cache, Entry, Event, EventKind};

/// How often a kind that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(2);

type Map = dyn Fn(&Entry) -> Vec<ObjectName> + Send + Sync;

/// A watched kind, and which objects an object of it leads to.
///
/// A change leads to what the object led to before it, and to what it leads to now. When the watch has to begin
/// anew, every object of the kind counts as changed; so do objects that went meanwhile, by way of what is left of
/// them.
pub(super) struct Trigger {
    kind: &'static str,
    target: Target,
    map: Box<Map>,
    predicate: Option<Box<dyn Predicate>>,
}

impl Trigger {
    pub(super) fn new<K: Object>(map: impl Fn(&Entry) -> Vec<ObjectName> + Send + Sync + 'static) -> Self {
        Self { kind: K::KIND, target: Target::of::<K>(None), map: Box::new(map), predicate: None }
    }

    /// Each object leads to itself.
    pub(super) fn of<K: Object>() -> Self {
        Self::new::<K>(|entry| vec![entry.name().clone()])
    }

    /// Each object leads to the one of kind `P` that controls it.
    pub(super) fn owned<P: Object, K: Object>() -> Self {
        Self::new::<K>(|entry| controller::<P>(entry).into_iter().collect())
    }

    /// Each object leads to those that select it.
    pub(super) fn selected<K: Object>(selectors: &Selectors) -> Self {
        let selectors = selectors.clone();
        Self::new::<K>(move |entry| selectors.matching(entry))
    }

    pub(super) fn only(&mut self, predicate: Box<dyn Predicate>) {
        self.predicate = Some(predicate);
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Follows the kind for ever.
    pub(super) async fn run(self, caches: Arc<Caches>, queue: Arc<Queue<ObjectName>>) {
        let cache = patiently(&caches, &self.target).await;
        follow(&cache, |seen| {
            let (cause, names) = match seen {
                Seen::Listed(entry) => (Cause::Listed(self.kind), (self.map)(entry)),
                Seen::Event(event) => (Cause::Changed(self.kind), self.leads_to(event)),
            };
            for name in names {
                queue.add(name, cause);
            }
        })
        .await;
    }

    fn leads_to(&self, event: &Event) -> Vec<ObjectName> {
        if self.predicate.as_ref().is_some_and(|predicate| !predicate.admits(event)) {
            return Vec::new();
        }
        let mut names = (self.map)(&event.object);
        if let EventKind::Modified(before) = &event.kind {
            names.extend((self.map)(before));
        }
        names
    }
}

/// The name of the object of kind `P` that controls an object, if one does.
pub(super) fn controller<P: Object>(entry: &Entry) -> Option<ObjectName> {
    let owner = entry.controller()?;
    let (group, _) = split_api_version(&owner.api_version);
    let namespace = match P::SCOPE {
        Scope::Namespaced => entry.name().namespace(),
        Scope::Cluster => None,
    };
    (owner.kind == P::KIND && group == P::GROUP).then(|| ObjectName::new(namespace, &owner.name))
}

pub(super) enum Seen<'e> {
    Listed(&'e Entry),
    Event(&'e Event),
}

/// Tells of every object there is, then of every event; and again from the start when it has fallen behind.
pub(super) async fn follow(cache: &Cache, mut each: impl FnMut(Seen<'_>)) {
    loop {
        let (objects, mut cursor) = cache.list_and_watch(&crate::watch::Query::all());
        for entry in &objects {
            each(Seen::Listed(entry));
        }
        drop(objects);
        while let Ok(event) = cursor.next().await {
            each(Seen::Event(&event));
        }
        tracing::debug!("fell behind, listing again");
    }
}

/// The cache of a kind, as soon as it can be had.
pub(super) async fn patiently(caches: &Caches, target: &Target) -> Cache {
    loop {
        match caches.get(target.clone()).await {
            Ok(cache) => return cache,
            Err(error) => {
                tracing::warn!(resource = %target.id(), %error, "cannot read a watched kind, trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
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
    pub(super) async fn run(self, caches: Arc<Caches>, target: Target) {
        let cache = patiently(&caches, &target).await;
        follow(&cache, |seen| match seen {
            Seen::Listed(entry) => self.put(entry),
            Seen::Event(Event { kind: EventKind::Deleted, object }) => self.remove(object),
            Seen::Event(event) => self.put(&event.object),
        })
        .await;
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
