//! What becomes of the pods and nodes of a trace that is lived again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::TraceEvent;
use super::figures::{Figures, Observed};
use crate::api::{Server, Service as _, Status};
use crate::cluster::Cluster;
use crate::store::{Change, KeyRange};
use crate::supervise::Task;

/// How long nothing must change.
const CALM: Duration = Duration::from_secs(60);

/// What happens to the pods and nodes of the cluster, commit by commit.
pub(super) struct Watched {
    seen: Arc<Mutex<Seen>>,
    _following: Task,
}

struct Seen {
    observed: Observed,
    last: Duration,
    /// When the trace began; what was before was there at its beginning.
    began: Option<Duration>,
}

impl Watched {
    pub(super) async fn follow(cluster: &Cluster) -> Result<Self, Status> {
        let server = Arc::clone(cluster.server());
        let revision = server.store()?.revision().await.map_err(Status::internal)?;
        let mut batches =
            server.store()?.watch(&KeyRange::all(), revision).await.map_err(Status::internal)?;
        let last = server.clock().elapsed();
        let seen = Arc::new(Mutex::new(Seen { observed: Observed::default(), last, began: None }));
        let noted = Arc::clone(&seen);
        let following = Task::once(async move {
            while let Some(Ok(batch)) = batches.next().await {
                let now = server.clock().elapsed();
                for change in batch.changes.iter() {
                    let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.take(&server, change, now);
                }
            }
        });
        Ok(Self { seen, _following: following })
    }

    pub(super) fn begin(&self, at: Duration, length: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.began = Some(at);
        // Longer than that was not recorded, and a share of another time is compared with nothing.
        seen.observed.end_at(length);
    }

    pub(super) fn is_calm(&self, now: Duration) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_sub(seen.last) >= CALM
    }

    pub(super) fn figures(&self, lived: Duration) -> Figures {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen.observed).figures(millis(lived))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Seen {
    fn take(&mut self, server: &Server, change: &Change, now: Duration) {
        let kinds = server.kinds();
        let Some((row, name)) = kinds.parse_key(change.key()) else { return };
        if !matches!(&*row.id.resource, "leases" | "events") {
            self.last = now;
        }
        if !row.id.group.is_empty() || !matches!(&*row.id.resource, "pods" | "nodes") {
            return;
        }
        let ms = self.began.map_or(0, |began| millis(now.saturating_sub(began)).max(1));
        let kind = row.id.resource.to_string();
        let event = match change {
            Change::Put { record, .. } => {
                let Ok(object) = serde_json::from_slice::<Value>(&record.value) else { return };
                TraceEvent { ms, kind, put: Some(object), gone: None }
            }
            Change::Delete { .. } => {
                let gone = json!({"metadata": {"namespace": name.namespace(), "name": name.name()}});
                TraceEvent { ms, kind, put: None, gone: Some(gone) }
            }
        };
        self.observed.see(&event);
    }
}
