//! How far a pull has come.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a pull has come, in bytes: told by who pulls, and read by who waits for it.
#[derive(Debug, Default)]
pub struct PullProgress {
    done: AtomicU64,
    total: AtomicU64,
}

impl PullProgress {
    /// So many bytes have come, of so many that are known of.
    pub fn set(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// So many more bytes have come.
    pub fn came(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes have come, and of how many; `None` while nothing is known.
    pub fn read(&self) -> Option<(u64, u64)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed).min(total), total))
    }
}
