//! Which endpoint takes the next connection.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use orchestra_core::network::Affinity;

use super::plan::Backend;
use crate::Balance;

/// How many clients are remembered before those that have been silent for too long are looked for.
const PRUNE_AT: usize = 1024;

/// Takes endpoints in turn or by chance, and remembers where clients went when they are to stay there.
#[derive(Debug)]
pub(super) struct Balancer {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    balance: Balance,
    endpoints: Vec<SocketAddr>,
    affinity: Affinity,
    sources: Vec<(IpAddr, u8)>,
    next: usize,
    clients: HashMap<IpAddr, (SocketAddr, Instant)>,
    prune_at: usize,
}

impl Balancer {
    pub(super) fn new(backend: &Backend, balance: Balance) -> Self {
        let state = State {
            balance,
            endpoints: backend.endpoints.clone(),
            affinity: backend.affinity,
            sources: backend.sources.clone(),
            next: 0,
            clients: HashMap::new(),
            prune_at: PRUNE_AT,
        };
        Self { state: Mutex::new(state) }
    }

    /// Leads elsewhere from now on. Clients whose endpoint is still there keep it.
    pub(super) fn update(&self, backend: &Backend) {
        let mut state = self.lock();
        state.endpoints.clone_from(&backend.endpoints);
        state.affinity = backend.affinity;
        state.sources.clone_from(&backend.sources);
        let State { endpoints, clients, affinity, .. } = &mut *state;
        clients.retain(|_, (endpoint, _)| *affinity != Affinity::None && endpoints.contains(endpoint));
    }

    /// Whether an endpoint is still one of these.
    pub(super) fn has(&self, endpoint: SocketAddr) -> bool {
        self.lock().endpoints.contains(&endpoint)
    }

    /// The endpoint for a client, other than those that were tried. `None` when all were, or the client may not come.
    pub(super) fn pick(&self, client: IpAddr, now: Instant, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let mut state = self.lock();
        if !state.sources.is_empty() && !state.sources.iter().any(|range| holds(*range, client)) {
            return None;
        }
        let kept = match state.affinity {
            Affinity::ClientIp(timeout) => state.kept(client, now, timeout, tried),
            Affinity::None => None,
        };
        let endpoint = kept.or_else(|| state.other(tried))?;
        if let Affinity::ClientIp(timeout) = state.affinity {
            state.clients.insert(client, (endpoint, now));
            state.prune(now, timeout);
        }
        Some(endpoint)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a range, an address and how many of its leading bits count, has an address in it.
fn holds((first, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    let differ = match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => u128::from(first.to_bits() ^ address.to_bits()) << 96,
        (IpAddr::V6(first), IpAddr::V6(address)) => first.to_bits() ^ address.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(prefix)
}

impl State {
    fn kept(
        &self,
        client: IpAddr,
        now: Instant,
        timeout: Duration,
        tried: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let (endpoint, seen) = self.clients.get(&client)?;
        let fresh = now.saturating_duration_since(*seen) <= timeout;
        (fresh && !tried.contains(endpoint)).then_some(*endpoint)
    }

    fn other(&mut self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        match self.balance {
            Balance::RoundRobin => self.in_turn(tried),
            Balance::Random => self.by_chance(tried),
        }
    }

    fn by_chance(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let left = || self.endpoints.iter().filter(|endpoint| !tried.contains(endpoint));
        // What the standard library has of chance: each of these is made with keys of its own.
        let number = usize::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
        left().nth(number % left().count().max(1)).copied()
    }

    fn in_turn(&mut self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let count = self.endpoints.len();
        for offset in 0..count {
            let at = (self.next + offset) % count;
            let endpoint = self.endpoints[at];
            if !tried.contains(&endpoint) {
                self.next = at + 1;
                return Some(endpoint);
            }
        }
        None
    }

    fn prune(&mut self, now: Instant, timeout: Duration) {
        if self.clients.len() >= self.prune_at {
            self.clients.retain(|_, (_, seen)| now.saturating_duration_since(*seen) <= timeout);
            // Twice what is left, so that looking through all costs little a connection.
            self.prune_at = PRUNE_AT.max(self.clients.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backend(last: &[u8], affinity: Affinity) -> Backend {
        let endpoints = last.iter().map(|last| SocketAddr::from(([10, 0, 0, *last], 80))).collect();
        Backend { owner: "default/web".into(), port: 80, endpoints, affinity, sources: vec![] }
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn picks(balancer: &Balancer, now: Instant, count: usize) -> Vec<u8> {
        let last = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        (0..count).filter_map(|_| balancer.pick(client(1), now, &[]).map(last)).collect()
    }

    #[test]
    fn only_who_may_come_is_led() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let sources = vec![(ip("192.0.2.7"), 24), (ip("2001:db8::"), 32)];
        let balancer =
            Balancer::new(&Backend { sources, ..backend(&[1], Affinity::None) }, Balance::RoundRobin);
        for (client, comes) in [
            ("192.0.2.200", true),
            ("192.0.3.7", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(balancer.pick(ip(client), Instant::now(), &[]).is_some(), comes, "{client}");
        }
        balancer.update(&Backend { sources: vec![(ip("0.0.0.0"), 0)], ..backend(&[1], Affinity::None) });
        assert!(balancer.pick(ip("203.0.113.1"), Instant::now(), &[]).is_some());
    }

    #[test]
    fn each_in_turn() {
        let (balancer, now) =
            (Balancer::new(&backend(&[1, 2, 3], Affinity::None), Balance::RoundRobin), Instant::now());
        assert_eq!(picks(&balancer, now, 5), [1, 2, 3, 1, 2]);
        balancer.update(&backend(&[4], Affinity::None));
        assert_eq!(picks(&balancer, now, 2), [4, 4]);
        balancer.update(&backend(&[], Affinity::None));
        assert_eq!(balancer.pick(client(1), now, &[]), None);
    }

    #[test]
    fn by_chance_all_are_taken_and_not_in_turn() {
        let balancer = Balancer::new(&backend(&[1, 2, 3], Affinity::None), Balance::Random);
        let picks = picks(&balancer, Instant::now(), 300);
        for endpoint in 1..=3 {
            // Seven times the usual error away from what is expected.
            assert!(picks.iter().filter(|pick| **pick == endpoint).count() > 40, "{picks:?}");
        }
        assert!(picks.windows(4).any(|four| four[0] != four[3]), "they take turns: {picks:?}");
    }

    #[test]
    fn a_client_stays_until_it_has_been_silent() {
        let sticky = Affinity::ClientIp(Duration::from_secs(10));
        let (balancer, begin) =
            (Balancer::new(&backend(&[1, 2, 3], sticky), Balance::RoundRobin), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(picks(&balancer, at(0), 3), [1, 1, 1]);
        assert_ne!(balancer.pick(client(2), at(0), &[]), balancer.pick(client(1), at(0), &[]));
        assert_eq!(picks(&balancer, at(9), 1), [1]);
        assert_eq!(picks(&balancer, at(19), 1), [1], "each connection begins the time anew");
        assert_eq!(picks(&balancer, at(30), 1), [3]);
        balancer.update(&backend(&[1, 2], sticky));
        assert_ne!(picks(&balancer, at(30), 1), [3], "its endpoint is gone");
    }

    proptest! {
        #[test]
        fn never_one_that_was_tried_and_all_are_tried(count in 1u8..20, sticky: bool, random: bool, start in 0usize..40) {
            let affinity = if sticky { Affinity::ClientIp(Duration::from_secs(1)) } else { Affinity::None };
            let balance = if random { Balance::Random } else { Balance::RoundRobin };
            let last: Vec<u8> = (0..count).collect();
            let (balancer, now) = (Balancer::new(&backend(&last, affinity), balance), Instant::now());
            picks(&balancer, now, start);
            let mut tried = Vec::new();
            while let Some(endpoint) = balancer.pick(client(1), now, &tried) {
                prop_assert!(!tried.contains(&endpoint));
                tried.push(endpoint);
            }
            prop_assert_eq!(tried.len(), usize::from(count));
        }
    }
}
