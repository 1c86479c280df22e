//! Time that passes only while everybody waits.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Clock, SharedClock, SplitMix};

/// A clock of virtual time, made by [`run_virtual`]: it stands still while any task has something to do, and when all
/// wait it goes on to when the first sleeper wakes. Those who wake at the same moment do so in the order in which they
/// went to sleep.
pub struct VirtualClock {
    start: Timestamp,
    state: Mutex<State>,
    stuck: Notify,
}

struct State {
    elapsed: Duration,
    /// Who sleeps, by when it is to wake and by how many slept before it.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    slept: u64,
    random: SplitMix,
}

/// Everybody waits, and nobody for the time: nothing will ever happen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("every task waits for another one, and none for the time: nothing can happen any more")]
pub struct Stuck;

/// Does `work` in virtual time, in this thread and in a runtime of its own. Whatever happens in it follows from `seed`
/// alone, as long as nothing in it asks the machine for the time, for randomness or for other threads.
///
/// The time of day begins at `start`, or at 2026-01-01T00:00:00Z.
///
/// # Errors
/// [`Stuck`], when the work can never end.
///
/// # Panics
/// When the work does, or when this thread is one of a runtime already.
///
/// ```
/// use std::time::Duration;
/// use orchestra_core::clock::run_virtual;
///
/// let day = Duration::from_secs(86_400);
/// let passed = run_virtual(7, None, move |clock| async move {
///     clock.sleep(day).await;
///     clock.elapsed()
/// });
/// assert_eq!(passed, Ok(day));
/// ```
pub fn run_virtual<W>(
    seed: u64,
    start: Option<Timestamp>,
    work: impl FnOnce(SharedClock) -> W,
) -> Result<W::Output, Stuck>
where
    W: Future + Send + 'static,
    W::Output: Send + 'static,
{
    let clock = Arc::new(VirtualClock::new(seed, start.unwrap_or(super::SIMULATED_START)));
    let idle = Arc::clone(&clock);
    let runtime =
        tokio::runtime::Builder::new_current_thread().on_thread_park(move || idle.advance()).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        // Without timers and sockets there is nothing of the machine's that it could lack.
        Err(error) => unreachable!("a runtime without drivers: {error}"),
    };
    // The work is a task, and not what the runtime waits for: a runtime parks although what it waits for is ready, and
    // time would pass too soon.
    let task = runtime.spawn(work(Arc::clone(&clock) as SharedClock));
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            ended = task => Ok(ended),
            () = clock.stuck.notified() => Err(Stuck),
        }
    });
    match ended? {
        Ok(output) => Ok(output),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Stuck),
        },
    }
}

impl VirtualClock {
    fn new(seed: u64, start: Timestamp) -> Self {
        let state =
            State { elapsed: Duration::ZERO, sleepers: BTreeMap::new(), slept: 0, random: SplitMix(seed) };
        Self { start, state: Mutex::new(state), stuck: Notify::new() }
    }

    /// Goes on to when the first sleeper wakes, and wakes it with those of the same moment.
    fn advance(&self) {
        let mut state = self.lock();
        let Some((&(at, _), _)) = state.sleepers.first_key_value() else {
            drop(state);
            return self.stuck.notify_one();
        };
        state.elapsed = state.elapsed.max(at);
        let mut now = Vec::new();
        while let Some(first) = state.sleepers.first_entry().filter(|first| first.key().0 <= at) {
            now.push(first.remove());
        }
        drop(state);
        now.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "virtual time {:?}, {} asleep", state.elapsed, state.sleepers.len())
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.start.checked_add(self.lock().elapsed).unwrap_or(Timestamp::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        let key = {
            let mut state = self.lock();
            state.slept += 1;
            (state.elapsed.saturating_add(duration), state.slept)
        };
        Sleep { clock: self, key }.await;
    }

    fn random(&self) -> u64 {
        self.lock().random.next()
    }
}

struct Sleep<'c> {
    clock: &'c VirtualClock,
    key: (Duration, u64),
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.elapsed >= self.key.0 {
            return Poll::Ready(());
        }
        match state.sleepers.get_mut(&self.key) {
            Some(waker) => waker.clone_from(context.waker()),
            None => drop(state.sleepers.insert(self.key, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[test]
    fn sleepers_wake_in_order_and_at_their_time() {
        let woken = run_virtual(1, None, |clock| async move {
            let woken = Arc::<Mutex<Vec<(u64, usize)>>>::default();
            let sleeps = [3_u64, 1, 2, 1, 0, 3].into_iter().enumerate().map(|(number, seconds)| {
                let (clock, woken) = (Arc::clone(&clock), Arc::clone(&woken));
                tokio::spawn(async move {
                    clock.sleep(Duration::from_secs(seconds)).await;
                    woken.lock().unwrap().push((clock.elapsed().as_secs(), number));
                })
            });
            join_all(sleeps.collect::<Vec<_>>()).await;
            woken.lock().unwrap().clone()
        });
        assert_eq!(woken, Ok(vec![(0, 4), (1, 1), (1, 3), (2, 2), (3, 0), (3, 5)]));
    }

    #[test]
    fn one_who_gives_up_sleeping_holds_up_nobody() {
        let ended = run_virtual(1, None, |clock| async move {
            let day = Duration::from_secs(86_400);
            let none = super::super::timeout(&*clock, Duration::from_secs(1), clock.sleep(day)).await;
            (none, clock.elapsed(), clock.now())
        });
        let (none, elapsed, now) = ended.unwrap();
        assert_eq!((none, elapsed), (None, Duration::from_secs(1)));
        assert_eq!(now.to_string(), "2026-01-01T00:00:01Z");
    }

    #[test]
    fn work_that_can_never_end_is_told_from_work_that_waits() {
        assert_eq!(run_virtual(1, None, |_| std::future::pending::<()>()), Err(Stuck));
        assert_eq!(run_virtual(1, None, |_| tokio::task::yield_now()), Ok(()));
    }

    #[test]
    #[should_panic(expected = "a bug")]
    fn a_panic_is_passed_on() {
        let _ = run_virtual(1, None, |_| async { panic!("a bug") });
    }
}
