//! A level of priority as it runs: its queues, behind a lock, and those who wait for it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::queues::{Arrival, Queues, Queuing, Slot, Ticket};
use super::shares::{Bounds, Demand};
use crate::clock::SharedClock;

/// Why a request is not let in. The words are those that metrics have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// Too many wait already.
    QueueFull,
    /// Nobody waits at this level, and all seats are taken.
    ConcurrencyLimit,
    /// It waited for too long.
    TimeOut,
}

impl Rejection {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

/// A level of priority.
pub(super) struct Level {
    pub(super) name: Arc<str>,
    clock: SharedClock,
    state: Mutex<State>,
    /// Those that run without a limit.
    exempt: AtomicU32,
}

struct State {
    queues: Queues<oneshot::Sender<Pass>>,
    queuing: Option<Queuing>,
    bounds: Bounds,
    is_exempt: bool,
    wanted: Wanted,
    demand: Demand,
}

/// A seat at a level, or several. It is given up when this is dropped.
#[derive(Debug)]
pub struct Pass {
    level: Arc<Level>,
    /// `None` where there is no limit.
    slot: Option<Slot>,
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a level is like now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) running: u32,
    pub(super) running_seats: u32,
    pub(super) waiting: u32,
    pub(super) limit: u32,
    pub(super) bounds: Bounds,
}

impl Level {
    pub(super) fn new(name: &str, clock: &SharedClock) -> Arc<Self> {
        let state = State {
            queues: Queues::new(None, 0),
            queuing: None,
            bounds: Bounds::default(),
            is_exempt: false,
            wanted: Wanted::new(clock.elapsed()),
            demand: Demand::default(),
        };
        let (clock, exempt) = (Arc::clone(clock), AtomicU32::new(0));
        Arc::new(Self { name: name.into(), clock, state: Mutex::new(state), exempt })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the configuration. The limit is the nominal one again if the bounds have changed.
    pub(super) fn configure(self: &Arc<Self>, queuing: Option<Queuing>, bounds: Bounds, is_exempt: bool) {
        let now = self.clock.elapsed();
        let mut state = self.lock();
        state.is_exempt = is_exempt;
        if state.queuing != queuing {
            state.queuing = queuing;
            state.queues.configure(queuing);
        }
        if state.bounds != bounds {
            state.bounds = bounds;
            state.queues.set_limit(now, bounds.nominal);
        }
        self.dispatch(now, state);
    }

    /// Another period has gone by. Returns what the level may have and wants.
    pub(super) fn measure(&self, now: Duration) -> (Bounds, Demand, bool) {
        let exempt = self.exempt.load(Ordering::Relaxed);
        let mut state = self.lock();
        let seats = if state.is_exempt { exempt } else { state.queues.demand() };
        let (highest, average, deviation) = state.wanted.end(now, seats);
        state.demand = state.demand.after(highest, average, deviation);
        (state.bounds, state.demand, state.is_exempt)
    }

    /// Has so many seats for the next period.
    pub(super) fn set_limit(self: &Arc<Self>, limit: u32) {
        let now = self.clock.elapsed();
        let mut state = self.lock();
        state.queues.set_limit(now, limit);
        self.dispatch(now, state);
    }

    pub(super) fn look(&self) -> Look {
        let exempt = self.exempt.load(Ordering::Relaxed);
        let state = self.lock();
        let (running, running_seats) =
            if state.is_exempt { (exempt, exempt) } else { state.queues.running() };
        Look {
            running,
            running_seats,
            waiting: state.queues.waiting(),
            limit: state.queues.limit(),
            bounds: state.bounds,
        }
    }

    /// Takes seats, or waits for them.
    pub(super) async fn admit(
        self: &Arc<Self>,
        flow: u64,
        seats: u32,
        patience: Duration,
    ) -> Result<Pass, Rejection> {
        let now = self.clock.elapsed();
        let mut waits = None;
        let arrival = {
            let mut state = self.lock();
            if state.is_exempt {
                self.exempt.fetch_add(1, Ordering::Relaxed);
                return Ok(Pass { level: Arc::clone(self), slot: None });
            }
            let has_queues = state.queuing.is_some();
            let arrival = state.queues.arrive(now, flow, seats, || {
                let (sender, receiver) = oneshot::channel();
                waits = Some(receiver);
                sender
            });
            state.note(now);
            match arrival {
                Arrival::Full if has_queues => return Err(Rejection::QueueFull),
                Arrival::Full => return Err(Rejection::ConcurrencyLimit),
                other => other,
            }
        };
        let (ticket, receiver) = match (arrival, waits) {
            (Arrival::Waits(ticket), Some(receiver)) => (ticket, receiver),
            (Arrival::Runs(slot), _) => return Ok(Pass { level: Arc::clone(self), slot: Some(slot) }),
            _ => return Err(Rejection::QueueFull),
        };
        // Gives the place up when the request goes away, too.
        let _place = Place { level: Arc::clone(self), ticket };
        tokio::select! {
            biased;
            pass = receiver => pass.map_err(|_| Rejection::TimeOut),
            () = self.clock.sleep(patience) => Err(Rejection::TimeOut),
        }
    }

    /// Lets in those for whom there are seats.
    fn dispatch(self: &Arc<Self>, now: Duration, mut state: MutexGuard<'_, State>) {
        let mut let_in = Vec::new();
        while let Some((sender, slot)) = state.queues.next(now) {
            let_in.push((sender, Pass { level: Arc::clone(self), slot: Some(slot) }));
        }
        state.note(now);
        drop(state);
        for (sender, pass) in let_in {
            // Whoever is gone gives the seat back when the pass that cannot be sent is dropped.
            let _ = sender.send(pass);
        }
    }
}

impl State {
    fn note(&mut self, now: Duration) {
        let demand = self.queues.demand();
        self.wanted.note(now, demand);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else {
            self.level.exempt.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let now = self.level.clock.elapsed();
        let mut state = self.level.lock();
        state.queues.finish(now, &slot);
        self.level.dispatch(now, state);
    }
}

/// A place in a queue.
struct Place {
    level: Arc<Level>,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.level.clock.elapsed();
        let mut state = self.level.lock();
        let sender = state.queues.give_up(now, self.ticket);
        // Whoever stood behind may run now: what stood before them may have wanted more seats than there were.
        if sender.is_some() {
            self.level.dispatch(now, state);
        }
    }
}

/// How many seats were wanted over a period: the most, the average, and how much it varied.
struct Wanted {
    since: Duration,
    last: Duration,
    seats: f64,
    highest: f64,
    sum: f64,
    squares: f64,
}

impl Wanted {
    fn new(now: Duration) -> Self {
        Self { since: now, last: now, seats: 0.0, highest: 0.0, sum: 0.0, squares: 0.0 }
    }

    fn note(&mut self, now: Duration, seats: u32) {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.sum += self.seats * passed;
        self.squares += self.seats * self.seats * passed;
        self.last = now;
        self.seats = f64::from(seats);
        self.highest = self.highest.max(self.seats);
    }

    fn end(&mut self, now: Duration, seats: u32) -> (f64, f64, f64) {
        self.note(now, seats);
        let time = now.saturating_sub(self.since).as_secs_f64();
        let highest = self.highest;
        let (average, squares) =
            if time > 0.0 { (self.sum / time, self.squares / time) } else { (self.seats, 0.0) };
        let deviation = (squares - average * average).max(0.0).sqrt();
        let seats = self.seats;
        *self = Self::new(now);
        (self.seats, self.highest) = (seats, seats);
        (highest, average, deviation)
    }
}
