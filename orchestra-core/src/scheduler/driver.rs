//! The scheduler at work: caches in, bindings out.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::configuration::Configuration;
use super::feeds::{Cursors, Feeds};
use super::profile::{Profile, Profiles};
use super::queue::BACKOFF;
use super::state::{Decision, SetAside, State};
use super::work::{Outcome, Worker};
use crate::api::{Client, Status};
use crate::meta::Uid;
use crate::supervise::{Backoff, Ended, Supervisor};

/// How many writes are under way at once. A store commits those that wait together in one go; more than this gain
/// nothing and would let decisions run ahead of what is known.
const WRITES: usize = 128;

/// Places the pods of a cluster that ask for one of its profiles by name.
///
/// ```no_run
/// # async fn example(client: orchestra_core::api::Client) -> Result<(), orchestra_core::api::Status> {
/// use orchestra_core::scheduler::Scheduler;
///
/// Scheduler::new(client).run(std::future::pending()).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Scheduler {
    client: Client,
    profiles: Profiles,
    backoff: Backoff,
}

impl Scheduler {
    /// The default scheduler of a cluster.
    pub fn new(client: Client) -> Self {
        Self { client, profiles: Profiles::of(Profile::default()), backoff: BACKOFF }
    }

    /// A scheduler for the pods with this `schedulerName`. Several of different names can run side by side.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        self.with_profiles([Profile::default().named(name)])
    }

    /// Places the pods of these profiles, and no others. Of two with one name the last is taken.
    #[must_use]
    pub fn with_profiles(self, profiles: impl IntoIterator<Item = Profile>) -> Self {
        Self { profiles: profiles.into_iter().collect(), ..self }
    }

    /// With the profiles and waits of a file.
    #[must_use]
    pub fn configured(self, configuration: Configuration) -> Self {
        self.with_profiles(configuration.profiles).with_backoff(configuration.backoff)
    }

    /// Lets pods that could not be placed wait as long as this says before they are tried again.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Runs until `shutdown` resolves and the writes under way have ended.
    ///
    /// It can be stopped, or killed, at any moment: everything it knows it reads again from the cluster, and a
    /// binding that was made is not made again. Only one scheduler of a name should run at a time; if two do, each
    /// pod is still bound once, but nodes may be filled beyond what they have.
    ///
    /// # Errors
    /// When pods, nodes, namespaces, services or disruption budgets cannot be read.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Status> {
        let feeds = Feeds::open(&self.client).await?;
        let name: Vec<&str> = self.profiles.all().map(|profile| &*profile.name).collect();
        let name = name.join(",");
        let worker = Arc::new(Worker::new(self.client.clone(), self.profiles.clone()));
        let mut state = State::new(self.profiles.clone(), self.backoff);
        let cursors = feeds.follow(&mut state);
        let writes = Supervisor::new(&*name, Arc::clone(self.client.clock()));
        let waiting = Supervisor::new(format!("{name}/volumes"), Arc::clone(self.client.clock()));
        let mut run = Run { client: self.client, feeds, cursors, state, worker, writes, waiting };
        let mut shutdown = pin!(shutdown);
        loop {
            run.decide();
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = run.something() => {}
            }
        }
        while run.writes.next().await.is_some() {}
        run.worker.finish().await;
        Ok(())
    }
}

/// A scheduler that runs.
struct Run {
    client: Client,
    feeds: Feeds,
    cursors: Cursors,
    state: State,
    worker: Arc<Worker>,
    writes: Supervisor<Write, Outcome>,
    /// Bindings that wait for volumes first, some for minutes: they do not count among the writes.
    waiting: Supervisor<Write, Outcome>,
}

/// What is written, and about which pod. There is one write of a kind a pod at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Write {
    /// With what is set aside for it.
    Binding(Uid, SetAside),
    Report(Uid),
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binding(pod, _) => write!(f, "binding of pod {pod}"),
            Self::Report(pod) => write!(f, "report on pod {pod}"),
        }
    }
}

impl Run {
    /// Decides about every pod that is due, as far as writes may be started.
    fn decide(&mut self) {
        self.take_in();
        while self.writes.len() < WRITES {
            let clock = self.client.clock();
            let Some(decision) = self.state.decide(clock.now(), clock.random()) else { return };
            let worker = Arc::clone(&self.worker);
            let (write, waits) = match &decision {
                Decision::Bind { pod, volumes, devices, .. } => {
                    let held = SetAside::of(volumes, devices);
                    (Write::Binding(pod.uid.clone(), held), !volumes.is_empty())
                }
                Decision::Wait { pod, .. } => (Write::Report(pod.uid.clone()), false),
            };
            let writes = if waits { &mut self.waiting } else { &mut self.writes };
            let begun = writes.run_once(write.clone(), async move {
                match decision {
                    Decision::Bind { pod, node, volumes, devices } => {
                        worker.bind(&pod, &node, &volumes, &devices).await
                    }
                    Decision::Wait { pod, message, nominated, victims, giving_back } => {
                        if let Some(claim) = giving_back {
                            worker.give_back(&pod, &claim).await;
                        }
                        worker.report(&pod, &message, nominated.as_deref(), &victims).await
                    }
                }
            });
            if !begun {
                // The one before it is still under way; what it says is decided anew.
                self.failed(write);
            }
        }
    }

    fn take_in(&mut self) {
        if self.cursors.drain(&mut self.state).is_err() {
            self.follow_anew();
        }
    }

    fn follow_anew(&mut self) {
        tracing::info!("fell behind the caches; reading them anew");
        self.cursors = self.feeds.follow(&mut self.state);
    }

    /// Waits until there is something to decide about: a change, the end of a write, or a pod that is due.
    async fn something(&mut self) {
        let clock = self.client.clock();
        let wait = self.state.deadline().map(|at| {
            let wait = at.duration_since(clock.now());
            Duration::try_from(wait).unwrap_or_default()
        });
        // Pods that are due while all writes are taken are seen to when one ends.
        let wait = wait.filter(|_| self.writes.len() < WRITES);
        let due = async {
            match wait {
                Some(wait) => clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((write, ended)) = self.writes.next() => self.ended(write, ended),
            Some((write, ended)) = self.waiting.next() => self.ended(write, ended),
            fed = self.cursors.next() => match fed {
                Ok(fed) => fed.apply(&mut self.state),
                Err(_) => self.follow_anew(),
            },
            () = due => {}
        }
    }

    fn ended(&mut self, write: Write, ended: Ended<Outcome>) {
        match ended {
            Ended::Done(outcome) => self.settle(outcome),
            Ended::Panicked(panic) => {
                tracing::error!(%write, panic, "a write of the scheduler panicked");
                self.failed(write);
            }
            Ended::Stopped => self.failed(write),
        }
    }

    /// A write that nobody knows the outcome of: the pod is decided about anew, unless the caches tell otherwise.
    fn failed(&mut self, write: Write) {
        self.settle(match write {
            Write::Binding(pod, held) => Outcome::NotBound(pod, held),
            Write::Report(pod) => Outcome::NotReported(pod),
        });
    }

    fn settle(&mut self, outcome: Outcome) {
        let now = self.client.clock().now();
        match outcome {
            Outcome::Done => {}
            Outcome::NotBound(uid, held) => self.state.binding_failed(&uid, &held, now),
            Outcome::NotReported(uid) => self.state.report_failed(&uid),
        }
    }
}
