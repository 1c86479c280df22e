use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Reason, Resource, Status};
use crate::clock::SharedClock;
use crate::store::Txn;

/// How many sources are remembered. Those that have been quiet for longest are forgotten first, which costs nothing:
/// they may begin anew in any case.
const SOURCES: usize = 4096;

/// How many new events there may be: so many at once, and then one in so long.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: u32,
    every: Duration,
}

/// Of one source. A scheduler that places thousands of pods stays below it.
const OF_ONE: Limit = Limit { burst: 5_000, every: Duration::from_secs(1) };

/// Of all sources. With the hour for which an event is kept, that is never more than 28,000 at a time.
const OF_ALL: Limit = Limit { burst: 10_000, every: Duration::from_millis(200) };

/// Refuses new Events that are too many, of one source or in all, as the admission plug-in of that name does for
/// Kubernetes. They are kept in memory; whoever reports the same for ever must not fill it.
#[derive(Debug)]
pub struct EventRateLimit {
    clock: SharedClock,
    taken: Mutex<Taken>,
}

/// Up to when the events that were let in take up the room there is: each moves that on by the time for one.
#[derive(Debug, Default)]
struct Taken {
    by_all: Duration,
    by_source: HashMap<String, Duration>,
}

impl EventRateLimit {
    /// By this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, taken: Mutex::default() }
    }
}

impl Limit {
    /// Up to when the room is taken after one more; `None` if there is no room for it.
    fn one_more(self, taken: Duration, now: Duration) -> Option<Duration> {
        let taken = taken.max(now) + self.every;
        (taken - now <= self.every * self.burst).then_some(taken)
    }
}

impl Taken {
    /// Lets one event of a source in, or says what it is one too many for.
    fn take(&mut self, source: &str, now: Duration) -> Result<(), String> {
        let of_source = self.by_source.get(source).copied().unwrap_or_default();
        let of_source = OF_ONE.one_more(of_source, now);
        let of_source = of_source.ok_or_else(|| format!("type SourceAndObject for key {source}"))?;
        self.by_all = self.room_for_all(now)?;
        if self.by_source.len() >= SOURCES && !self.by_source.contains_key(source) {
            self.forget_quietest();
        }
        self.by_source.insert(source.to_owned(), of_source);
        Ok(())
    }

    /// Up to when the room of all is taken after one more.
    fn room_for_all(&self, now: Duration) -> Result<Duration, String> {
        OF_ALL.one_more(self.by_all, now).ok_or_else(|| "type Server for key ".to_owned())
    }

    fn forget_quietest(&mut self) {
        let quietest = self.by_source.iter().min_by_key(|(source, taken)| (**taken, *source));
        if let Some(source) = quietest.map(|(source, _)| source.clone()) {
            self.by_source.remove(&source);
        }
    }
}

/// Who reports an event: a component and, if there are several, which of them.
fn source(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let component = text("/reportingComponent").or(text("/source/component"));
    let instance = text("/reportingInstance").or(text("/source/host"));
    format!("{}/{}", component.unwrap_or_default(), instance.unwrap_or_default())
}

fn refused(what: String) -> Status {
    Status::new(Reason::TooManyRequests, format!("limit reached on {what}"))
}

#[async_trait]
impl Admission for EventRateLimit {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Event>()
    }

    fn has_room(&self, _kind: &Resource) -> Result<(), Status> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.room_for_all(self.clock.elapsed()).map(drop).map_err(refused)
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let is_new = attributes.verb == WriteVerb::Create && !attributes.dry_run;
        if let Some(object) = new.filter(|_| is_new && attributes.resource.id.is::<Event>()) {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = taken.take(&source(object), self.clock.elapsed());
            taken.map_err(refused)?;
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Body, Operation, Target, WriteOptions};
    use crate::testing::TestServer;

    #[test]
    fn events_are_bounded_of_one_source_and_in_all() {
        let hour = Duration::from_secs(3600);
        let let_in = |sources: u64| {
            let mut taken = Taken::default();
            let mut count = 0;
            // A hundred a second, for an hour.
            for number in 0..360_000u64 {
                let now = hour + Duration::from_millis(number * 10);
                count += u64::from(taken.take(&format!("kubelet/node-{}", number % sources), now).is_ok());
            }
            count
        };
        assert_eq!(let_in(1), 5_000 + 3_600 - 1);
        assert!((27_900..28_100).contains(&let_in(100)), "{}", let_in(100));
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_for_all_is_refused_before_it_is_read() {
        let server = TestServer::start().await;
        let (client, events) = (server.client(), Target::of::<Event>(Some("default")));
        let create = |body: String| Operation::Create {
            body: Body::Json(body.into()),
            options: WriteOptions::default(),
        };
        for number in 0.. {
            let event = json!({
                "metadata": {"name": format!("e{number}")}, "involvedObject": {"namespace": "default"},
                "reportingComponent": format!("c{}", number % 100),
            });
            match client.call(events.clone(), create(event.to_string())).await {
                Ok(_) => {}
                Err(status) => {
                    assert_eq!(status.message(), "limit reached on type Server for key ");
                    assert!((10_000..10_010).contains(&number), "{number}");
                    break;
                }
            }
        }
        let refused = client.call(events.clone(), create("no JSON".to_owned())).await.unwrap_err();
        assert_eq!(refused.code(), 429);
    }

    #[test]
    fn a_source_that_was_quiet_may_report_again_and_sources_are_bounded_too() {
        let mut taken = Taken::default();
        let count = |taken: &mut Taken, now| {
            (0..20_000).filter(|_| taken.take("a/", Duration::from_secs(now)).is_ok()).count()
        };
        assert_eq!(count(&mut taken, 0), 5_000);
        assert_eq!(count(&mut taken, 10), 10);
        assert_eq!(count(&mut taken, 100_000), 5_000);
        for number in 0..2 * SOURCES {
            let _ = taken.take(&number.to_string(), Duration::from_secs(200_000 + number as u64));
        }
        assert_eq!(taken.by_source.len(), SOURCES);
    }

    #[test]
    fn both_ways_of_naming_a_source_are_read() {
        let old = json!({"source": {"component": "kubelet", "host": "a"}});
        let new = json!({"reportingComponent": "kubelet", "reportingInstance": "a", "source": {}});
        assert_eq!((source(&old), source(&new)), ("kubelet/a".into(), "kubelet/a".into()));
    }
}
