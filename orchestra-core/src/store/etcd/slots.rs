//! How a write whose answer was lost becomes known.
//!
//! When a member dies or freezes with a transaction, nobody knows whether it was applied; it may even be applied later,
//! when the member wakes. Sending it again could then apply it twice, or undo what was acknowledged since: an object that
//! was created, whose creation was sent twice, and which was deleted in between, would be there again. Guards alone do
//! not help: a guard that something is absent may hold once more. Nor does reading what was to be written: another may
//! have written the same.
//!
//! So each transaction that puts something also puts a key of its own, its *slot*, on condition that the slot is as the
//! transaction before left it. A slot has one transaction at a time. To learn what became of one, another transaction is
//! sent: if the slot is as before, put it; otherwise read it.
//!
//! - It was as before: the first one was not applied, and never can be, as its condition no longer holds. It is made
//!   again.
//! - It was not: the first one was applied, at the revision of the slot; or this question was asked before and its own
//!   answer lost, which the slot's value tells.
//!
//! That costs a comparison and some 100 bytes a write, in the same entry of etcd's log. The slots are keys that no range
//! of the store contains. A slot that its process left behind is removed when history is compacted past it.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use etcd_client::{Compare, CompareOp, Error, GetOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse};

use super::members::Members;
use super::translate::{self, Keys};
use crate::meta::Revision;

/// What a slot holds when a transaction was shut out, rather than applied.
const SHUT_OUT: &[u8] = b"-";

/// A key that one transaction at a time writes.
pub(super) struct Slot {
    key: Vec<u8>,
    /// The revision at which it was written last; zero if it never was.
    written: Revision,
    /// Whether nobody knows what became of the last transaction.
    lost: bool,
}

/// What became of a transaction.
pub(super) enum Outcome {
    /// It was applied at this revision.
    Applied(Revision),
    /// It was not and never will be.
    ShutOut,
}

impl Slot {
    fn is_as_before(&self) -> Compare {
        Compare::mod_revision(self.key.clone(), CompareOp::Equal, translate::number(self.written))
    }

    fn read(&self) -> TxnOp {
        TxnOp::get(self.key.clone(), Some(GetOptions::new()))
    }

    /// What a transaction has besides its guards, its writes, and its reads if a guard fails. The read comes last.
    pub(super) fn part(&self) -> (Compare, TxnOp, TxnOp) {
        (self.is_as_before(), TxnOp::put(self.key.clone(), "", None), self.read())
    }

    /// Notes that the transaction was applied.
    pub(super) fn applied(&mut self, revision: Revision) {
        self.written = revision;
    }

    /// Takes up what a transaction that was refused read. False if the slot was as before, so that it was a guard for
    /// which the transaction was refused.
    pub(super) fn take_up(&mut self, read: Option<&TxnOpResponse>) -> bool {
        let found = match read {
            Some(TxnOpResponse::Get(answer)) => answer.kvs().first().map(|kv| kv.mod_revision()),
            _ => None,
        };
        let found = translate::revision(found.unwrap_or(0));
        let other = found != self.written;
        self.written = found;
        other
    }

    /// Notes that nobody knows what became of the last transaction. The slot is not used again.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Learns what became of the transaction that was sent last, and makes sure that nothing becomes of it later.
    pub(super) async fn settle(&mut self, members: &Members) -> Result<Outcome, Error> {
        let question = EtcdTxn::new()
            .when([self.is_as_before()])
            .and_then([TxnOp::put(self.key.clone(), SHUT_OUT, None)])
            .or_else([self.read()]);
        let answer = members
            .insist(|client| {
                let question = question.clone();
                async move { client.kv_client().txn(question).await }
            })
            .await?;
        self.understand(&answer)
    }

    fn understand(&mut self, answer: &TxnResponse) -> Result<Outcome, Error> {
        if answer.succeeded() {
            let revision = answer.header().map_or(0, |header| header.revision());
            self.written = translate::revision(revision);
            return Ok(Outcome::ShutOut);
        }
        let answers = answer.op_responses();
        let Some(TxnOpResponse::Get(read)) = answers.first() else {
            return Err(Error::Internal("etcd did not say what became of a write".into()));
        };
        let Some(kv) = read.kvs().first() else {
            // Removed as one that was left behind: the answer was lost for longer than history is kept.
            return Err(Error::Internal("etcd no longer knows what became of a write".into()));
        };
        self.written = translate::revision(kv.mod_revision());
        Ok(if kv.value() == SHUT_OUT { Outcome::ShutOut } else { Outcome::Applied(self.written) })
    }
}

/// The slots of one process: as many as it ever had transactions at once.
#[derive(Clone)]
pub(super) struct Slots {
    shared: Arc<Shared>,
}

struct Shared {
    /// What only the slots of this process begin with.
    prefix: Vec<u8>,
    made: AtomicU64,
    free: Mutex<Vec<Slot>>,
}

impl Slots {
    pub(super) fn new(keys: &Keys) -> Self {
        // Each RandomState carries other keys drawn from the system.
        let chance = || RandomState::new().hash_one(std::process::id());
        let prefix = keys.slot(&format!("{:016x}{:016x}/", chance(), chance()));
        let shared = Shared { prefix, made: AtomicU64::new(0), free: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// A slot that nobody uses.
    pub(super) fn take(&self) -> Slot {
        let free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| {
            let number = self.shared.made.fetch_add(1, Ordering::Relaxed).to_string();
            Slot {
                key: [&self.shared.prefix, number.as_bytes()].concat(),
                written: Revision::ZERO,
                lost: false,
            }
        })
    }

    /// Keeps a slot for the next transaction, if it is known what became of the last.
    pub(super) fn give_back(&self, slot: Slot) {
        if slot.lost {
            return;
        }
        self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }
}

/// Removes the slots that nobody has written since a revision.
pub(super) async fn sweep(members: &Members, keys: &Keys, before: Revision) -> Result<(), Error> {
    let all = GetOptions::new()
        .with_range(keys.slots_end())
        .with_keys_only()
        .with_max_mod_revision(translate::number(before));
    let found = members
        .insist(|client| {
            let (start, all) = (keys.slot(""), all.clone());
            async move { client.kv_client().get(start, Some(all)).await }
        })
        .await?;
    for kv in found.kvs() {
        let unused = Compare::mod_revision(kv.key(), CompareOp::Equal, kv.mod_revision());
        let remove = EtcdTxn::new().when([unused]).and_then([TxnOp::delete(kv.key(), None)]);
        let removed = members.insist(|client| {
            let remove = remove.clone();
            async move { client.kv_client().txn(remove).await }
        });
        removed.await?;
    }
    Ok(())
}
