use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, SharedClock};

/// A clock whose time of day is set while it runs, as that of a machine is by its user, by NTP and by waking up.
#[derive(Debug)]
pub struct SetClock {
    inner: SharedClock,
    ahead: Mutex<SignedDuration>,
}

impl SetClock {
    /// A clock that begins as another is.
    pub fn new(clock: &SharedClock) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(clock), ahead: Mutex::default() })
    }

    /// Sets the time of day to that much after, or before, the other clock's.
    pub fn set(&self, ahead: SignedDuration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
    }
}

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.now().saturating_add(ahead).unwrap_or(Timestamp::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.inner.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}
