//! What a host can read of controllers at work: how long their queues are, how long keys wait and runs take, and how
//! often runs are tried again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Key;
use super::queue::Queue;
use super::stats::QueueStats;

/// The queues of controllers that run, by the names of the controllers. Cheap to clone: give it to controllers with
/// [`Controller::metrics`](super::Controller::metrics), and read it while they run.
#[derive(Clone, Default)]
pub struct Metrics {
    queues: Arc<Mutex<BTreeMap<String, Weak<Queue<Key>>>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.read()).finish()
    }
}

impl Metrics {
    /// The controllers that run now. Counters begin anew when a controller is started again.
    pub fn read(&self) -> BTreeMap<String, QueueStats> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let stats =
            |(name, queue): (&String, &Weak<Queue<Key>>)| Some((name.clone(), queue.upgrade()?.stats()));
        queues.iter().filter_map(stats).collect()
    }

    pub(super) fn register(&self, name: String, queue: &Arc<Queue<Key>>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| queue.strong_count() > 0);
        queues.insert(name, Arc::downgrade(queue));
    }
}
