//! A network of one's own: pods get addresses that exist in this program only, and services are a table to ask.
//!
//! For pods that are functions of this process (see [`functions`](crate::functions)) nothing has to be set up in a
//! kernel. What is left of a [`Network`] is its two jobs: addresses, each given once, and what leads where.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use orchestra_core::network::{
    Applied, AttachRequest, Attachment, Network, NetworkError, PodRef, Result, SandboxId, ServicePlan,
};
use tokio::sync::watch;

/// The network of one node. Clones are the same network.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    state: Arc<Mutex<State>>,
    plan: watch::Sender<ServicePlan>,
}

#[derive(Debug)]
struct State {
    first: u32,
    size: u32,
    /// How many addresses were given so far. Going round keeps an address that was just returned out of use for as
    /// long as possible, so that nobody reaches a stranger by it.
    given: u32,
    attached: BTreeMap<SandboxId, IpAddr>,
    picked: usize,
}

impl Registry {
    /// A network that gives out `size` addresses from `first` on.
    pub(crate) fn new(first: Ipv4Addr, size: u32) -> Self {
        let state = State { first: u32::from(first), size, given: 0, attached: BTreeMap::new(), picked: 0 };
        Self { state: Arc::new(Mutex::new(state)), plan: watch::Sender::default() }
    }

    /// Where the next call to a service goes: each of its endpoints in turn. `None` if there is no such service, or
    /// nothing behind it.
    pub(crate) fn pick(&self, namespace: &str, service: &str, port: u16) -> Option<SocketAddr> {
        let endpoints = endpoints(&self.plan.borrow(), namespace, service, port);
        let mut state = self.lock();
        let turn = state.picked.checked_rem(endpoints.len())?;
        state.picked = state.picked.wrapping_add(1);
        endpoints.get(turn).copied()
    }

    /// Resolves once a service leads to so many endpoints.
    pub(crate) async fn until_endpoints(&self, namespace: &str, service: &str, port: u16, count: usize) {
        let enough = |plan: &ServicePlan| endpoints(plan, namespace, service, port).len() == count;
        // It cannot fail: the sender is here.
        let _ = self.plan.subscribe().wait_for(enough).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a service leads. The plan knows which endpoints may be used from here, as the service's traffic policy says.
fn endpoints(plan: &ServicePlan, namespace: &str, service: &str, port: u16) -> Vec<SocketAddr> {
    let entry = plan.services.iter().find(|entry| entry.namespace == namespace && entry.name == service);
    let port = entry.and_then(|entry| Some((entry, entry.ports.iter().find(|held| held.port == port)?)));
    let endpoints = port.map(|(entry, port)| entry.internal(port).map(|endpoint| endpoint.address).collect());
    endpoints.unwrap_or_default()
}

impl State {
    fn take(&mut self) -> Result<IpAddr> {
        for _ in 0..self.size {
            let ip = IpAddr::V4(Ipv4Addr::from(self.first.wrapping_add(self.given % self.size)));
            self.given = self.given.wrapping_add(1);
            if !self.attached.values().any(|taken| *taken == ip) {
                return Ok(ip);
            }
        }
        let range = format!("{} addresses from {}", self.size, Ipv4Addr::from(self.first));
        Err(NetworkError::AddressesExhausted { range })
    }
}

#[async_trait]
impl Network for Registry {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let mut state = self.lock();
        let ip = match (state.attached.get(&request.sandbox), request.known_ips.first()) {
            (Some(held), _) => *held,
            // A sandbox from before the agent started keeps the address that its pod's status shows.
            (None, Some(known)) => *known,
            (None, None) => state.take()?,
        };
        state.attached.insert(request.sandbox.clone(), ip);
        Ok(Attachment { ips: vec![ip] })
    }

    async fn detach(&self, sandbox: &SandboxId, _pod: &PodRef) -> Result<()> {
        self.lock().attached.remove(sandbox);
        Ok(())
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        // The plan is always the whole, so there is nothing to compare.
        self.plan.send_replace(plan.clone());
        Ok(Applied::default())
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        self.lock().attached.retain(|sandbox, _| sandboxes.contains(sandbox));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::testing::contract::network::{Subject, check};

    use super::*;

    #[tokio::test]
    async fn it_is_a_network() {
        check(&Subject::new(Arc::new(Registry::new(Ipv4Addr::new(10, 9, 0, 1), 8)))).await;
    }

    fn request(sandbox: &str, known_ips: Vec<IpAddr>) -> AttachRequest {
        AttachRequest {
            sandbox: sandbox.into(),
            pod: PodRef { namespace: "default".into(), name: sandbox.into(), uid: sandbox.into() },
            netns: None,
            runtime_ips: Vec::new(),
            known_ips,
            host_ports: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn addresses_go_round_until_none_is_left() -> Result<()> {
        let network = Registry::new(Ipv4Addr::new(10, 9, 0, 1), 3);
        let first = request("a", Vec::new());
        let given = network.attach(&first).await?;
        network.detach(&first.sandbox, &first.pod).await?;
        let next = network.attach(&request("b", Vec::new())).await?;
        assert_ne!(next, given, "what was just returned comes last");
        network.attach(&request("c", Vec::new())).await?;
        assert_eq!(network.attach(&request("d", Vec::new())).await?, given);
        let refused = network.attach(&request("e", Vec::new())).await;
        assert!(matches!(refused, Err(NetworkError::AddressesExhausted { .. })), "{refused:?}");
        network.retain(&["b".into()]).await?;
        network.attach(&request("e", Vec::new())).await.map(drop)
    }

    #[tokio::test]
    async fn an_adopted_sandbox_keeps_its_address() -> Result<()> {
        let network = Registry::new(Ipv4Addr::new(10, 9, 0, 1), 2);
        let known: IpAddr = Ipv4Addr::new(10, 9, 0, 1).into();
        assert_eq!(network.attach(&request("old", vec![known])).await?.ips, [known]);
        assert_ne!(network.attach(&request("new", Vec::new())).await?.ips, [known]);
        Ok(())
    }
}
