//! How many events one source writes in a time.

use std::time::Duration;

/// How many are written at once, and how many a second after that: what a kubelet and a scheduler of Kubernetes have by
/// default (`eventBurst` and `eventRecordQPS`; `clientConnection`).
const BURST: u32 = 100;
const EVERY: Duration = Duration::from_millis(20);

/// What one source may still write.
#[derive(Debug)]
pub(super) struct Rate {
    /// When all that may be written at once may be again.
    full_at: Duration,
}

impl Rate {
    /// All of it, at a time of the clock.
    pub(super) fn new(now: Duration) -> Self {
        Self { full_at: now }
    }

    /// Takes one event's part, and says how long that event has to wait, if it does.
    pub(super) fn take(&mut self, now: Duration) -> Option<Duration> {
        self.full_at = self.full_at.max(now) + EVERY;
        let wait = self.full_at.saturating_sub(now + EVERY * BURST);
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_at_once_then_fifty_a_second() {
        let mut now = Duration::from_secs(7);
        let mut rate = Rate::new(now);
        assert!((0..100).all(|_| rate.take(now).is_none()));
        assert_eq!(rate.take(now), Some(EVERY));
        now += EVERY;
        for _ in 0..1000 {
            now += rate.take(now).unwrap();
        }
        assert_eq!(now, Duration::from_secs(7 + 20) + EVERY, "a thousand more in twenty seconds");
        now += Duration::from_secs(1);
        assert_eq!((0..60).filter(|_| rate.take(now).is_none()).count(), 50);
        now += Duration::from_secs(3600);
        assert_eq!((0..200).filter(|_| rate.take(now).is_none()).count(), 100, "rest is not saved up");
    }
}
