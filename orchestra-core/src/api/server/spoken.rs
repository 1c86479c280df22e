//! Selecting by fields of a version that only a converter knows: objects are kept in another one, so they are converted
//! first and looked at then.

use std::sync::Arc;

use super::Server;
use super::caches::Open;
use super::convert;
use crate::api::continue_token::ContinueToken;
use crate::api::request::{ListOptions, ObjectList, WatchEvent};
use crate::api::{Resource, Status};
use crate::meta::Revision;
use crate::selector::FieldSelector;
use crate::watch::{Entry, FieldValues, IndexedFields, KnownFields, Query, UnknownField};

/// How many stored objects are converted at a time for a list that has a limit.
const PART: usize = 500;

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

impl Server {
    /// A list of what matches once it is converted, out of as many parts of the stored one as it takes.
    pub(super) async fn list_spoken(
        &self,
        resource: &Open,
        query: &Query,
        spoken: &Spoken,
        options: ListOptions,
    ) -> Result<ObjectList, Status> {
        let limit = options.limit;
        let mut part = ListOptions { limit: if limit == 0 { 0 } else { limit.max(PART) }, ..options };
        let mut found: Vec<Arc<Entry>> = Vec::new();
        loop {
            let stored = self.list_stored(resource, query, &part).await?;
            let objects = convert::all_spoken(resource, stored.objects).await?;
            for entry in objects.into_iter().filter(|entry| spoken.matches(entry)) {
                match found.last().filter(|_| found.len() == limit) {
                    // One more than asked for tells that the list goes on.
                    Some(last) => {
                        let after = last.name().clone();
                        let token = ContinueToken { revision: Some(stored.revision), after };
                        return Ok(list(found, stored.revision, Some(token.encode())));
                    }
                    None => found.push(entry),
                }
            }
            let Some(token) = stored.continue_token else {
                return Ok(list(found, stored.revision, None));
            };
            part = ListOptions { continue_token: Some(token), revision: None, revision_match: None, ..part };
        }
    }
}

fn list(objects: Vec<Arc<Entry>>, revision: Revision, continue_token: Option<String>) -> ObjectList {
    ObjectList { objects, revision, continue_token, remaining: None }
}
