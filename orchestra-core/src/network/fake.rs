//! A network in memory: gives out addresses, remembers the plan, connects nothing.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rustc_hash::FxHashMap;

use super::{Applied, AttachRequest, Attachment, Network, NetworkError, Result, SandboxId, ServicePlan};

/// A [`Network`] in memory. Clones are the same network; one can serve many nodes.
#[derive(Clone, Debug)]
pub struct FakeNetwork {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Sandbox ids are a runtime's own; the pod's uid keeps those of several nodes apart.
    attached: FxHashMap<(String, SandboxId), IpAddr>,
    returned: VecDeque<Ipv4Addr>,
    next: u32,
    end: u32,
    /// All of its addresses.
    range: Range<u32>,
    plan: ServicePlan,
    applied: u64,
    failures: VecDeque<NetworkError>,
}

impl FakeNetwork {
    /// A network that gives out `10.64.0.1` to `10.127.255.254`.
    pub fn new() -> Self {
        Self::with_range(Ipv4Addr::new(10, 64, 0, 0), 10)
    }

    /// A network that gives out the addresses of a range, but for its first and last.
    pub fn with_range(first: Ipv4Addr, prefix: u8) -> Self {
        let first = u32::from(first);
        let size = 1u32.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        let state = State {
            attached: FxHashMap::default(),
            returned: VecDeque::new(),
            next: first.saturating_add(1),
            end: first.saturating_add(size.saturating_sub(1)),
            range: first..first.saturating_add(size),
            plan: ServicePlan::default(),
            applied: 0,
            failures: VecDeque::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes the next [`attach`](Network::attach) fail. Several wait in line.
    pub fn fail_next_attach(&self, error: NetworkError) {
        self.lock().failures.push_back(error);
    }

    /// The plan applied last.
    pub fn plan(&self) -> ServicePlan {
        self.lock().plan.clone()
    }

    /// How many plans were applied.
    pub fn applied(&self) -> u64 {
        self.lock().applied
    }

    /// The uid of the pod that has an address.
    pub fn pod_at(&self, address: IpAddr) -> Option<String> {
        let state = self.lock();
        state.attached.iter().find(|(_, ip)| **ip == address).map(|((uid, _), _)| uid.clone())
    }

    /// Whether an address is one that it gives out, to whichever pod and whether or not it did yet.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.lock().range.contains(&u32::from(address)),
            IpAddr::V6(_) => false,
        }
    }

    /// How many sandboxes have an address.
    pub fn attached(&self) -> usize {
        self.lock().attached.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FakeNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn take(&mut self) -> Result<Ipv4Addr> {
        if self.next < self.end {
            self.next += 1;
            return Ok(Ipv4Addr::from(self.next - 1));
        }
        let none =
            || NetworkError::AddressesExhausted { range: format!("up to {}", Ipv4Addr::from(self.end)) };
        self.returned.pop_front().ok_or_else(none)
    }
}

#[async_trait]
impl Network for FakeNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let mut state = self.lock();
        if let Some(error) = state.failures.pop_front() {
            return Err(error);
        }
        let key = (request.pod.uid.clone(), request.sandbox.clone());
        if let Some(ip) = state.attached.get(&key) {
            return Ok(Attachment { ips: vec![*ip] });
        }
        let ip = match request.known_ips.first() {
            Some(known) => *known,
            None => IpAddr::V4(state.take()?),
        };
        state.attached.insert(key, ip);
        Ok(Attachment { ips: vec![ip] })
    }

    async fn detach(&self, sandbox: &SandboxId, pod: &super::PodRef) -> Result<()> {
        let mut state = self.lock();
        if let Some(IpAddr::V4(ip)) = state.attached.remove(&(pod.uid.clone(), sandbox.clone())) {
            state.returned.push_back(ip);
        }
        Ok(())
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        let mut state = self.lock();
        state.plan = plan.clone();
        state.applied += 1;
        Ok(Applied::default())
    }
}
