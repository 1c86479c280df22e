//! The queue of keys between triggers and runs.
//!
//! What it guarantees:
//!
//! - **Keys only.** A key says what to look at, never what happened; why it is there is kept for the log alone.
//! - **Once.** A key that is added many times before it is taken is taken once.
//! - **Never twice at a time.** A key that was taken is not given out again before [`Queue::done`]. Added meanwhile,
//!   it is given out after that, so no addition is lost.
//! - **Fair.** Keys are given out in the order in which they became ready. A key that is done and ready again stands
//!   behind all that were ready before.
//! - **Not before its time.** A delayed key becomes ready when its delay has passed, or with an addition before
//!   that. There is one timer a key, the earliest; taking the key clears it, since the run that follows decides anew.
//! - **Slower when it fails.** The delays of [`Queue::retry`] double for each key, from 5 ms to half a minute unless
//!   another [`Backoff`] is given, and begin anew after [`Queue::forget`]. The longest delay is what a key waits at
//!   worst after an outage has ended, so it is short; a failing key costs two runs a minute.
//! - **By the clock.** All times are those of the [`Clock`](crate::clock::Clock) that the queue was made with.
//! - **Closing is final.** A closed queue gives out nothing, though keys may wait, and takes nothing in.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;

use super::stats::QueueStats;
use crate::clock::{SharedClock, sleep_until};
use crate::supervise::Backoff;

/// The delays of keys whose runs fail, unless others are given.
pub const RETRY: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(30));

/// A time of the queue's clock.
type Instant = Duration;

/// Why a key was added. For the log: nothing is decided on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its object, or one that leads to it, was there when the watch began.
    Listed(Arc<str>),
    /// An object of this kind changed.
    Changed(Arc<str>),
    /// The last run asked for it.
    Asked,
    /// The last run failed.
    Failed,
    /// Something outside the cluster named it.
    External,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(kind) => write!(f, "{kind} listed"),
            Self::Changed(kind) => write!(f, "{kind} changed"),
            Self::Asked => f.write_str("asked for"),
            Self::Failed => f.write_str("failed before"),
            Self::External => f.write_str("named from outside"),
        }
    }
}

/// A key that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<K> {
    /// The key.
    pub key: K,
    /// Why it was added last.
    pub cause: Cause,
    /// How many failures in a row precede this.
    pub failures: u32,
}

/// See the [module](self).
pub struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    clock: SharedClock,
    backoff: Backoff,
}

/// Nothing is decided by the order of a map; with a hasher that is the same in every run, nothing can be.
type Map<K, V> = HashMap<K, V, FxBuildHasher>;

struct State<K> {
    ready: VecDeque<K>,
    /// The keys to be given out, with why and since when: those in `ready`, and those that are taken and were added
    /// since.
    wanted: Map<K, (Cause, Instant)>,
    /// Since when.
    taken: Map<K, Instant>,
    timers: BTreeMap<(Instant, u64), K>,
    timed: Map<K, ((Instant, u64), Cause)>,
    timer: u64,
    failures: Map<K, u32>,
    closed: bool,
    stats: QueueStats,
}

impl<K> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "{} ready, {} taken, {} delayed", state.ready.len(), state.taken.len(), state.timers.len())
    }
}

impl<K: Hash + Eq + Clone> Queue<K> {
    /// An empty queue, with the delays of [`RETRY`].
    pub fn new(clock: SharedClock) -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: Map::default(),
            taken: Map::default(),
            timers: BTreeMap::new(),
            timed: Map::default(),
            timer: 0,
            failures: Map::default(),
            closed: false,
            stats: QueueStats::default(),
        };
        Self { state: Mutex::new(state), wake: Notify::new(), clock, backoff: RETRY }
    }

    /// With other delays of keys whose runs fail.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key.
    pub fn add(&self, key: K, cause: Cause) {
        self.lock().add(key, cause, self.clock.elapsed());
        self.wake.notify_one();
    }

    /// Adds a key when a time has passed.
    pub fn add_after(&self, key: K, delay: Duration, cause: Cause) {
        self.lock().add_at(key, self.clock.elapsed() + delay, cause);
        self.wake.notify_one();
    }

    /// Adds a key whose run failed, after a delay that grows with each failure in a row. Returns the delay.
    pub fn retry(&self, key: K) -> Duration {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = self.backoff.pause(*failures);
            *failures = failures.saturating_add(1);
            state.stats.retries += 1;
            delay
        };
        self.add_after(key, delay, Cause::Failed);
        delay
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// Gives out the next key, as soon as there is one. `None` once the queue is closed. Cancelling it loses nothing.
    pub async fn next(&self) -> Option<Taken<K>> {
        loop {
            let timer = {
                let mut state = self.lock();
                if state.closed {
                    self.wake.notify_one();
                    return None;
                }
                let now = self.clock.elapsed();
                state.ripen(now);
                if let Some(taken) = state.take(now) {
                    // There may be more for another that waits, or a timer that nobody looks at now.
                    self.wake.notify_one();
                    return Some(taken);
                }
                state.timers.first_key_value().map(|((at, _), _)| *at)
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = sleep_until(&*self.clock, timer) => {}
            }
        }
    }

    /// Says that the run of a key has ended.
    pub fn done(&self, key: &K) {
        {
            let mut state = self.lock();
            if let Some(since) = state.taken.remove(key) {
                let now = self.clock.elapsed();
                state.stats.ran.add(now.saturating_sub(since));
            }
            if state.wanted.contains_key(key) {
                state.ready.push_back(key.clone());
            }
        }
        self.wake.notify_one();
    }

    /// Closes the queue.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// How many keys are ready to be taken.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long it is now, and what has gone through it.
    pub fn stats(&self) -> QueueStats {
        let state = self.lock();
        QueueStats {
            ready: state.ready.len(),
            delayed: state.timers.len(),
            running: state.taken.len(),
            failing: state.failures.len(),
            ..state.stats.clone()
        }
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn add(&mut self, key: K, cause: Cause, now: Instant) {
        if self.closed {
            return;
        }
        self.stats.added += 1;
        if let Some((held, _)) = self.wanted.get_mut(&key) {
            *held = cause;
            return;
        }
        self.wanted.insert(key.clone(), (cause, now));
        if !self.taken.contains_key(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, at: Instant, cause: Cause) {
        if self.closed {
            return;
        }
        match self.timed.get(&key) {
            Some(((held, _), _)) if *held <= at => return,
            Some((held, _)) => {
                self.timers.remove(held);
            }
            None => {}
        }
        self.timer += 1;
        self.timers.insert((at, self.timer), key.clone());
        self.timed.insert(key, ((at, self.timer), cause));
    }

    /// Makes ready what was delayed until now.
    fn ripen(&mut self, now: Instant) {
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            if let Some((_, cause)) = self.timed.remove(&key) {
                self.add(key, cause, now);
            }
        }
    }

    fn take(&mut self, now: Instant) -> Option<Taken<K>> {
        let key = self.ready.pop_front()?;
        let (cause, since) = self.wanted.remove(&key)?;
        self.stats.waited.add(now.saturating_sub(since));
        if let Some((timer, _)) = self.timed.remove(&key) {
            self.timers.remove(&timer);
        }
        self.taken.insert(key.clone(), now);
        let failures = self.failures.get(&key).copied().unwrap_or_default();
        Some(Taken { key, cause, failures })
    }
}

#[cfg(test)]
mod tests;
