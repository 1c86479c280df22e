//! A cluster commit by commit, and what must be true of it.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::FixedState;
use futures::StreamExt;

use super::scenario::Invariant;
use super::state::State;
use super::world::World;
use crate::signal::Signal;
use crate::store::{Batch, Change, KeyRange, Store};
use crate::supervise::message_of;

/// What was not true that had to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the invariant.
    pub invariant: String,
    /// What was wrong.
    pub why: String,
    /// When, since the script began.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (after {})", self.invariant, self.why, super::fault::seconds(self.at))
    }
}

pub(super) fn violation(invariant: &str, why: String, at: Duration) -> Violation {
    Violation { invariant: invariant.to_owned(), why, at }
}

/// The cluster commit by commit, as invariants are asked of it.
pub(super) struct Watched {
    always: Vec<Invariant>,
    inner: Mutex<Inner>,
    broken: Signal<bool>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) changes: Vec<Duration>,
    pub(super) commits: u64,
    pub(super) digest: u64,
    violation: Option<Violation>,
}

impl Watched {
    /// What goes on from a state.
    pub(super) fn new(always: Vec<Invariant>, state: State) -> Self {
        let inner = Inner { state, ..Inner::default() };
        Self { always, inner: Mutex::new(inner), broken: Signal::new(false) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows every commit.
    pub(super) async fn follow(self: Arc<Self>, world: World) {
        let after = self.lock().state.revision();
        let Ok(mut batches) = world.store().watch(&KeyRange::all(), after).await else { return };
        while let Some(Ok(batch)) = batches.next().await {
            self.step(&world, &batch);
        }
    }

    fn step(&self, world: &World, batch: &Batch) {
        let (elapsed, at) = (world.clock().elapsed(), world.wire().time());
        let server = world.cluster().server();
        let mut inner = self.lock();
        inner.commits += 1;
        inner.digest = digest(inner.digest, batch, elapsed);
        if !inner.state.apply(&server.kinds(), server.caches(), batch, elapsed) {
            return;
        }
        inner.changes.push(at);
        if inner.violation.is_some() || self.always.is_empty() {
            return;
        }
        let wrong = inner.state.beside(world, |state| first_wrong(&self.always, state));
        if let Some((name, why)) = wrong {
            inner.violation = Some(violation(&name, why, at));
            drop(inner);
            self.broken.change(|broken| {
                *broken = true;
                true
            });
        }
    }

    /// Ends when an invariant is broken.
    pub(super) async fn broken(&self) -> Violation {
        loop {
            self.broken.until(|broken| *broken).await;
            if let Some(violation) = self.lock().violation.clone() {
                return violation;
            }
        }
    }

    /// What of that is not so which must be in the end.
    pub(super) fn wrong(&self, eventually: &[Invariant], world: &World) -> Option<(String, String)> {
        self.lock().state.beside(world, |state| first_wrong(eventually, state))
    }

    pub(super) fn changed_at(&self) -> Duration {
        self.lock().changes.last().copied().unwrap_or_default()
    }

    /// Forgets when what was committed until now.
    pub(super) fn begin(&self) {
        self.lock().changes.clear();
    }
}

fn first_wrong(invariants: &[Invariant], state: &State) -> Option<(String, String)> {
    let wrong = |invariant: &Invariant| Some((invariant.name.to_string(), checked(invariant, state).err()?));
    invariants.iter().find_map(wrong)
}

/// A check may also say what is wrong by an assertion that fails.
fn checked(invariant: &Invariant, state: &State) -> Result<(), String> {
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (invariant.check)(state)));
    outcome.unwrap_or_else(|panic| Err(message_of(&*panic)))
}

fn digest(before: u64, batch: &Batch, elapsed: Duration) -> u64 {
    let mut hasher = FixedState::with_seed(before).build_hasher();
    (batch.revision.0, elapsed).hash(&mut hasher);
    for change in batch.changes.iter() {
        change.key().hash(&mut hasher);
        if let Change::Put { record, .. } = change {
            record.value.hash(&mut hasher);
        }
    }
    hasher.finish()
}
