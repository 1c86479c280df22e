//! One life of a simulated cluster, from a seed and a plan of faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fault::{Fault, FaultPlan};
use super::scenario::Scenario;
use super::state::State;
use super::story::Story;
use super::watched::{Violation, Watched, violation};
use super::world::World;
use crate::clock::{SharedClock, run_virtual};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::supervise::Supervisor;

/// How often it is looked whether the cluster is as it must be in the end.
const LOOK: Duration = Duration::from_secs(2);

/// How many commits are remembered: all of them, as clients may be sent into the past.
const HISTORY: usize = 10_000_000;

/// A cluster's life to be lived: a scenario, a seed from which all chance follows, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Simulation {
    scenario: Scenario,
    seed: u64,
    plan: FaultPlan,
}

/// What came of a [`Simulation`].
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What went wrong by plan.
    pub plan: FaultPlan,
    /// What was not true that had to be; the first of it.
    pub violation: Option<Violation>,
    /// What the cluster's parts wrote, and what went wrong.
    pub story: Story,
    /// When each client wrote, since the script began.
    pub writes: BTreeMap<String, Vec<Duration>>,
    /// When something was committed that is more than a sign of life, since the script began.
    pub changes: Vec<Duration>,
    /// How long it took, in the cluster's time.
    pub took: Duration,
    /// How many commits there were.
    pub commits: u64,
    /// A number that follows from every byte of every commit and when it came: two lives with the same number were the
    /// same.
    pub digest: u64,
    /// The cluster in the end.
    pub state: State,
}

impl Simulation {
    /// A life without faults.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self { scenario: scenario.clone(), seed, plan: FaultPlan::none() }
    }

    /// With these faults.
    #[must_use]
    pub fn faults(self, plan: FaultPlan) -> Self {
        Self { plan, ..self }
    }

    /// Lives it, in this thread and in virtual time.
    ///
    /// # Panics
    /// When this thread is one of an async runtime, or what the embedder brings panics outside a task.
    pub fn run(self) -> Outcome {
        let (seed, plan) = (self.seed, self.plan.clone());
        let prepared = match self.scenario.prepared() {
            Ok(prepared) => prepared,
            Err(why) => return Outcome::without_life(seed, plan, "the cluster starts", why),
        };
        let (store, state) = (prepared.store.fork_remembering(HISTORY), prepared.state.clone());
        let start = Some(prepared.at);
        let ended = run_virtual(seed, start, move |clock| self.live(clock, store, state));
        ended.unwrap_or_else(|stuck| Outcome::without_life(seed, plan, "the script ends", stuck.to_string()))
    }

    async fn live(self, clock: SharedClock, store: MemoryStore, state: State) -> Outcome {
        let (world, dying) = match World::start(self.scenario.setting(), &clock, store).await {
            Ok(started) => started,
            Err(error) => {
                return Outcome::without_life(self.seed, self.plan, "the cluster starts", error.to_string());
            }
        };
        let mut tasks = Supervisor::new("simulation", Arc::clone(&clock));
        tasks.run_once("restarts".to_owned(), world.clone().bury(dying));
        let watched = Arc::new(Watched::new(self.scenario.always.clone(), state));
        tasks.run_once("watch".to_owned(), Arc::clone(&watched).follow(world.clone()));
        until_nodes(&world).await;
        world.wire().begin();
        let mut copies = Vec::new();
        let revision = world.store().revision().await.unwrap_or_default();
        for actor in seers(&self.plan.faults) {
            copies.push(world.replicate(&actor, revision));
        }
        if !copies.is_empty() {
            restart_all(&world, &self.plan.faults).await;
            world.wire().begin();
        }
        watched.begin();
        for (number, fault) in self.plan.faults.iter().enumerate() {
            tasks.run_once(format!("fault {number}"), world.clone().suffer(fault.clone()));
        }
        let judged = tokio::select! {
            biased;
            broken = watched.broken() => Err(broken),
            judged = self.judge(&world, &watched) => judged,
        };
        if let Err(broken) = &judged {
            world.tell("invariant", "does not hold", broken.to_string());
        }
        let outcome = self.outcome(&world, &watched, judged.err());
        tasks.stop_all().await;
        drop(copies);
        world.wire().close();
        world.cluster().stop_all().await;
        outcome
    }

    /// Has people do what they do, lets the faults pass, and waits until everything is as it must be.
    async fn judge(&self, world: &World, watched: &Watched) -> Result<(), Violation> {
        let limit = self.plan.ends() + self.scenario.patience;
        let script = (self.scenario.script)(world.clone());
        match crate::clock::timeout(&**world.clock(), limit, script).await {
            Some(Ok(())) => {}
            Some(Err(status)) => {
                return Err(violation("the script goes well", status.to_string(), world.wire().time()));
            }
            None => {
                let why = format!("it was not over after {} s", limit.as_secs());
                return Err(violation("the script ends", why, world.wire().time()));
            }
        }
        world.sleep(self.plan.ends().saturating_sub(world.wire().time())).await;
        self.converge(world, watched).await
    }

    /// Waits until everything is as it must be in the end, and stays so.
    async fn converge(&self, world: &World, watched: &Watched) -> Result<(), Violation> {
        let deadline = world.wire().time() + self.scenario.patience;
        let mut good_since = None;
        loop {
            let now = world.wire().time();
            let wrong = watched.wrong(&self.scenario.eventually, world);
            match (&wrong, good_since) {
                (None, None) => good_since = Some(now),
                (None, Some(_)) => {}
                (Some(_), _) => good_since = None,
            }
            let rested = if self.scenario.rests { watched.changed_at() } else { Duration::ZERO };
            let since = good_since.map(|since| rested.max(since));
            if since.is_some_and(|since| now.saturating_sub(since) >= self.scenario.calm) {
                return Ok(());
            }
            if now >= deadline {
                return Err(match wrong {
                    Some((name, why)) => violation(&name, why, now),
                    None => {
                        let last =
                            world.wire().lines().pop().map(|line| format!("{} {}", line.who, line.what));
                        let why = format!("it goes on writing: {}", last.unwrap_or_default());
                        violation("the cluster comes to rest", why, now)
                    }
                });
            }
            world.sleep(LOOK).await;
        }
    }

    fn outcome(&self, world: &World, watched: &Watched, violation: Option<Violation>) -> Outcome {
        let inner = watched.lock();
        Outcome {
            seed: self.seed,
            plan: self.plan.clone(),
            violation,
            story: Story { lines: world.wire().lines() },
            writes: world.wire().writes(),
            changes: inner.changes.clone(),
            took: world.wire().time(),
            commits: inner.commits,
            digest: inner.digest,
            state: inner.state.clone(),
        }
    }
}

impl Outcome {
    /// One of which nothing is known but why.
    pub(super) fn without_life(seed: u64, plan: FaultPlan, invariant: &str, why: String) -> Self {
        Self {
            seed,
            plan,
            violation: Some(violation(invariant, why, Duration::ZERO)),
            story: Story::default(),
            writes: BTreeMap::new(),
            changes: Vec::new(),
            took: Duration::ZERO,
            commits: 0,
            digest: 0,
            state: State::default(),
        }
    }
}

/// The clients whose sight faults take.
fn seers(faults: &[Fault]) -> Vec<String> {
    let mut all: Vec<String> = faults
        .iter()
        .filter(|fault| fault.is_of_sight() && fault.who != "*")
        .map(|fault| fault.who.clone())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Has the clients whose sight faults take begin anew, with the copies that they were given.
async fn restart_all(world: &World, faults: &[Fault]) {
    for actor in seers(faults) {
        world.restart(&actor).await;
    }
    world.sleep(LOOK).await;
}

/// Waits until every node is ready, as a cluster is before people use it.
async fn until_nodes(world: &World) {
    use k8s_openapi::api::core::v1::Node;
    let wanted = world.machines().len();
    let ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
    };
    let nodes = world.client().cluster::<Node>();
    // One that a scenario has no agent for does not come.
    for _ in 0..30 {
        world.sleep(LOOK).await;
        let there = nodes.list().await.map_or(0, |all| all.iter().filter(|node| ready(node)).count());
        if there >= wanted {
            return;
        }
    }
}
