//! A store of one's own: any other store, with a record of who is busy.
//!
//! A [`Store`] has six methods. Most stores of one's own are like this one: they hand the work to a store that is there
//! and add something on the way: an audit, a quota, a metric, encryption of the values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use orchestra_core::meta::Revision;
use orchestra_core::store::{Changes, Committed, Key, KeyRange, Page, Record, Store, StoreError, Txn, Write};

/// What was written to one kind of object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Records created or replaced.
    pub(crate) puts: u64,
    /// Records removed, or asked to be.
    pub(crate) deletes: u64,
    /// Writes refused because somebody else was faster.
    pub(crate) conflicts: u64,
}

/// What was written to each kind. Clones are the same audit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit(Arc<Mutex<BTreeMap<String, Tally>>>);

impl Audit {
    /// The tallies by kind, such as `apps/deployments`.
    pub(crate) fn tallies(&self) -> BTreeMap<String, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, writes: &[Write], committed: bool) {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            let tally = tallies.entry(kind_of(write.key())).or_default();
            let counter = match write {
                _ if !committed => &mut tally.conflicts,
                Write::Put { .. } => &mut tally.puts,
                Write::Delete { .. } => &mut tally.deletes,
            };
            *counter += 1;
        }
    }
}

/// Keys are `/<group>/<resource>/<namespace>/<name>` by convention of the layer above.
fn kind_of(key: &Key) -> String {
    key.as_str().split('/').skip(1).take(2).collect::<Vec<_>>().join("/")
}

/// A store that counts what is written through it.
#[derive(Debug)]
pub(crate) struct AuditedStore<S> {
    inner: S,
    audit: Audit,
}

impl<S: Store> AuditedStore<S> {
    pub(crate) fn new(inner: S, audit: Audit) -> Self {
        Self { inner, audit }
    }
}

#[async_trait]
impl<S: Store> Store for AuditedStore<S> {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        self.inner.get(key, at).await
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.inner.list(range, at, after, limit).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        // Values are reference-counted: this copies no object.
        let writes = txn.writes.clone();
        let outcome = self.inner.commit(txn).await;
        match &outcome {
            Ok(_) => self.audit.count(&writes, true),
            Err(StoreError::Conflict { .. }) => self.audit.count(&writes, false),
            // Whether it was written is not known, so it is not counted.
            Err(_) => {}
        }
        outcome
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        self.inner.watch(range, after).await
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::store::memory::MemoryStore;
    use orchestra_core::testing::contract;

    use super::*;

    #[tokio::test]
    async fn it_is_a_store() {
        contract::store::check(Arc::new(AuditedStore::new(MemoryStore::new(), Audit::default()))).await;
    }

    #[tokio::test]
    async fn it_counts_what_was_done_and_what_was_refused() -> Result<(), StoreError> {
        let audit = Audit::default();
        let store = AuditedStore::new(MemoryStore::new(), audit.clone());
        let key = Key::new("/core/pods/default/web");
        store.commit(Txn::new().create(key.clone(), "{}")).await?;
        assert!(store.commit(Txn::new().create(key.clone(), "{}")).await.is_err());
        store.commit(Txn::new().delete(key)).await?;
        let expected = Tally { puts: 1, deletes: 1, conflicts: 1 };
        assert_eq!(audit.tallies(), BTreeMap::from([("core/pods".to_owned(), expected)]));
        Ok(())
    }
}
