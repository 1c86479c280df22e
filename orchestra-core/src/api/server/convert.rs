//! Conversion by a [`Converter`](crate::api::Converter): of what is read to the version that a request speaks, and of what
//! is stored to the one that objects are kept in.
//!
//! It is done at the edge of a request and within it, so that a converter that hangs or fails holds up nobody else:
//! caches, logs and the feeder keep objects as they are stored.

use std::borrow::Cow;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::Value;

use super::caches::Open;
use super::conversions::one;
use super::current::Current;
use super::meta::metadata;
use super::spoken::{Spoken, Told};
use crate::api::request::{Reply, Response, WatchEvent, WatchStream};
use crate::api::{Resource, Status};
use crate::watch::Entry;

/// How many events of a watch are converted at a time, if so many are there.
const EVENTS_AT_ONCE: usize = 64;
/// How many objects, and of how many bytes in all, one question holds.
const MOST_OBJECTS: usize = 500;
const MOST_BYTES: usize = 1024 * 1024;

/// An object to write to, in the version of the kind's row.
pub(super) async fn current(kind: &Resource, entry: Arc<Entry>) -> Result<Current, Status> {
    let current = Current::of(entry)?;
    let wanted = kind.api_version();
    let Some(kept) = kind.kept.as_ref().filter(|_| current.object["apiVersion"] != *wanted) else {
        return Ok(current);
    };
    let mut object = one(kept.converter.convert(vec![current.shown()], &wanted).await?)?;
    kind.rules.present(&mut object);
    metadata(&mut object).remove("resourceVersion");
    Ok(current.converted(object))
}

/// An object as it is to be stored, given it in the version of the kind's row.
pub(super) async fn at_rest<'o>(kind: &Resource, object: &'o Value) -> Result<Cow<'o, Value>, Status> {
    match &kind.kept {
        Some(kept) if object["apiVersion"] != *kept.api_version => {
            let converted = kept.converter.convert(vec![object.clone()], &kept.api_version).await?;
            Ok(Cow::Owned(one(converted)?))
        }
        _ => Ok(Cow::Borrowed(object)),
    }
}

/// A response with its objects in the version of the kind's row.
pub(super) async fn response(kind: &Resource, response: Response) -> Result<Response, Status> {
    if kind.kept.is_none() {
        return Ok(response);
    }
    let reply = match response.reply {
        Reply::Object(entry) => Reply::Object(spoken(kind, entry).await?),
        Reply::List(mut list) => {
            list.objects = all_spoken(kind, list.objects).await?;
            Reply::List(list)
        }
        reply @ Reply::Value(_) => reply,
    };
    Ok(Response { reply, ..response })
}

/// An entry in the version of the kind's row.
pub(super) async fn spoken(kind: &Resource, entry: Arc<Entry>) -> Result<Arc<Entry>, Status> {
    one(all_spoken(kind, vec![entry]).await?)
}

/// A watch whose objects are in the version of the kind's row. What cannot be converted ends it.
/// Of those that match by fields of that version only, if it is asked for some.
pub(super) fn watch(
    kind: &Open,
    spoken: Option<Spoken>,
    told: impl Stream<Item = Result<Told, Status>> + Send + 'static,
) -> WatchStream {
    if kind.kept.is_none() {
        return told.map_ok(|told| told.event).boxed();
    }
    let (row, spoken) = (Arc::clone(kind.row()), Arc::new(spoken));
    let converted = told.ready_chunks(EVENTS_AT_ONCE).then(move |told| {
        let (row, spoken) = (Arc::clone(&row), Arc::clone(&spoken));
        async move { converted_events(&row, (*spoken).as_ref(), told).await }
    });
    converted.flat_map(stream::iter).boxed()
}

async fn converted_events(
    kind: &Resource,
    spoken: Option<&Spoken>,
    told: Vec<Result<Told, Status>>,
) -> Vec<Result<WatchEvent, Status>> {
    let entries = |told: &Result<Told, Status>| {
        let Ok(Told { event, before }) = told else { return [None, None] };
        let object = match event {
            WatchEvent::Added(entry) | WatchEvent::Modified(entry) | WatchEvent::Deleted(entry) => {
                Some(entry)
            }
            WatchEvent::Bookmark { .. } => None,
        };
        [object.cloned(), spoken.and(before.clone())]
    };
    let mut converted = match all_spoken(kind, told.iter().flat_map(entries).flatten().collect()).await {
        Ok(entries) => entries.into_iter(),
        Err(status) => return vec![Err(status)],
    };
    let replaced = told.into_iter().filter_map(|told| {
        let Told { event, before } = match told {
            Ok(told) => told,
            Err(status) => return Some(Err(status)),
        };
        let event = match event {
            WatchEvent::Added(_) => WatchEvent::Added(converted.next()?),
            WatchEvent::Modified(_) => WatchEvent::Modified(converted.next()?),
            WatchEvent::Deleted(_) => WatchEvent::Deleted(converted.next()?),
            bookmark @ WatchEvent::Bookmark { .. } => bookmark,
        };
        match spoken {
            Some(spoken) => spoken.shown(event, before.and_then(|_| converted.next())).map(Ok),
            None => Some(Ok(event)),
        }
    });
    replaced.collect()
}

/// Entries in the version of the kind's row, several asked for at once. Those that are of it stay as they are.
pub(super) async fn all_spoken(
    kind: &Resource,
    mut entries: Vec<Arc<Entry>>,
) -> Result<Vec<Arc<Entry>>, Status> {
    let Some(kept) = &kind.kept else { return Ok(entries) };
    let wanted = kind.api_version();
    let others: Vec<usize> =
        (0..entries.len()).filter(|place| api_version(&entries[*place]) != wanted).collect();
    let mut left = &others[..];
    while !left.is_empty() {
        let (some, rest) = left.split_at(fitting(&entries, left));
        let objects = some.iter().map(|place| entries[*place].to_value());
        let objects: Vec<Value> = objects.collect::<Result<_, _>>().map_err(Status::internal)?;
        let converted = kept.converter.convert(objects, &wanted).await?;
        if converted.len() != some.len() {
            return Err(Status::internal("a converter answered another number of objects"));
        }
        for (place, mut object) in some.iter().zip(converted) {
            kind.rules.present(&mut object);
            let revision = entries[*place].revision();
            metadata(&mut object).remove("resourceVersion");
            let entry = Entry::of(&object, &kind.fields).map_err(Status::internal)?;
            entries[*place] = Arc::new(entry.at(revision));
        }
        left = rest;
    }
    Ok(entries)
}

/// How many of the entries at these places fit one question; one always does.
fn fitting(entries: &[Arc<Entry>], places: &[usize]) -> usize {
    let mut bytes = 0;
    let fit = places.iter().take(MOST_OBJECTS).take_while(|place| {
        bytes += entries[**place].bytes().len();
        bytes <= MOST_BYTES
    });
    fit.count().max(1)
}

/// The version of an object, as it is stored.
fn api_version(entry: &Entry) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        #[serde(default)]
        api_version: String,
    }
    serde_json::from_slice(entry.bytes()).map_or_else(|_| String::new(), |head: Head| head.api_version)
}
