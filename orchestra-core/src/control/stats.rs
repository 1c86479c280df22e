//! What is counted of a queue.

use std::time::Duration;

/// Times that were measured, counted by their order of magnitude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total: Duration,
    /// How many were not longer than the bound of the same place in [`Latency::BOUNDS`], and longer than the one
    /// before it. Those that were longer than the last bound are only in `count`.
    pub buckets: [u64; 8],
}

impl Latency {
    /// The bounds of the buckets.
    pub const BOUNDS: [Duration; 8] = [
        Duration::from_micros(100),
        Duration::from_millis(1),
        Duration::from_millis(10),
        Duration::from_millis(100),
        Duration::from_secs(1),
        Duration::from_secs(10),
        Duration::from_secs(100),
        Duration::from_secs(1000),
    ];

    pub(super) fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(time);
        let bucket = Self::BOUNDS.iter().position(|bound| time <= *bound);
        if let Some(count) = bucket.and_then(|bucket| self.buckets.get_mut(bucket)) {
            *count += 1;
        }
    }
}

/// A queue at one moment, and what has gone through it since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// How many keys are ready to be taken.
    pub ready: usize,
    /// How many wait for a time.
    pub delayed: usize,
    /// How many are taken.
    pub running: usize,
    /// How many failed when they were run last.
    pub failing: usize,
    /// How often keys were added, also such as were there already.
    pub added: u64,
    /// How often a run failed and was to be tried again.
    pub retries: u64,
    /// How long keys were ready before they were taken.
    pub waited: Latency,
    /// How long they were taken.
    pub ran: Latency,
}
