use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;

use super::correlate::{Correlator, Decision, Source};
use super::{EventType, Occurrence, Recorder, TRIES};
use crate::api::{Client, Kind, Operation, Reason, Response, Service, Status, Target, User};
use crate::api::{WatchOptions, WatchStream};
use crate::clock::{SharedClock, TokioClock};
use crate::watch::Cache;

fn correlator() -> Correlator {
    Correlator::new(Arc::new(Source { component: "kubelet".to_owned(), instance: "n1".to_owned() }))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap() + SignedDuration::from_secs(seconds)
}

fn occurrence(name: &str, message: &str, at: Timestamp) -> Occurrence {
    Occurrence {
        about: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some("default".to_owned()),
            name: Some(name.to_owned()),
            uid: Some("u".to_owned()),
            ..ObjectReference::default()
        },
        kind: EventType::Warning,
        reason: "BackOff".to_owned(),
        message: message.to_owned(),
        at,
    }
}

fn name(decision: &Decision) -> &str {
    decision.event.metadata.name.as_deref().unwrap()
}

#[test]
fn the_same_event_again_is_counted() {
    let mut correlator = correlator();
    let first = correlator.correlate(occurrence("web", "Back-off", at(0)), 0).unwrap();
    assert_eq!(name(&first), "web.18867251edfa0000");
    assert!(first.patch.is_none());
    assert_eq!(first.event.count, Some(1));
    let again = correlator.correlate(occurrence("web", "Back-off", at(7)), 0).unwrap();
    assert_eq!(name(&again), name(&first));
    let patch = again.patch.unwrap();
    assert_eq!(patch["count"], 2);
    assert_eq!(patch["lastTimestamp"], "2026-01-01T00:00:07Z");
    assert_eq!(again.event.first_timestamp, first.event.first_timestamp);
}

#[test]
fn events_at_one_instant_have_names_of_their_own() {
    let mut correlator = correlator();
    let first = correlator.correlate(occurrence("web", "one", at(0)), 0).unwrap();
    let second = correlator.correlate(occurrence("web", "two", at(0)), 0).unwrap();
    assert_ne!(name(&first), name(&second));
}

#[test]
fn an_object_with_a_long_name_has_events_too() {
    let decision = correlator().correlate(occurrence(&"x".repeat(250), "one", at(0)), 7).unwrap();
    assert_eq!(name(&decision), "0000000000000007.18867251edfa0000");
}

#[test]
fn ten_messages_of_one_kind_are_combined() {
    let mut correlator = correlator();
    for index in 0..9 {
        let decision = correlator.correlate(occurrence("web", &index.to_string(), at(index)), 0).unwrap();
        assert_eq!(decision.event.message.as_deref(), Some(&*index.to_string()));
    }
    let combined = correlator.correlate(occurrence("web", "9", at(9)), 0).unwrap();
    assert_eq!(combined.event.message.as_deref(), Some("(combined from similar events): 9"));
    let more = correlator.correlate(occurrence("web", "10", at(10)), 0).unwrap();
    assert_eq!(name(&more), name(&combined));
    assert_eq!(more.patch.unwrap()["message"], "(combined from similar events): 10");
    let later = correlator.correlate(occurrence("web", "11", at(700)), 0).unwrap();
    assert_eq!(later.event.message.as_deref(), Some("11"));
}

#[test]
fn a_flood_about_one_object_is_cut_off_and_others_are_not() {
    let mut correlator = correlator();
    let mut written = |name: &str, seconds| correlator.correlate(occurrence(name, "m", at(seconds)), 0);
    assert_eq!((0..100).filter(|_| written("web", 0).is_some()).count(), 25);
    assert!(written("other", 0).is_some());
    assert!(written("web", 299).is_none());
    let decision = written("web", 300).unwrap();
    // What was not written was counted all the same.
    assert_eq!(decision.event.count, Some(102));
}

/// An API that refuses every call in the same way.
#[derive(Debug)]
struct Refusing {
    reason: Reason,
    clock: SharedClock,
    calls: AtomicU32,
}

impl Refusing {
    fn refusal(&self) -> Status {
        Status::new(self.reason, "not now")
    }
}

#[async_trait]
impl Service for Refusing {
    async fn call(&self, _: &User, _: Target, _: Operation) -> Result<Response, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Err(self.refusal())
    }

    async fn watch(&self, _: &User, _: Target, _: WatchOptions) -> Result<WatchStream, Status> {
        Err(self.refusal())
    }

    async fn cache(&self, _: &Target) -> Result<Cache, Status> {
        Err(self.refusal())
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        Err(self.refusal())
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_refused_is_not_tried_again_and_one_that_was_not_heard_is() {
    for (reason, tries) in [
        (Reason::Forbidden, 1),
        (Reason::TooManyRequests, 1),
        (Reason::ServiceUnavailable, TRIES),
        (Reason::Timeout, TRIES),
    ] {
        let calls = AtomicU32::new(0);
        let api = Arc::new(Refusing { reason, clock: TokioClock::simulated(1), calls });
        let client = Client::new(Arc::clone(&api) as Arc<dyn Service>, User::admin());
        let recorder = Recorder::new(client, "kubelet", "n1");
        recorder.normal(&occurrence("web", "", at(0)).about, "Started", "Started container web");
        recorder.flush().await;
        assert_eq!(api.calls.load(Ordering::SeqCst), tries, "{reason:?}");
    }
}
