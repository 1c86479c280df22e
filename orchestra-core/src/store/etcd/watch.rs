//! A watch that outlives the connections it is made of.

use std::time::Duration;

use etcd_client::{Error, Event, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::stream::{self, StreamExt};

use super::members::Members;
use super::{EtcdStore, LARGEST_ANSWER, translate};
use crate::meta::Revision;
use crate::store::{Batch, Change, Changes, Key, KeyRange, StoreError};

/// How long a watch may take to see what somebody was told of, before it is moved on.
const PATIENCE: Duration = Duration::from_millis(100);

/// The longest pause before a watch connects again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

struct Watch {
    store: EtcdStore,
    range: KeyRange,
    /// The revision up to which everything has been seen.
    seen: Revision,
    stream: Option<Connected>,
    pause: Duration,
}

/// A watch of one member, and what tells when calls go to another: then this one goes there too.
struct Connected {
    stream: WatchStream,
    member: tokio::sync::watch::Receiver<usize>,
}

/// The changes in a range after a revision that is known to be kept.
pub(super) fn follow(store: EtcdStore, range: KeyRange, after: Revision) -> Changes {
    let watch = Watch { store, range, seen: after, stream: None, pause: Duration::ZERO };
    let batches = stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next().await {
            Ok(batches) => Some((stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()), Some(watch))),
            Err(error) => Some((stream::iter(vec![Err(error)]), None)),
        }
    });
    batches.flatten().boxed()
}

impl Watch {
    /// The next batches, after as many reconnections as it takes.
    async fn next(&mut self) -> Result<Vec<Batch>, StoreError> {
        loop {
            match self.receive().await {
                Ok(answer) if answer.canceled() => {
                    self.stream = None;
                    if answer.compact_revision() > 0 {
                        let oldest = translate::revision(answer.compact_revision());
                        return Err(StoreError::Compacted { requested: self.seen, oldest });
                    }
                }
                Ok(answer) => {
                    self.pause = Duration::ZERO;
                    let batches = self.batches(&answer)?;
                    if let Some(last) = batches.last() {
                        self.seen = last.revision;
                        return Ok(batches);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, seen = %self.seen, "the watch of etcd broke; connecting again");
                    self.stream = None;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<WatchResponse, Error> {
        if self.stream.is_none() {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).clamp(Duration::from_millis(20), LONGEST_PAUSE);
        }
        let connected = match &mut self.stream {
            Some(connected) => connected,
            None => self.stream.insert(self.connect().await?),
        };
        let number = *connected.member.borrow();
        let nudging = nudge(&self.store, &self.range, self.seen);
        let message = tokio::select! {
            biased;
            message = connected.stream.message() => message,
            error = nudging => return Err(error),
            _ = connected.member.changed() => return Err(Error::WatchError("another member is asked".into())),
        };
        let message = message.and_then(|message| message.ok_or_else(|| Error::WatchError("it ended".into())));
        if let Err(error) = &message {
            self.store.members.leave(number, error);
        }
        message
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let keys = &self.store.keys;
        let options = WatchOptions::new()
            .with_range(keys.encode_end(&self.range))
            .with_start_revision(translate::number(self.seen.next()))
            .with_prev_key()
            .with_progress_notify();
        let members = &self.store.members;
        let key = keys.encode_start(&self.range);
        let (client, member) = members.connected().await?;
        let number = *member.borrow();
        let mut client = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
        let stream = members.in_time(number, members.soon(), client.watch(key, Some(options))).await?;
        Ok(Connected { stream, member })
    }

    /// What an answer tells: the changes of each revision together, which etcd never splits; or progress.
    fn batches(&self, answer: &WatchResponse) -> Result<Vec<Batch>, StoreError> {
        if answer.events().is_empty() && !answer.created() {
            let revision = translate::header(answer.header())?;
            let news = revision > self.seen;
            return Ok(news.then(|| Batch { revision, changes: [].into() }).into_iter().collect());
        }
        let revision_of = |event: &Event| event.kv().map_or(0, |kv| kv.mod_revision());
        let mut batches = Vec::new();
        for events in answer.events().chunk_by(|a, b| revision_of(a) == revision_of(b)) {
            let revision = translate::revision(revision_of(&events[0]));
            if revision <= self.seen {
                continue;
            }
            let changes =
                events.iter().map(|event| self.change(event, revision)).collect::<Result<_, _>>()?;
            batches.push(Batch { revision, changes });
        }
        Ok(batches)
    }

    fn change(&self, event: &Event, revision: Revision) -> Result<Change, StoreError> {
        let keys = &self.store.keys;
        let previous = event.prev_kv().map(|kv| keys.record(kv.clone())).transpose()?;
        // What it replaced was compacted before etcd could send it.
        let gone = StoreError::Compacted { requested: self.seen, oldest: revision };
        match (event.event_type(), event.kv(), previous) {
            (EventType::Put, Some(kv), previous) => {
                let record = keys.record(kv.clone())?;
                if record.created < record.modified && previous.is_none() {
                    Err(gone)
                } else {
                    Ok(Change::Put { record, previous })
                }
            }
            (_, _, Some(previous)) => Ok(Change::Delete { previous }),
            _ => Err(gone),
        }
    }
}

/// Writes something that a watch of a range will see, each time that somebody was told of a revision that the watch
/// has not seen shortly after. Ends with the error of such a write.
async fn nudge(store: &EtcdStore, range: &KeyRange, seen: Revision) -> Error {
    let key = Key::new("/orchestra/progress");
    if !range.contains(&key) {
        return std::future::pending().await;
    }
    let mut told = store.told.subscribe();
    loop {
        // Cannot fail: the sender is borrowed for as long as this waits.
        let _ = told.wait_for(|told| *told > seen).await;
        tokio::time::sleep(PATIENCE).await;
        // Putting it twice is putting it once.
        let put = store.members.insist(|client| {
            let key = store.keys.encode(&key);
            async move { client.kv_client().put(key, "", None).await }
        });
        if let Err(error) = put.await {
            return error;
        }
    }
}

/// The oldest revision that etcd keeps, as it says itself when asked to watch from the first.
pub(super) async fn oldest(members: &Members) -> Result<Revision, Error> {
    let mut stream = members
        .insist(|client| async move {
            let options = WatchOptions::new().with_start_revision(1).with_progress_notify();
            client.watch_client().watch("\0", Some(options)).await
        })
        .await?;
    // Should nothing be compacted after all, it would say no more than that it watches.
    while let Ok(answer) = tokio::time::timeout(LONGEST_PAUSE, stream.message()).await {
        match answer? {
            Some(answer) if answer.canceled() => return Ok(translate::revision(answer.compact_revision())),
            Some(answer) if answer.created() => {}
            _ => break,
        }
    }
    Ok(Revision::ZERO)
}
