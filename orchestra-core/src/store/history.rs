//! What a record has been.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;

use super::{Change, Key, KeyRange, Record, Store, StoreError};
use crate::clock::{Clock, SharedClock, timeout};
use crate::meta::Revision;

/// How long a store that does not say how far it has come may take for the next change of its past.
const QUIET: Duration = Duration::from_secs(1);

/// One version of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The commit that made it.
    pub revision: Revision,
    /// When that was, if the store knows.
    pub time: Option<Timestamp>,
    /// The record as it was from then on; `None` from a deletion on.
    pub record: Option<Record>,
}

/// The versions of a record that the store still has, oldest first. The first may have begun before what is kept.
///
/// # Errors
/// Those of the store.
pub async fn versions(store: &dyn Store, clock: &dyn Clock, key: &Key) -> Result<Vec<Version>, StoreError> {
    let mut from = Revision::ZERO;
    loop {
        match since(store, clock, key, from).await {
            // Begin with the oldest there is; while it is read, it may go on.
            Err(StoreError::Compacted { oldest, .. }) if oldest > from => from = oldest,
            versions => return versions,
        }
    }
}

async fn since(
    store: &dyn Store,
    clock: &dyn Clock,
    key: &Key,
    from: Revision,
) -> Result<Vec<Version>, StoreError> {
    let first = if from == Revision::ZERO { None } else { store.get(key, Some(from)).await? };
    let mut found: Vec<(Revision, Option<Record>)> = Vec::new();
    found.extend(first.map(|record| (record.modified, Some(record))));
    let range = KeyRange { start: key.clone(), end: Some(Key::new(format!("{key}\0"))) };
    let (latest, now) = (store.revision().await?, store.get(key, None).await?);
    let last = now.map_or(latest, |record| record.modified);
    let mut changes = store.watch(&range, from).await?;
    let mut seen = from;
    while seen < last {
        let Some(Some(batch)) = timeout(clock, QUIET, changes.next()).await else { break };
        let batch = batch?;
        seen = batch.revision;
        found.extend(batch.changes.iter().map(|change| match change {
            Change::Put { record, .. } => (seen, Some(record.clone())),
            Change::Delete { .. } => (seen, None),
        }));
    }
    let mut versions = Vec::with_capacity(found.len());
    for (revision, record) in found {
        versions.push(Version { revision, time: store.time_of(revision).await?, record });
    }
    Ok(versions)
}

/// Forgets what is older than `age`, in a store that does not do so by itself, such as etcd. Runs until it is dropped.
/// It counts from when it began to look, so that after a restart the past is kept for longer, and by steady time, so that
/// nothing is forgotten because a clock was set.
pub async fn forget_older(store: &dyn Store, clock: &SharedClock, age: Duration) {
    let pause = (age / 16).clamp(Duration::from_secs(1), Duration::from_secs(300));
    let mut seen: VecDeque<(Duration, Revision)> = VecDeque::new();
    loop {
        let now = clock.elapsed();
        match store.revision().await {
            Ok(revision) => seen.push_back((now, revision)),
            Err(error) => tracing::debug!(%error, "cannot look how far the store is"),
        }
        let is_due = |(at, _): &(Duration, Revision)| now.saturating_sub(*at) >= age;
        let mut due = None;
        while let Some((_, revision)) = seen.pop_front_if(|seen| is_due(seen)) {
            due = Some(revision);
        }
        if let Some(revision) = due
            && let Err(error) = store.compact(revision).await
        {
            tracing::warn!(%error, %revision, "what is past its age cannot be forgotten");
        }
        clock.sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Txn;
    use crate::store::memory::MemoryStore;

    async fn check(store: &dyn Store, timed: bool) {
        let key = Key::new("/pods/a");
        let clock = crate::clock::TokioClock::simulated(1);
        let versions = async || versions(store, &*clock, &key).await.unwrap();
        assert_eq!(versions().await, []);
        for txn in [
            Txn::new().put(key.clone(), "1"),
            Txn::new().put(Key::new("/pods/b"), "x"),
            Txn::new().put(key.clone(), "2"),
            Txn::new().delete(key.clone()),
            Txn::new().put(key.clone(), "3").put(Key::new("/pods/ab"), "x"),
            Txn::new().put(Key::new("/pods/b"), "y"),
        ] {
            store.commit(txn).await.unwrap();
        }
        let seen = versions().await;
        let text = |version: &Version| {
            (version.revision.0, version.record.as_ref().map(|record| record.value.to_vec()))
        };
        let told: Vec<_> = seen.iter().map(text).collect();
        let expected =
            [(1, Some(b"1".to_vec())), (3, Some(b"2".to_vec())), (4, None), (5, Some(b"3".to_vec()))];
        assert_eq!(told, expected);
        assert!(seen.iter().all(|version| version.time.is_some() == timed));
        store.compact(Revision(3)).await.unwrap();
        let told: Vec<_> = versions().await.iter().map(text).collect();
        assert_eq!(told, expected[1..]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_its_age_is_forgotten() {
        let (store, clock) = (MemoryStore::new(), crate::clock::TokioClock::simulated(1));
        let age = Duration::from_secs(3600);
        let (forgetting, watched) = (store.clone(), Arc::clone(&clock));
        tokio::spawn(async move { forget_older(&forgetting, &watched, age).await });
        for minute in 0..180u64 {
            store.commit(Txn::new().put(Key::new("/a"), minute.to_string())).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let is_kept = async |revision| store.get(&Key::new("/a"), Some(Revision(revision))).await.is_ok();
            // What was made an hour ago, and what was made an hour and a tenth ago.
            assert!(is_kept(minute.saturating_sub(58)).await || minute < 59, "minute {minute}");
            if minute > 70 {
                assert!(!is_kept(minute - 70).await, "minute {minute}");
            }
        }
    }

    #[tokio::test]
    async fn every_version_that_is_kept_is_told() {
        check(&MemoryStore::new(), false).await;
    }

    #[cfg(feature = "redb")]
    #[tokio::test]
    async fn a_file_also_tells_when() {
        let dir = tempfile::tempdir().unwrap();
        check(&crate::store::redb::RedbStore::open(dir.path()).unwrap(), true).await;
    }
}
