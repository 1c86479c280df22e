use bytes::Bytes;

use super::Key;
use crate::meta::Revision;

/// What must be true of a key for a transaction to go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no such record.
    Absent,
    /// The record was last written by the commit of this revision.
    At(Revision),
}

/// A precondition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The key.
    pub key: Key,
    /// What must be true of it.
    pub expect: Expect,
}

/// How long a write must live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on stable storage before the commit is acknowledged.
    #[default]
    Durable,
    /// It may be lost when the store's process is killed, as a heartbeat may. Until then it is like any other write:
    /// it has a revision, is read, watched and found in history. Costs a durable store no disk write, but for one
    /// when it is closed in good order.
    Volatile,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces a record.
    Put {
        /// The key.
        key: Key,
        /// The bytes to keep.
        value: Bytes,
        /// How long they must live.
        durability: Durability,
    },
    /// Removes a record; nothing if there is none.
    Delete {
        /// The key.
        key: Key,
    },
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// A transaction: preconditions, and writes that happen if all of them hold.
///
/// ```
/// use orchestra_core::store::{Key, Txn};
///
/// let txn = Txn::new().create(Key::new("/ips/10.96.0.10"), "web").create(Key::new("/services/default/web"), "{}");
/// assert_eq!(txn.guards.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must be true.
    pub guards: Vec<Guard>,
    /// What is then done, in this order. No key is written twice.
    pub writes: Vec<Write>,
}

impl Txn {
    /// A transaction that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a precondition.
    #[must_use]
    pub fn expect(mut self, key: Key, expect: Expect) -> Self {
        self.guards.push(Guard { key, expect });
        self
    }

    /// Adds a durable write.
    #[must_use]
    pub fn put(self, key: Key, value: impl Into<Bytes>) -> Self {
        self.put_with(key, value, Durability::Durable)
    }

    /// Adds a write that lives as long as asked.
    #[must_use]
    pub fn put_with(mut self, key: Key, value: impl Into<Bytes>, durability: Durability) -> Self {
        self.writes.push(Write::Put { key, value: value.into(), durability });
        self
    }

    /// Adds the removal of a record.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete { key });
        self
    }

    /// Adds a durable write of a key that must not exist yet.
    #[must_use]
    pub fn create(self, key: Key, value: impl Into<Bytes>) -> Self {
        self.expect(key.clone(), Expect::Absent).put(key, value)
    }
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The revision of the writes; the latest there was, if there were none.
    pub revision: Revision,
}
