//! The pods that wait for a node, and when each is tried next.
//!
//! - A pod that was not tried yet, or for which something has changed, is *active*. Active pods are tried in the
//!   order of priority, then of age.
//! - A pod that fits nowhere is *parked*. It is tried again when something happens that may help it, which
//!   [`Queue::wake`] is told; and every five minutes, in case something was overlooked.
//! - A pod whose placing failed for another reason *backs off*: by default 1 s, doubling to 10 s. So does one that is woken
//!   sooner than that after its last try, unless nobody else is waiting.
//! - A pod with scheduling gates is *gated*: it is not tried at all until they are lifted.
//!
//! No method looks at a clock; nothing here is done in the background. [`Queue::deadline`] says when something is
//! due by itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;
use rustc_hash::FxBuildHasher;

use super::plugin::Filter;
use super::pod::PodInfo;
use crate::meta::Uid;
use crate::supervise::Backoff;

/// How long a pod is parked at most.
const LONGEST_PARKED: Duration = Duration::from_secs(5 * 60);

/// Active pods are in the order of this: high priority first, then old ones, then by arrival.
type Rank = (Reverse<i32>, Option<Timestamp>, u64);

/// How long a pod backs off after each try in vain, where nothing else is configured.
pub(crate) const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));

/// Pods waiting to be placed.
#[derive(Debug)]
pub(crate) struct Queue {
    backoff: Backoff,
    waiting: HashMap<Uid, Waiting, FxBuildHasher>,
    active: BTreeSet<(Rank, Uid)>,
    backing_off: BTreeSet<(Timestamp, Uid)>,
    parked: BTreeSet<(Timestamp, Uid)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<PodInfo>,
    arrival: u64,
    /// How often it was tried in vain.
    attempts: u32,
    last_try: Option<Timestamp>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Active,
    /// Until then; `woken` when something has changed for it, so that only its haste keeps it waiting.
    BackingOff {
        until: Timestamp,
        woken: bool,
    },
    /// Since it was last tried, because of these rules.
    Parked {
        until: Timestamp,
        filters: BTreeSet<Filter>,
    },
    Gated,
    /// Handed out by [`Queue::pop`].
    Out,
}

impl Queue {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            waiting: HashMap::default(),
            active: BTreeSet::new(),
            backing_off: BTreeSet::new(),
            parked: BTreeSet::new(),
            arrivals: 0,
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// Takes in a pod, or what has become of it.
    pub(crate) fn set(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        let Some(known) = self.waiting.get_mut(&uid) else {
            self.arrivals += 1;
            let place = if pod.gates.is_empty() { Place::Active } else { Place::Gated };
            let waiting =
                Waiting { pod, arrival: self.arrivals, attempts: 0, last_try: None, place: Place::Out };
            self.waiting.insert(uid.clone(), waiting);
            return self.put(&uid, place);
        };
        let before = std::mem::replace(&mut known.pod, pod.clone());
        let place = known.place.clone();
        let next = match place {
            Place::Out => return,
            _ if !pod.gates.is_empty() => Place::Gated,
            Place::Gated => Place::Active,
            Place::Parked { .. } if before.asks_differently(&pod) => Place::Active,
            same => same,
        };
        // Its rank may have changed even where its place has not.
        self.unlist(&uid, &before);
        self.put(&uid, next);
    }

    /// The pod was placed or is gone.
    pub(crate) fn remove(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        let pod = self.waiting.get(uid)?.pod.clone();
        self.unlist(uid, &pod);
        self.waiting.remove(uid).map(|waiting| waiting.pod)
    }

    /// The pod as it waits here.
    pub(crate) fn get(&self, uid: &Uid) -> Option<&Arc<PodInfo>> {
        self.waiting.get(uid).map(|waiting| &waiting.pod)
    }

    /// The next pod to try. It stays out until it is given back or removed.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Arc<PodInfo>> {
        self.activate_due(now);
        let uid = match self.active.first() {
            Some((_, uid)) => uid.clone(),
            None => self.first_woken()?,
        };
        let pod = self.waiting.get(&uid)?.pod.clone();
        self.unlist(&uid, &pod);
        self.put(&uid, Place::Out);
        Some(pod)
    }

    /// Gives back a pod that fits nowhere because of these rules.
    pub(crate) fn park(&mut self, uid: &Uid, filters: BTreeSet<Filter>, now: Timestamp) {
        if self.count_try(uid, now) {
            self.put(uid, Place::Parked { until: later(now, LONGEST_PARKED), filters });
        }
    }

    /// Gives back a pod whose placing failed for a reason that may pass.
    pub(crate) fn back_off(&mut self, uid: &Uid, now: Timestamp) {
        if self.count_try(uid, now) {
            let until = self.waiting.get(uid).map_or(now, |waiting| waiting.ready_at(self.backoff));
            self.put(uid, Place::BackingOff { until, woken: false });
        }
    }

    /// Has a parked pod tried again as soon as it may.
    pub(crate) fn retry(&mut self, uid: &Uid) {
        let Some(waiting) = self.waiting.get(uid) else { return };
        if !matches!(waiting.place, Place::Parked { .. }) {
            return;
        }
        let (pod, until) = (waiting.pod.clone(), waiting.ready_at(self.backoff));
        self.unlist(uid, &pod);
        self.put(uid, Place::BackingOff { until, woken: false });
    }

    /// Has the parked pods tried again that a change may help.
    pub(crate) fn wake(&mut self, now: Timestamp, helps: impl Fn(&PodInfo, &BTreeSet<Filter>) -> bool) {
        let helped = self.parked.iter().filter(|(_, uid)| match self.waiting.get(uid) {
            Some(Waiting { pod, place: Place::Parked { filters, .. }, .. }) => helps(pod, filters),
            _ => false,
        });
        let helped: Vec<Uid> = helped.map(|(_, uid)| uid.clone()).collect();
        for uid in helped {
            let Some(waiting) = self.waiting.get(&uid) else { continue };
            let (pod, until) = (waiting.pod.clone(), waiting.ready_at(self.backoff));
            self.unlist(&uid, &pod);
            let early = until > now;
            self.put(&uid, if early { Place::BackingOff { until, woken: true } } else { Place::Active });
        }
    }

    /// When [`Queue::pop`] will next have something to give without anything else happening.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let first = |list: &BTreeSet<(Timestamp, Uid)>| list.first().map(|(at, _)| *at);
        [first(&self.backing_off), first(&self.parked)].into_iter().flatten().min()
    }

    /// Whether a pod is parked at all, and waking is worth the while.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Active again: pods whose time has come.
    fn activate_due(&mut self, now: Timestamp) {
        let due = |list: &BTreeSet<(Timestamp, Uid)>| {
            list.first().filter(|(at, _)| *at <= now).map(|(_, u)| u.clone())
        };
        while let Some(uid) = due(&self.backing_off).or_else(|| due(&self.parked)) {
            let Some(pod) = self.get(&uid).cloned() else { return };
            self.unlist(&uid, &pod);
            self.put(&uid, Place::Active);
        }
    }

    fn first_woken(&self) -> Option<Uid> {
        let woken = |uid: &Uid| {
            self.waiting.get(uid).is_some_and(|w| matches!(w.place, Place::BackingOff { woken: true, .. }))
        };
        self.backing_off.iter().map(|(_, uid)| uid).find(|uid| woken(uid)).cloned()
    }

    /// Notes a try in vain; false when the pod has gone meanwhile.
    fn count_try(&mut self, uid: &Uid, now: Timestamp) -> bool {
        let Some(waiting) = self.waiting.get_mut(uid) else { return false };
        waiting.attempts += 1;
        waiting.last_try = Some(now);
        let pod = waiting.pod.clone();
        self.unlist(uid, &pod);
        true
    }

    fn put(&mut self, uid: &Uid, place: Place) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        match &place {
            Place::Active => _ = self.active.insert((waiting.rank(), uid.clone())),
            Place::BackingOff { until, .. } => _ = self.backing_off.insert((*until, uid.clone())),
            Place::Parked { until, .. } => _ = self.parked.insert((*until, uid.clone())),
            Place::Gated | Place::Out => {}
        }
        waiting.place = place;
    }

    /// Takes a pod, ranked as it was, out of the list it is in.
    fn unlist(&mut self, uid: &Uid, pod: &PodInfo) {
        let Some(waiting) = self.waiting.get(uid) else { return };
        match &waiting.place {
            Place::Active => _ = self.active.remove(&(rank(pod, waiting.arrival), uid.clone())),
            Place::BackingOff { until, .. } => _ = self.backing_off.remove(&(*until, uid.clone())),
            Place::Parked { until, .. } => _ = self.parked.remove(&(*until, uid.clone())),
            Place::Gated | Place::Out => {}
        }
    }
}

impl Waiting {
    fn rank(&self) -> Rank {
        rank(&self.pod, self.arrival)
    }

    /// When its backoff since the last try is over.
    fn ready_at(&self, backoff: Backoff) -> Timestamp {
        let pause = backoff.pause(self.attempts.saturating_sub(1));
        self.last_try.map_or(Timestamp::MIN, |at| later(at, pause))
    }
}

fn rank(pod: &PodInfo, arrival: u64) -> Rank {
    (Reverse(pod.priority), pod.created, arrival)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
