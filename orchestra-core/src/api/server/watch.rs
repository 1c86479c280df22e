use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::caches::Open;
use super::convert;
use super::read::query;
use super::spoken::{Spoken, Told};
use super::{Server, stopped};
use crate::api::request::{Target, WatchEvent, WatchOptions, WatchStream};
use crate::api::{Resource, Status};
use crate::meta::Revision;
use crate::selector::FieldSelector;
use crate::store::{Change, KeyRange, StoreError};
use crate::watch::{Cache, Entry, Event, EventKind, Following, Query, TooOld};

/// How often a watch that wants bookmarks gets one when nothing else happens.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch gets one, so that the caller can go on from there.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

impl Server {
    pub(super) async fn start_watch(
        &self,
        resource: &Open,
        target: &Target,
        options: WatchOptions,
    ) -> Result<WatchStream, Status> {
        let fields = match &target.name {
            Some(name) => Some(named(options.fields, name)?),
            None => options.fields,
        };
        let mut query = query(resource, target, options.labels, fields)?;
        let spoken = Spoken::of(resource, &mut query)?;
        let cache = resource.cache().clone();
        let after = options.after.filter(|after| *after > Revision::ZERO);
        let wants_initial = options.initial_events == Some(true);
        let from_start = wants_initial || after.is_none() && options.initial_events.is_none();
        self.at_least(after).await?;
        let mut waiting = VecDeque::new();
        let following = if from_start {
            let (objects, following) = cache.list_and_follow(&query);
            waiting.extend(objects.into_iter().map(WatchEvent::Added).map(Told::from));
            if wants_initial && options.bookmarks {
                let revision = following.after();
                waiting.push_back(WatchEvent::Bookmark { revision, initial_events_end: true }.into());
            }
            following
        } else {
            let after = after.unwrap_or_else(|| self.caches.revision());
            match cache.follow(&query, after) {
                Ok(following) => following,
                Err(_) => match self.replay(resource, &query, after).await {
                    Ok((events, revision)) => {
                        waiting.extend(events);
                        cache.follow(&query, revision).map_err(too_old)?
                    }
                    Err(status) => return Ok(stream::iter([Err(status)]).boxed()),
                },
            }
        };
        let before_end = options.timeout.and_then(|timeout| timeout.checked_sub(BOOKMARK_BEFORE_END));
        let last_bookmark = before_end.and_then(|left| self.clock.now().checked_add(left).ok());
        let (bookmarks, clock) = (options.bookmarks, Arc::clone(&self.clock));
        let stop = self.stop.clone();
        let watch = Watch { query, cache, following, waiting, bookmarks, last_bookmark, clock, stop };
        Ok(convert::watch(resource, spoken, stream::unfold(Some(watch), Watch::step)))
    }

    /// What the store remembers of a time that the log no longer keeps, up to now.
    async fn replay(
        &self,
        resource: &Resource,
        query: &Query,
        after: Revision,
    ) -> Result<(Vec<Told>, Revision), Status> {
        let until = self.caches.revision();
        // All keys, not the kind's alone: so there is a batch at every revision, and this knows when it is done.
        let store = self.store()?;
        let mut changes = match store.watch(&KeyRange::all(), after).await {
            // A store that no longer knows all that happened may know all of this kind, and then says how far it is: a
            // file forgets the leases and events of the time before it was opened.
            Err(StoreError::Compacted { .. }) => store.watch(&resource.range(), after).await?,
            changes => changes?,
        };
        let mut events = Vec::new();
        let mut seen = after;
        while seen < until {
            let Some(batch) = changes.next().await else { break };
            let batch = batch?;
            if batch.revision > until {
                break;
            }
            seen = batch.revision;
            let range = resource.range();
            for change in batch.changes.iter().filter(|change| range.contains(change.key())) {
                let event = history_event(resource, change, batch.revision).map_err(Status::internal)?;
                events.extend(shown(query, &event));
            }
        }
        Ok((events, seen))
    }
}

struct Watch {
    query: Query,
    cache: Cache,
    following: Following,
    waiting: VecDeque<Told>,
    bookmarks: bool,
    /// When the last one is sent, before the caller stops listening.
    last_bookmark: Option<Timestamp>,
    clock: crate::clock::SharedClock,
    /// The server's: a watch ends with it.
    stop: CancellationToken,
}

impl Watch {
    /// One item of the stream; an error is the last. The stream ends, as Kubernetes' do, when the kind is served no more.
    async fn step(watch: Option<Self>) -> Option<(Result<Told, Status>, Option<Self>)> {
        let mut watch = watch?;
        let stop = watch.stop.clone();
        match stop.run_until_cancelled(watch.next()).await {
            Some(Ok(event)) => Some((Ok(event?), Some(watch))),
            Some(Err(gone)) => Some((Err(too_old(gone)), None)),
            None => Some((Err(stopped()), None)),
        }
    }

    /// How long until the next bookmark if nothing else happens.
    fn until_bookmark(&self) -> Duration {
        let left = self.last_bookmark.map(|last| last.duration_since(self.clock.now()));
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        left.map_or(BOOKMARK_EVERY, |left| left.min(BOOKMARK_EVERY))
    }

    /// The next event; `None` when there will be no more.
    async fn next(&mut self) -> Result<Option<Told>, TooOld> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let pause = self.until_bookmark();
            let event = tokio::select! {
                biased;
                event = self.following.next() => event?,
                () = self.cache.closed() => return Ok(None),
                () = self.clock.sleep(pause), if self.bookmarks => {
                    self.last_bookmark = self.last_bookmark.filter(|last| *last > self.clock.now());
                    let revision = self.following.seen();
                    return Ok(Some(WatchEvent::Bookmark { revision, initial_events_end: false }.into()));
                }
            };
            if let Some(event) = shown(&self.query, &event) {
                return Ok(Some(event));
            }
        }
    }
}

/// What a watcher with this query sees of an event: an object that comes to match is added, one that ceases to is
/// deleted, as it was when it still matched, under the revision of the change.
fn shown(query: &Query, event: &Event) -> Option<Told> {
    let object = &event.object;
    let told = match &event.kind {
        EventKind::Added => query.matches(object).then(|| WatchEvent::Added(Arc::clone(object))),
        EventKind::Deleted => query.matches(object).then(|| WatchEvent::Deleted(Arc::clone(object))),
        EventKind::Modified(previous) => match (query.matches(previous), query.matches(object)) {
            (false, false) => None,
            (false, true) => Some(WatchEvent::Added(Arc::clone(object))),
            (true, true) => {
                let event = WatchEvent::Modified(Arc::clone(object));
                return Some(Told { event, before: Some(Arc::clone(previous)) });
            }
            (true, false) => Some(WatchEvent::Deleted(Arc::new(previous.at(object.revision())))),
        },
    };
    told.map(Told::from)
}

fn history_event(
    resource: &Resource,
    change: &Change,
    revision: Revision,
) -> Result<Event, crate::watch::EntryError> {
    let entry = |record: &crate::store::Record, revision| {
        Entry::read(record.value.clone(), revision, &resource.fields).map(Arc::new)
    };
    Ok(match change {
        Change::Put { record, previous: None } => {
            Event { kind: EventKind::Added, object: entry(record, record.modified)? }
        }
        Change::Put { record, previous: Some(previous) } => Event {
            kind: EventKind::Modified(entry(previous, previous.modified)?),
            object: entry(record, record.modified)?,
        },
        Change::Delete { previous } => Event { kind: EventKind::Deleted, object: entry(previous, revision)? },
    })
}

fn named(fields: Option<FieldSelector>, name: &str) -> Result<FieldSelector, Status> {
    let text = match fields {
        Some(fields) => format!("{fields},metadata.name={name}"),
        None => format!("metadata.name={name}"),
    };
    FieldSelector::parse(&text).map_err(|error| Status::bad_request(error.to_string()))
}

fn too_old(gone: TooOld) -> Status {
    StoreError::Compacted { requested: gone.requested, oldest: gone.oldest }.into()
}
