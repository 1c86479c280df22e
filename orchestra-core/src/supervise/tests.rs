use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Backoff, Ended, SHARE, Supervisor, Task, together};
use crate::clock::TokioClock;

fn counted(counter: &Arc<AtomicU32>) -> u32 {
    counter.fetch_add(1, Ordering::SeqCst)
}

/// Counts down when it is dropped.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_panics_is_begun_again_ever_later() {
    let clock = TokioClock::simulated(1);
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
    let mut loops = Supervisor::new("test", Arc::clone(&clock)).backoff(backoff);
    let began = clock.elapsed();
    let tries = Arc::<AtomicU32>::default();
    loops.start("a", move || {
        let number = counted(&tries);
        // Also making the future may panic.
        assert!(number != 1, "while it is made");
        let clock = Arc::clone(&clock);
        async move {
            assert!(number > 4, "at once");
            (number, clock.elapsed() - began)
        }
    });
    // After 1, 2, 4, 4 and 4 seconds.
    assert_eq!(loops.next().await, Some(("a", Ended::Done((5, Duration::from_secs(15))))));
    assert_eq!(loops.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn work_that_went_well_for_long_begins_again_soon() {
    let clock = TokioClock::simulated(1);
    let mut loops = Supervisor::<_, ()>::new("test", Arc::clone(&clock));
    let (tries, counter) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let seen = Arc::clone(&tries);
    let timer = Arc::clone(&clock);
    loops.start("a", move || {
        counted(&tries);
        let (clock, number) = (Arc::clone(&timer), counted(&counter));
        async move {
            if number >= 10 {
                clock.sleep(Duration::from_secs(60)).await;
            }
            panic!("a bug");
        }
    });
    clock.sleep(Duration::from_secs(300)).await;
    let before = seen.load(Ordering::SeqCst);
    clock.sleep(Duration::from_secs(602)).await;
    assert_eq!(seen.load(Ordering::SeqCst) - before, 10, "one a minute, not one in a minute and a half");
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_task_and_is_free_when_it_has_ended() {
    let mut runs = Supervisor::new("test", TokioClock::simulated(1));
    assert!(runs.run_once(1, async { panic!("a {}", "bug") }));
    assert!(!runs.run_once(1, async {}), "it has a task");
    assert!(runs.run_once(2, std::future::pending()));
    assert_eq!(runs.next().await, Some((1, Ended::Panicked("a bug".into()))));
    assert!(runs.run_once(1, async {}));
    assert_eq!(runs.next().await, Some((1, Ended::Done(()))));
    assert!(runs.stop(&2) && !runs.stop(&1));
    assert!(!runs.run_once(2, async {}), "it is not known to have ended");
    assert_eq!(runs.next().await, Some((2, Ended::Stopped)));
    assert!(runs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_leaves_no_task() {
    let alive = Arc::<AtomicU32>::default();
    let clock = TokioClock::simulated(1);
    let mut loops = Supervisor::new("test", Arc::clone(&clock));
    for key in 0..3 {
        let alive = Arc::clone(&alive);
        loops.start(key, move || {
            let held = Alive::new(&alive);
            async move {
                std::future::pending::<()>().await;
                drop(held);
            }
        });
    }
    let held = Arc::clone(&alive);
    let task = Task::once(async move {
        let _held = Alive::new(&held);
        std::future::pending::<()>().await;
    });
    clock.sleep(Duration::from_secs(1)).await;
    assert_eq!((alive.load(Ordering::SeqCst), task.is_finished()), (4, false));
    drop((loops, task));
    clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_done_together_is_done_at_once_and_answered_in_order() {
    for count in [0, 1, SHARE, SHARE + 1, 5 * SHARE + 3] {
        let all = Arc::new(tokio::sync::Barrier::new(count.max(1)));
        let work = |number| {
            let all = Arc::clone(&all);
            async move {
                all.wait().await;
                number
            }
        };
        let done = together((0..count).map(work).collect()).await;
        assert_eq!(done, (0..count).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_together_ends_with_whoever_waits_for_it() {
    let count = Arc::<AtomicU32>::default();
    let work = |_| {
        let alive = Alive::new(&count);
        async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        }
    };
    let all = together((0..3 * SHARE).map(work).collect());
    assert!(tokio::time::timeout(Duration::from_secs(1), all).await.is_err());
    while count.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[should_panic(expected = "one too many")]
async fn a_panic_among_what_is_done_together_is_one_of_whoever_waits() {
    let work = |number| async move { assert!(number < SHARE, "one too many") };
    together((0..2 * SHARE).map(work).collect()).await;
}
