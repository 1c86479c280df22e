//! Takes keys out of the queue and runs the reconciler for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Key;
use super::queue::{Cause, Queue, Taken};
use super::reconciler::{Action, Context, Error, ReadCaches, Reconciler, Terminal};
use super::writes::Tracked;
use crate::api::{Client, Kind, Service, Status};
use crate::clock::timeout;
use crate::supervise::{Ended, Supervisor, caught};
use crate::watch::Query;

/// What every run needs.
pub(super) struct Runner {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) caches: Arc<ReadCaches>,
    pub(super) queue: Arc<Queue<Key>>,
    pub(super) reconciler: Arc<dyn Reconciler>,
    pub(super) scope: Scoped,
    pub(super) stop: CancellationToken,
}

/// Which of the objects that triggers lead to are the controller's.
pub(super) struct Scoped {
    /// Its kind; `None` for a controller of every kind.
    pub(super) kind: Option<Kind>,
    pub(super) query: Query,
}

impl Runner {
    /// Runs until the queue is closed, then waits for the runs that are under way, though no longer than the grace.
    /// Dropped, it ends them where they are.
    pub(super) async fn run(self: Arc<Self>, concurrency: usize, grace: Duration) {
        let permits = Arc::new(Semaphore::new(concurrency));
        let clock = Arc::clone(self.client.clock());
        let mut runs = Supervisor::new(self.name.clone(), Arc::clone(&clock));
        loop {
            tokio::select! {
                biased;
                Some((key, ended)) = runs.next() => self.ended(&key, ended),
                next = self.next(&permits) => {
                    let Some((taken, permit)) = next else { break };
                    let key = taken.key.clone();
                    runs.run_once(key, Arc::clone(&self).run_one(taken, permit));
                }
            }
        }
        let ending = async {
            while let Some((key, ended)) = runs.next().await {
                self.ended(&key, ended);
            }
        };
        if timeout(&*clock, grace, ending).await.is_none() {
            tracing::warn!(
                controller = self.name,
                ?grace,
                runs = runs.len(),
                "runs that do not end are dropped"
            );
        }
    }

    /// The next key, when a run may begin. Cancelling it loses nothing.
    async fn next(&self, permits: &Arc<Semaphore>) -> Option<(Taken<Key>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        Some((self.queue.next().await?, permit))
    }

    /// One run. A key's next run begins when this has ended, by the guarantees of queue and supervisor alike.
    fn run_one(
        self: Arc<Self>,
        taken: Taken<Key>,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send {
        let span = tracing::info_span!(
            "reconcile",
            controller = self.name,
            object = %taken.key,
            reason = %taken.cause,
            attempt = taken.failures,
        );
        let run = async move {
            let tracked = Tracked::new(Arc::clone(self.client.service()), Arc::clone(&self.caches));
            let outcome = self.reconcile(&taken, &tracked).await;
            // Waiting for the caches is no work: another key may run meanwhile.
            drop(permit);
            tokio::select! {
                biased;
                () = tracked.settled() => {}
                () = self.stop.cancelled() => {}
            }
            self.plan_next(&taken, outcome);
        };
        run.instrument(span)
    }

    async fn reconcile(&self, taken: &Taken<Key>, tracked: &Arc<Tracked>) -> Result<Action, Error> {
        if !self.is_in_scope(&taken.key).await? {
            return Ok(Action::Done);
        }
        let service: Arc<dyn Service> = Arc::clone(tracked) as _;
        let client = Client::new(service, self.client.user().clone());
        let (caches, queue) = (Arc::clone(&self.caches), Arc::clone(&self.queue));
        let context = Context::new(taken, client, caches, queue, self.stop.clone());
        // A run that panics has written, maybe: the caches are waited for as after any other.
        let run = caught(async { self.reconciler.reconcile(context).await });
        run.await.unwrap_or_else(|panic| Err(Error::from(format!("the reconciler panicked: {panic}"))))
    }

    /// Whether a key is one of the controller's. An object that is gone is not known not to have been.
    async fn is_in_scope(&self, key: &Key) -> Result<bool, Status> {
        let Scoped { kind, query } = &self.scope;
        if query.namespace.as_deref().is_some_and(|namespace| key.name().namespace() != Some(namespace)) {
            return Ok(false);
        }
        let (Some(kind), true) = (kind, query.labels.is_some()) else { return Ok(true) };
        let object = self.caches.get(kind.target(None)).await?.get(key.name());
        Ok(object.is_none_or(|object| query.matches(&object)))
    }

    fn plan_next(&self, taken: &Taken<Key>, outcome: Result<Action, Error>) {
        match outcome {
            Ok(action) => {
                self.queue.forget(&taken.key);
                if let Action::Again(after) = action {
                    self.queue.add_after(taken.key.clone(), after, Cause::Asked);
                }
                tracing::trace!(?action, "reconciled");
            }
            Err(error) if error.is::<Terminal>() => {
                self.queue.forget(&taken.key);
                tracing::warn!(error, "could not reconcile, and will not try before something changes");
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
    }

    /// Frees the key of a run, whatever became of the run.
    fn ended(&self, key: &Key, ended: Ended<()>) {
        if let Ended::Panicked(panic) = ended {
            let after = self.queue.retry(key.clone());
            tracing::error!(controller = self.name, object = %key, panic, ?after, "a run panicked, trying again");
        }
        self.queue.done(key);
    }
}
