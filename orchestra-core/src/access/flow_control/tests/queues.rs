use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use proptest::prelude::*;

use super::super::queues::{Arrival, Queues, Queuing, Slot, Ticket, deal};

const USUAL: Queuing = Queuing { queues: 64, hand: 6, length: 50 };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn hand(flow: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut cards = Vec::new();
    deal(flow, deck, hand, |card| cards.push(card));
    cards
}

/// Numbers that look like chance, for flows.
fn mixed(number: u64) -> u64 {
    let mut number = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^ (number >> 31)
}

proptest! {
    #[test]
    fn a_hand_has_different_cards_of_the_deck(flow: u64, deck in 1..200_usize, size in 1..20_usize) {
        let cards = hand(flow, deck, size);
        prop_assert_eq!(cards.len(), size.min(16).min(deck));
        prop_assert!(cards.iter().all(|card| *card < deck));
        prop_assert_eq!(cards.iter().collect::<BTreeSet<_>>().len(), cards.len());
    }
}

#[test]
fn every_card_is_dealt_as_often() {
    let mut counts = [0_u32; 64];
    for number in 0..20_000 {
        for card in hand(mixed(number), 64, 6) {
            counts[card] += 1;
        }
    }
    let expected = 20_000 * 6 / 64;
    assert!(counts.iter().all(|count| count.abs_diff(expected) < expected / 5), "{counts:?}");
}

/// What may happen to a level, and how much of it.
#[derive(Clone, Debug)]
enum Step {
    Arrive { flow: u64, seats: u32 },
    Finish(usize),
    GiveUp(usize),
    Limit(u32),
    Configure(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..20_u64, 1..8_u32).prop_map(|(flow, seats)| Step::Arrive { flow: mixed(flow), seats }),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => (0..20_u32).prop_map(Step::Limit),
        1 => (1..40_usize).prop_map(Step::Configure),
    ];
    proptest::collection::vec(step, 1..300)
}

/// A level, and who runs and waits there as its callers see it.
struct Model {
    queues: Queues<u64>,
    now: Duration,
    running: Vec<(Slot, u32)>,
    waiting: Vec<(Ticket, u64)>,
    numbers: u64,
}

impl Model {
    fn let_in(&mut self) {
        while let Some((number, slot)) = self.queues.next(self.now) {
            let place = self.waiting.iter().position(|(_, held)| *held == number);
            self.waiting.remove(place.expect("who runs has waited, and once"));
            self.started(slot);
        }
    }

    /// Whoever starts finds a seat.
    fn started(&mut self, slot: Slot) {
        let seats = self.queues.running().1 - self.running.iter().map(|(_, seats)| seats).sum::<u32>();
        self.running.push((slot, seats));
        assert!(self.queues.running().1 <= self.queues.limit(), "more run than there are seats");
    }

    fn step(&mut self, step: &Step) {
        self.now += millis(1);
        match step {
            Step::Arrive { flow, seats } => {
                self.numbers += 1;
                let number = self.numbers;
                match self.queues.arrive(self.now, *flow, *seats, || number) {
                    Arrival::Runs(slot) => self.started(slot),
                    Arrival::Waits(ticket) => self.waiting.push((ticket, number)),
                    Arrival::Full => {}
                }
            }
            Step::Finish(which) if !self.running.is_empty() => {
                let (slot, _) = self.running.swap_remove(which % self.running.len());
                self.queues.finish(self.now, &slot);
            }
            Step::GiveUp(which) if !self.waiting.is_empty() => {
                let (ticket, number) = self.waiting.swap_remove(which % self.waiting.len());
                assert_eq!(self.queues.give_up(self.now, ticket), Some(number));
                assert_eq!(self.queues.give_up(self.now, ticket), None, "it is gone");
            }
            Step::Limit(limit) => self.queues.set_limit(self.now, *limit),
            Step::Configure(queues) => self.queues.configure(Some(Queuing { queues: *queues, ..USUAL })),
            _ => {}
        }
        self.let_in();
        assert_eq!(self.queues.waiting() as usize, self.waiting.len());
        assert_eq!(self.queues.running().0 as usize, self.running.len());
    }
}

proptest! {
    #[test]
    fn nobody_starts_without_a_seat_and_whoever_waits_runs_once(steps in steps()) {
        let queues = Queues::new(Some(USUAL), 10);
        let (running, waiting) = (Vec::new(), Vec::new());
        let mut model = Model { queues, now: Duration::ZERO, running, waiting, numbers: 0 };
        for step in &steps {
            model.step(step);
        }
        model.step(&Step::Limit(10));
        while !model.running.is_empty() {
            model.step(&Step::Finish(0));
        }
        prop_assert!(model.waiting.is_empty(), "nobody is forgotten");
        prop_assert_eq!(model.queues.demand(), 0);
    }
}

/// A client that always has so many requests under way or waiting.
struct Client {
    flow: u64,
    outstanding: usize,
    seats: u32,
    takes: Duration,
}

/// Has clients ask for a time, and returns the longest wait of each, and how many of its requests ran.
fn simulate(limit: u32, clients: &[Client], time: Duration) -> Vec<(Duration, u32)> {
    let mut queues = Queues::new(Some(USUAL), limit);
    // What ends next is first: the heap is of what is largest.
    let mut ends: BinaryHeap<(std::cmp::Reverse<Duration>, usize)> = BinaryHeap::new();
    let mut slots: Vec<Option<(Slot, usize)>> = Vec::new();
    let mut now = Duration::ZERO;
    let mut found = vec![(Duration::ZERO, 0); clients.len()];
    let mut missing: Vec<usize> = clients.iter().map(|client| client.outstanding).collect();
    loop {
        let mut started = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let mut left = std::mem::take(&mut missing[number]);
            while left > 0 {
                match queues.arrive(now, client.flow, client.seats, || (number, now)) {
                    Arrival::Runs(slot) => started.push((number, now, slot)),
                    Arrival::Waits(_) => {}
                    // It tries again when something has happened.
                    Arrival::Full => {
                        missing[number] = left;
                        break;
                    }
                }
                left -= 1;
            }
        }
        while let Some(((number, since), slot)) = queues.next(now) {
            started.push((number, since, slot));
        }
        for (number, since, slot) in started {
            found[number].0 = found[number].0.max(now - since);
            found[number].1 += 1;
            ends.push((std::cmp::Reverse(now + clients[number].takes), slots.len()));
            slots.push(Some((slot, number)));
        }
        let Some((std::cmp::Reverse(next), index)) = ends.pop() else { return found };
        if next > time {
            return found;
        }
        now = next;
        let (slot, number) = slots[index].take().unwrap();
        queues.finish(now, &slot);
        missing[number] += 1;
    }
}

#[test]
fn a_client_at_full_speed_leaves_anothers_wait_bounded() {
    let greedy = |number| Client { flow: mixed(number), outstanding: 400, seats: 1, takes: millis(10) };
    let polite = |number| Client { flow: mixed(number), outstanding: 1, seats: 1, takes: millis(10) };
    for number in 0..50 {
        let found = simulate(10, &[greedy(number), polite(1000 + number)], Duration::from_secs(10));
        let (wait, ran) = found[1];
        assert!(wait <= millis(20), "{number}: it waited for {wait:?}");
        assert!(ran >= 330, "{number}: {ran} of its requests ran");
        assert!(found[0].1 > 9_000, "{number}: the seats are not left empty: {found:?}");
    }
}

#[test]
fn clients_that_want_the_same_get_the_same() {
    let client =
        |number, takes| Client { flow: mixed(number), outstanding: 100, seats: 1, takes: millis(takes) };
    let found = simulate(10, &[client(1, 10), client(2, 10)], Duration::from_secs(10));
    let (a, b) = (f64::from(found[0].1), f64::from(found[1].1));
    assert!((a / b - 1.0).abs() < 0.2, "{a} and {b}");
    // Of what takes ten times as long, a tenth runs in the same time.
    let found = simulate(10, &[client(1, 10), client(2, 100)], Duration::from_secs(30));
    let (a, b) = (f64::from(found[0].1), f64::from(found[1].1));
    assert!((4.0..20.0).contains(&(a / b)), "{a} and {b}");
}

#[test]
fn who_wants_many_seats_has_its_turn() {
    let narrow = Client { flow: mixed(1), outstanding: 200, seats: 1, takes: millis(10) };
    let wide = Client { flow: mixed(2), outstanding: 1, seats: 8, takes: millis(10) };
    let found = simulate(10, &[narrow, wide], Duration::from_secs(10));
    assert!(found[1].1 > 100, "{found:?}");
    assert!(found[1].0 < millis(200), "{found:?}");
}

#[test]
fn who_finds_no_room_is_told_so() {
    let mut reject: Queues<()> = Queues::new(None, 1);
    let slot = match reject.arrive(Duration::ZERO, 1, 5, || ()) {
        Arrival::Runs(slot) => slot,
        other => panic!("one that wants more seats than there are has all: {other:?}"),
    };
    assert!(matches!(reject.arrive(Duration::ZERO, 2, 1, || ()), Arrival::Full));
    reject.finish(millis(1), &slot);
    assert!(matches!(reject.arrive(millis(1), 2, 1, || ()), Arrival::Runs(_)));

    let small = Queuing { queues: 1, hand: 1, length: 2 };
    let mut queues: Queues<u8> = Queues::new(Some(small), 1);
    let mut arrive = |payload| queues.arrive(Duration::ZERO, 1, 1, || payload);
    assert!(matches!(arrive(0), Arrival::Runs(_)));
    let tickets = [arrive(1), arrive(2)];
    assert!(matches!(arrive(3), Arrival::Full));
    let [Arrival::Waits(first), Arrival::Waits(_)] = tickets else { panic!("{tickets:?}") };
    assert_eq!(queues.give_up(millis(1), first), Some(1));
    assert!(matches!(queues.arrive(millis(1), 1, 1, || 4), Arrival::Waits(_)), "there is a place again");
}
