//! Many lives, on all cores, until one is not as it must be; and the least that it takes.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::fault::FaultPlan;
use super::run::{Outcome, Simulation};
use super::scenario::Scenario;
use super::strategy::{Outline, Strategy};
use super::watched::Violation;
use crate::supervise::message_of;

/// How many lives are lived to find the least that does harm.
const SHRINKING: usize = 200;

/// Lives a scenario many times, each with other faults and another order of what happens at a time.
#[derive(Clone, Debug)]
pub struct Explore {
    scenario: Scenario,
    first: u64,
    seeds: u64,
    strategies: Vec<Strategy>,
    kept: Vec<(u64, FaultPlan)>,
    twice: bool,
    threads: usize,
    told: Option<Told>,
}

/// Who is told how far an exploration is.
#[derive(Clone)]
struct Told(Arc<dyn Fn(&Explored) + Send + Sync>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// What an exploration came to that found nothing, or has come to until now.
#[derive(Clone, Debug)]
pub struct Explored {
    /// How many lives were lived.
    pub lives: u64,
    /// How many commits there were in all of them.
    pub commits: u64,
}

/// A life that was not as it must be. Shown, it is the story of it and the line that replays it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was not true, and the life in which it was not: with the least faults that it takes.
    pub outcome: Outcome,
    /// What was not true.
    pub violation: Violation,
    /// The faults before any was left out.
    pub planned: FaultPlan,
    /// By which strategy they were chosen.
    pub strategy: String,
    /// How many lives it took to find it.
    pub lives: u64,
    scenario: String,
}

impl Explore {
    /// A hundred lives of a scenario, by chaos.
    pub fn new(scenario: Scenario) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let strategies = vec![Strategy::chaos()];
        Self {
            scenario,
            first: 0,
            seeds: 100,
            strategies,
            kept: Vec::new(),
            twice: false,
            threads,
            told: None,
        }
    }

    /// So many lives, of the seeds from 0 on.
    #[must_use]
    pub fn seeds(self, seeds: u64) -> Self {
        Self { seeds, ..self }
    }

    /// The seeds from this on.
    #[must_use]
    pub fn from(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// By these strategies, in turn.
    #[must_use]
    pub fn strategies(self, strategies: impl IntoIterator<Item = Strategy>) -> Self {
        Self { strategies: strategies.into_iter().collect(), ..self }
    }

    /// Before all others, the life that once was not as it must be: its seed and its plan, as [`Found`] shows them.
    ///
    /// # Panics
    /// When the plan is none.
    #[must_use]
    pub fn replay(mut self, seed: u64, plan: &str) -> Self {
        match plan.parse() {
            Ok(plan) => self.kept.push((seed, plan)),
            Err(error) => panic!("{error}"),
        }
        self
    }

    /// Lives each life twice, and has both be the same to the byte.
    #[must_use]
    pub fn twice(self) -> Self {
        Self { twice: true, ..self }
    }

    /// In so many threads; as many as the machine has cores without.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// Tells after each life how many there were until now; by any of its threads.
    #[must_use]
    pub fn progress(self, tell: impl Fn(&Explored) + Send + Sync + 'static) -> Self {
        Self { told: Some(Told(Arc::new(tell))), ..self }
    }

    /// Lives them until one is not as it must be, and then finds the least that it takes. Which is found does not depend on
    /// the threads: it is that of the smallest seed.
    ///
    /// # Errors
    /// What was found.
    pub fn run(&self) -> Result<Explored, Box<Found>> {
        let reference = self.live(self.first, FaultPlan::none());
        if reference.violation.is_some() {
            return Err(self.found(reference, "no faults", 1));
        }
        let outline = Outline::new(reference, self.scenario.setting().nodes);
        let (next, least) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (lives, commits, worst) =
            (AtomicU64::new(1), AtomicU64::new(0), Mutex::new(None::<(u64, Outcome, String)>));
        let total = self.kept.len() as u64 + self.seeds;
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total || number >= least.load(Ordering::Relaxed) {
                            return;
                        }
                        let (outcome, strategy) = self.number(number, &outline);
                        let commits = commits.fetch_add(outcome.commits, Ordering::Relaxed) + outcome.commits;
                        let lives = lives.fetch_add(1, Ordering::Relaxed) + 1;
                        if let Some(Told(tell)) = &self.told {
                            tell(&Explored { lives, commits });
                        }
                        if outcome.violation.is_some() && least.fetch_min(number, Ordering::Relaxed) > number
                        {
                            let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                            let earlier = worst.as_ref().is_none_or(|(at, ..)| number < *at);
                            if earlier {
                                *worst = Some((number, outcome, strategy));
                            }
                        }
                    }
                });
            }
        });
        match worst.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(Explored { lives: total + 1, commits: commits.into_inner() }),
            Some((number, outcome, strategy)) => Err(self.found(outcome, &strategy, number + 1)),
        }
    }

    /// The life of a number: first those that were kept, then those of the seeds.
    fn number(&self, number: u64, outline: &Outline) -> (Outcome, String) {
        if let Some((seed, plan)) = self.kept.get(number as usize) {
            return (self.live(*seed, plan.clone()), "replay".to_owned());
        }
        let number = number - self.kept.len() as u64;
        let seed = self.first + number;
        match self.strategies.get((number % self.strategies.len().max(1) as u64) as usize) {
            Some(strategy) => (self.live(seed, strategy.plan(outline, seed)), strategy.name().to_owned()),
            None => (self.live(seed, FaultPlan::none()), "no faults".to_owned()),
        }
    }

    fn live(&self, seed: u64, plan: FaultPlan) -> Outcome {
        let outcome = self.live_once(seed, plan.clone());
        if !self.twice || outcome.violation.is_some() {
            return outcome;
        }
        let again = self.live_once(seed, plan);
        if (again.digest, &again.story) == (outcome.digest, &outcome.story) {
            return outcome;
        }
        let differs = |(a, b): &(_, _)| a != b;
        let first = outcome.story.lines.iter().zip(&again.story.lines).find(differs);
        let why = first.map_or_else(
            || format!("{} commits, then {}", outcome.commits, again.commits),
            |(a, b)| format!("first {a:?}, then {b:?}"),
        );
        let at = first.map_or(outcome.took, |(a, _)| a.at);
        let invariant = "the same seed gives the same life".to_owned();
        Outcome { violation: Some(Violation { invariant, why, at }), ..outcome }
    }

    fn live_once(&self, seed: u64, plan: FaultPlan) -> Outcome {
        let simulation = Simulation::new(&self.scenario, seed).faults(plan.clone());
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| simulation.run()));
        outcome
            .unwrap_or_else(|panic| Outcome::without_life(seed, plan, "nothing panics", message_of(&*panic)))
    }

    /// Leaves out what is not needed for the same invariant to break.
    fn found(&self, outcome: Outcome, strategy: &str, lives: u64) -> Box<Found> {
        let planned = outcome.plan.clone();
        let (mut least, mut left) = (outcome, SHRINKING);
        let broken = |outcome: &Outcome| outcome.violation.as_ref().map(|it| it.invariant.clone());
        'smaller: loop {
            for plan in least.plan.smaller() {
                if left == 0 {
                    break 'smaller;
                }
                left -= 1;
                let tried = self.live(least.seed, plan);
                if broken(&tried) == broken(&least) {
                    least = tried;
                    continue 'smaller;
                }
            }
            break;
        }
        let violation = least.violation.clone().unwrap_or_else(|| Violation {
            invariant: String::new(),
            why: String::new(),
            at: least.took,
        });
        let (strategy, scenario) = (strategy.to_owned(), self.scenario.name.to_string());
        Box::new(Found { outcome: least, violation, planned, strategy, lives, scenario })
    }
}

impl Found {
    /// The line that replays it.
    pub fn replay_line(&self) -> String {
        format!(".replay({}, {:?})", self.outcome.seed, self.outcome.plan.to_string())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: found in life {} by {}", self.scenario, self.lives, self.strategy)?;
        writeln!(f, "{}\n", self.violation)?;
        writeln!(f, "{}", self.outcome.story)?;
        writeln!(
            f,
            "{} of {} faults do it. To replay it:",
            self.outcome.plan.faults.len(),
            self.planned.faults.len()
        )?;
        writeln!(f, "    {}", self.replay_line())
    }
}
