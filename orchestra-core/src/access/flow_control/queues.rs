//! The queues of one level of priority: who runs, who waits, and who is next. Pure; `now` is an argument.
//!
//! Each flow has a *hand* of the queues, and a request waits in the shortest of them, so that a flow that fills its own
//! hand leaves others most of theirs. Queues take turns by *virtual time*: it goes on as fast as seats are used, divided
//! by the queues that use them, and whichever queue has had the least of it is next. What a request will take is guessed
//! when it starts, and put right when it ends.

use std::collections::VecDeque;
use std::time::Duration;

/// How long a request is taken to take, in seconds, until it has ended.
const GUESS: f64 = 0.003;

/// How requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    /// How many queues there are.
    pub(super) queues: usize,
    /// How many of them a flow has.
    pub(super) hand: usize,
    /// How many requests wait in each.
    pub(super) length: usize,
}

/// A request that runs.
#[derive(Debug)]
pub(super) struct Slot {
    queue: usize,
    seats: u32,
    began: Duration,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    queue: usize,
    number: u64,
}

/// What becomes of a request that comes.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It runs at once.
    Runs(Slot),
    /// It waits.
    Waits(Ticket),
    /// There is no room for it.
    Full,
}

#[derive(Debug)]
struct Waiter<T> {
    number: u64,
    seats: u32,
    payload: T,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiter<T>>,
    waiting_seats: u32,
    running: u32,
    running_seats: u32,
    /// The virtual time at which its next request starts.
    next: f64,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), waiting_seats: 0, running: 0, running_seats: 0, next: 0.0 }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

/// See the [module](self). A request that waits brings a `T`, which is given back when it runs.
#[derive(Debug)]
pub(super) struct Queues<T> {
    /// `None` if nobody waits: who finds no seat is refused.
    queuing: Option<Queuing>,
    limit: u32,
    running: u32,
    running_seats: u32,
    waiting: u32,
    waiting_seats: u32,
    active: u32,
    queues: Vec<Queue<T>>,
    /// Virtual time, and when it was that.
    virtual_time: f64,
    seen: Duration,
    numbers: u64,
    /// Where the search for the next begins, so that of equals each has its turn.
    turn: usize,
}

impl<T> Queues<T> {
    pub(super) fn new(queuing: Option<Queuing>, limit: u32) -> Self {
        let mut queues = Self {
            queuing: None,
            limit,
            running: 0,
            running_seats: 0,
            waiting: 0,
            waiting_seats: 0,
            active: 0,
            queues: Vec::new(),
            virtual_time: 0.0,
            seen: Duration::ZERO,
            numbers: 0,
            turn: 0,
        };
        queues.configure(queuing);
        queues
    }

    /// Changes how requests wait. Those that wait keep their places.
    pub(super) fn configure(&mut self, queuing: Option<Queuing>) {
        self.queuing = queuing;
        let wanted = queuing.map_or(1, |queuing| queuing.queues.max(1));
        if self.queues.len() < wanted {
            self.queues.resize_with(wanted, Queue::new);
        }
        // Those at the end are not dealt any more; they go when they are empty.
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }

    /// How many seats there are from now on. Who runs goes on.
    pub(super) fn set_limit(&mut self, now: Duration, limit: u32) {
        self.advance(now);
        self.limit = limit;
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn running(&self) -> (u32, u32) {
        (self.running, self.running_seats)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many seats are wanted.
    pub(super) fn demand(&self) -> u32 {
        self.running_seats + self.waiting_seats
    }

    /// A request of a flow comes, for so many seats.
    pub(super) fn arrive(
        &mut self,
        now: Duration,
        flow: u64,
        seats: u32,
        payload: impl FnOnce() -> T,
    ) -> Arrival {
        self.advance(now);
        // One that wants more than there is has all of them.
        let seats = seats.clamp(1, self.limit.max(1));
        let number = self.choose(flow);
        if self.waiting == 0 && self.fits(seats) {
            return Arrival::Runs(self.run(now, number, seats));
        }
        let Some(queuing) = self.queuing else { return Arrival::Full };
        if self.queues[number].waiting.len() >= queuing.length {
            return Arrival::Full;
        }
        self.wake(number);
        self.numbers += 1;
        let queue = &mut self.queues[number];
        queue.waiting.push_back(Waiter { number: self.numbers, seats, payload: payload() });
        queue.waiting_seats += seats;
        self.waiting += 1;
        self.waiting_seats += seats;
        Arrival::Waits(Ticket { queue: number, number: self.numbers })
    }

    /// The request that runs next, if there is a seat for one.
    pub(super) fn next(&mut self, now: Duration) -> Option<(T, Slot)> {
        if self.waiting == 0 {
            return None;
        }
        self.advance(now);
        let count = self.queues.len();
        let turns = (0..count).map(|step| (self.turn + step) % count);
        let waiting = turns.filter_map(|number| {
            let queue = &self.queues[number];
            let head = queue.waiting.front()?;
            Some((number, queue.next + f64::from(head.seats) * GUESS))
        });
        let (number, _) = waiting.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let limit = self.limit.max(1);
        let seats = self.queues[number].waiting.front()?.seats.min(limit);
        // If there is no room for it, nobody overtakes: one that wants many seats would wait for ever.
        if !self.fits(seats) {
            return None;
        }
        let queue = &mut self.queues[number];
        let waiter = queue.waiting.pop_front()?;
        queue.waiting_seats -= waiter.seats;
        self.waiting -= 1;
        self.waiting_seats -= waiter.seats;
        self.turn = (number + 1) % count;
        Some((waiter.payload, self.run(now, number, seats)))
    }

    /// A request has ended.
    pub(super) fn finish(&mut self, now: Duration, slot: &Slot) {
        self.advance(now);
        let took = now.saturating_sub(slot.began).as_secs_f64();
        let queue = &mut self.queues[slot.queue];
        queue.next += f64::from(slot.seats) * (took - GUESS);
        queue.running -= 1;
        queue.running_seats -= slot.seats;
        self.running -= 1;
        self.running_seats -= slot.seats;
        self.rest(slot.queue);
    }

    /// A request waits no longer; `None` if it does not wait any more.
    pub(super) fn give_up(&mut self, now: Duration, ticket: Ticket) -> Option<T> {
        self.advance(now);
        // The queue may be gone: then the request was the last to leave it.
        let queue = self.queues.get_mut(ticket.queue)?;
        let place = queue.waiting.iter().position(|waiter| waiter.number == ticket.number)?;
        let waiter = queue.waiting.remove(place)?;
        queue.waiting_seats -= waiter.seats;
        self.waiting -= 1;
        self.waiting_seats -= waiter.seats;
        self.rest(ticket.queue);
        Some(waiter.payload)
    }

    fn fits(&self, seats: u32) -> bool {
        self.running_seats + seats <= self.limit
    }

    fn run(&mut self, now: Duration, number: usize, seats: u32) -> Slot {
        self.wake(number);
        let queue = &mut self.queues[number];
        queue.next += f64::from(seats) * GUESS;
        queue.running += 1;
        queue.running_seats += seats;
        self.running += 1;
        self.running_seats += seats;
        Slot { queue: number, seats, began: now }
    }

    /// A queue that was idle has had nothing of the time that went by meanwhile, and is owed nothing for it.
    fn wake(&mut self, number: usize) {
        let queue = &mut self.queues[number];
        if queue.is_idle() {
            queue.next = self.virtual_time;
            self.active += 1;
        }
    }

    fn rest(&mut self, number: usize) {
        if self.queues[number].is_idle() {
            self.active -= 1;
        }
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.seen).as_secs_f64();
        self.seen = self.seen.max(now);
        if self.active > 0 {
            let used = self.demand().min(self.limit);
            self.virtual_time += passed * f64::from(used) / f64::from(self.active);
        }
    }

    /// The queue of the flow's hand in which there is least to do.
    fn choose(&self, flow: u64) -> usize {
        let Some(queuing) = self.queuing else { return 0 };
        let work = |number: &usize| {
            let queue = &self.queues[*number];
            (queue.waiting_seats + queue.running_seats, queue.waiting.len())
        };
        let mut least = None;
        deal(flow, queuing.queues.min(self.queues.len()), queuing.hand, |number| {
            if least.is_none_or(|held| work(&number) < work(&held)) {
                least = Some(number);
            }
        });
        least.unwrap_or(0)
    }
}

/// The most queues that a flow has.
const MOST_DEALT: usize = 16;

/// Deals `hand` of `deck` cards, all different: which ones follows from `flow`, and each hand is as likely.
pub(super) fn deal(flow: u64, deck: usize, hand: usize, mut take: impl FnMut(usize)) {
    let hand = hand.clamp(1, MOST_DEALT).min(deck);
    let mut dealt = [0; MOST_DEALT];
    let mut rest = flow;
    for index in 0..hand {
        let left = (deck - index) as u64;
        let mut card = (rest % left) as usize;
        rest /= left;
        // The card of that number among those that are still there.
        let mut place = 0;
        while place < index && dealt[place] <= card {
            card += 1;
            place += 1;
        }
        dealt.copy_within(place..index, place + 1);
        dealt[place] = card;
        take(card);
    }
}
