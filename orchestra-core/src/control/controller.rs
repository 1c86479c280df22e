use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::predicate::Predicate;
use super::queue::{Queue, RETRY};
use super::reconciler::{ReadCaches, Reconciler};
use super::runner::{Runner, Scoped};
use super::trigger::{Seen, Selectors, Trigger, fill};
use super::{EveryKind, Key};
use crate::api::{Client, Kind, Status};
use crate::meta::{Object, ObjectName};
use crate::selector::Selector;
use crate::supervise::{Backoff, Supervisor};
use crate::watch::{Entry, Query};

const CONCURRENCY: usize = 4;
/// How long runs may go on that are under way when a controller is to stop, as in controller-runtime.
const GRACE: Duration = Duration::from_secs(30);

/// Wires triggers, a queue and runs together for the objects of one kind. See the [module](super) for an example.
#[must_use = "a controller does nothing until it is run"]
pub struct Controller {
    name: String,
    client: Client,
    /// `None`: objects of every kind.
    kind: Option<Kind>,
    scope: Query,
    triggers: Vec<Trigger>,
    selectors: Vec<Selectors>,
    reads: Vec<Kind>,
    /// Whether what was named last leads to runs, and so may have a predicate.
    last_triggers: bool,
    concurrency: usize,
    backoff: Backoff,
    grace: Duration,
    patience: Option<Duration>,
    metrics: Metrics,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller of the objects of kind `K`, which runs for an object whenever it changes.
    pub fn new<K: Object>(client: Client) -> Self {
        Self::of(Kind::of::<K>(), client)
    }

    /// As [`Controller::new`], of a kind given as a value.
    pub fn of(kind: Kind, client: Client) -> Self {
        let name = kind.kind.to_lowercase();
        Self::from_trigger(name, client, Some(kind.clone()), Trigger::itself(kind))
    }

    /// A controller of the objects of every kind that is served and `is_meant`, also of kinds that come to be served
    /// while it runs. It runs for the objects to which `leads_to` says that a change leads;
    /// [`Context::kind`](super::Context::kind) says of which kind one is.
    pub fn every_kind(
        client: Client,
        is_meant: impl Fn(&Kind) -> bool + Send + Sync + 'static,
        leads_to: impl Fn(&EveryKind, &Arc<Kind>, Seen<'_>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        Self::from_trigger("every-kind".into(), client, None, Trigger::every_kind(is_meant, leads_to))
    }

    fn from_trigger(name: String, client: Client, kind: Option<Kind>, trigger: Trigger) -> Self {
        Self {
            name,
            client,
            kind,
            scope: Query::all(),
            triggers: vec![trigger],
            selectors: Vec::new(),
            reads: Vec::new(),
            last_triggers: true,
            concurrency: CONCURRENCY,
            backoff: RETRY,
            grace: GRACE,
            patience: None,
            metrics: Metrics::default(),
        }
    }

    /// Names the controller in the log and in [`Metrics`]; the kind in lower case without.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Only for objects of this namespace.
    pub fn in_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.scope.namespace = Some(namespace.into());
        self
    }

    /// Only for objects with matching labels. One that ceases to match is not run for any more.
    pub fn labelled(mut self, selector: &Selector) -> Self {
        self.scope = self.scope.labels(selector);
        self
    }

    /// Also runs for an object when one of kind `K` that it controls changes.
    pub fn owns<K: Object>(self) -> Self {
        self.owns_kind(Kind::of::<K>())
    }

    /// As [`Controller::owns`], of a kind given as a value.
    pub fn owns_kind(self, kind: Kind) -> Self {
        match self.kind.clone() {
            Some(owner) => self.trigger(Trigger::owned(kind, owner)),
            None => self,
        }
    }

    /// Also runs for the objects to which a changed object of kind `K` leads.
    pub fn watches<K, F, I>(self, leads_to: F) -> Self
    where
        K: Object,
        F: Fn(&Entry) -> I + Send + Sync + 'static,
        I: IntoIterator<Item = ObjectName>,
    {
        self.trigger(Trigger::new(Kind::of::<K>(), leads_to))
    }

    /// Also runs for an object when one of kind `K` in its namespace changes that it selects, or did select.
    /// `selector` says what an object selects.
    pub fn selects<K: Object>(
        mut self,
        selector: impl Fn(&Entry) -> Option<Selector> + Send + Sync + 'static,
    ) -> Self {
        let selectors = Selectors::new(selector);
        let trigger = Trigger::selected(Kind::of::<K>(), &selectors);
        self.selectors.push(selectors);
        self.trigger(trigger)
    }

    /// Also runs for the object whose name is in a label of a changed object of kind `K` in its namespace.
    pub fn named_by_label<K: Object>(self, label: &'static str) -> Self {
        self.watches::<K, _, _>(move |entry| {
            let name = entry.labels().get(label)?;
            Some(ObjectName::new(entry.name().namespace(), &name))
        })
    }

    /// Also runs for the objects that are named from outside the cluster: by a channel, a timer, another system.
    pub fn named_by(self, names: impl Stream<Item = ObjectName> + Send + 'static) -> Self {
        self.trigger(Trigger::names(names))
    }

    /// Also runs for the objects to which a trigger leads.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.triggers.push(trigger);
        self.last_triggers = true;
        self
    }

    /// Has the cache of a kind at hand that is read but does not lead to a run.
    pub fn reads<K: Object>(self) -> Self {
        self.reads_kind(Kind::of::<K>())
    }

    /// As [`Controller::reads`], of a kind given as a value.
    pub fn reads_kind(mut self, kind: Kind) -> Self {
        self.reads.push(kind);
        self.last_triggers = false;
        self
    }

    /// Lets only some events of what was named last lead to a run: of the controller's own kind, or of the trigger
    /// that was added last. With a predicate that it has already, both must let an event through.
    ///
    /// A kind that is only [read](Self::reads) leads to no run, so there is nothing to let through.
    pub fn when(mut self, predicate: impl Predicate) -> Self {
        if !self.last_triggers {
            tracing::warn!(controller = self.name, "a predicate of a kind that is only read has no effect");
        } else if let Some(trigger) = self.triggers.pop() {
            self.triggers.push(trigger.when(predicate));
        }
        self
    }

    /// Lets what was named last lead to a run only after a time, together with all that happens meanwhile: for objects of
    /// which one controls thousands, whose every change would have it look at all of them.
    pub fn gathering(mut self, time: Duration) -> Self {
        if self.last_triggers
            && let Some(trigger) = self.triggers.pop()
        {
            self.triggers.push(trigger.gathering(time));
        }
        self
    }

    /// For how many objects it runs at a time: 4 without, at least 1.
    pub fn concurrency(mut self, runs: usize) -> Self {
        self.concurrency = runs.max(1);
        self
    }

    /// The delays after runs that fail: from 5 ms to 30 s without.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long runs that are under way may go on when the controller is to stop: 30 s without.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long the caches may take to be filled before [`run`](Self::run) gives up; for ever without.
    pub fn fill_within(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Where a host can read how the queue is.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.clone();
        self
    }

    /// Runs until `shutdown` resolves and the runs under way have ended, or their grace has. Begins once the cache of
    /// every kind it reads is filled. Dropped, it ends everything it has set going.
    ///
    /// # Errors
    /// When the caches are not filled [in time](Self::fill_within).
    pub async fn run(
        self,
        reconciler: impl Reconciler,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Status> {
        self.run_boxed(Arc::new(reconciler), shutdown.boxed()).await
    }

    /// As [`Controller::run`], compiled once for all reconcilers.
    pub(crate) async fn run_boxed(
        self,
        reconciler: Arc<dyn Reconciler>,
        shutdown: BoxFuture<'_, ()>,
    ) -> Result<(), Status> {
        let clock = Arc::clone(self.client.clock());
        let queue = Arc::new(Queue::new(Arc::clone(&clock)).backoff(self.backoff));
        self.metrics.register(self.name.clone(), &queue);
        let caches = ReadCaches::new(Arc::clone(self.client.service()));
        let stop = CancellationToken::new();
        let (concurrency, grace) = (self.concurrency, self.grace);
        let runner = Arc::new(Runner {
            name: self.name.clone(),
            client: self.client.clone(),
            caches: Arc::clone(&caches),
            queue: Arc::clone(&queue),
            reconciler,
            scope: Scoped { kind: self.kind.clone(), query: self.scope.clone() },
            stop: stop.clone(),
        });
        let work = async {
            match stop.run_until_cancelled(self.start(&caches, &queue)).await {
                Some(triggers) => {
                    let _triggers = triggers?;
                    runner.run(concurrency, grace).await;
                    Ok(())
                }
                None => Ok(()),
            }
        };
        let closing = async {
            shutdown.await;
            queue.close();
            stop.cancel();
        };
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            () = closing => work.await,
        }
    }

    /// Fills the caches and sets the triggers going.
    async fn start(
        self,
        caches: &Arc<ReadCaches>,
        queue: &Arc<Queue<Key>>,
    ) -> Result<Supervisor<String>, Status> {
        let clock = caches.clock();
        let limit = self.patience.map(|patience| clock.elapsed() + patience);
        let followed = self.triggers.iter().filter_map(Trigger::kind).map(|kind| &**kind);
        fill(caches, self.reads.iter().chain(followed), limit).await?;
        let mut tasks = Supervisor::new(format!("{}/triggers", self.name), Arc::clone(clock));
        for (number, selectors) in self.selectors.into_iter().enumerate() {
            let Some(kind) = self.kind.clone() else { continue };
            let caches = Arc::clone(caches);
            tasks.start(format!("selectors {number}"), move || {
                selectors.clone().run(Arc::clone(&caches), kind.clone())
            });
        }
        for (number, mut trigger) in self.triggers.into_iter().enumerate() {
            if number == 0 {
                trigger.only(self.scope.clone());
            }
            let name = format!("{number} {}", trigger.name());
            let (trigger, caches, queue) = (Arc::new(trigger), Arc::clone(caches), Arc::clone(queue));
            tasks.start(name, move || Arc::clone(&trigger).run(Arc::clone(&caches), Arc::clone(&queue)));
        }
        Ok(tasks)
    }
}
