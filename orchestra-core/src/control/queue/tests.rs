use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::FutureExt;
use proptest::prelude::*;
use tokio::time::Instant;

use super::{Cause, Queue, RETRY, Taken};
use crate::clock::TokioClock;

const CAUSE: Cause = Cause::External;

fn queue<K: std::hash::Hash + Eq + Clone>() -> Queue<K> {
    Queue::new(TokioClock::simulated(1))
}

async fn next(queue: &Queue<u8>) -> u8 {
    queue.next().await.unwrap().key
}

#[tokio::test(start_paused = true)]
async fn a_key_is_given_out_once_however_often_it_was_added() {
    let queue = queue();
    for key in [1, 2, 1, 1, 3] {
        queue.add(key, CAUSE);
    }
    assert_eq!([next(&queue).await, next(&queue).await, next(&queue).await], [1, 2, 3]);
    assert!(queue.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_runs_is_given_out_when_it_is_done() {
    let queue = queue();
    queue.add(1, CAUSE);
    assert_eq!(next(&queue).await, 1);
    queue.add(1, CAUSE);
    queue.add(2, CAUSE);
    assert_eq!(next(&queue).await, 2);
    assert!(queue.next().now_or_never().is_none());
    queue.done(&1);
    assert_eq!(next(&queue).await, 1);
}

#[tokio::test(start_paused = true)]
async fn delays_pass_in_order_and_the_earliest_counts() {
    let queue = queue();
    let start = Instant::now();
    let seconds = |seconds| Duration::from_secs(seconds);
    queue.add_after(1, seconds(10), Cause::Asked);
    queue.add_after(2, seconds(5), Cause::Asked);
    queue.add_after(1, seconds(3), Cause::Asked);
    queue.add_after(1, seconds(60), Cause::Asked);
    assert_eq!((next(&queue).await, start.elapsed()), (1, seconds(3)));
    assert_eq!((next(&queue).await, start.elapsed()), (2, seconds(5)));
    queue.done(&1);
    assert!(tokio::time::timeout(seconds(3600), queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_run_clears_the_timer() {
    let queue = queue();
    queue.add_after(1, Duration::from_secs(10), Cause::Asked);
    queue.add(1, CAUSE);
    assert_eq!(next(&queue).await, 1);
    queue.done(&1);
    assert!(tokio::time::timeout(Duration::from_secs(3600), queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn failures_slow_a_key_down_until_they_are_forgotten() {
    let queue = queue();
    let mut delays = Vec::new();
    for failures in 0..20 {
        delays.push(queue.retry(7).as_millis());
        let taken = queue.next().await.unwrap();
        assert_eq!(taken, Taken { key: 7, cause: Cause::Failed, failures: failures + 1 });
        queue.done(&7);
    }
    assert_eq!(delays[..4], [5, 10, 20, 40]);
    assert_eq!(
        delays[12..15],
        [20_480, 30_000, 30_000],
        "an outage of an hour is over half a minute after its end"
    );
    queue.forget(&7);
    assert_eq!(queue.retry(7).as_millis(), 5);
    assert_eq!(RETRY.pause(u32::MAX).as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_all_who_wait() {
    let queue = queue::<u8>();
    let waiting = futures::future::join3(queue.next(), queue.next(), queue.next());
    let close = async { queue.close() };
    assert_eq!(tokio::join!(waiting, close).0, (None, None, None));
    queue.add(1, CAUSE);
    assert_eq!(queue.next().await, None);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    AddAfter(u8, u64),
    Retry(u8),
    Take,
    Done,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8).prop_map(Step::Add),
        (0..6_u8, 0..50_u64).prop_map(|(key, delay)| Step::AddAfter(key, delay)),
        (0..6_u8).prop_map(Step::Retry),
        Just(Step::Take),
        Just(Step::Take),
        Just(Step::Done),
        (0..50_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn never_two_runs_of_a_key_and_never_a_lost_addition(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(check(steps));
    }
}

async fn check(steps: Vec<Step>) {
    let queue = queue();
    let mut running = Vec::new();
    // The keys that were added and not taken since, with when they may be taken at the earliest.
    let mut owed: HashMap<u8, Instant> = HashMap::new();
    let add = |owed: &mut HashMap<u8, Instant>, key, delay| {
        let at = Instant::now() + delay;
        owed.entry(key).and_modify(|held| *held = at.min(*held)).or_insert(at);
    };
    for step in steps {
        match step {
            Step::Add(key) => {
                queue.add(key, CAUSE);
                add(&mut owed, key, Duration::ZERO);
            }
            Step::AddAfter(key, delay) => {
                let delay = Duration::from_millis(delay);
                queue.add_after(key, delay, CAUSE);
                add(&mut owed, key, delay);
            }
            Step::Retry(key) => {
                let delay = queue.retry(key);
                add(&mut owed, key, delay);
            }
            Step::Take => {
                if let Some(taken) = queue.next().now_or_never().flatten() {
                    assert!(!running.contains(&taken.key), "two runs at once");
                    assert!(owed.remove(&taken.key).is_some_and(|at| at <= Instant::now()), "too early");
                    running.push(taken.key);
                } else {
                    let ready = |(key, at): (&u8, &Instant)| *at <= Instant::now() && !running.contains(key);
                    assert!(!owed.iter().any(ready), "kept back");
                }
            }
            Step::Done => {
                if let Some(key) = running.pop() {
                    queue.done(&key);
                }
            }
            Step::Pass(delay) => tokio::time::advance(Duration::from_millis(delay)).await,
        }
    }
    running.iter().for_each(|key| queue.done(key));
    let mut left: HashSet<u8> = owed.into_keys().collect();
    while !left.is_empty() {
        let taken = queue.next().await.unwrap();
        assert!(left.remove(&taken.key));
        queue.done(&taken.key);
    }
}
