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
//! - **Slower when it fails.** The delays of [`Queue::retry`] double for each key from 5 ms to 1,000 s, and begin
//!   anew after [`Queue::forget`].
//! - **Closing is final.** A closed queue gives out nothing, though keys may wait, and takes nothing in.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// Why a key was added. For the log: nothing is decided on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its object, or one that leads to it, was there when the watch began.
    Listed(&'static str),
    /// An object of this kind changed.
    Changed(&'static str),
    /// The last run asked for it.
    Asked,
    /// The last run failed.
    Failed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(kind) => write!(f, "{kind} listed"),
            Self::Changed(kind) => write!(f, "{kind} changed"),
            Self::Asked => f.write_str("asked for"),
            Self::Failed => f.write_str("failed before"),
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
}

struct State<K> {
    ready: VecDeque<K>,
    /// The keys to be given out, with why: those in `ready`, and those that are taken and were added since.
    wanted: HashMap<K, Cause>,
    taken: HashSet<K>,
    timers: BTreeMap<(Instant, u64), K>,
    timed: HashMap<K, ((Instant, u64), Cause)>,
    timer: u64,
    failures: HashMap<K, u32>,
    closed: bool,
}

impl<K> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "{} ready, {} taken, {} delayed", state.ready.len(), state.taken.len(), state.timers.len())
    }
}

impl<K: Hash + Eq + Clone> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: HashMap::new(),
            taken: HashSet::new(),
            timers: BTreeMap::new(),
            timed: HashMap::new(),
            timer: 0,
            failures: HashMap::new(),
            closed: false,
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key.
    pub fn add(&self, key: K, cause: Cause) {
        self.lock().add(key, cause);
        self.wake.notify_one();
    }

    /// Adds a key when a time has passed.
    pub fn add_after(&self, key: K, delay: Duration, cause: Cause) {
        self.lock().add_at(key, Instant::now() + delay, cause);
        self.wake.notify_one();
    }

    /// Adds a key whose run failed, after a delay that grows with each failure in a row. Returns the delay.
    pub fn retry(&self, key: K) -> Duration {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = backoff(*failures);
            *failures = failures.saturating_add(1);
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
                state.ripen(Instant::now());
                if let Some(taken) = state.take() {
                    // There may be more for another that waits, or a timer that nobody looks at now.
                    self.wake.notify_one();
                    return Some(taken);
                }
                state.timers.first_key_value().map(|((at, _), _)| *at)
            };
            match timer {
                Some(at) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Says that the run of a key has ended.
    pub fn done(&self, key: &K) {
        {
            let mut state = self.lock();
            state.taken.remove(key);
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
}

impl<K: Hash + Eq + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn add(&mut self, key: K, cause: Cause) {
        if self.closed || self.wanted.insert(key.clone(), cause).is_some() {
            return;
        }
        if !self.taken.contains(&key) {
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
                self.add(key, cause);
            }
        }
    }

    fn take(&mut self) -> Option<Taken<K>> {
        let key = self.ready.pop_front()?;
        let cause = self.wanted.remove(&key)?;
        if let Some((timer, _)) = self.timed.remove(&key) {
            self.timers.remove(&timer);
        }
        self.taken.insert(key.clone());
        let failures = self.failures.get(&key).copied().unwrap_or_default();
        Some(Taken { key, cause, failures })
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests;
