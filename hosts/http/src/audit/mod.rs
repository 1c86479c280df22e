//! The log of who did what, as it goes out: from a request to events, and from events to where they are kept.
//!
//! What is recorded is decided by the core's [`Policy`]. An event is written to each sink once, as a line of JSON; no sink
//! makes a request wait, and none holds more than a bound: what does not fit is dropped, and counted.
//!
//! | module | what |
//! | --- | --- |
//! | `record` | one request, from its first event to its last |
//! | `queue` | what waits to be written, bounded |
//! | `file` | a file that is begun anew when it is large |
//! | `webhook` | another server, which is sent many events at once |

mod file;
mod queue;
mod record;
#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use orchestra_core::access::audit::{Event, Level, Policy};

pub use file::{FileSink, Rotation};
pub(crate) use record::{Recording, Sent};
pub use webhook::{Batches, WebhookSink};

/// Where events are kept.
pub trait AuditSink: Send + Sync + fmt::Debug + 'static {
    /// Takes an event: an object in JSON, on one line, without its end. It must return at once; an event for which there
    /// is no room is dropped.
    fn take(&self, event: &Bytes);

    /// What it is called where its failures are counted, such as `log`.
    fn name(&self) -> &'static str;

    /// How many events it could not keep.
    fn dropped(&self) -> u64;
}

/// What is recorded of the requests of a server, and where.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    policy: Policy,
    sinks: Vec<Arc<dyn AuditSink>>,
    events: AtomicU64,
    /// How many requests were recorded at each level, from `None` on.
    levels: [AtomicU64; 4],
}

impl Audit {
    /// Records as a policy says, nowhere yet.
    pub fn new(policy: Policy) -> Self {
        let (events, levels) = (AtomicU64::new(0), Default::default());
        Self(Arc::new(Shared { policy, sinks: Vec::new(), events, levels }))
    }

    /// Also there.
    #[must_use]
    pub fn to(self, sink: impl AuditSink) -> Self {
        let mut sinks = self.0.sinks.clone();
        sinks.push(Arc::new(sink));
        let (events, levels) = (AtomicU64::new(0), Default::default());
        Self(Arc::new(Shared { policy: self.0.policy.clone(), sinks, events, levels }))
    }

    fn emit(&self, event: &Event) {
        let line = match serde_json::to_vec(event) {
            Ok(line) => Bytes::from(line),
            Err(error) => {
                tracing::warn!(%error, "an audit event cannot be written");
                return;
            }
        };
        self.0.events.fetch_add(1, Ordering::Relaxed);
        for sink in &self.0.sinks {
            sink.take(&line);
        }
    }

    fn count(&self, level: Level) {
        self.0.levels[level as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many events were made.
    pub(crate) fn events(&self) -> u64 {
        self.0.events.load(Ordering::Relaxed)
    }

    /// How many requests were recorded at each level.
    pub(crate) fn levels(&self) -> [(&'static str, u64); 4] {
        let counts = self.0.levels.each_ref().map(|count| count.load(Ordering::Relaxed));
        let [none, metadata, request, response] = counts;
        [("None", none), ("Metadata", metadata), ("Request", request), ("RequestResponse", response)]
    }

    /// How many events each sink could not keep.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.sinks.iter().map(|sink| (sink.name(), sink.dropped()))
    }
}
