//! The one place where this crate starts tasks.
//!
//! A task that is started and forgotten outlives what it worked for, and one that panics is missed by nobody. So no
//! code here calls `tokio::spawn` (`clippy.toml` refuses it); it uses one of two owners instead:
//!
//! - a [`Supervisor`] runs the work of many keys: the runs of a controller, the triggers that feed them, the loops of
//!   a node's pods, the writes of the scheduler;
//! - a [`Task`] is one piece of work.
//!
//! Both give the same guarantees:
//!
//! - **Serial.** A key has one task at a time. A key that was [stopped](Supervisor::stop) counts as running until its
//!   task has really ended.
//! - **Restarted.** Work that was [started](Supervisor::start) and panics is logged and begun again after a pause that
//!   doubles with each panic in a row, by the [`Backoff`]. Work that has run for longer than the longest pause before
//!   it panics begins with the first pause again.
//! - **Reported.** However a task ends, [`Supervisor::next`] says so, and its key is free.
//! - **Owned.** Dropping the owner ends every task at its next await.

#![cfg_attr(
    not(test),
    expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the one place where tasks start")
)]

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use rustc_hash::FxBuildHasher;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::clock::SharedClock;

/// Pauses that double with each failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pause after the failure that follows `failures` others in a row.
    pub fn pause(&self, failures: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest)
    }

    /// The longest pause.
    pub const fn longest(&self) -> Duration {
        self.longest
    }
}

impl Default for Backoff {
    /// From a tenth of a second to half a minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// How the task of a key ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// Its work is done.
    Done(T),
    /// It panicked, with this message, and is not begun again: it was to be [run once](Supervisor::run_once).
    Panicked(String),
    /// It was [stopped](Supervisor::stop), or the runtime is shutting down.
    Stopped,
}

/// Runs the work of keys, one task a key, and owns the tasks. See the [module](self).
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use orchestra_core::clock::TokioClock;
/// use orchestra_core::supervise::{Ended, Supervisor};
///
/// static TRIES: AtomicU32 = AtomicU32::new(0);
/// let mut loops = Supervisor::new("example", TokioClock::simulated(1));
/// loops.start("a", || async {
///     assert!(TRIES.fetch_add(1, Ordering::Relaxed) > 0, "the first try fails");
///     "done"
/// });
/// assert_eq!(loops.next().await, Some(("a", Ended::Done("done"))));
/// # }
/// ```
pub struct Supervisor<K, T = ()> {
    name: Arc<str>,
    clock: SharedClock,
    backoff: Backoff,
    tasks: JoinSet<Result<T, String>>,
    running: HashMap<K, AbortHandle, FxBuildHasher>,
    keys: HashMap<Id, K, FxBuildHasher>,
}

impl<K, T> fmt::Debug for Supervisor<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} tasks", self.name, self.running.len())
    }
}

impl<K, T> Supervisor<K, T>
where
    K: Clone + Eq + Hash + fmt::Display + Send + 'static,
    T: Send + 'static,
{
    /// One without tasks. `name` says in the log whose they are.
    pub fn new(name: impl Into<Arc<str>>, clock: SharedClock) -> Self {
        Self {
            name: name.into(),
            clock,
            backoff: Backoff::default(),
            tasks: JoinSet::new(),
            running: HashMap::default(),
            keys: HashMap::default(),
        }
    }

    /// With other pauses between a panic and the next start.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Starts the work of a key and begins it anew after each panic, by calling `work` again. Returns whether it did:
    /// a key whose task has not ended is left alone.
    pub fn start<F, W>(&mut self, key: K, work: F) -> bool
    where
        F: FnMut() -> W + Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let label = format!("{}/{key}", self.name);
        let restarted = restarted(label, Arc::clone(&self.clock), self.backoff, boxed(work));
        self.spawn(key, restarted.map(Ok))
    }

    /// Starts the work of a key that its owner begins again itself, as a queue does that counts failures. Returns
    /// whether it did, as [`start`](Self::start).
    pub fn run_once(&mut self, key: K, work: impl Future<Output = T> + Send + 'static) -> bool {
        self.spawn(key, caught(work.boxed()))
    }

    fn spawn(&mut self, key: K, task: impl Future<Output = Result<T, String>> + Send + 'static) -> bool {
        if self.running.contains_key(&key) {
            return false;
        }
        let handle = self.tasks.spawn(task.in_current_span());
        self.keys.insert(handle.id(), key.clone());
        self.running.insert(key, handle);
        true
    }

    /// Waits for the next task to end, and says which and how. `None` when there is none. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<(K, Ended<T>)> {
        loop {
            let (id, ended) = match self.tasks.join_next_with_id().await? {
                Ok((id, Ok(value))) => (id, Ended::Done(value)),
                Ok((id, Err(panic))) => (id, Ended::Panicked(panic)),
                Err(error) => (error.id(), Ended::Stopped),
            };
            if let Some(key) = self.keys.remove(&id) {
                self.running.remove(&key);
                return Some((key, ended));
            }
        }
    }

    /// Ends the task of a key at its next await. The key is free once [`next`](Self::next) has told of it.
    pub fn stop(&self, key: &K) -> bool {
        let task = self.running.get(key);
        task.inspect(|task| task.abort()).is_some()
    }

    /// Ends all tasks, and waits until they have ended.
    pub async fn stop_all(&mut self) {
        self.tasks.abort_all();
        while self.next().await.is_some() {}
    }

    /// Whether a key has a task.
    pub fn contains(&self, key: &K) -> bool {
        self.running.contains_key(key)
    }

    /// The keys that have a task, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.running.keys()
    }

    /// How many keys have a task.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether no key has a task.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

/// One piece of work, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "the task ends when this is dropped"]
pub struct Task<T = ()> {
    handle: AbortOnDropHandle<Result<T, String>>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts work and begins it anew after each panic, by calling `work` again. `name` says in the log what it is.
    pub fn start<F, W>(name: impl Into<String>, clock: SharedClock, work: F) -> Self
    where
        F: FnMut() -> W + Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        Self::spawn(restarted(name.into(), clock, Backoff::default(), boxed(work)).map(Ok))
    }

    /// Starts work that is not begun again.
    pub fn once(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self::spawn(caught(work.boxed()))
    }

    fn spawn(work: impl Future<Output = Result<T, String>> + Send + 'static) -> Self {
        Self { handle: AbortOnDropHandle::new(tokio::spawn(work.in_current_span())) }
    }

    /// Waits until the work has ended; `None` when a panic ended it, or the runtime.
    pub async fn ended(self) -> Option<T> {
        self.handle.await.ok()?.ok()
    }

    /// Whether the work has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

/// How many pieces of work [`together`] gives one task.
const SHARE: usize = 16;

/// Does pieces of work that do not depend on each other at once, on all threads that there are, and answers in their order.
/// When it is dropped, they end at their next await.
///
/// # Panics
/// When one of them does.
pub(crate) async fn together<T, W>(works: Vec<W>) -> Vec<T>
where
    W: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut works = works.into_iter();
    let mut share = || works.by_ref().take(SHARE).collect::<Vec<W>>();
    let first = share();
    let others: Vec<_> = std::iter::repeat_with(share)
        .take_while(|works| !works.is_empty())
        .map(|works| Task::once(join_all(works)))
        .collect();
    let mut done = join_all(first).await;
    for task in others {
        match task.handle.await {
            Ok(share) => done.extend(share.unwrap_or_else(|panic| panic!("{panic}"))),
            // The runtime is shutting down, and whoever waits here with it.
            Err(_) => std::future::pending().await,
        }
    }
    done
}

/// Work whose type is not seen any more. A program has many tasks, and all that keeps one would be compiled for each.
type Work<T> = Box<dyn FnMut() -> BoxFuture<'static, T> + Send>;

fn boxed<F, W, T>(mut work: F) -> Work<T>
where
    F: FnMut() -> W + Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    Box::new(move || work().boxed())
}

/// Does work until it ends without a panic.
async fn restarted<T>(label: String, clock: SharedClock, backoff: Backoff, mut work: Work<T>) -> T {
    let mut failures = 0;
    loop {
        let began = clock.elapsed();
        // Making the future is part of the work: it may panic as well.
        match caught(async { work().await }).await {
            Ok(value) => return value,
            Err(panic) => {
                if clock.elapsed().saturating_sub(began) > backoff.longest() {
                    failures = 0;
                }
                let pause = backoff.pause(failures);
                failures = failures.saturating_add(1);
                tracing::error!(task = label, panic, ?pause, "a task panicked; it is begun again");
                clock.sleep(pause).await;
            }
        }
    }
}

/// Does work, and gives the message of a panic as an error.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // What a panic leaves half done is the work's own: whoever begins it again makes it anew.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| message_of(&*panic))
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}

#[cfg(test)]
mod tests;
