use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::predicate::Predicate;
use super::queue::Queue;
use super::reconciler::{Caches, Reconciler};
use super::runner::Runner;
use super::trigger::{Selectors, Trigger, patiently};
use crate::api::{Client, Target};
use crate::meta::{Object, ObjectName};
use crate::selector::Selector;
use crate::watch::Entry;

const CONCURRENCY: usize = 4;

/// Wires triggers, a queue and runs together for the objects of one kind. See the [module](super) for an example.
#[must_use = "a controller does nothing until it is run"]
pub struct Controller<P> {
    name: String,
    client: Client,
    triggers: Vec<Trigger>,
    selectors: Vec<Selectors>,
    reads: Vec<Target>,
    concurrency: usize,
    primary: std::marker::PhantomData<fn() -> P>,
}

impl<P> fmt::Debug for Controller<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Controller<()> {
    /// A controller of the objects of kind `P`, which runs for an object whenever it changes.
    pub fn new<P: Object>(client: Client) -> Controller<P> {
        Controller {
            name: P::KIND.to_lowercase(),
            client,
            triggers: vec![Trigger::of::<P>()],
            selectors: Vec::new(),
            reads: Vec::new(),
            concurrency: CONCURRENCY,
            primary: std::marker::PhantomData,
        }
    }
}

impl<P: Object> Controller<P> {
    /// Names the controller in the log; the kind in lower case without.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Also runs for an object when one of kind `K` that it controls changes.
    pub fn owns<K: Object>(self) -> Self {
        self.trigger(Trigger::owned::<P, K>())
    }

    /// Also runs for the objects to which a changed object of kind `K` leads.
    pub fn watches<K, F, I>(self, leads_to: F) -> Self
    where
        K: Object,
        F: Fn(&Entry) -> I + Send + Sync + 'static,
        I: IntoIterator<Item = ObjectName>,
    {
        self.trigger(Trigger::new::<K>(move |entry| leads_to(entry).into_iter().collect()))
    }

    /// Also runs for an object when one of kind `K` in its namespace changes that it selects, or did select.
    /// `selector` says what an object selects.
    pub fn selects<K: Object>(
        mut self,
        selector: impl Fn(&Entry) -> Option<Selector> + Send + Sync + 'static,
    ) -> Self {
        let selectors = Selectors::new(selector);
        let trigger = Trigger::selected::<K>(&selectors);
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

    /// Has the cache of a kind at hand that is read but does not lead to a run.
    pub fn reads<K: Object>(mut self) -> Self {
        self.reads.push(Target::of::<K>(None));
        self
    }

    /// Lets only some events of the kind that was named last lead to a run.
    pub fn when(mut self, predicate: impl Predicate) -> Self {
        if let Some(trigger) = self.triggers.last_mut() {
            trigger.only(Box::new(predicate));
        }
        self
    }

    /// For how many objects it runs at a time: 4 without, at least 1.
    pub fn concurrency(mut self, runs: usize) -> Self {
        self.concurrency = runs.max(1);
        self
    }

    fn trigger(mut self, trigger: Trigger) -> Self {
        self.triggers.push(trigger);
        self
    }

    /// Runs until `shutdown` resolves and the runs under way have ended. Begins once the cache of every kind it
    /// reads is filled, however long that takes.
    pub async fn run(self, reconciler: impl Reconciler, shutdown: impl Future<Output = ()>) {
        let queue = Arc::new(Queue::new());
        let caches = Caches::new(Arc::clone(self.client.service()));
        let stop = CancellationToken::new();
        let runner = Runner {
            name: self.name.clone(),
            client: self.client.clone(),
            caches: Arc::clone(&caches),
            queue: Arc::clone(&queue),
            reconciler: Arc::new(reconciler),
            stop: stop.clone(),
        };
        let concurrency = self.concurrency;
        // If this future is dropped, what it set going ends too.
        let _guard = stop.clone().drop_guard();
        let start = stop.run_until_cancelled(self.start(&caches, &queue, &stop));
        let work = async {
            if start.await.is_some() {
                Arc::new(runner).run(concurrency).await;
            }
        };
        let closing = async {
            shutdown.await;
            queue.close();
            stop.cancel();
        };
        tokio::pin!(work);
        tokio::select! {
            () = &mut work => {}
            () = closing => work.await,
        }
    }

    /// Fills the caches and sets the triggers going.
    async fn start(self, caches: &Arc<Caches>, queue: &Arc<Queue<ObjectName>>, stop: &CancellationToken) {
        let primary = Target::of::<P>(None);
        for target in self.reads.iter().chain(self.triggers.iter().map(Trigger::target)) {
            patiently(caches, target).await;
        }
        let tasks = TaskTracker::new();
        for selectors in self.selectors {
            let run = selectors.run(Arc::clone(caches), primary.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(run));
        }
        for trigger in self.triggers {
            let run = trigger.run(Arc::clone(caches), Arc::clone(queue));
            tasks.spawn(stop.clone().run_until_cancelled_owned(run));
        }
    }
}
