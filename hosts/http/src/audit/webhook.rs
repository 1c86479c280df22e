//! Events sent to another server, many at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::AuditSink;
use super::queue::Queue;
use crate::endpoint::Endpoint;

/// How often a batch is sent before it is given up, and by how much longer each pause is than the one before.
const ATTEMPTS: u32 = 5;
const LONGER: f64 = 1.5;
/// How long the last events may take once the server ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How events are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// How many events wait at most.
    pub buffer: usize,
    /// How many are sent at once.
    pub size: usize,
    /// How long the first of them waits for others.
    pub wait: Duration,
    /// How long after a failure they are sent again.
    pub backoff: Duration,
}

impl Default for Batches {
    fn default() -> Self {
        Self { buffer: 10_000, size: 400, wait: Duration::from_secs(30), backoff: Duration::from_secs(10) }
    }
}

/// Sends events to a server, as an `EventList` of `audit.k8s.io/v1`.
#[derive(Debug)]
pub struct WebhookSink {
    queue: Arc<Queue>,
    task: Option<JoinHandle<()>>,
}

impl WebhookSink {
    /// To this server. Must be called within a tokio runtime.
    pub fn new(endpoint: Endpoint, batches: Batches) -> Self {
        let queue = Arc::new(Queue::bounded(batches.buffer, 64 * 1024 * 1024));
        let task = tokio::spawn(send(endpoint, batches, Arc::clone(&queue)));
        Self { queue, task: Some(task) }
    }
}

async fn send(endpoint: Endpoint, batches: Batches, queue: Arc<Queue>) {
    loop {
        queue.gathered(batches.size, batches.wait).await;
        let events = queue.take(batches.size);
        if events.is_empty() {
            if queue.is_closed() {
                return;
            }
            continue;
        }
        let body = list(&events);
        let mut pause = batches.backoff;
        for attempt in 1..=ATTEMPTS {
            let Err(error) = endpoint.post(body.clone()).await else { break };
            if attempt == ATTEMPTS || queue.is_closed() {
                tracing::debug!(%error, "audit events were not taken");
                queue.lost(events.len());
                break;
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(LONGER);
        }
    }
}

/// Events as one object.
fn list(events: &[Bytes]) -> Bytes {
    let begin = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let mut body =
        Vec::with_capacity(begin.len() + events.iter().map(|event| event.len() + 1).sum::<usize>() + 2);
    body.extend_from_slice(begin);
    for (number, event) in events.iter().enumerate() {
        if number > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

impl AuditSink for WebhookSink {
    fn take(&self, event: &Bytes) {
        self.queue.offer(event);
    }

    fn name(&self) -> &'static str {
        "webhook"
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

impl Drop for WebhookSink {
    fn drop(&mut self) {
        self.queue.close();
        let (Some(task), Ok(runtime)) = (self.task.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let abort = task.abort_handle();
        runtime.spawn(async move {
            if tokio::time::timeout(LAST_WORDS, task).await.is_err() {
                abort.abort();
            }
        });
    }
}
