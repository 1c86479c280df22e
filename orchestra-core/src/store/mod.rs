//! The store: the one place where the cluster's state is kept.
//!
//! A [`Store`] is an ordered map from [`Key`]s to bytes with one increasing [`Revision`] for all of it. It knows
//! nothing of kinds or JSON. A commit is a transaction: several writes with preconditions, all or none, under one
//! new revision. The past can be read and watched until it is compacted.
//!
//! Implementations must be indistinguishable from above; `testing::contract::store` is the suite that says so.
//! [`memory`] is the default when embedded.

pub mod backup;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod history;
// Some of it only a durable store needs.
#[cfg_attr(not(feature = "redb"), allow(dead_code))]
mod ledger;
pub mod memory;
#[cfg(feature = "redb")]
pub mod redb;
mod txn;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::meta::Revision;
pub use txn::{Committed, Durability, Expect, Guard, Txn, Write};

/// The name of a record. Ordered bytewise; by convention of the API layer
/// `/<group>/<resource>/<namespace>/<name>`, which the store does not know.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of that text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All keys from `start` up to, but not including, `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Key,
    /// The key after the last; `None` for no end.
    pub end: Option<Key>,
}

impl KeyRange {
    /// Every key there is.
    pub fn all() -> Self {
        Self { start: Key::new(""), end: None }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &str) -> Self {
        // The first text after all that begin with the prefix: its last character that has a successor, raised.
        let mut end: Vec<char> = prefix.chars().collect();
        while let Some(last) = end.pop() {
            let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
            if let Some(next) = next {
                end.push(next);
                break;
            }
        }
        let end = (!end.is_empty()).then(|| Key::new(end.into_iter().collect::<String>()));
        Self { start: Key::new(prefix), end }
    }

    /// Whether a key is in the range.
    pub fn contains(&self, key: &Key) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }
}

/// What the store holds under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The bytes as they were committed.
    pub value: Bytes,
    /// The revision of the commit that created it.
    pub created: Revision,
    /// The revision of the commit that last wrote it.
    pub modified: Revision,
}

/// A part of a range, in key order, as it was at one revision.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// The revision at which all of them were read: the one asked for, or the latest.
    pub revision: Revision,
    /// How many records of the range follow after the last of this page.
    pub remaining: u64,
}

/// What a commit did to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The record was created or written.
    Put {
        /// The record as it is now.
        record: Record,
        /// The record it replaced.
        previous: Option<Record>,
    },
    /// The record was deleted.
    Delete {
        /// The record as it was last.
        previous: Record,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { record, .. } => &record.key,
            Self::Delete { previous } => &previous.key,
        }
    }
}

/// The changes of one commit that fall in a watched range, in the order in which they were written.
///
/// An empty batch is progress: nothing else changed in the range up to its revision.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The revision of the commit.
    pub revision: Revision,
    /// The changes.
    pub changes: Arc<[Change]>,
}

/// A watch: batches in order of revision, without gap or repetition. An error ends it.
pub type Changes = BoxStream<'static, Result<Batch, StoreError>>;

/// Why a store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A precondition did not hold. Nothing was written. Read again and decide again.
    #[error("{key} is not as expected: it is {}", match .current { Some(r) => format!("at revision {r}"), None => "absent".into() })]
    Conflict {
        /// The key whose guard failed.
        key: Key,
        /// The revision it is at, or `None` if there is no such record.
        current: Option<Revision>,
    },
    /// That part of the past is gone. Start over from the present.
    #[error("revision {requested} is compacted; the oldest kept is {oldest}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest that can still be read.
        oldest: Revision,
    },
    /// That revision has not been committed yet. The caller has it from elsewhere or made it up.
    #[error("revision {requested} is in the future; the latest is {latest}")]
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The latest committed.
        latest: Revision,
    },
    /// The store cannot be reached now; whether a write was made is not known. Try again.
    #[error("the store cannot be reached: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no room for the write. Nothing was written; reads go on. Make room and try again.
    #[error("the store is out of space: {0}; nothing was written, make room on its disk and try again")]
    OutOfSpace(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be read back. Not to be tried again.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later with nothing else changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::OutOfSpace(_))
    }
}

/// An ordered map of bytes with a history, transactions and watches. See the [module](self).
///
/// To write one: six methods (four more have defaults), each with its contract in its comment. All may be called from
/// many tasks at once and cancelled at any point; a cancelled commit has happened wholly or not at all.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// The latest revision whose commit was acknowledged to anyone, anywhere. A read made at it sees every
    /// acknowledged write.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// One record, now or as it was at a revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::Future`] for a revision out of reach.
    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError>;

    /// At most `limit` records of a range in key order, now or as they were at a revision, after `after` if given.
    /// A `limit` of 0 is no limit.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Checks every guard and does every write, or does nothing. When it returns, the writes are as durable as they
    /// asked to be, and all later reads see them. A transaction that changes nothing takes no revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the first guard that failed.
    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError>;

    /// The changes in a range after a revision: first those of history, then each as it is committed.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] now, or in the stream when a reader has fallen behind what is kept;
    /// [`StoreError::Future`].
    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError>;

    /// Forgets the history before a revision: what was read at older ones is `Compacted` from then on. Records as
    /// they are at `before` and later stay. Compacting what is compacted does nothing.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;

    /// Makes every later commit's revision greater than `revision`, for a store that goes on from a backup of
    /// another. A store that can count only by committing does so; one that cannot overrides it.
    async fn skip_to(&self, revision: Revision) -> Result<(), StoreError> {
        let key = Key::new("/orchestra/skipped");
        while self.revision().await? < revision {
            let counted = (0..64).map(|_| self.commit(Txn::new().put(key.clone(), "")));
            futures::future::try_join_all(counted).await?;
        }
        self.commit(Txn::new().delete(key)).await.map(drop)
    }

    /// Whether the store takes writes now, as far as it can be told without one.
    ///
    /// # Errors
    /// What a write would fail with.
    async fn ready(&self) -> Result<(), StoreError> {
        self.revision().await.map(drop)
    }

    /// When the commit of a revision was made, if the store takes note of that.
    async fn time_of(&self, _revision: Revision) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// The store itself, if it is one in memory: what is copied record by record of others can be forked of this one.
    fn in_memory(&self) -> Option<&memory::MemoryStore> {
        None
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn revision(&self) -> Result<Revision, StoreError> {
        (**self).revision().await
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        (**self).get(key, at).await
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        (**self).list(range, at, after, limit).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        (**self).commit(txn).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        (**self).watch(range, after).await
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        (**self).compact(before).await
    }

    async fn skip_to(&self, revision: Revision) -> Result<(), StoreError> {
        (**self).skip_to(revision).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        (**self).ready().await
    }

    async fn time_of(&self, revision: Revision) -> Result<Option<Timestamp>, StoreError> {
        (**self).time_of(revision).await
    }

    fn in_memory(&self) -> Option<&memory::MemoryStore> {
        (**self).in_memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        for (prefix, end) in [("/pods/", Some("/pods0")), ("", None), ("a\u{10ffff}", Some("b"))] {
            assert_eq!(KeyRange::prefix(prefix).end.as_ref().map(Key::as_str), end, "{prefix:?}");
        }
        assert!(KeyRange::prefix("/pods/").contains(&Key::new("/pods/a/b")));
        assert!(!KeyRange::prefix("/pods/").contains(&Key::new("/podtemplates/a/b")));
    }
}
