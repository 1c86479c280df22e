//! How plans of faults are made from a seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::fault::{Fault, FaultKind, FaultPlan};
use super::run::Outcome;
use crate::clock::Chance;

/// What is known of a scenario's life without faults, for strategies to choose moments by.
#[derive(Clone, Debug)]
pub struct Outline {
    life: Outcome,
    nodes: Vec<String>,
}

impl Outline {
    pub(super) fn new(life: Outcome, nodes: usize) -> Self {
        Self { life, nodes: (0..nodes).map(|number| format!("fake-{number}")).collect() }
    }

    /// The clients that wrote something.
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        self.life.writes.keys().map(String::as_str)
    }

    /// When a client wrote.
    pub fn writes_of(&self, client: &str) -> &[Duration] {
        self.life.writes.get(client).map(Vec::as_slice).unwrap_or_default()
    }

    /// When anybody changed something that is more than a sign of life.
    pub fn changes(&self) -> &[Duration] {
        &self.life.changes
    }

    /// The nodes.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Until when something happened.
    pub fn length(&self) -> Duration {
        self.life.changes.last().copied().unwrap_or_default() + Duration::from_secs(1)
    }

    /// A moment at which something changed, or a few milliseconds off.
    fn moment(&self, chance: &mut Chance) -> Duration {
        let at = chance.pick(self.changes()).copied().unwrap_or_default();
        let off = Duration::from_millis(chance.below(8));
        if chance.below(2) == 0 { at + off } else { at.saturating_sub(off) }
    }
}

type Make = dyn Fn(&Outline, &mut Chance) -> FaultPlan + Send + Sync;

/// A way to make plans of faults. Cheap to clone.
///
/// Three are those of Sieve (Sun and others, *Automatic Reliability Testing for Cluster Management Controllers*, OSDI 2022),
/// and find in any controller what most often is wrong with them: [`Strategy::crash`] (intermediate states),
/// [`Strategy::stale`] (stale states) and [`Strategy::unobserved`] (states that it never saw).
#[derive(Clone)]
pub struct Strategy {
    name: Arc<str>,
    make: Arc<Make>,
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "strategy {}", self.name)
    }
}

impl Strategy {
    /// One's own.
    pub fn new(
        name: impl Into<Arc<str>>,
        make: impl Fn(&Outline, &mut Chance) -> FaultPlan + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), make: Arc::new(make) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Intermediate states: a client dies between any two of its writes, and what it left half done it finds when it is
    /// started again.
    pub fn crash(client: impl Into<String>) -> Self {
        let client = client.into();
        Self::new(format!("crash {client}"), move |outline, chance| {
            let writes = outline.writes_of(&client).len().max(1) as u64;
            let crash = |chance: &mut Chance| {
                let number = 1 + chance.below(writes) as u32;
                Fault::new(FaultKind::Crash, client.as_str()).amount(number).lasts(Duration::ZERO)
            };
            // Now and then it dies once more, not long after it has come back.
            let first = crash(chance);
            let again = (chance.below(3) == 0).then(|| crash(chance));
            FaultPlan::of([first].into_iter().chain(again))
        })
    }

    /// Stale states: a client is started again and sees the cluster for a while as it was before.
    pub fn stale(client: impl Into<String>) -> Self {
        let client = client.into();
        Self::new(format!("stale {client}"), move |outline, chance| {
            let (one, other) = (outline.moment(chance), outline.moment(chance));
            let (past, death) = (one.min(other), one.max(other) + Duration::from_millis(1));
            let until_death = death - past;
            let sees_it_for = Duration::from_millis(1_500 + chance.below(15_000));
            FaultPlan::of([Fault::new(FaultKind::RestartInPast, client.as_str())
                .at(past)
                .amount(u32::try_from(until_death.as_millis()).unwrap_or(u32::MAX))
                .lasts(until_death + sees_it_for)])
        })
    }

    /// States that were never seen: a client misses everything that happens between two moments, and then sees only what
    /// has come of it.
    pub fn unobserved(client: impl Into<String>) -> Self {
        let client = client.into();
        Self::new(format!("unobserved {client}"), move |outline, chance| {
            let (one, other) = (outline.moment(chance), outline.moment(chance));
            let from = one.min(other).saturating_sub(Duration::from_millis(chance.below(20)));
            let lasts = one.max(other) - from + Duration::from_millis(1 + chance.below(2_000));
            FaultPlan::of([Fault::new(FaultKind::SkipEvents, client.as_str()).at(from).lasts(lasts)])
        })
    }

    /// The three of Sieve for one client.
    pub fn sieve(client: impl Into<String>) -> [Self; 3] {
        let client = client.into();
        [Self::crash(client.clone()), Self::stale(client.clone()), Self::unobserved(client)]
    }

    /// Up to six faults of any kind on anybody.
    pub fn chaos() -> Self {
        Self::new("chaos", |outline, chance| {
            let count = 1 + chance.below(6);
            FaultPlan::of((0..count).filter_map(|_| any_fault(outline, chance)).collect::<Vec<_>>())
        })
    }

    /// The plan of a seed.
    pub(super) fn plan(&self, outline: &Outline, seed: u64) -> FaultPlan {
        let mut chance = Chance::new(seed ^ 0x5eed_0ffa_u64.rotate_left(20));
        let mut plan = (self.make)(outline, &mut chance);
        // As its text says it, so that a plan that was written down is the same.
        for fault in &mut plan.faults {
            fault.at = Duration::from_millis(u64::try_from(fault.at.as_millis()).unwrap_or(u64::MAX));
            fault.lasts = Duration::from_millis(u64::try_from(fault.lasts.as_millis()).unwrap_or(u64::MAX));
        }
        plan
    }
}

fn any_fault(outline: &Outline, chance: &mut Chance) -> Option<Fault> {
    use FaultKind::{
        Conflict, Crash, DelayEvents, EndContainer, FailProbes, FailPulls, FillDisk, Hang, HangCalls,
        HoldEvents, LoseAnswers, LoseDisk, PowerOff, RefuseCalls, RestartInPast, RuntimeAway, ShuffleKinds,
        SkewClock, SkipEvents, Stop,
    };
    let of_nodes = !outline.nodes.is_empty() && chance.below(3) == 0;
    let (kind, who) = if of_nodes {
        let kinds = [PowerOff, LoseDisk, FillDisk, RuntimeAway, FailProbes, FailPulls, EndContainer];
        (chance.pick(&kinds)?.clone(), chance.pick(&outline.nodes)?.clone())
    } else {
        let kinds = [
            RefuseCalls,
            LoseAnswers,
            Conflict,
            Hang,
            HangCalls,
            DelayEvents,
            ShuffleKinds,
            SkewClock,
            HoldEvents,
            SkipEvents,
            RestartInPast,
            Crash,
            Stop,
        ];
        let clients: Vec<&str> = outline.clients().collect();
        (chance.pick(&kinds)?.clone(), (*chance.pick(&clients)?).to_owned())
    };
    let amount = match kind {
        RefuseCalls | LoseAnswers | Conflict => 50 + chance.below(450),
        DelayEvents | ShuffleKinds => 50 + chance.below(5_000),
        SkewClock => 1_000 + chance.below(600_000),
        RestartInPast => chance.below(3_000),
        Crash => 1 + chance.below(outline.writes_of(&who).len().max(1) as u64),
        FailPulls => 1 + chance.below(4),
        _ => chance.below(16),
    };
    let lasts = Duration::from_millis(1_000 + chance.below(60_000));
    let fault = Fault::new(kind, who).at(outline.moment(chance)).lasts(lasts);
    Some(fault.amount(u32::try_from(amount).unwrap_or(u32::MAX)))
}
