//! Events: what a component tells people about an object, as `kubectl describe` shows it.
//!
//! A [`Recorder`] never waits and never fails: it hands what happened to a task of its own, which drops what the
//! cluster does not want. Repetition is folded into one Event with a count, floods are combined and then cut off, by
//! the rules of client-go's correlator; those are pure and stand in `correlate.rs`. What is left is written at no more
//! than a rate, see `rate.rs`: when ten thousand pods start at once, it is they who have the API, and not the talk of them.

mod correlate;
mod rate;
mod recent;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use tokio::sync::{Mutex, mpsc, oneshot};

use self::correlate::{Correlator, Decision, Source};
use self::rate::Rate;
use crate::api::{Client, Patch, Reason, Status};
use crate::clock::timeout;
use crate::control::write;
use crate::meta::Object;
use crate::supervise::Task;
use crate::watch::Entry;

/// How many events may wait to be written. More are dropped: a component never waits for its events.
const WAITING: usize = 1000;
/// How often the write of an event is tried when the API cannot be reached, and how long after each failure.
const TRIES: u32 = 12;
const RETRY: Duration = Duration::from_secs(10);
/// How long a component that stops waits for its last events.
const FINISH: Duration = Duration::from_secs(1);

/// Whether what happened is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something a person may want to know.
    Normal,
    /// Something a person may have to do something about.
    Warning,
}

impl EventType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing that happened to one object.
#[derive(Clone, Debug)]
struct Occurrence {
    about: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

enum Message {
    Record(Box<Occurrence>),
    Flush(oneshot::Sender<()>),
}

/// Records what one component does, as Events. Cheap to clone. The task that writes them ends with the last clone:
/// a component that stops in good order [finishes](Recorder::finish) first.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Message>,
    _writer: Arc<Task>,
    client: Client,
    source: Arc<Source>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder for a component, such as `kubelet`, and the instance of it that speaks, such as the node's name;
    /// empty for one of which the cluster has only one.
    ///
    /// Must be called within a tokio runtime.
    pub fn new(client: Client, component: impl Into<String>, instance: impl Into<String>) -> Self {
        let source = Arc::new(Source { component: component.into(), instance: instance.into() });
        let (sender, receiver) = mpsc::channel(WAITING);
        let rate = Rate::new(client.clock().elapsed());
        let correlator = Correlator::new(Arc::clone(&source));
        let writer = Writer { client: client.clone(), correlator, rate, receiver };
        let writer = Arc::new(Mutex::new(writer));
        let task = Task::start("events", Arc::clone(client.clock()), move || {
            let writer = Arc::clone(&writer);
            async move { writer.lock().await.run().await }
        });
        Self { sender, _writer: Arc::new(task), client, source }
    }

    /// Records that something happened. `reason` is one word in CamelCase for programs, `message` a sentence for
    /// people.
    pub fn record(
        &self,
        about: &ObjectReference,
        kind: EventType,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let occurrence = Occurrence {
            about: about.clone(),
            kind,
            reason: reason.into(),
            message: message.into(),
            at: self.client.clock().now(),
        };
        if self.sender.try_send(Message::Record(Box::new(occurrence))).is_err() {
            tracing::debug!(component = self.source.component, "event dropped: too many wait to be written");
        }
    }

    /// Records something that is as it should be.
    pub fn normal(&self, about: &ObjectReference, reason: impl Into<String>, message: impl Into<String>) {
        self.record(about, EventType::Normal, reason, message);
    }

    /// Records something that is not as it should be.
    pub fn warning(&self, about: &ObjectReference, reason: impl Into<String>, message: impl Into<String>) {
        self.record(about, EventType::Warning, reason, message);
    }

    /// Waits until what was recorded before has been written or dropped.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }

    /// Writes what was recorded, as far as that can be done in a short time. For a component that stops.
    pub async fn finish(self) {
        if timeout(&**self.client.clock(), FINISH, self.flush()).await.is_none() {
            tracing::debug!(component = self.source.component, "the last events were not written");
        }
    }
}

/// What an event is about: an object held as its Rust type.
pub fn reference<K: Object>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version()),
        kind: Some(K::KIND.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// What an event is about: an object out of the cache of a kind.
pub fn reference_to<K: Object>(object: &Entry) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version()),
        kind: Some(K::KIND.to_owned()),
        namespace: object.name().namespace().map(str::to_owned),
        name: Some(object.name().name().to_owned()),
        uid: Some(object.uid().to_string()),
        resource_version: Some(object.revision().to_string()),
        field_path: None,
    }
}

struct Writer {
    client: Client,
    correlator: Correlator,
    rate: Rate,
    receiver: mpsc::Receiver<Message>,
}

impl Writer {
    async fn run(&mut self) {
        while let Some(message) = self.receiver.recv().await {
            match message {
                Message::Record(occurrence) => self.record(*occurrence).await,
                Message::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    async fn record(&mut self, occurrence: Occurrence) {
        let random = self.client.clock().random();
        let Some(decision) = self.correlator.correlate(occurrence, random) else { return };
        let clock = self.client.clock();
        if let Some(pause) = self.rate.take(clock.elapsed()) {
            clock.sleep(pause).await;
        }
        for _ in 0..TRIES {
            match self.write(&decision).await {
                Ok(()) => return,
                Err(status) if is_lost(&status) => self.client.clock().sleep(RETRY).await,
                Err(status) => {
                    // A namespace that is going away takes no more events; nobody would read them either. And an API that has
                    // too many would only have more to refuse.
                    tracing::debug!(error = %status, "event refused");
                    return;
                }
            }
        }
        tracing::debug!("event dropped: the API could not be reached");
    }

    async fn write(&self, decision: &Decision) -> Result<(), Status> {
        if let Some(patch) = &decision.patch {
            let api = self.api(&decision.event);
            let name = decision.event.metadata.name.as_deref().unwrap_or_default();
            match api.patch(name, Patch::Merge(patch.clone())).await {
                // It has expired: begin anew.
                Err(status) if status.is_not_found() => {}
                other => return other.map(drop),
            }
        }
        self.create(&decision.event).await
    }

    async fn create(&self, event: &Event) -> Result<(), Status> {
        match self.put(event).await {
            // Two components spoke of one object in the same nanosecond, as they may in simulated time.
            Err(status) if status.is_already_exists() => {
                let mut event = event.clone();
                event.metadata.name =
                    Some(correlate::name(&event.involved_object, self.client.clock().random()));
                self.put(&event).await
            }
            other => other,
        }
    }

    async fn put(&self, event: &Event) -> Result<(), Status> {
        let value = serde_json::to_value(event).map_err(Status::internal)?;
        write::create::<Event>(&self.client, namespace(event), value).await.map(drop)
    }

    fn api(&self, event: &Event) -> crate::api::Api<Event> {
        self.client.api(namespace(event))
    }
}

/// Whether the API may not have looked at the event at all. What it refused is not sent again; Kubernetes does not either.
fn is_lost(status: &Status) -> bool {
    status.is_transient() && status.reason() != Reason::TooManyRequests
}

fn namespace(event: &Event) -> &str {
    event.metadata.namespace.as_deref().unwrap_or("default")
}

#[cfg(test)]
mod tests;
