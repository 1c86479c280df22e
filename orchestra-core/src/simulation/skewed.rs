//! The clock of one client, which may be wrong about the time of day.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::clock::{Clock, SharedClock};

/// The clock of the simulation, as a client's machine shows it: how time passes is the same for all.
pub(super) struct Skewed<F> {
    pub(super) clock: SharedClock,
    pub(super) actor: String,
    /// By how much it goes ahead at present.
    pub(super) ahead: F,
}

impl<F> fmt::Debug for Skewed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the clock of {}", self.actor)
    }
}

#[async_trait]
impl<F: Fn() -> Duration + Send + Sync + 'static> Clock for Skewed<F> {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        now.checked_add((self.ahead)()).unwrap_or(now)
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    fn random(&self) -> u64 {
        self.clock.random()
    }
}
