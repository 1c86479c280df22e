//! Takes keys out of the queue and runs the reconciler for them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::queue::{Queue, Taken};
use super::reconciler::{Action, Caches, Context, Error, Reconciler};
use super::writes::Tracked;
use crate::api::{Client, Service, Status};
use crate::meta::ObjectName;

/// What every run needs.
pub(super) struct Runner {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) caches: Arc<Caches>,
    pub(super) queue: Arc<Queue<ObjectName>>,
    pub(super) reconciler: Arc<dyn Reconciler>,
    pub(super) stop: CancellationToken,
}

impl Runner {
    /// Runs until the queue is closed, then waits for the runs that are under way. Dropped, it ends them where they
    /// are.
    pub(super) async fn run(self: Arc<Self>, concurrency: usize) {
        let permits = Arc::new(Semaphore::new(concurrency));
        let mut runs = JoinSet::new();
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let Some(taken) = self.queue.next().await else { break };
            let span = tracing::info_span!(
                "reconcile",
                controller = self.name,
                object = %taken.key,
                reason = %taken.cause,
                attempt = taken.failures,
            );
            let runner = Arc::clone(&self);
            let run = async move {
                let tracked = Tracked::new(Arc::clone(runner.client.service()), Arc::clone(&runner.caches));
                let outcome = runner.reconcile(&taken, &tracked).await;
                // Waiting for the caches is no work: another key may run meanwhile.
                drop(permit);
                tokio::select! {
                    () = tracked.settled() => {}
                    () = runner.stop.cancelled() => {}
                }
                runner.finish(&taken, outcome);
            };
            runs.spawn(run.instrument(span));
            while runs.try_join_next().is_some() {}
        }
        while runs.join_next().await.is_some() {}
    }

    async fn reconcile(&self, taken: &Taken<ObjectName>, tracked: &Arc<Tracked>) -> Result<Action, Error> {
        let service: Arc<dyn Service> = Arc::clone(tracked) as _;
        let client = Client::new(service, self.client.user().clone());
        let context = Context::new(taken.key.clone(), client, Arc::clone(&self.caches), taken.failures);
        let run = AssertUnwindSafe(self.reconciler.reconcile(context)).catch_unwind();
        run.await.unwrap_or_else(|_| Err(Error::from("the reconciler panicked")))
    }

    fn finish(&self, taken: &Taken<ObjectName>, outcome: Result<Action, Error>) {
        match outcome {
            Ok(action) => {
                self.queue.forget(&taken.key);
                if let Action::Again(after) = action {
                    self.queue.add_after(taken.key.clone(), after, super::queue::Cause::Asked);
                }
                tracing::trace!(?action, "reconciled");
            }
            Err(error) => {
                let after = self.queue.retry(taken.key.clone());
                if error.downcast_ref::<Status>().is_some_and(Status::is_conflict) {
                    tracing::debug!(error, ?after, "decided on an old state, trying again");
                } else {
                    tracing::warn!(error, ?after, "could not reconcile, trying again");
                }
            }
        }
        self.queue.done(&taken.key);
    }
}
