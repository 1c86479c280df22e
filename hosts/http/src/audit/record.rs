//! One request, from its first event to its last.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use orchestra_core::access::audit::{
    Event, Level, Outcome, Recorded, Stage, is_secret, without_managed_fields,
};
use orchestra_core::api::access::AccessRequest;
use orchestra_core::api::notes::Notes;
use orchestra_core::api::{Body as Given, Status, User};
use orchestra_core::clock::SharedClock;
use serde_json::Value;

use super::Audit;
use crate::reply::Body;

/// A request that takes longer says in which part of the server.
const SLOW: Duration = Duration::from_millis(500);
/// The largest object that is recorded.
const LARGEST: usize = 4 * 1024 * 1024;
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// What is recorded of one request, which may be nothing. When it is dropped before the request was answered, that is
/// recorded too.
#[derive(Debug, Default)]
pub(crate) struct Recording(Option<Box<Inner>>);

#[derive(Debug)]
struct Inner {
    audit: Audit,
    recorded: Recorded,
    is_secret: bool,
    clock: SharedClock,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    event: Event,
    latencies: Vec<(&'static str, Duration)>,
    done: bool,
}

/// By what a request was sent.
pub(crate) struct Sent<'r> {
    pub(crate) id: Option<&'r HeaderValue>,
    pub(crate) uri: &'r http::Uri,
    pub(crate) user_agent: &'r str,
    pub(crate) source_ips: Vec<String>,
}

impl Recording {
    /// Begins to record a request, if the policy says so.
    pub(crate) fn begin(
        audit: Option<&Audit>,
        clock: &SharedClock,
        user: &User,
        request: &AccessRequest<'_>,
        sent: Sent<'_>,
    ) -> Self {
        let Some(audit) = audit else { return Self(None) };
        let recorded = audit.0.policy.decide(user, request);
        audit.count(recorded.level);
        if recorded.level == Level::None {
            return Self(None);
        }
        let id = sent.id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let uri = sent.uri.path_and_query().map_or("/", |path| path.as_str());
        let event = Event::received(recorded.level, id, user, request, clock.now());
        let event = event.sent(uri, sent.user_agent, sent.source_ips);
        let is_secret = match request {
            AccessRequest::Resource { target, .. } => is_secret(target),
            _ => false,
        };
        let state = State { event, latencies: Vec::new(), done: false };
        let recording = Inner {
            audit: audit.clone(),
            recorded,
            is_secret,
            clock: Arc::clone(clock),
            began: Instant::now(),
            state: Mutex::new(state),
        };
        Self(Some(Box::new(recording)))
    }

    fn with(&self, what: impl FnOnce(&Inner, &mut State)) {
        if let Some(inner) = &self.0 {
            what(inner, &mut inner.lock());
        }
    }

    fn level(&self) -> Level {
        self.0.as_ref().map_or(Level::None, |inner| inner.recorded.level)
    }

    /// It is known who sends it.
    pub(crate) fn received(&self) {
        self.with(|inner, state| inner.emit(state, Stage::RequestReceived));
    }

    /// It is done as another.
    pub(crate) fn impersonates(&self, user: &User) {
        self.with(|_, state| state.event.impersonated_user = Some(user.clone()));
    }

    /// An authorizer allowed it, or did not.
    pub(crate) fn decided(&self, allowed: bool, reason: &str) {
        self.with(|_, state| state.event.decided(allowed, reason));
    }

    /// Says something more.
    pub(crate) fn annotate(&self, name: &str, value: &str) {
        self.with(|_, state| drop(state.event.annotations.insert(name.to_owned(), value.to_owned())));
    }

    /// Says also what admissions note while work is done.
    pub(crate) async fn noting<T>(&self, work: impl Future<Output = T>) -> T {
        let level = self.level();
        if level == Level::None {
            return work.await;
        }
        let notes = Notes::default();
        let done = notes.during(work).await;
        for (name, note) in notes.all() {
            if !note.quotes || level >= Level::Request {
                self.annotate(&name, &note.text);
            }
        }
        done
    }

    /// A part of the server took so long.
    pub(crate) fn took(&self, part: &'static str, time: Duration) {
        self.with(|_, state| state.latencies.push((part, time)));
    }

    /// What was sent: of which object, and if the policy says so, the object itself.
    pub(crate) fn sent(&self, kind: &str, body: impl FnOnce() -> Option<Given>) {
        if self.level() == Level::None {
            return;
        }
        // What cannot be read is refused by whoever reads it.
        let Some(object) = body().and_then(|body| body.read(kind).ok()) else { return };
        self.sent_value(object);
    }

    /// A change that was sent.
    pub(crate) fn sent_patch(&self, patch: &[u8]) {
        if self.level() < Level::Request {
            return;
        }
        let value = serde_json::from_slice(patch).ok();
        let yaml = || orchestra_core::api::yaml::read(patch).ok()?.into_iter().next();
        if let Some(value) = value.or_else(yaml) {
            self.with(|_, state| state.event.request_object = Some(value));
        }
    }

    fn sent_value(&self, object: Value) {
        self.with(|inner, state| {
            state.event.sent_object(&object);
            if inner.recorded.level >= Level::Request {
                state.event.request_object = Some(inner.trimmed(object));
            }
        });
    }

    /// Whether the policy says that what is answered is recorded.
    pub(crate) fn takes_answer(&self) -> bool {
        self.level() >= Level::RequestResponse
    }

    /// What is answered, as JSON, if the policy says so.
    pub(crate) fn answers(&self, json: &[u8]) {
        if !self.takes_answer() {
            return;
        }
        if json.len() > LARGEST {
            self.annotate(TRUNCATED, "true");
            return;
        }
        let Ok(object) = serde_json::from_slice(json) else { return };
        self.with(|inner, state| state.event.response_object = Some(inner.trimmed(object)));
    }

    /// It is refused, or fails.
    pub(crate) fn failed(&self, status: &Status) {
        self.answers(&status.to_json());
        self.with(|inner, state| state.event.answered(Outcome::Failure(status), inner.is_secret));
    }

    /// Its sender is not known: that is all there is to say of it.
    pub(crate) fn unknown(self, status: &Status) {
        self.failed(status);
        self.with(|inner, state| {
            inner.emit(state, Stage::ResponseStarted);
            state.done = true;
        });
    }

    /// The head of its answer is there. One that goes on is recorded again at its end.
    pub(crate) fn answered(self, response: Response<Body>, goes_on: bool) -> Response<Body> {
        if self.0.is_none() {
            return response;
        }
        let code = response.status().as_u16();
        self.with(|inner, state| {
            if state.event.response_status.is_none() {
                state.event.answered(Outcome::Code(code), inner.is_secret);
            }
        });
        if !goes_on {
            self.complete();
            return response;
        }
        self.with(|inner, state| inner.emit(state, Stage::ResponseStarted));
        response.map(|body| Audited { body, record: Some(self) }.boxed_unsync())
    }

    fn complete(&self) {
        self.with(|inner, state| inner.complete(state));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.with(|inner, state| {
            if state.done {
                return;
            }
            match (std::thread::panicking(), &state.event.response_status) {
                (true, _) => {
                    state.event.answered(Outcome::Panic, inner.is_secret);
                    inner.emit(state, Stage::Panic);
                }
                (false, None) => {
                    state.event.answered(Outcome::GivenUp, inner.is_secret);
                    inner.complete(state);
                }
                (false, Some(_)) => inner.complete(state),
            }
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trimmed(&self, object: Value) -> Value {
        if self.recorded.omits_managed_fields { without_managed_fields(object) } else { object }
    }

    fn emit(&self, state: &mut State, stage: Stage) {
        if self.recorded.omitted.contains(&stage) {
            return;
        }
        state.event.stage = stage;
        if stage != Stage::RequestReceived {
            state.event.stage_timestamp.0 = self.clock.now();
        }
        self.audit.emit(&state.event);
    }

    fn complete(&self, state: &mut State) {
        if std::mem::replace(&mut state.done, true) {
            return;
        }
        let total = self.began.elapsed();
        if total > SLOW {
            let latencies = std::mem::take(&mut state.latencies);
            for (part, time) in latencies.into_iter().chain([("total", total)]) {
                let name = format!("apiserver.latency.k8s.io/{part}");
                state.event.annotations.insert(name, shown(time));
            }
        }
        self.emit(state, Stage::ResponseComplete);
    }
}

/// A time as Go prints it.
pub(super) fn shown(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match time {
        Duration::ZERO => "0s".to_owned(),
        time if time < Duration::from_micros(1) => format!("{nanos}ns"),
        time if time < Duration::from_millis(1) => format!("{}µs", nanos / 1e3),
        time if time < Duration::from_secs(1) => format!("{}ms", nanos / 1e6),
        time if time < Duration::from_secs(60) => format!("{}s", nanos / 1e9),
        time => {
            let (minutes, rest) = (time.as_secs() / 60, (nanos % 60e9) / 1e9);
            match minutes / 60 {
                0 => format!("{minutes}m{rest}s"),
                hours => format!("{hours}h{}m{rest}s", minutes % 60),
            }
        }
    }
}

/// The body of an answer that goes on; at its end, its request is recorded as answered.
struct Audited {
    body: Body,
    record: Option<Recording>,
}

impl hyper::body::Body for Audited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None) = polled {
            // Recorded when it is dropped, which is now.
            self.record = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
