//! A trace of a cluster that runs, by watches: of one of ours or of any other Kubernetes.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::io::{self, Write};
use std::sync::Arc;

use foldhash::quality::FixedState;
use futures::StreamExt as _;
use futures::stream::{FuturesUnordered, SelectAll};
use serde_json::{Value, json};

use super::trim::{Followed, KINDS, called, trimmed};
use super::{TraceEvent, TraceWriter};
use crate::api::{Client, Target};
use crate::clock::SharedClock;
use crate::watch::{Cache, Entry, Event, EventKind, Query, TooOld};

/// What came of a kind.
enum Came {
    Changed(Followed, Event),
    /// The watcher was too slow: all that is there is told again.
    All(Followed, Vec<Arc<Entry>>),
}

/// Writes what happens to a cluster, until `stop` resolves; returns how many events were written. Kinds that the client may
/// not follow are named in the trace.
///
/// # Errors
/// What the writer says.
pub async fn record<W: Write>(
    client: &Client,
    to: W,
    stop: impl Future<Output = ()>,
    mut told: impl FnMut(u64),
) -> io::Result<u64> {
    let mut caches = Vec::new();
    let mut unread = Vec::new();
    let mut opening: FuturesUnordered<_> =
        KINDS.into_iter().enumerate().map(|(at, kind)| open(client, at, kind)).collect();
    while let Some((at, kind, cache)) = opening.next().await {
        match cache {
            Some(cache) => caches.push((at, kind, cache)),
            None => unread.push(called(kind)),
        }
    }
    // What depends on another comes after it.
    caches.sort_by_key(|(at, ..)| *at);
    let clock = Arc::clone(client.clock());
    let mut recorder = Recorder {
        writer: TraceWriter::begin(to, clock.now(), &unread)?,
        began: clock.elapsed(),
        clock,
        written: BTreeMap::new(),
        count: 0,
    };
    let mut changes = SelectAll::new();
    for (_, kind, cache) in caches {
        let (there, cursor) = cache.list_and_watch(&Query::all());
        for entry in there {
            recorder.put(kind, &entry, Some(0))?;
        }
        changes.push(Box::pin(futures::stream::unfold(
            (cache, cursor),
            move |(cache, mut cursor)| async move {
                match cursor.next().await {
                    Ok(event) => Some((Came::Changed(kind, event), (cache, cursor))),
                    Err(TooOld { .. }) => {
                        let (all, cursor) = cache.list_and_watch(&Query::all());
                        Some((Came::All(kind, all), (cache, cursor)))
                    }
                }
            },
        )));
    }
    told(recorder.count);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(came) = changes.next() => recorder.take(came)?,
        }
        told(recorder.count);
    }
    let ms = recorder.ms();
    recorder.writer.end(ms)?;
    Ok(recorder.count)
}

async fn open(client: &Client, at: usize, kind: Followed) -> (usize, Followed, Option<Cache>) {
    (at, kind, client.service().cache(&Target::collection(kind, None)).await.ok())
}

struct Recorder<W> {
    writer: TraceWriter<W>,
    began: std::time::Duration,
    clock: SharedClock,
    /// What was last written of each object: what differs in nothing that is kept is not written again.
    written: BTreeMap<(Followed, String), u64>,
    count: u64,
}

impl<W: Write> Recorder<W> {
    fn take(&mut self, came: Came) -> io::Result<()> {
        match came {
            Came::Changed(kind, event) => match event.kind {
                EventKind::Deleted => self.gone(kind, &event.object),
                _ => self.put(kind, &event.object, None),
            },
            Came::All(kind, all) => {
                let names: Vec<String> = all.iter().map(|entry| entry.name().to_string()).collect();
                let lost = self.written.keys().filter(|(of, name)| *of == kind && !names.contains(name));
                for (_, name) in lost.cloned().collect::<Vec<_>>() {
                    let (namespace, name) = name.split_once('/').unwrap_or(("", &name));
                    let gone = json!({"metadata": {"namespace": namespace, "name": name}});
                    self.write(kind, None, Some(gone), None)?;
                }
                all.iter().try_for_each(|entry| self.put(kind, entry, None))
            }
        }
    }

    fn put(&mut self, kind: Followed, entry: &Entry, ms: Option<u64>) -> io::Result<()> {
        // What cannot be read is nothing that could be lived again.
        let Ok(object) = entry.to_value() else { return Ok(()) };
        let Some(kept) = trimmed(&called(kind), &object) else { return Ok(()) };
        let digest = digest(&kept);
        let last = self.written.insert((kind, entry.name().to_string()), digest);
        if last == Some(digest) { Ok(()) } else { self.write(kind, Some(kept), None, ms) }
    }

    fn gone(&mut self, kind: Followed, entry: &Entry) -> io::Result<()> {
        if self.written.remove(&(kind, entry.name().to_string())).is_none() {
            return Ok(());
        }
        let Ok(object) = entry.to_value() else { return Ok(()) };
        let meta = &object["metadata"];
        let mut short = json!({"name": meta["name"], "uid": meta["uid"]});
        if meta["namespace"].is_string() {
            short["namespace"] = meta["namespace"].clone();
        }
        self.write(kind, None, Some(json!({"metadata": short})), None)
    }

    fn ms(&self) -> u64 {
        let since = self.clock.elapsed().saturating_sub(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn write(
        &mut self,
        kind: Followed,
        put: Option<Value>,
        gone: Option<Value>,
        ms: Option<u64>,
    ) -> io::Result<()> {
        let ms = ms.unwrap_or_else(|| self.ms());
        self.count += 1;
        self.writer.write(&TraceEvent { ms, kind: called(kind), put, gone })
    }
}

fn digest(value: &Value) -> u64 {
    FixedState::with_seed(0).hash_one(value.to_string())
}
