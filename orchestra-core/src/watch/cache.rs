use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use imbl::OrdMap;
use tokio_util::sync::CancellationToken;

use super::lane::{By, Lanes};
use super::log::{Bounds, Log};
use super::{Cursor, Entry, Event, EventKind, IndexedFields, KnownFields, Progress, TooOld, UnknownField};
use crate::meta::{ObjectName, Revision, Uid};
use crate::selector::{CompiledSelector, FieldSelector, LabelIndex, Nearest, Selection, Selector};

/// How much is kept of a kind for watchers: events, and bytes of objects that were replaced or deleted.
const KEPT: Bounds = Bounds { events: 10_000, bytes: 32 << 20 };

/// Which objects of a kind.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only those of this namespace.
    pub namespace: Option<Arc<str>>,
    /// Only those with matching labels.
    pub labels: Option<CompiledSelector>,
    /// Only those with matching fields.
    pub fields: Option<KnownFields>,
}

impl Query {
    /// Every object of the kind.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of one namespace.
    pub fn namespace(namespace: impl Into<Arc<str>>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    /// Only those with matching labels.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<CompiledSelector>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Only those with matching fields, which the cache [knows](Cache::known).
    #[must_use]
    pub fn fields(mut self, selector: KnownFields) -> Self {
        self.fields = Some(selector);
        self
    }

    /// Whether it has no selector: all objects are asked for, or all of a namespace.
    pub fn is_all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether an event is of an object that is among those asked for, or was before.
    pub(super) fn concerns(&self, event: &Event) -> bool {
        let was = match &event.kind {
            EventKind::Modified(before) => self.matches(before),
            EventKind::Added | EventKind::Deleted => false,
        };
        was || self.matches(&event.object)
    }

    /// Whether an object is among those asked for.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| entry.name().namespace() == Some(wanted))
            && self.labels.as_ref().is_none_or(|selector| selector.matches(entry.labels()))
            && self.fields.as_ref().is_none_or(|selector| selector.matches(|path| entry.field(path)))
    }
}

/// The objects of a kind as they were at one revision. Costs next to nothing to take and to hold.
#[derive(Clone)]
pub struct Snapshot {
    objects: OrdMap<ObjectName, Arc<Entry>>,
    revision: Revision,
    changed: Revision,
}

impl Snapshot {
    /// The revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The last revision that changed an object of the kind: the objects are the same at every revision from it on.
    pub fn changed(&self) -> Revision {
        self.changed
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// One object.
    pub fn get(&self, name: &ObjectName) -> Option<&Arc<Entry>> {
        self.objects.get(name)
    }

    /// The objects after `after`, in order of namespace and name, of one namespace or of all.
    pub fn range<'s>(
        &'s self,
        namespace: Option<&'s str>,
        after: Option<&ObjectName>,
    ) -> impl Iterator<Item = &'s Arc<Entry>> {
        range(&self.objects, namespace, after)
    }
}

/// The objects after `after`, in order, of one namespace or of all.
fn range<'s>(
    objects: &'s OrdMap<ObjectName, Arc<Entry>>,
    namespace: Option<&'s str>,
    after: Option<&ObjectName>,
) -> impl Iterator<Item = &'s Arc<Entry>> {
    let first = namespace.map(|namespace| ObjectName::namespaced(namespace, ""));
    let start = match (after, first) {
        (Some(after), Some(first)) if *after < first => Bound::Included(first),
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, Some(first)) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    };
    objects.range((start, Bound::Unbounded)).map(|(_, entry)| entry).take_while(move |entry| {
        namespace.is_none_or(|namespace| entry.name().namespace() == Some(namespace))
    })
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects at revision {}", self.objects.len(), self.revision)
    }
}

/// A part of what a query finds, as it was at one revision.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, in order of namespace and name.
    pub objects: Vec<Arc<Entry>>,
    /// Whether there are more behind them.
    pub more: bool,
    /// How many more there are. Of those that a selector by labels or fields finds nobody counts the rest, in Kubernetes
    /// neither.
    pub remaining: Option<u64>,
    /// The revision.
    pub revision: Revision,
    /// The last revision that changed an object of the kind.
    pub changed: Revision,
}

impl Page {
    /// At most so many of what was found; 0 is no limit.
    fn of<'e>(
        mut found: impl Iterator<Item = &'e Arc<Entry>>,
        limit: usize,
        (revision, changed): (Revision, Revision),
    ) -> Self {
        let most = if limit == 0 { usize::MAX } else { limit };
        let objects = found.by_ref().take(most).cloned().collect();
        let (more, revision) = (found.next().is_some(), revision.max(changed));
        Self { objects, more, remaining: None, revision, changed }
    }
}

pub(super) struct Shared {
    state: RwLock<State>,
    log: Arc<Log>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) progress: Arc<Progress>,
    /// Cancelled when the writing end is dropped.
    closed: CancellationToken,
}

#[derive(Default)]
pub(super) struct State {
    objects: OrdMap<ObjectName, Arc<Entry>>,
    /// The last revision that changed an object of the kind.
    pub(super) changed: Revision,
    owned: HashMap<Uid, BTreeSet<ObjectName>>,
    /// By the number of the looked-up field and its value.
    by_field: HashMap<(usize, Box<str>), BTreeSet<ObjectName>>,
    by_label: LabelIndex<ObjectName>,
}

impl State {
    fn insert(&mut self, entry: Arc<Entry>, lookups: &[Arc<str>]) -> Option<Arc<Entry>> {
        let previous = self.objects.insert(entry.name().clone(), Arc::clone(&entry));
        if let Some(previous) = &previous {
            self.unindex(previous, lookups);
        }
        if previous.as_ref().is_none_or(|previous| previous.labels() != entry.labels()) {
            self.by_label.insert(entry.name().clone(), entry.labels());
        }
        for owner in entry.owners() {
            self.owned.entry(owner.uid.clone()).or_default().insert(entry.name().clone());
        }
        for (number, path) in lookups.iter().enumerate() {
            let value = entry.field(path).unwrap_or_default();
            self.by_field.entry((number, value.into())).or_default().insert(entry.name().clone());
        }
        previous
    }

    fn remove(&mut self, name: &ObjectName, lookups: &[Arc<str>]) -> Option<Arc<Entry>> {
        let previous = self.objects.remove(name)?;
        self.by_label.remove(name);
        self.unindex(&previous, lookups);
        Some(previous)
    }

    fn unindex(&mut self, entry: &Entry, lookups: &[Arc<str>]) {
        fn take<K: std::hash::Hash + Eq>(
            map: &mut HashMap<K, BTreeSet<ObjectName>>,
            key: K,
            name: &ObjectName,
        ) {
            if let std::collections::hash_map::Entry::Occupied(mut held) = map.entry(key) {
                held.get_mut().remove(name);
                if held.get().is_empty() {
                    held.remove();
                }
            }
        }
        for owner in entry.owners() {
            take(&mut self.owned, owner.uid.clone(), entry.name());
        }
        for (number, path) in lookups.iter().enumerate() {
            let value = entry.field(path).unwrap_or_default();
            take(&mut self.by_field, (number, value.into()), entry.name());
        }
    }

    /// What a query finds that has this value.
    pub(super) fn found(&self, query: &Query, by: &By) -> Vec<Arc<Entry>> {
        let matching = |entry: &&Arc<Entry>| query.matches(entry);
        match (by, &query.namespace) {
            (By::Name(name), Some(namespace)) => {
                let name = ObjectName::namespaced(&**namespace, &**name);
                self.objects.get(&name).into_iter().filter(matching).cloned().collect()
            }
            // Of all namespaces, or of a kind that has none.
            (By::Name(_), None) => self.objects.values().filter(matching).cloned().collect(),
            (By::Field(number, value), _) => {
                let names = self.by_field.get(&(*number, value.clone()));
                names.into_iter().flat_map(|names| self.named(names)).filter(matching).cloned().collect()
            }
        }
    }

    /// The names of those that a label selector selects, after one of them.
    fn selection(
        &self,
        selector: &CompiledSelector,
        namespace: Option<&str>,
        after: Option<&ObjectName>,
    ) -> Selection<'_, ObjectName> {
        let selection = self.by_label.select(selector, namespace);
        match after {
            Some(after) => selection.after(after),
            None => selection,
        }
    }

    fn named<'s>(&'s self, names: &'s BTreeSet<ObjectName>) -> impl Iterator<Item = &'s Arc<Entry>> {
        names.iter().filter_map(|name| self.objects.get(name))
    }
}

/// The reading end of the cache of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    pub(super) shared: Arc<Shared>,
    indexed: IndexedFields,
    pub(super) lookups: Arc<[Arc<str>]>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Cache {
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A selector by fields, to ask this cache with.
    ///
    /// # Errors
    /// When a field is not indexed here.
    pub fn known(&self, selector: FieldSelector) -> Result<KnownFields, UnknownField> {
        self.indexed.known(selector)
    }

    /// One object.
    pub fn get(&self, name: &ObjectName) -> Option<Arc<Entry>> {
        self.read(|state| state.objects.get(name).cloned())
    }

    /// The objects asked for, in order of namespace and name.
    pub fn list(&self, query: &Query) -> Vec<Arc<Entry>> {
        if let Some(found) = self.by_lookup(query) {
            return found;
        }
        self.page(query, None, 0).objects
    }

    /// Answers a query with a name, or with a looked-up field, such as the pods of a node, from the index.
    fn by_lookup(&self, query: &Query) -> Option<Vec<Arc<Entry>>> {
        let by = By::of(query, &self.lookups)?;
        Some(self.read(|state| state.found(query, &by)))
    }

    /// At most `limit` of the objects asked for, in order of namespace and name, after `after` if given. A `limit` of 0 is no
    /// limit.
    pub fn page(&self, query: &Query, after: Option<&ObjectName>, limit: usize) -> Page {
        let namespace = query.namespace.as_deref();
        if let Some(selector) = &query.labels {
            return self.labelled(query, selector, after, limit);
        }
        if query.is_all() && limit > 0 {
            return self.counted(namespace, after, limit);
        }
        // All of a kind is gone through while others write.
        let snapshot = self.snapshot();
        let found = snapshot.range(namespace, after).filter(|entry| query.matches(entry));
        Page::of(found, limit, (snapshot.revision, snapshot.changed))
    }

    /// Answers a query with a label selector from the index.
    fn labelled(
        &self,
        query: &Query,
        selector: &CompiledSelector,
        after: Option<&ObjectName>,
        limit: usize,
    ) -> Page {
        // As for a snapshot: read before the objects.
        let revision = self.revision();
        self.read(|state| {
            let selection = state.selection(selector, query.namespace.as_deref(), after);
            let entries = selection.iter().filter_map(|name| state.objects.get(name));
            let found = entries.filter(|entry| {
                query.fields.as_ref().is_none_or(|fields| fields.matches(|path| entry.field(path)))
            });
            Page::of(found, limit, (revision, state.changed))
        })
    }

    /// A part of all objects, or of all in a namespace, with the number of those behind it: the index knows how many objects
    /// stand between two names without going through them.
    fn counted(&self, namespace: Option<&str>, after: Option<&ObjectName>, limit: usize) -> Page {
        static ALL: LazyLock<CompiledSelector> = LazyLock::new(|| Selector::everything().compile());
        let revision = self.revision();
        self.read(|state| {
            let found = range(&state.objects, namespace, after);
            let page = Page::of(found, limit, (revision, state.changed));
            let last = page.objects.last().filter(|_| page.more);
            let behind = |last: &Arc<Entry>| state.selection(&ALL, namespace, Some(last.name())).count();
            Page { remaining: last.map(|last| behind(last) as u64), ..page }
        })
    }

    /// The label that a selector which selects nothing was probably meant to name; see [`LabelIndex::nearest`].
    pub fn nearest_label(&self, selector: &Selector, namespace: Option<&str>) -> Option<Nearest> {
        self.read(|state| state.by_label.nearest(selector, namespace))
    }

    /// The objects that name an owner in their references.
    pub fn owned_by(&self, owner: &Uid) -> Vec<Arc<Entry>> {
        self.read(|state| {
            let names = state.owned.get(owner);
            names.into_iter().flat_map(|names| state.named(names)).cloned().collect()
        })
    }

    /// All objects as they are now.
    pub fn snapshot(&self) -> Snapshot {
        // Read before the objects: they hold everything up to it, and perhaps more.
        let revision = self.revision();
        self.read(|state| Snapshot {
            objects: state.objects.clone(),
            revision: revision.max(state.changed),
            changed: state.changed,
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read(|state| state.objects.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revision up to which the cache has seen everything.
    pub fn revision(&self) -> Revision {
        self.shared.progress.revision()
    }

    /// Waits until the cache has been filled for the first time.
    pub async fn filled(&self) {
        self.shared.progress.filled().await;
    }

    /// Waits until the cache has seen everything up to a revision.
    pub async fn reached(&self, revision: Revision) {
        self.shared.progress.reached(revision).await;
    }

    /// Waits until the cache is closed: its kind is no longer served, or its server has ended, and nothing more will
    /// come.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Whether the cache is closed.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// The events after a revision.
    ///
    /// # Errors
    /// [`TooOld`] when they are no longer kept.
    pub fn watch(&self, after: Revision) -> Result<Cursor, TooOld> {
        self.shared.log.cursor(after)
    }

    /// The objects asked for, and the events after that state: nothing missed between them, nothing twice.
    pub fn list_and_watch(&self, query: &Query) -> (Vec<Arc<Entry>>, Cursor) {
        loop {
            let Page { objects, revision, .. } = self.page(query, None, 0);
            let Ok(cursor) = self.watch(revision) else { continue };
            return (objects, cursor);
        }
    }

    /// Asks whether something is so, and again with each change of what a query finds, until it is.
    ///
    /// # Errors
    /// What `is_so` says.
    pub(crate) async fn until<E>(
        &self,
        query: &Query,
        mut is_so: impl FnMut() -> Result<bool, E>,
    ) -> Result<(), E> {
        loop {
            let (_, mut cursor) = self.list_and_watch(query);
            loop {
                if is_so()? {
                    return Ok(());
                }
                if cursor.next().await.is_err() {
                    break;
                }
            }
        }
    }
}

/// The writing end of the cache of one kind. There is one, and it is fed in order of revision.
pub struct CacheWriter {
    cache: Cache,
}

impl fmt::Debug for CacheWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cache.fmt(f)
    }
}

impl Drop for CacheWriter {
    fn drop(&mut self) {
        self.cache.shared.closed.cancel();
    }
}

/// What a commit did to one object of a kind.
#[derive(Clone, Debug)]
pub enum Update {
    /// It is now this.
    Put(Arc<Entry>),
    /// It is gone.
    Delete(ObjectName),
}

impl CacheWriter {
    /// An empty cache of a kind with these indexed fields, one of those that `progress` speaks of.
    pub fn new(indexed: &IndexedFields, progress: Arc<Progress>) -> Self {
        let lookups = indexed.iter().filter(|field| field.lookup);
        let lookups = lookups.map(|field| Arc::clone(&field.path)).collect();
        let shared = Shared {
            state: RwLock::default(),
            log: Arc::new(Log::new(Arc::clone(&progress), KEPT)),
            lanes: Arc::default(),
            progress,
            closed: CancellationToken::new(),
        };
        Self { cache: Cache { shared: Arc::new(shared), indexed: indexed.clone(), lookups } }
    }

    /// The reading end.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Makes the cache hold exactly these objects, as they were at a revision. Watchers of an earlier fill find
    /// themselves [`TooOld`]. Readers are told by [`Progress::advance`].
    pub fn fill(&mut self, objects: impl IntoIterator<Item = Arc<Entry>>, revision: Revision) {
        let mut state = State { changed: revision, ..State::default() };
        for entry in objects {
            state.insert(entry, &self.cache.lookups);
        }
        let mut held = self.cache.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        self.cache.shared.log.restart(revision);
        self.cache.shared.lanes.restart(revision);
        *held = state;
    }

    /// Applies what one commit did to objects of this kind. Readers are told by [`Progress::advance`].
    pub fn apply(&mut self, revision: Revision, updates: impl IntoIterator<Item = Update>) {
        let mut events = Vec::new();
        let mut state = self.cache.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        for update in updates {
            events.extend(Self::apply_one(&mut state, revision, update, &self.cache.lookups));
        }
        state.changed = revision;
        for event in &events {
            self.cache.shared.lanes.tell(event, &self.cache.lookups);
        }
        self.cache.shared.log.append(events);
    }

    fn apply_one(
        state: &mut State,
        revision: Revision,
        update: Update,
        lookups: &[Arc<str>],
    ) -> Option<Event> {
        match update {
            Update::Put(object) => {
                let kind = match state.insert(Arc::clone(&object), lookups) {
                    Some(previous) => EventKind::Modified(previous),
                    None => EventKind::Added,
                };
                Some(Event { kind, object })
            }
            Update::Delete(name) => {
                let last = state.remove(&name, lookups)?;
                Some(Event { kind: EventKind::Deleted, object: Arc::new(last.at(revision)) })
            }
        }
    }
}
