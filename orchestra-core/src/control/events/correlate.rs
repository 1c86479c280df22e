//! What becomes of an occurrence: a new Event, one more of an earlier one, or nothing.
//!
//! The rules and figures are those of client-go's `EventCorrelator`: the same event again is counted; more than ten
//! events that differ only in their message within ten minutes become one, *combined from similar events*; and each
//! object may be spoken of 25 times by one source, then once in five minutes.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::recent::Recent;
use super::{EventType, Occurrence};

/// How many objects, kinds of events and events are remembered.
const REMEMBERED: usize = 4096;
/// How many messages of one kind of event are told apart.
const SIMILAR: usize = 10;
/// After so many seconds without one, similar events are told apart again.
const SIMILAR_WITHIN: i64 = 600;
/// How many events about one object are written at once, and the seconds after which one more may be.
const BURST: f64 = 25.0;
const REFILL: f64 = 300.0;
/// Names of events, as of most objects, are DNS subdomains.
const LONGEST_NAME: usize = 253;

/// Who speaks.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) component: String,
    pub(super) instance: String,
}

/// What is to be written: the event, and if it was written before, only what is new about it.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) event: Event,
    pub(super) patch: Option<Value>,
}

/// One object, told apart from another of its name.
#[derive(Clone, PartialEq, Eq)]
struct About {
    /// Of the fields, hashed once: they are looked up in several maps.
    hash: u64,
    fields: Arc<[String; 6]>,
}

impl From<&ObjectReference> for About {
    fn from(object: &ObjectReference) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let fields = [
            text(&object.kind),
            text(&object.namespace),
            text(&object.name),
            text(&object.uid),
            text(&object.api_version),
            text(&object.field_path),
        ];
        let mut hasher = DefaultHasher::new();
        fields.hash(&mut hasher);
        Self { hash: hasher.finish(), fields: Arc::new(fields) }
    }
}

impl Hash for About {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A kind of event about one object; with a message, one event.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Same {
    about: About,
    kind: EventType,
    reason: String,
    message: Option<String>,
}

struct Similar {
    last: Timestamp,
    messages: BTreeSet<String>,
}

struct Written {
    name: String,
    first: Timestamp,
    count: i32,
}

struct Bucket {
    tokens: f64,
    last: Timestamp,
}

pub(super) struct Correlator {
    source: Arc<Source>,
    similar: Recent<Same, Similar>,
    written: Recent<Same, Written>,
    buckets: Recent<About, Bucket>,
    last_stamp: u64,
}

impl Correlator {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            similar: Recent::new(REMEMBERED),
            written: Recent::new(REMEMBERED),
            buckets: Recent::new(REMEMBERED),
            last_stamp: 0,
        }
    }

    /// What is to be written for an occurrence; `None` if it is one too many. `random` names an event whose object's
    /// name is too long to be part of it.
    pub(super) fn correlate(&mut self, occurrence: Occurrence, random: u64) -> Option<Decision> {
        let about = About::from(&occurrence.about);
        let (same, message) = self.combine(&about, &occurrence);
        let name = self.name(&occurrence, random);
        let at = occurrence.at;
        let written = self.written.touch(same, || Written { name, first: at, count: 0 });
        written.count = written.count.saturating_add(1);
        let (name, first, count) = (written.name.clone(), written.first, written.count);
        if !self.spend(about, at) {
            return None;
        }
        let patch =
            (count > 1).then(|| json!({"count": count, "lastTimestamp": Time(at), "message": message}));
        Some(Decision { event: self.event(occurrence, name, message, first, count), patch })
    }

    /// Under which identity the occurrence is counted, and what its message then is.
    fn combine(&mut self, about: &About, occurrence: &Occurrence) -> (Same, String) {
        let at = occurrence.at;
        let mut same = Same {
            about: about.clone(),
            kind: occurrence.kind,
            reason: occurrence.reason.clone(),
            message: None,
        };
        let fresh = || Similar { last: at, messages: BTreeSet::new() };
        let similar = self.similar.touch(same.clone(), fresh);
        if at.duration_since(similar.last).as_secs() > SIMILAR_WITHIN {
            *similar = fresh();
        }
        similar.last = at;
        similar.messages.insert(occurrence.message.clone());
        if similar.messages.len() < SIMILAR {
            same.message = Some(occurrence.message.clone());
            return (same, occurrence.message.clone());
        }
        similar.messages.pop_first();
        (same, format!("(combined from similar events): {}", occurrence.message))
    }

    /// Takes a token of the object's bucket, if there is one.
    fn spend(&mut self, about: About, at: Timestamp) -> bool {
        let bucket = self.buckets.touch(about, || Bucket { tokens: BURST, last: at });
        let passed = at.duration_since(bucket.last).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed / REFILL).min(BURST);
        bucket.last = at;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }

    fn name(&mut self, occurrence: &Occurrence, random: u64) -> String {
        let now = u64::try_from(occurrence.at.as_nanosecond()).unwrap_or_default();
        self.last_stamp = now.max(self.last_stamp + 1);
        let name = name(&occurrence.about, self.last_stamp);
        if name.len() > LONGEST_NAME { format!("{random:016x}.{:x}", self.last_stamp) } else { name }
    }

    fn event(
        &self,
        occurrence: Occurrence,
        name: String,
        message: String,
        first: Timestamp,
        count: i32,
    ) -> Event {
        let instance = Some(self.source.instance.clone()).filter(|instance| !instance.is_empty());
        let namespace = occurrence.about.namespace.clone().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: occurrence.about,
            reason: Some(occurrence.reason),
            message: Some(message),
            source: Some(EventSource {
                component: Some(self.source.component.clone()),
                host: instance.clone(),
            }),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(occurrence.at)),
            count: Some(count),
            type_: Some(occurrence.kind.as_str().to_owned()),
            reporting_component: Some(self.source.component.clone()),
            reporting_instance: instance,
            ..Event::default()
        }
    }
}

/// The name of an event, as Kubernetes makes them: the object's name and a time in nanoseconds.
pub(super) fn name(about: &ObjectReference, stamp: u64) -> String {
    format!("{}.{stamp:x}", about.name.as_deref().unwrap_or_default())
}
