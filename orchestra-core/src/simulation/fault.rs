//! Faults and when they come: plans, as values and as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// `amount` of 1,000 calls of a client are refused and do nothing.
    RefuseCalls,
    /// `amount` of 1,000 writes of a client are made, and their answer is lost.
    LoseAnswers,
    /// `amount` of 1,000 updates, patches and deletions of a client meet a conflict.
    Conflict,
    /// A client's calls wait until the fault ends: the client is paused, or cut off by a network that drops everything.
    Hang,
    /// A client's calls wait until the fault ends, and it goes on seeing what changes: it is cut off one way. The other way
    /// is [`HoldEvents`](Self::HoldEvents).
    HangCalls,
    /// A client sees every change `amount` milliseconds late.
    DelayEvents,
    /// A client sees the changes of half of the kinds `amount` milliseconds late, and those of the others at once: of which,
    /// follows from `amount`. So things come in another order than they happened.
    ShuffleKinds,
    /// A client sees no change until the fault ends, and then each in its turn.
    HoldEvents,
    /// A client sees no change until the fault ends, and then only what has come of them: what was there for a while in
    /// between it never sees.
    SkipEvents,
    /// A client dies when its `amount`-th write from then on is done and before it learns of it, and is started again a
    /// moment later. The whole process dies: with a controller of Kubernetes' all of them.
    Crash,
    /// A client dies `amount` milliseconds later and is started again. Until the fault ends it sees the cluster as it was
    /// when the fault began, as from an API server that lags behind.
    RestartInPast,
    /// A part is stopped in good order, and started when the fault ends.
    Stop,
    /// A node loses its power: its agent and all its containers end. It comes back when the fault ends.
    PowerOff,
    /// A node loses its power and its disk: when it comes back, nothing is left of containers, images and volumes.
    LoseDisk,
    /// A node's disk is full.
    FillDisk,
    /// A client's time of day is `amount` milliseconds ahead, and goes back when the fault ends.
    SkewClock,
    /// A node's container runtime cannot be reached. Its containers go on.
    RuntimeAway,
    /// Every probe by TCP, gRPC or HTTP fails on a node.
    FailProbes,
    /// The next `amount` pulls of an image fail on a node.
    FailPulls,
    /// A running container of a node ends with code 1: the `amount`-th of them, counted round and round.
    EndContainer,
    /// One of the scenario's own faults, by its name.
    Own(String),
}

const WORDS: &[(FaultKind, &str)] = &[
    (FaultKind::RefuseCalls, "refuse-calls"),
    (FaultKind::LoseAnswers, "lose-answers"),
    (FaultKind::Conflict, "conflict"),
    (FaultKind::Hang, "hang"),
    (FaultKind::HangCalls, "hang-calls"),
    (FaultKind::DelayEvents, "delay-events"),
    (FaultKind::ShuffleKinds, "shuffle-kinds"),
    (FaultKind::HoldEvents, "hold-events"),
    (FaultKind::SkipEvents, "skip-events"),
    (FaultKind::Crash, "crash"),
    (FaultKind::RestartInPast, "restart-in-past"),
    (FaultKind::Stop, "stop"),
    (FaultKind::PowerOff, "power-off"),
    (FaultKind::LoseDisk, "lose-disk"),
    (FaultKind::FillDisk, "fill-disk"),
    (FaultKind::SkewClock, "skew-clock"),
    (FaultKind::RuntimeAway, "runtime-away"),
    (FaultKind::FailProbes, "fail-probes"),
    (FaultKind::FailPulls, "fail-pulls"),
    (FaultKind::EndContainer, "end-container"),
];

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WORDS.iter().find(|(kind, _)| kind == self) {
            Some((_, word)) => f.write_str(word),
            None => match self {
                Self::Own(name) => write!(f, "own:{name}"),
                other => write!(f, "{other:?}"),
            },
        }
    }
}

impl FromStr for FaultKind {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        if let Some(name) = text.strip_prefix("own:") {
            return Ok(Self::Own(name.to_owned()));
        }
        let known = WORDS.iter().find(|(_, word)| *word == text);
        known.map(|(kind, _)| kind.clone()).ok_or_else(|| PlanError(text.to_owned()))
    }
}

/// One fault: when it comes, what it is, whom it meets and for how long.
///
/// As text it is `AT KIND WHO[ amount=N][ lasts=TIME]`, such as `12s crash website amount=3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How long after the scenario's script began.
    pub at: Duration,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Whom it meets: a client by the name it has in stories (`node/fake-0`, `kube-scheduler`, `job-controller`, the name of
    /// a part of one's own), a node, or `*` for every client.
    pub who: String,
    /// How long it lasts.
    pub lasts: Duration,
    /// How much of it; what is counted, the kind says.
    pub amount: u32,
}

impl Fault {
    /// A fault that comes at once and lasts ten seconds.
    pub fn new(kind: FaultKind, who: impl Into<String>) -> Self {
        Self { at: Duration::ZERO, kind, who: who.into(), lasts: Duration::from_secs(10), amount: 1 }
    }

    /// The same, so long after the script began.
    #[must_use]
    pub fn at(self, at: Duration) -> Self {
        Self { at, ..self }
    }

    /// The same, for so long.
    #[must_use]
    pub fn lasts(self, lasts: Duration) -> Self {
        Self { lasts, ..self }
    }

    /// The same, so much of it.
    #[must_use]
    pub fn amount(self, amount: u32) -> Self {
        Self { amount, ..self }
    }

    /// When it is over.
    pub fn ends(&self) -> Duration {
        self.at + self.lasts
    }

    /// Whether it keeps changes from the client that it meets, or shows them late.
    pub(super) fn is_of_sight(&self) -> bool {
        use FaultKind::{DelayEvents, HoldEvents, RestartInPast, ShuffleKinds, SkipEvents};
        matches!(self.kind, DelayEvents | ShuffleKinds | HoldEvents | SkipEvents | RestartInPast)
    }

    /// Less of the same, for finding the least that does harm.
    fn gentler(&self) -> Vec<Self> {
        let half = self.lasts / 2;
        let shorter = (half >= Duration::from_secs(1))
            .then(|| Self { lasts: Duration::from_millis(millis(half)), ..self.clone() });
        let fewer = self.kind == FaultKind::FailPulls && self.amount > 1;
        shorter.into_iter().chain(fewer.then(|| Self { amount: self.amount / 2, ..self.clone() })).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A time as plans show it.
pub(super) fn seconds(time: Duration) -> String {
    let millis = millis(time);
    match (millis / 1000, millis % 1000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, rest) => format!("{seconds}.{rest:03}s"),
    }
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0).ok()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (seconds(self.at), seconds(self.lasts));
        write!(f, "{at} {} {} amount={} lasts={lasts}", self.kind, self.who, self.amount)
    }
}

impl FromStr for Fault {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError(text.to_owned());
        let mut words = text.split_whitespace();
        let at = words.next().and_then(parse_seconds).ok_or_else(wrong)?;
        let kind = words.next().ok_or_else(wrong)?.parse()?;
        let mut fault = Self::new(kind, words.next().ok_or_else(wrong)?).at(at);
        for word in words {
            match word.split_once('=') {
                Some(("amount", amount)) => fault.amount = amount.parse().map_err(|_| wrong())?,
                Some(("lasts", lasts)) => fault.lasts = parse_seconds(lasts).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            }
        }
        Ok(fault)
    }
}

/// Faults, each at its time. As text they stand one after the other with `; ` between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The faults.
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// These faults.
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect() }
    }

    /// When the last fault is over.
    pub fn ends(&self) -> Duration {
        self.faults.iter().map(Fault::ends).max().unwrap_or_default()
    }

    /// Plans that are a little less, those first that are the least: without half of the faults, without one, and with one
    /// that is gentler.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let count = self.faults.len();
        let without = |from: usize, to: usize| Self::of([&self.faults[..from], &self.faults[to..]].concat());
        let halves = (count > 2).then(|| [without(0, count / 2), without(count / 2, count)]);
        let singles = (0..count).map(|at| without(at, at + 1));
        let gentler = (0..count).flat_map(|at| {
            self.faults[at].gentler().into_iter().map(move |fault| {
                let mut faults = self.faults.clone();
                faults[at] = fault;
                Self { faults }
            })
        });
        halves.into_iter().flatten().chain(singles).chain(gentler).collect()
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl FromStr for FaultPlan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let faults = text.split(';').map(str::trim).filter(|fault| !fault.is_empty());
        Ok(Self { faults: faults.map(str::parse).collect::<Result<_, _>>()? })
    }
}

/// A text that is no plan of faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fault: write AT KIND WHO amount=N lasts=TIME, such as \"12s crash website amount=3 lasts=1s\""
)]
pub struct PlanError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_what_its_text_says() {
        let faults = WORDS.iter().enumerate().map(|(number, (kind, _))| {
            let at = Duration::from_millis(1234 * number as u64);
            Fault::new(kind.clone(), format!("node/{number}")).at(at).lasts(at / 2).amount(number as u32)
        });
        let own = Fault::new(FaultKind::Own("flood".into()), "*");
        let plan = FaultPlan::of(faults.chain([own]));
        let plan = FaultPlan::of(
            plan.faults
                .into_iter()
                .map(|fault| Fault { lasts: Duration::from_millis(millis(fault.lasts)), ..fault }),
        );
        assert_eq!(plan.to_string().parse(), Ok(plan));
        assert_eq!("".parse(), Ok(FaultPlan::none()));
        for wrong in ["crash", "12s crash", "12 crash a", "12s burn a", "12s crash a often", "-1s crash a"] {
            assert!(wrong.parse::<FaultPlan>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn smaller_plans_come_to_an_end() {
        let fault = Fault::new(FaultKind::FailPulls, "a").amount(4);
        let mut plan = FaultPlan::of(vec![fault; 5]);
        let mut steps = 0;
        while let Some(smaller) = plan.smaller().pop() {
            assert_ne!(plan, smaller);
            plan = smaller;
            steps += 1;
        }
        assert_eq!(plan, FaultPlan::none());
        assert!(steps < 60, "{steps}");
    }
}
