//! What lies between a client and the API: it takes time, fails as it is told, and remembers who did what.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::fault::FaultKind;
use super::skewed::Skewed;
use super::story::Line;
use crate::api::{
    Connect, Connection, Kind, Operation, Reason, Reply, Response, Service, Status, Target, User, Verb,
    WatchOptions, WatchStream,
};
use crate::clock::SharedClock;
use crate::signal::Signal;
use crate::watch::Cache;

/// How long a call takes at most, in microseconds. It is never nothing: what many do at a time is to be done in many
/// orders.
const LATENCY: u64 = 5_000;

/// The name of a client in plans and stories.
pub(super) fn actor_of(user: &User) -> String {
    let name = user.name.strip_prefix("system:serviceaccount:kube-system:").unwrap_or(&user.name);
    match name.strip_prefix("system:") {
        Some(name) => {
            name.strip_prefix("node:").map_or_else(|| name.to_owned(), |node| format!("node/{node}"))
        }
        None => name.to_owned(),
    }
}

/// A fault that is there now.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) kind: FaultKind,
    pub(super) who: String,
    pub(super) amount: u32,
}

impl Trouble {
    fn meets(&self, actor: &str) -> bool {
        self.who == "*" || self.who == actor
    }
}

/// What a client sees of the cluster that does not see the caches themselves.
#[async_trait]
pub(super) trait Sight: Send + Sync {
    /// The cache of a kind, filled with what the client may know.
    async fn cache(&self, target: &Target) -> Result<Cache, Status>;
}

/// What is known of the calls, and what is to become of the next.
pub(super) struct Wire {
    pub(super) clock: SharedClock,
    state: Mutex<State>,
    /// Goes up with each change of the troubles.
    changed: Signal<u64>,
    dies: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct State {
    began: Duration,
    troubles: BTreeMap<u64, Trouble>,
    next: u64,
    lines: Vec<Line>,
    writes: BTreeMap<String, Vec<Duration>>,
    replicas: BTreeMap<String, Arc<dyn Sight>>,
}

/// What becomes of a call.
enum Verdict {
    Pass,
    Refuse,
    Conflict,
    LoseAnswer,
}

impl Wire {
    /// One without troubles. `dies` is told who is to die.
    pub(super) fn new(clock: SharedClock, dies: mpsc::UnboundedSender<String>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), changed: Signal::new(0), dies })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to count time and writes from now on.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        state.began = self.clock.elapsed();
        state.writes.clear();
        state.lines.clear();
    }

    /// How long ago the script began.
    pub(super) fn time(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.lock().began)
    }

    /// Adds a line to the story.
    pub(super) fn tell(&self, who: impl Into<String>, what: impl Into<String>, why: impl Into<String>) {
        let at = self.time();
        self.lock().lines.push(Line { at, who: who.into(), what: what.into(), why: why.into() });
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    /// When each client wrote.
    pub(super) fn writes(&self) -> BTreeMap<String, Vec<Duration>> {
        self.lock().writes.clone()
    }

    /// Lets a fault begin; its number ends it.
    pub(super) fn trouble(&self, trouble: Trouble) -> u64 {
        let number = {
            let mut state = self.lock();
            state.next += 1;
            let number = state.next;
            state.troubles.insert(number, trouble);
            number
        };
        self.bump();
        number
    }

    pub(super) fn relieve(&self, number: u64) {
        self.lock().troubles.remove(&number);
        self.bump();
    }

    fn bump(&self) {
        self.changed.change(|count| {
            *count += 1;
            true
        });
    }

    /// Has a client see the cluster through a copy of its own.
    pub(super) fn give_replica(&self, actor: &str, replica: Arc<dyn Sight>) {
        self.lock().replicas.insert(actor.to_owned(), replica);
    }

    /// Lets go of everybody, so that nothing holds what holds it.
    pub(super) fn close(&self) {
        self.lock().replicas.clear();
    }

    fn replica(&self, actor: &str) -> Option<Arc<dyn Sight>> {
        self.lock().replicas.get(actor).cloned()
    }

    /// The first trouble of a client that `is` one of a sort.
    fn find<T>(&self, actor: &str, is: impl Fn(&Trouble) -> Option<T>) -> Option<T> {
        self.lock().troubles.values().filter(|trouble| trouble.meets(actor)).find_map(is)
    }

    /// What keeps a client from seeing changes now.
    pub(super) fn blinded(&self, actor: &str) -> Option<FaultKind> {
        use FaultKind::{Hang, HoldEvents, RestartInPast, SkipEvents};
        self.find(actor, |trouble| {
            matches!(trouble.kind, Hang | HoldEvents | RestartInPast | SkipEvents)
                .then(|| trouble.kind.clone())
        })
    }

    /// How late a client sees changes.
    pub(super) fn lag(&self, actor: &str) -> Duration {
        let late = |trouble: &Trouble| {
            (trouble.kind == FaultKind::DelayEvents).then(|| Duration::from_millis(trouble.amount.into()))
        };
        self.find(actor, late).unwrap_or_default()
    }

    /// How late a client sees the changes of half of the kinds, in milliseconds.
    pub(super) fn shuffled(&self, actor: &str) -> Option<u32> {
        self.find(actor, |trouble| (trouble.kind == FaultKind::ShuffleKinds).then_some(trouble.amount))
    }

    /// By how much a client's time of day is ahead.
    pub(super) fn skew(&self, actor: &str) -> Duration {
        let ahead = |trouble: &Trouble| {
            (trouble.kind == FaultKind::SkewClock).then(|| Duration::from_millis(trouble.amount.into()))
        };
        self.find(actor, ahead).unwrap_or_default()
    }

    /// Ends when the troubles are others than at the time of the call.
    pub(super) fn other_troubles(&self) -> impl Future<Output = ()> {
        let seen = self.changed.get();
        async move {
            self.changed.until(|count| *count != seen).await;
        }
    }

    fn happens(&self, trouble: &Trouble) -> bool {
        self.clock.random() % 1000 < u64::from(trouble.amount)
    }

    fn verdict(&self, actor: &str, verb: Verb) -> Verdict {
        let troubles: Vec<Trouble> = {
            let state = self.lock();
            state.troubles.values().filter(|trouble| trouble.meets(actor)).cloned().collect()
        };
        for trouble in troubles {
            let guarded = matches!(verb, Verb::Update | Verb::Patch | Verb::Delete);
            let verdict = match trouble.kind {
                FaultKind::RefuseCalls => Verdict::Refuse,
                FaultKind::Conflict if guarded => Verdict::Conflict,
                FaultKind::LoseAnswers if writes(verb) => Verdict::LoseAnswer,
                _ => continue,
            };
            if self.happens(&trouble) {
                return verdict;
            }
        }
        Verdict::Pass
    }

    /// Waits as a call does on its way, and for as long as the client hangs.
    async fn way(&self, actor: &str) {
        self.clock.sleep(Duration::from_micros(1 + self.clock.random() % LATENCY)).await;
        loop {
            let changed = self.other_troubles();
            let hangs = |trouble: &Trouble| {
                matches!(trouble.kind, FaultKind::Hang | FaultKind::HangCalls).then_some(())
            };
            if self.find(actor, hangs).is_none() {
                return;
            }
            changed.await;
        }
    }

    /// Notes a write that was made. Whether its client dies of it.
    fn wrote(&self, actor: &str) -> bool {
        let at = self.time();
        let mut state = self.lock();
        state.writes.entry(actor.to_owned()).or_default().push(at);
        let mut dies = false;
        state.troubles.retain(|_, trouble| {
            if trouble.kind != FaultKind::Crash || !trouble.meets(actor) {
                return true;
            }
            trouble.amount = trouble.amount.saturating_sub(1);
            dies |= trouble.amount == 0;
            trouble.amount > 0
        });
        dies
    }
}

/// Whether a write is more than a sign of life: stories and counts are of those.
fn matters(target: &Target) -> bool {
    !matches!(&*target.resource, "events" | "leases")
}

fn writes(verb: Verb) -> bool {
    !matches!(verb, Verb::Get | Verb::List | Verb::Watch)
}

/// The API as the parts of a simulated cluster reach it.
pub(super) struct Tapped {
    inner: Arc<dyn Service>,
    wire: Arc<Wire>,
    /// Whose way it is; of nobody yet, if there is none.
    actor: Option<String>,
    clock: SharedClock,
}

impl Tapped {
    pub(super) fn new(inner: Arc<dyn Service>, wire: Arc<Wire>) -> Self {
        let clock = Arc::clone(&wire.clock);
        Self { inner, wire, actor: None, clock }
    }
}

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated way to {:?}", self.inner)
    }
}

#[async_trait]
impl Service for Tapped {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        let (actor, verb) = (actor_of(user), operation.verb());
        self.wire.way(&actor).await;
        let about = (writes(verb) && matters(&target)).then(|| target.clone());
        let (outcome, why) = match self.wire.verdict(&actor, verb) {
            Verdict::Refuse => (Err(unavailable()), "fault: refused".to_owned()),
            Verdict::Conflict => {
                let name = target.name.as_deref().unwrap_or_default();
                (Err(Status::modified(&target.id(), name)), "fault: a conflict".to_owned())
            }
            Verdict::Pass => {
                let outcome = self.inner.call(user, target, operation).await;
                let why = outcome.as_ref().err().map(|status| status.message().to_owned());
                (outcome, why.unwrap_or_default())
            }
            Verdict::LoseAnswer => match self.inner.call(user, target, operation).await {
                Ok(_) => (Err(timed_out()), "fault: done, and its answer lost".to_owned()),
                Err(status) => (Err(status), "fault: answer lost".to_owned()),
            },
        };
        let Some(about) = about else { return outcome };
        let what = described(verb, &about, outcome.as_ref().ok());
        let done = outcome.is_ok() || why.starts_with("fault: done");
        self.wire.tell(actor.as_str(), what, why);
        if done && self.wire.wrote(&actor) {
            self.wire.tell(actor.as_str(), "dies", "fault: before it learns of what it wrote");
            let _ = self.wire.dies.send(actor);
            std::future::pending::<()>().await;
        }
        outcome
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        let actor = actor_of(user);
        self.wire.way(&actor).await;
        let stream = self.inner.watch(user, target, options).await?;
        let wire = Arc::clone(&self.wire);
        // A stream is slow or held up. What is to be missed comes late: a watch by itself has no way to leave it out.
        let slowed = stream.then(move |event| {
            let (wire, actor) = (Arc::clone(&wire), actor.clone());
            async move {
                loop {
                    let changed = wire.other_troubles();
                    if wire.blinded(&actor).is_none() {
                        break;
                    }
                    changed.await;
                }
                wire.clock.sleep(wire.lag(&actor)).await;
                event
            }
        });
        Ok(slowed.boxed())
    }

    async fn connect(&self, user: &User, target: Target, connect: Connect) -> Result<Connection, Status> {
        self.inner.connect(user, target, connect).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        match self.actor.as_ref().and_then(|actor| self.wire.replica(actor)) {
            Some(replica) => replica.cache(target).await,
            None => self.inner.cache(target).await,
        }
    }

    fn for_user(&self, user: &User) -> Option<Arc<dyn Service>> {
        let (inner, wire) = (Arc::clone(&self.inner), Arc::clone(&self.wire));
        let actor = actor_of(user);
        let (time, troubled, whose) = (Arc::clone(&wire.clock), Arc::clone(&wire), actor.clone());
        let ahead = move || troubled.skew(&whose);
        let clock = Arc::new(Skewed { clock: time, actor: actor.clone(), ahead });
        Some(Arc::new(Self { inner, wire, actor: Some(actor), clock }))
    }

    async fn group_versions(&self) -> Result<Vec<(Arc<str>, Arc<str>)>, Status> {
        self.inner.group_versions().await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        self.inner.kinds().await
    }

    fn kinds_changed(&self) -> Option<BoxFuture<'static, ()>> {
        self.inner.kinds_changed()
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

fn unavailable() -> Status {
    Status::new(Reason::ServiceUnavailable, "the API server cannot be reached: a fault was asked for")
}

fn timed_out() -> Status {
    Status::new(Reason::Timeout, "the answer did not come in time: a fault was asked for")
}

/// A write as a story shows it: `create pods default/web-1`. How one is called that was made is in the answer.
fn described(verb: Verb, target: &Target, answer: Option<&Response>) -> String {
    let place = target.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let part = target.subresource.as_deref().map(|part| format!("/{part}")).unwrap_or_default();
    let made = match answer.map(|answer| &answer.reply) {
        Some(Reply::Object(entry)) => Some(entry.name().name()),
        _ => None,
    };
    let name = target.name.as_deref().or(made).unwrap_or("?");
    format!("{} {}{part} {place}{name}", verb.as_str(), target.resource)
}
