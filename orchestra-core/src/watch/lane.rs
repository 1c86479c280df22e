//! Lanes: what happens to the objects of a query that names one value of a field, for whoever follows just these.
//!
//! A node follows its own pods, a pod its own Secret. As a [`Cursor`] each of a thousand nodes would be woken by every change
//! of every pod of the cluster, to find that it is another's; the work would grow as nodes times pods. Of queries by a
//! looked-up field or by name the writer knows whom an event is for, and tells only those. As with the log nobody waits for a
//! slow one: a lane that is full is given up, and its follower finds itself [`TooOld`].

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::log::{Bounds, weight};
use super::{Cache, Cursor, Entry, Event, EventKind, Progress, Query, TooOld};
use crate::meta::Revision;

/// How much waits for a follower before it is given up: as many events as the log keeps, and a part of the bytes.
const KEPT: Bounds = Bounds { events: 10_000, bytes: 8 << 20 };

/// By which value objects are told apart: the number of the looked-up field, or the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// `metadata.name`.
    Name(Box<str>),
    /// A field that is looked up.
    Field(usize, Box<str>),
}

impl By {
    /// What of a query does that, if anything does.
    pub(super) fn of(query: &Query, lookups: &[Arc<str>]) -> Option<Self> {
        let fields = query.fields.as_ref()?;
        if let Some(name) = fields.required("metadata.name") {
            return Some(Self::Name(name.into()));
        }
        let mut lookups = lookups.iter().enumerate();
        lookups.find_map(|(number, path)| Some(Self::Field(number, fields.required(path)?.into())))
    }
}

/// The lanes of the cache of one kind.
#[derive(Default)]
pub(super) struct Lanes {
    by: Mutex<HashMap<By, Vec<Arc<Lane>>>>,
    /// How many there are, so that a kind that has none costs nothing.
    count: AtomicUsize,
}

#[derive(Default)]
struct Lane {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// Those that are kept for them alone.
    bytes: usize,
    /// The revision after which events were lost, if some were.
    lost_after: Option<Revision>,
}

impl Waiting {
    fn push(&mut self, event: Event) {
        self.bytes += weight(&event);
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= weight(&event);
        Some(event)
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, after: Revision) {
        let mut waiting = self.lock();
        let lost = std::mem::take(&mut *waiting);
        waiting.lost_after = Some(lost.lost_after.unwrap_or(after));
        drop(waiting);
        self.more.notify_one();
    }
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, HashMap<By, Vec<Arc<Lane>>>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those whom an event is for.
    pub(super) fn tell(&self, event: &Event, lookups: &[Arc<str>]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let before = match &event.kind {
            EventKind::Modified(before) => Some(&**before),
            EventKind::Added | EventKind::Deleted => None,
        };
        let by = self.lock();
        put(by.get(&By::Name(event.object.name().name().into())), event);
        for (number, path) in lookups.iter().enumerate() {
            let value = |entry: &Entry| -> Box<str> { entry.field(path).unwrap_or_default().into() };
            let now = value(&event.object);
            if let Some(before) = before.map(value).filter(|before| *before != now) {
                put(by.get(&By::Field(number, before)), event);
            }
            put(by.get(&By::Field(number, now)), event);
        }
    }

    /// All is read anew: what happened meanwhile nobody knows.
    pub(super) fn restart(&self, after: Revision) {
        self.lock().values().flatten().for_each(|lane| lane.lose(after));
    }

    /// A lane, which begins with what is `waiting` already.
    fn open(
        self: &Arc<Self>,
        by: By,
        waiting: Vec<Event>,
        (after, progress): (Revision, Arc<Progress>),
    ) -> Follower {
        let lane = Arc::new(Lane::default());
        let mut first = lane.lock();
        waiting.into_iter().for_each(|event| first.push(event));
        drop(first);
        self.lock().entry(by.clone()).or_default().push(Arc::clone(&lane));
        self.count.fetch_add(1, Ordering::AcqRel);
        Follower { lanes: Arc::clone(self), by, lane, after, progress }
    }
}

fn put(lanes: Option<&Vec<Arc<Lane>>>, event: &Event) {
    for lane in lanes.into_iter().flatten() {
        let mut waiting = lane.lock();
        if waiting.lost_after.is_some() {
            continue;
        }
        if waiting.events.len() < KEPT.events && waiting.bytes < KEPT.bytes {
            waiting.push(event.clone());
            drop(waiting);
            lane.more.notify_one();
        } else {
            drop(waiting);
            lane.lose(event.revision());
        }
    }
}

/// Who follows a lane.
pub(super) struct Follower {
    lanes: Arc<Lanes>,
    by: By,
    lane: Arc<Lane>,
    after: Revision,
    progress: Arc<Progress>,
}

impl Follower {
    fn try_next(&mut self) -> Result<Option<Event>, TooOld> {
        let mut waiting = self.lane.lock();
        if let Some(oldest) = waiting.lost_after {
            return Err(TooOld { requested: self.after, oldest });
        }
        let event = waiting.pop();
        if let Some(event) = &event {
            self.after = event.revision();
        }
        Ok(event)
    }

    async fn next(&mut self) -> Result<Event, TooOld> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // One follows, and what comes between is kept for it.
            self.lane.more.notified().await;
        }
    }

    fn seen(&self) -> Revision {
        // Read before looking: what does not wait then is not of this revision or an earlier one.
        let revision = self.progress.revision();
        let waiting = self.lane.lock();
        let all = waiting.events.is_empty() && waiting.lost_after.is_none();
        if all { revision.max(self.after) } else { self.after }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Slot::Occupied(mut lanes) = self.lanes.lock().entry(self.by.clone()) {
            lanes.get_mut().retain(|lane| !Arc::ptr_eq(lane, &self.lane));
            if lanes.get().is_empty() {
                lanes.remove();
            }
        }
        self.lanes.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A watcher's place, from where it is told of all that may be of its query: by a lane, if the query names a value, or by
/// the log.
pub struct Following(Place);

enum Place {
    Log(Cursor),
    Lane(Follower),
}

impl Cache {
    /// The objects asked for, and what happens to them after that state: nothing missed between them, nothing twice.
    pub fn list_and_follow(&self, query: &Query) -> (Vec<Arc<Entry>>, Following) {
        let Some(by) = By::of(query, &self.lookups) else {
            let (objects, cursor) = self.list_and_watch(query);
            return (objects, cursor.into());
        };
        // As for a snapshot: read before the objects.
        let revision = self.revision();
        // Nothing is written as long as the objects are read: whatever comes then finds the lane.
        self.read(|state| {
            let objects = state.found(query, &by);
            let after = revision.max(state.changed);
            let follower = self.shared.lanes.open(by, Vec::new(), (after, Arc::clone(&self.shared.progress)));
            (objects, Following(Place::Lane(follower)))
        })
    }

    /// What happens to the objects asked for after a revision.
    ///
    /// # Errors
    /// [`TooOld`] when that is no longer kept.
    pub fn follow(&self, query: &Query, after: Revision) -> Result<Following, TooOld> {
        let Some(by) = By::of(query, &self.lookups) else { return Ok(self.watch(after)?.into()) };
        self.read(|_| {
            let (mut cursor, mut waiting) = (self.watch(after)?, Vec::new());
            while let Some(event) = cursor.try_next_ref()? {
                if query.concerns(event) {
                    waiting.push(event.clone());
                }
            }
            let progress = Arc::clone(&self.shared.progress);
            Ok(Following(Place::Lane(self.shared.lanes.open(by, waiting, (after, progress)))))
        })
    }
}

impl Following {
    /// The revision of the last event that was taken, or the one from which it began.
    pub fn after(&self) -> Revision {
        match &self.0 {
            Place::Log(cursor) => cursor.after(),
            Place::Lane(follower) => follower.after,
        }
    }

    /// The revision up to which it has seen everything: that of the whole cache when nothing is waiting.
    pub fn seen(&mut self) -> Revision {
        match &mut self.0 {
            Place::Log(cursor) => cursor.seen(),
            Place::Lane(follower) => follower.seen(),
        }
    }

    /// The next event if there is one now.
    ///
    /// # Errors
    /// [`TooOld`] when what it has not yet seen is no longer kept.
    pub fn try_next(&mut self) -> Result<Option<Event>, TooOld> {
        match &mut self.0 {
            Place::Log(cursor) => cursor.try_next(),
            Place::Lane(follower) => follower.try_next(),
        }
    }

    /// Waits for the next event, which may be of an object that the query does not find. Cancelling it loses nothing.
    ///
    /// # Errors
    /// As [`Following::try_next`].
    pub async fn next(&mut self) -> Result<Event, TooOld> {
        match &mut self.0 {
            Place::Log(cursor) => cursor.next().await,
            Place::Lane(follower) => follower.next().await,
        }
    }
}

impl From<Cursor> for Following {
    fn from(cursor: Cursor) -> Self {
        Self(Place::Log(cursor))
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("after", &self.after()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::selector::FieldSelector;
    use crate::watch::{CacheWriter, IndexedField, Update};

    const FIELDS: &[IndexedField] = &[IndexedField::new("spec.nodeName").lookup()];

    fn pod(name: &str, node: &str, revision: u64, bytes: usize) -> Update {
        let padding = "x".repeat(bytes);
        let json = format!(
            r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"n","uid":"{name}"}},"spec":{{"nodeName":"{node}"}},"data":"{padding}"}}"#
        );
        let fields = FIELDS.into();
        Update::Put(Arc::new(Entry::read(json.into(), Revision(revision), &fields).unwrap()))
    }

    fn writer() -> (CacheWriter, Arc<Progress>) {
        let progress = Progress::new();
        let mut writer = CacheWriter::new(&FIELDS.into(), Arc::clone(&progress));
        writer.fill([], Revision::ZERO);
        progress.advance(Revision::ZERO);
        (writer, progress)
    }

    fn query(cache: &Cache, fields: &str) -> Query {
        Query::all().fields(cache.known(FieldSelector::parse(fields).unwrap()).unwrap())
    }

    fn seen(following: &mut Following) -> Vec<u64> {
        std::iter::from_fn(|| following.try_next().unwrap()).map(|event| event.revision().0).collect()
    }

    #[test]
    fn a_follower_is_told_of_what_comes_to_its_value_and_what_leaves_it() {
        let (mut writer, progress) = writer();
        let cache = writer.cache().clone();
        writer.apply(Revision(1), [pod("a", "n1", 1, 0)]);
        progress.advance(Revision(1));
        let (objects, mut here) = cache.list_and_follow(&query(&cache, "spec.nodeName=n1"));
        assert_eq!((objects.len(), here.after()), (1, Revision(1)));
        let mut named = cache.list_and_follow(&query(&cache, "metadata.name=b")).1;
        let mut unbound = cache.list_and_follow(&query(&cache, "spec.nodeName=")).1;
        for (revision, update) in [
            (2, pod("b", "", 2, 0)),
            (3, pod("b", "n2", 3, 0)),
            (4, pod("b", "n1", 4, 0)),
            (5, pod("c", "n2", 5, 0)),
            (6, Update::Delete(crate::meta::ObjectName::namespaced("n", "a"))),
            (7, pod("b", "n2", 7, 0)),
        ] {
            writer.apply(Revision(revision), [update]);
        }
        assert_eq!(here.seen(), Revision(1), "what waits has not been seen");
        progress.advance(Revision(7));
        assert_eq!(seen(&mut here), [4, 6, 7]);
        assert_eq!(seen(&mut named), [2, 3, 4, 7]);
        assert_eq!(seen(&mut unbound), [2, 3]);
        assert_eq!((here.after(), here.seen()), (Revision(7), Revision(7)));
        // From a revision on, as after a list.
        let mut later = cache.follow(&query(&cache, "spec.nodeName=n1"), Revision(4)).unwrap();
        writer.apply(Revision(8), [pod("d", "n1", 8, 0)]);
        assert_eq!(seen(&mut later), [6, 7, 8]);
    }

    #[test]
    fn nobody_is_woken_for_others() {
        let (mut writer, _progress) = writer();
        let cache = writer.cache().clone();
        let mut here = cache.list_and_follow(&query(&cache, "spec.nodeName=n1")).1;
        let mut next = Box::pin(here.next());
        let (waker, count) = counting_waker();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(next.as_mut().poll(&mut context).is_pending());
        writer.apply(Revision(1), [pod("a", "n2", 1, 0)]);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        writer.apply(Revision(2), [pod("b", "n1", 2, 0)]);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(next.now_or_never().unwrap().unwrap().revision(), Revision(2));
    }

    #[test]
    fn a_lane_that_nobody_reads_is_given_up_and_goes_with_its_follower() {
        let (mut writer, _progress) = writer();
        let cache = writer.cache().clone();
        let mut here = cache.list_and_follow(&query(&cache, "spec.nodeName=n1")).1;
        for revision in 1..=100 {
            writer.apply(Revision(revision), [pod("a", "n1", revision, 100_000)]);
        }
        let gone = here.try_next().unwrap_err();
        assert_eq!(gone.requested, Revision::ZERO);
        assert!((80..100).contains(&gone.oldest.0), "{gone}");
        let mut other = cache.list_and_follow(&query(&cache, "spec.nodeName=n1")).1;
        writer.fill([], Revision(200));
        assert_eq!(other.try_next().unwrap_err().oldest, Revision(200));
        assert_eq!(cache.shared.lanes.count.load(Ordering::Relaxed), 2);
        drop((here, other));
        assert!(cache.shared.lanes.lock().is_empty());
        assert_eq!(cache.shared.lanes.count.load(Ordering::Relaxed), 0);
    }

    fn counting_waker() -> (std::task::Waker, Arc<AtomicUsize>) {
        struct Count(Arc<AtomicUsize>);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::<AtomicUsize>::default();
        (Arc::new(Count(Arc::clone(&count))).into(), count)
    }
}
