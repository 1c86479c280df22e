//! The clock of one client, which may be wrong about the time of day.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::wire::Wire;
use crate::clock::Clock;

/// The clock of the simulation, as a client's machine shows it: how time passes is the same for all.
pub(super) struct Skewed {
    pub(super) wire: Arc<Wire>,
    pub(super) actor: String,
}

impl fmt::Debug for Skewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the clock of {}", self.actor)
    }
}

#[async_trait]
impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let now = self.wire.clock.now();
        now.checked_add(self.wire.skew(&self.actor)).unwrap_or(now)
    }

    fn elapsed(&self) -> Duration {
        self.wire.clock.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.wire.clock.sleep(duration).await;
    }

    fn random(&self) -> u64 {
        self.wire.clock.random()
    }
}
