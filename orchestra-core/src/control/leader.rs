//! Which of several masters runs the controllers: the one that holds a Lease.
//!
//! Every candidate looks at one Lease object. Who holds it renews it; who does not waits until it has not *seen* a
//! renewal for a whole term, by its own steady time and from when it looked, since clocks of machines differ and are set. Both write
//! with the revision that they read, so of two that try, one is refused. A leader that cannot renew stops before its
//! term is over for anybody else.
//!
//! [`Election`] decides and is pure; [`lead`] asks it and does what it says.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio_util::sync::CancellationToken;

use crate::api::{Client, Status};
use crate::clock::SharedClock;
use crate::watch::Entry;

/// Who stands for election, for what, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name of this process, which no other has.
    pub identity: String,
    /// The namespace of the Lease: `kube-system`.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// How long a leader that says nothing stays leader. Whole seconds.
    pub term: Duration,
    /// How long a leader goes on that cannot renew. Shorter than the term.
    pub patience: Duration,
    /// How often the Lease is looked at and renewed. Shorter than the patience.
    pub period: Duration,
}

impl Candidate {
    /// A candidate for holding the Lease of that name, with the times of Kubernetes: 15, 10 and 2 seconds.
    pub fn new(identity: impl Into<String>, lease: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            namespace: "kube-system".into(),
            name: lease.into(),
            term: TERM,
            patience: TERM * 2 / 3,
            period: TERM * 2 / 15,
        }
    }

    /// Whether a Lease says that this candidate holds it.
    pub fn holds(&self, lease: &Entry) -> bool {
        let spec = lease.decode_bare::<Lease>().ok().and_then(|lease| lease.spec);
        spec.and_then(|spec| spec.holder_identity).is_some_and(|holder| holder == self.identity)
    }

    /// With another term, of whole seconds and at least one, and the other times in proportion to it.
    #[must_use]
    pub fn term(self, term: Duration) -> Self {
        let term = Duration::from_secs(term.as_secs().max(1));
        Self { term, patience: term * 2 / 3, period: term * 2 / 15, ..self }
    }
}

/// How long a leader that says nothing stays leader, unless another time is asked for.
pub const TERM: Duration = Duration::from_secs(15);

/// What a candidate is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this, guarded by the revision that was read: it makes or keeps the candidate leader.
    Write(LeaseSpec),
    /// Somebody else leads. Look again after a period.
    Wait,
}

/// One candidate's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    candidate: Candidate,
    /// The Lease as it was seen last, and when it was first seen so.
    observed: Option<(LeaseSpec, Duration)>,
    renewed: Option<Duration>,
}

impl Election {
    /// A candidate that has not looked yet.
    pub fn new(candidate: Candidate) -> Self {
        Self { candidate, observed: None, renewed: None }
    }

    /// What to do, given the Lease as it is now. The time of day is only written down, for people to read.
    pub fn decide(&mut self, lease: Option<&LeaseSpec>, now: Duration, time: Timestamp) -> Step {
        let Some(lease) = lease else {
            return Step::Write(self.spec(None, time));
        };
        if self.observed.as_ref().is_none_or(|(seen, _)| seen != lease) {
            self.observed = Some((lease.clone(), now));
        }
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        if holder == self.candidate.identity || holder.is_empty() || self.is_over(now) {
            Step::Write(self.spec(Some(lease), time))
        } else {
            Step::Wait
        }
    }

    /// Notes that what [`decide`](Self::decide) said to write at `when` was written.
    pub fn written(&mut self, spec: LeaseSpec, when: Duration) {
        self.observed = Some((spec, when));
        self.renewed = Some(when);
    }

    /// Notes that somebody else leads.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// How long this candidate may go on as leader without renewing: until its last renewal is as old as its
    /// patience. Nothing if it does not lead.
    pub fn time_left(&self, now: Duration) -> Duration {
        let left = |renewed| self.candidate.patience.saturating_sub(now.saturating_sub(renewed));
        self.renewed.map_or(Duration::ZERO, left)
    }

    /// Whether this candidate leads and may go on.
    pub fn leads(&self, now: Duration) -> bool {
        !self.time_left(now).is_zero()
    }

    /// Whether the holder has not been seen to renew for the term that it asked for.
    fn is_over(&self, now: Duration) -> bool {
        let Some((lease, since)) = &self.observed else { return false };
        let asked = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        now.saturating_sub(*since) >= asked.map_or(self.candidate.term, Duration::from_secs)
    }

    fn spec(&self, lease: Option<&LeaseSpec>, time: Timestamp) -> LeaseSpec {
        let held = lease.filter(|lease| lease.holder_identity.as_deref() == Some(&self.candidate.identity));
        let transitions = lease.and_then(|lease| lease.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.candidate.identity.clone()),
            lease_duration_seconds: i32::try_from(self.candidate.term.as_secs()).ok(),
            acquire_time: held.and_then(|held| held.acquire_time.clone()).or(Some(MicroTime(time))),
            renew_time: Some(MicroTime(time)),
            lease_transitions: Some(transitions + i32::from(lease.is_some() && held.is_none())),
            ..LeaseSpec::default()
        }
    }
}

/// Runs `work` whenever, and only while, this candidate leads, until `shutdown`; then gives the lead up, so that the
/// next need not wait for the term to end.
///
/// `work` is made anew each time the lead is won. Its token is cancelled when it is to end. At `shutdown` it may take
/// the time it needs, for as long as the lead is kept; when the lead is lost it is dropped at once, and must leave
/// nothing behind that goes on.
pub async fn lead<W: Future<Output = ()>>(
    client: &Client,
    clock: &SharedClock,
    candidate: Candidate,
    mut work: impl FnMut(CancellationToken) -> W,
    shutdown: impl Future<Output = ()>,
) {
    let shutdown = shutdown.shared();
    let mut election = Election::new(candidate.clone());
    while shutdown.peek().is_none() {
        let attempt = attempt(client, clock, &candidate, &mut election);
        select(Box::pin(attempt), shutdown.clone()).await;
        if election.leads(clock.elapsed()) {
            tracing::info!(identity = candidate.identity, lease = candidate.name, "leading");
            work_while_leading(client, clock, &candidate, &mut election, &mut work, &shutdown).await;
            tracing::info!(identity = candidate.identity, lease = candidate.name, "no longer leading");
        }
        // Also after work that ended by itself, so that what cannot be done is not tried without a pause.
        select(clock.sleep(candidate.period), shutdown.clone()).await;
    }
    // Who cannot reach the Lease cannot give it up either; it runs out.
    select(Box::pin(give_up(client, &candidate)), clock.sleep(candidate.period)).await;
}

/// Works and renews until the work ends, the lead is lost or `shutdown`.
async fn work_while_leading<W: Future<Output = ()>>(
    client: &Client,
    clock: &SharedClock,
    candidate: &Candidate,
    election: &mut Election,
    work: &mut impl FnMut(CancellationToken) -> W,
    shutdown: &(impl Future<Output = ()> + Clone),
) {
    let token = CancellationToken::new();
    let mut working = Box::pin(work(token.clone()));
    let mut renewing = Box::pin(async {
        while election.leads(clock.elapsed()) {
            clock.sleep(candidate.period.min(election.time_left(clock.elapsed()))).await;
            renew(client, clock, candidate, election).await;
        }
    });
    let ends = select(&mut renewing, Box::pin(shutdown.clone()));
    match select(&mut working, ends).await {
        Either::Left(_) => tracing::debug!("the work of the leader ended"),
        Either::Right((Either::Left(_), working)) => {
            token.cancel();
            // A moment to stop in good order, but none to act in another's term.
            let _ = working.now_or_never();
        }
        Either::Right((Either::Right(_), working)) => {
            token.cancel();
            select(working, renewing).await;
        }
    }
}

/// Tries to renew, for no longer than the leader may go on.
async fn renew(client: &Client, clock: &SharedClock, candidate: &Candidate, election: &mut Election) {
    let bound = election.time_left(clock.elapsed());
    select(Box::pin(attempt(client, clock, candidate, election)), clock.sleep(bound)).await;
}

/// Looks at the Lease once and writes it if that is what to do.
async fn attempt(client: &Client, clock: &SharedClock, candidate: &Candidate, election: &mut Election) {
    if let Err(status) = try_once(client, clock, candidate, election).await {
        tracing::debug!(error = %status, "the lease was not renewed");
    }
}

async fn try_once(
    client: &Client,
    clock: &SharedClock,
    candidate: &Candidate,
    election: &mut Election,
) -> Result<(), Status> {
    let leases = client.api::<Lease>(&candidate.namespace);
    let found = leases.find(&candidate.name).await?;
    let now = clock.elapsed();
    let spec = found.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
    let Step::Write(spec) = election.decide(spec.as_ref(), now, clock.now()) else {
        election.lost();
        return Ok(());
    };
    let stored = match found {
        Some(lease) => leases.update(&Lease { spec: Some(spec), ..lease }).await?,
        None => {
            let metadata = ObjectMeta {
                name: Some(candidate.name.clone()),
                namespace: Some(candidate.namespace.clone()),
                ..ObjectMeta::default()
            };
            leases.create(&Lease { metadata, spec: Some(spec) }).await?
        }
    };
    election.written(stored.spec.unwrap_or_default(), now);
    Ok(())
}

/// Leaves the Lease without a holder, if this candidate holds it.
async fn give_up(client: &Client, candidate: &Candidate) {
    let leases = client.api::<Lease>(&candidate.namespace);
    if let Ok(Some(mut lease)) = leases.find(&candidate.name).await
        && let Some(spec) = &mut lease.spec
        && spec.holder_identity.as_deref() == Some(&candidate.identity)
    {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        if let Err(status) = leases.update(&lease).await {
            tracing::debug!(error = %status, "the lease was not given up; it will run out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn time(second: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
    }

    fn write(election: &mut Election, lease: Option<&LeaseSpec>, now: u64) -> Option<LeaseSpec> {
        match election.decide(lease, at(now), time(now)) {
            Step::Write(spec) => Some(spec),
            Step::Wait => None,
        }
    }

    #[test]
    fn a_lease_passes_on_when_its_term_has_been_seen_to_end() {
        let mut a = Election::new(Candidate::new("a", "lease"));
        let mut b = Election::new(Candidate::new("b", "lease"));
        let held = write(&mut a, None, 0).expect("nobody leads");
        a.written(held.clone(), at(0));
        assert!(a.leads(at(9)) && !a.leads(at(10)), "it stops before its term is over");
        // However old the lease says it is: a term is counted from when it was first seen.
        assert_eq!(write(&mut b, Some(&held), 100), None);
        assert_eq!(write(&mut b, Some(&held), 114), None);
        let renewed = write(&mut a, Some(&held), 114).expect("a leader renews");
        assert_eq!((renewed.acquire_time.clone(), renewed.lease_transitions), (held.acquire_time, Some(0)));
        assert_eq!(write(&mut b, Some(&renewed), 115), None, "it was renewed");
        let taken = write(&mut b, Some(&renewed), 130).expect("its term has ended");
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
        assert_eq!(write(&mut a, Some(&taken), 131), None, "the old leader waits like any other");
    }

    #[test]
    fn a_lease_that_was_given_up_is_free_at_once() {
        let given_up = LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() };
        assert!(write(&mut Election::new(Candidate::new("b", "lease")), Some(&given_up), 0).is_some());
    }

    /// A lead is kept while the machine's clock is set forth and back, and nobody takes it over.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_ends_no_lead() {
        let cluster = crate::cluster::Cluster::builder().start().await.unwrap();
        let client = &cluster.client();
        let won = std::sync::Mutex::new(Vec::new());
        let clocks = ["a", "b"].map(|name| (name, crate::testing::SetClock::new(client.clock())));
        let leads = clocks.iter().map(|(name, clock)| {
            let clock: SharedClock = clock.clone();
            let won = &won;
            async move {
                let work = |_| {
                    won.lock().unwrap().push(*name);
                    std::future::pending()
                };
                lead(client, &clock, Candidate::new(*name, "lease"), work, std::future::pending()).await;
            }
        });
        let leads = futures::future::join_all(leads);
        let set = async {
            for days in [10, -3650, 0] {
                clocks.iter().for_each(|(_, clock)| clock.set(jiff::SignedDuration::from_hours(24 * days)));
                client.clock().sleep(Duration::from_secs(60)).await;
            }
        };
        select(leads, Box::pin(set)).await;
        assert_eq!(won.lock().unwrap().len(), 1);
    }

    proptest::proptest! {
        /// Whatever the order in which two candidates look, and whatever their clocks: never two lead.
        #[test]
        fn never_two_lead(turns in proptest::collection::vec((0..2usize, 0..12u64), 1..80), skew in 0..2000u64) {
            let mut both = [Election::new(Candidate::new("a", "lease")), Election::new(Candidate::new("b", "lease"))];
            let clock = |who: usize, now: u64| at(now + if who == 1 { skew } else { 1000 });
            let (mut lease, mut now): (Option<LeaseSpec>, u64) = (None, 0);
            for (who, pause) in turns {
                now += pause;
                match both[who].decide(lease.as_ref(), clock(who, now), time(now)) {
                    Step::Write(spec) => {
                        both[who].written(spec.clone(), clock(who, now));
                        lease = Some(spec);
                    }
                    Step::Wait => both[who].lost(),
                }
                let leading = (0..2).filter(|who| both[*who].leads(clock(*who, now))).count();
                proptest::prop_assert!(leading <= 1, "two lead at {now}");
            }
        }
    }
}
