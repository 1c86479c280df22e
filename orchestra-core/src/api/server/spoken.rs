//! Selecting by fields of a version that only a converter knows: objects are kept in another one, so they are converted
//! first and looked at then.

use std::sync::Arc;

use crate::api::request::WatchEvent;
use crate::api::{Resource, Status};
use crate::selector::FieldSelector;
use crate::watch::{Entry, FieldValues, IndexedFields, KnownFields, Query, UnknownField};

/// What is asked of objects in the version that a request speaks.
pub(super) struct Spoken {
    selector: KnownFields,
    indexed: IndexedFields,
}

impl Spoken {
    /// Takes out of a query what can only be asked of converted objects, if there is any of it.
    pub(super) fn of(kind: &Resource, query: &mut Query) -> Result<Option<Self>, Status> {
        let Some(fields) = query.fields.as_ref().filter(|_| kind.kept.is_some()) else { return Ok(None) };
        let in_all = |path: &str| matches!(path, "metadata.name" | "metadata.namespace");
        let all = fields.requirements().iter().cloned();
        let (stored, spoken): (Vec<_>, Vec<_>) = all.partition(|requirement| in_all(&requirement.path));
        if spoken.is_empty() {
            return Ok(None);
        }
        let known = |requirements| {
            let known = kind.fields.known(FieldSelector::new(requirements));
            known.map_err(|UnknownField { path }| Status::internal(format!("{path} is not selected by")))
        };
        query.fields = if stored.is_empty() { None } else { Some(known(stored)?) };
        Ok(Some(Self { selector: known(spoken)?, indexed: kind.fields.clone() }))
    }

    /// Whether an object matches, which is of the version.
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        // One that is kept in this version, and not converted, may have been read for the fields of another.
        let has_all = self.selector.requirements().iter().all(|asked| entry.field(&asked.path).is_some());
        if has_all {
            return self.selector.matches(|path| entry.field(path));
        }
        entry.to_value().is_ok_and(|object| {
            let values = FieldValues::of(&object, &self.indexed);
            self.selector.matches(|path| values.get(path))
        })
    }

    /// What a watcher sees of an event, and of the object as it was `before` a change.
    pub(super) fn shown(&self, event: WatchEvent, before: Option<Arc<Entry>>) -> Option<WatchEvent> {
        let matches = |entry: &Arc<Entry>| self.matches(entry);
        match (event, before) {
            (WatchEvent::Modified(entry), Some(before)) => match (matches(&before), matches(&entry)) {
                (false, false) => None,
                (false, true) => Some(WatchEvent::Added(entry)),
                (true, true) => Some(WatchEvent::Modified(entry)),
                (true, false) => Some(WatchEvent::Deleted(Arc::new(before.at(entry.revision())))),
            },
            (WatchEvent::Added(entry), _) => matches(&entry).then_some(WatchEvent::Added(entry)),
            (WatchEvent::Modified(entry), None) => matches(&entry).then_some(WatchEvent::Modified(entry)),
            (WatchEvent::Deleted(entry), _) => matches(&entry).then_some(WatchEvent::Deleted(entry)),
            (bookmark @ WatchEvent::Bookmark { .. }, _) => Some(bookmark),
        }
    }
}

/// An event of a watch before anything is converted.
pub(super) struct Told {
    pub(super) event: WatchEvent,
    /// The object before it changed.
    pub(super) before: Option<Arc<Entry>>,
}

impl From<WatchEvent> for Told {
    fn from(event: WatchEvent) -> Self {
        Self { event, before: None }
    }
}
