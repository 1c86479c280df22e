//! When something last changed in a fork, and how few pods were ready meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;

use super::picture::{Picture, PodPicture};
use crate::api::{Kinds, Server, Service, Status};
use crate::cluster::Cluster;
use crate::meta::GroupResource;
use crate::store::{Batch, Change, KeyRange};
use crate::supervise::Task;

/// What is followed of a fork, commit by commit.
pub(super) struct Changes {
    seen: Arc<Mutex<Seen>>,
    _following: Task,
}

struct Seen {
    last: Duration,
    pods: BTreeMap<String, PodPicture>,
    ready: BTreeMap<String, usize>,
    fewest: BTreeMap<String, usize>,
}

impl Changes {
    /// Follows a fork that began at `began` and is now as a picture shows it.
    ///
    /// # Errors
    /// When its store cannot be read.
    pub(super) async fn follow(cluster: &Cluster, began: Duration, now: &Picture) -> Result<Self, Status> {
        let server = Arc::clone(cluster.server());
        let revision = server.store()?.revision().await.map_err(Status::internal)?;
        let mut batches =
            server.store()?.watch(&KeyRange::all(), revision).await.map_err(Status::internal)?;
        let mut ready = BTreeMap::new();
        for pod in now.pods.values() {
            *ready.entry(pod.workload.clone()).or_default() += usize::from(pod.serves());
        }
        let (pods, fewest) = (now.pods.clone(), ready.clone());
        let seen = Arc::new(Mutex::new(Seen { last: Duration::ZERO, pods, ready, fewest }));
        let noted = Arc::clone(&seen);
        let following = Task::once(async move {
            while let Some(Ok(batch)) = batches.next().await {
                let at = server.clock().elapsed().saturating_sub(began);
                lock(&noted).see(&server, &batch, at);
            }
        });
        Ok(Self { seen, _following: following })
    }

    /// When something last changed that is more than a sign of life.
    pub(super) fn last(&self) -> Duration {
        lock(&self.seen).last
    }

    /// How many pods of each workload were ready at the worst.
    pub(super) fn fewest_ready(&self) -> BTreeMap<String, usize> {
        lock(&self.seen).fewest.clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn see(&mut self, server: &Server, batch: &Batch, at: Duration) {
        let kinds = server.kinds();
        for change in batch.changes.iter() {
            let Some((kind, name)) = shown(&kinds, change) else { continue };
            if !matches!(&*kind.resource, "leases" | "events") {
                self.last = at;
            }
            if kind.is::<Pod>() {
                self.pod(name, change);
            }
        }
    }

    fn pod(&mut self, name: String, change: &Change) {
        let now = match change {
            Change::Put { record, .. } => serde_json::from_slice::<Pod>(&record.value).ok(),
            Change::Delete { .. } => None,
        };
        if let Some(was) = self.pods.remove(&name) {
            self.count(&was, |ready| ready.saturating_sub(1));
        }
        if let Some(pod) = now {
            let shown = PodPicture::of(&pod);
            self.count(&shown, |ready| ready + 1);
            self.pods.insert(name, shown);
        }
        for (workload, fewest) in &mut self.fewest {
            *fewest = (*fewest).min(self.ready.get(workload).copied().unwrap_or(0));
        }
    }

    fn count(&mut self, pod: &PodPicture, change: impl Fn(usize) -> usize) {
        if pod.serves() {
            let ready = self.ready.entry(pod.workload.clone()).or_default();
            *ready = change(*ready);
        }
    }
}

/// The kind and the name of what a commit changed.
fn shown(kinds: &Kinds, change: &Change) -> Option<(GroupResource, String)> {
    let (row, name) = kinds.parse_key(change.key())?;
    Some((row.id.clone(), name.to_string()))
}
