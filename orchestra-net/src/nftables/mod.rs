//! Services and policies in the kernel, by nftables.
//!
//! What the kernel is to hold is made of the plan as a value (`render.rs`, `policy.rs`), and a text leads from what it holds to what
//! it is to hold (`ruleset.rs`); both are pure. The text is done as a whole or not at all, and touches only what differs.
//! The first one replaces whatever an earlier life of this program left.
//!
//! Everything is in tables named after their owner, so clusters on one machine leave each other alone. Should somebody
//! remove or empty a table, it is put right within [`LOOK`].
//!
//! What the kernel does not do is done by a [`UserspaceNetwork`] beside it: ports of the machine reached at its own
//! loopback addresses, whose packets cannot leave that device, and health checks.
//!
//! It needs root and the program `nft`. The machine is made to pass on packets (`net.ipv4.ip_forward`). Task: one that
//! looks whether the tables are still there, which ends with the network.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::network::{
    Applied, AttachRequest, Attachment, HostPort, Network, NetworkError, PodRef, PolicyPlan, Result,
    SandboxId, ServicePlan,
};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

mod conntrack;
mod family;
mod netfilter;
mod policy;
mod program;
mod render;
mod ruleset;
#[cfg(test)]
mod tests;

use crate::UserspaceNetwork;
use render::{Cidr, Node};
use ruleset::Ruleset;

/// How often it is looked whether the tables are still there.
const LOOK: Duration = Duration::from_secs(5);

/// A service network in the kernel. Pods keep the addresses their runtime gave them.
#[derive(Debug)]
pub struct NftablesNetwork {
    inner: Arc<Inner>,
    watch: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    table: String,
    userspace: UserspaceNetwork,
    serves_host_ports: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: ServicePlan,
    policies: PolicyPlan,
    node: Node,
    host_ports: BTreeMap<SandboxId, (IpAddr, Vec<HostPort>)>,
    /// What the kernel holds, if that is known.
    held: Option<Ruleset>,
    /// The number of the kernel's state in which that was last seen to be so.
    seen: Option<u32>,
    /// Whether there was a plan: nothing is touched before.
    planned: bool,
}

impl Drop for NftablesNetwork {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl NftablesNetwork {
    /// A network whose tables are named after `owner`, one word for cluster and node: networks of one machine need
    /// different ones, and the same one again after a restart. With `host_ports` it also carries the host ports of pods,
    /// for runtimes that do not.
    pub fn new(owner: &str, host_ports: bool) -> Self {
        let userspace = UserspaceNetwork::new()
            .owner(owner)
            .node_addresses([IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .host_ports(host_ports);
        let (table, state) = (table(owner), Mutex::default());
        let inner = Arc::new(Inner { table, userspace, serves_host_ports: host_ports, state });
        let watch = tokio::spawn(watch(Arc::downgrade(&inner)));
        Self { inner, watch }
    }

    /// Whether this machine and this process's rights allow it.
    ///
    /// # Errors
    /// Why not.
    pub async fn available() -> std::result::Result<(), String> {
        program::available().await.map_err(|error| error.to_string())?;
        // Docker does that, and what one drops no other lets pass.
        match program::chain("ip", "filter", "FORWARD").await {
            Ok(rules) if rules.contains("policy drop") => {
                Err("another program on this machine, such as Docker, drops \
                 what it does not pass on itself (policy of the chain FORWARD)"
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Whether to use it. Where it cannot be had, that is said in the log, and another network is to be used.
    ///
    /// # Errors
    /// Why it cannot be had, when it is `demanded`.
    pub async fn usable(demanded: bool) -> std::result::Result<bool, String> {
        match Self::available().await {
            Ok(()) => Ok(true),
            Err(why) if demanded => Err(format!("the kernel cannot lead to services: {why}")),
            Err(why) => {
                tracing::warn!(why, "services are carried in user space");
                Ok(false)
            }
        }
    }

    /// Which addresses the pods of this node have, and which all pods of the cluster: what pods send elsewhere goes out
    /// under the machine's own address. Each is an address and how many of its bits count.
    ///
    /// # Errors
    /// When the kernel refuses it; it is tried again with the next plan.
    pub async fn pods(&self, own: &[(IpAddr, u8)], cluster: &[(IpAddr, u8)]) -> Result<()> {
        let ranges = |ranges: &[(IpAddr, u8)]| {
            ranges.iter().map(|(address, prefix)| Cidr { address: *address, prefix: *prefix }).collect()
        };
        let mut state = self.inner.state.lock().await;
        state.node.pods = ranges(own);
        state.node.cluster = ranges(cluster);
        self.inner.settle(&mut state).await
    }

    /// The families of the tables that a network of that owner has in the kernel, and their name; none without the program.
    pub(crate) async fn tables(owner: &str) -> io::Result<Vec<(String, String)>> {
        let (own, all) = (table(owner), program::tables().await);
        match all {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            all => Ok(all?.into_iter().filter(|(_, name)| *name == own).collect()),
        }
    }

    /// Takes away what a network of that owner left in the kernel, if there is the program to do so.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub async fn remove(owner: &str) -> io::Result<()> {
        let nothing = Ruleset { table: table(owner), ..Ruleset::default() };
        program::run(&nothing.removal()).await
    }
}

/// The name of an owner's tables.
fn table(owner: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    format!("orchestra-{}", owner.replace(|letter| !plain(letter), "-"))
}

impl State {
    /// Tells the kernel. If nobody else changed anything meanwhile, what was seen before is as it was.
    async fn tell(&mut self, text: &str) -> io::Result<()> {
        let before = netfilter::generation().await.ok().filter(|before| self.seen == Some(*before));
        program::run(text).await?;
        let now = netfilter::generation().await.ok();
        self.seen = now.filter(|now| before.is_some_and(|before| before.wrapping_add(1) == *now));
        Ok(())
    }
}

impl Inner {
    /// Brings the kernel in line with the plan and the pods.
    async fn settle(&self, state: &mut State) -> Result<()> {
        if !state.planned {
            return Ok(());
        }
        state.node.host_ports = state.host_ports.values().cloned().collect();
        let wanted = render::ruleset(&self.table, &state.plan, &state.policies, &state.node);
        if let Some(held) = state.held.take() {
            let change = wanted.change_from(&held);
            if change.is_empty() {
                state.held = Some(held);
                return Ok(());
            }
            match state.tell(&change).await {
                Ok(()) => {
                    state.held = Some(wanted);
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, "the kernel does not hold what it held; loading all of it")
                }
            }
        }
        let loaded = state.tell(&wanted.load()).await;
        loaded.map_err(|error| NetworkError::Unavailable { message: error.to_string() })?;
        state.held = Some(wanted);
        Ok(())
    }

    /// Whether the kernel still holds it, as far as one chain tells.
    async fn is_there(&self) -> bool {
        for family in ["ip", "ip6"] {
            match program::chain(family, &self.table, "services").await {
                Ok(rules) if rules.contains("@node-ports") => {}
                _ => return false,
            }
        }
        true
    }
}

/// Puts right what others took away.
async fn watch(network: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(network) = network.upgrade() else { return };
        let mut state = network.state.lock().await;
        let now = netfilter::generation().await.ok();
        if state.held.is_none() || (now.is_some() && state.seen == now) {
            continue;
        }
        // Somebody changed something. What it was takes long to find out where there are many services.
        if network.is_there().await {
            state.seen = now;
            continue;
        }
        tracing::warn!(table = network.table, "somebody removed the rules for services; loading them again");
        state.held = None;
        if let Err(error) = network.settle(&mut state).await {
            tracing::warn!(%error, "the rules for services cannot be loaded");
        }
    }
}

/// Datagrams of a client that goes on sending are led by the new rules too.
async fn forget_datagrams(before: &conntrack::Ways, now: &conntrack::Ways) {
    match conntrack::forget(&conntrack::changed(before, now)).await {
        Ok(0) => {}
        Ok(flows) => tracing::debug!(flows, "flows of datagrams to endpoints that are gone were ended"),
        Err(error) => {
            tracing::warn!(%error, "flows of datagrams to endpoints that are gone were not all ended")
        }
    }
}

/// Has the machine pass on packets between its devices. Pods and services need it, and Kubernetes asks for it.
fn forward_packets(plan: &ServicePlan) -> io::Result<()> {
    let is_v6 = plan.services.iter().any(|service| service.cluster_ips.iter().any(IpAddr::is_ipv6));
    let v6 = is_v6.then_some("/proc/sys/net/ipv6/conf/all/forwarding");
    for path in ["/proc/sys/net/ipv4/ip_forward"].into_iter().chain(v6) {
        if std::fs::read_to_string(path)?.trim() == "0" {
            std::fs::write(path, "1")?;
        }
    }
    Ok(())
}

/// The part of a plan that is done in user space: node ports at loopback addresses, and health checks.
fn at_loopback(plan: &ServicePlan) -> ServicePlan {
    let mut plan = plan.clone();
    for service in &mut plan.services {
        service.cluster_ips.clear();
        service.external_ips.clear();
        service.load_balancer_ips.clear();
        if service.health_check_node_port.is_none() {
            service.ports.retain(|port| port.node_port.is_some());
        }
        // Who asks here is on this node.
        service.external_policy = service.internal_policy;
    }
    plan.services.retain(|service| !service.ports.is_empty());
    plan
}

#[async_trait]
impl Network for NftablesNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let attachment = self.inner.userspace.attach(request).await?;
        if self.inner.serves_host_ports
            && !request.host_ports.is_empty()
            && let Some(ip) = request.runtime_ips.first()
        {
            let mut state = self.inner.state.lock().await;
            state.host_ports.insert(request.sandbox.clone(), (*ip, request.host_ports.clone()));
            self.inner.settle(&mut state).await?;
        }
        Ok(attachment)
    }

    async fn detach(&self, sandbox: &SandboxId, pod: &PodRef) -> Result<()> {
        let mut state = self.inner.state.lock().await;
        if state.host_ports.remove(sandbox).is_some() {
            self.inner.settle(&mut state).await?;
        }
        self.inner.userspace.detach(sandbox, pod).await
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        let mut state = self.inner.state.lock().await;
        let forwards = forward_packets(plan);
        forwards.map_err(|error| NetworkError::NotPermitted {
            message: format!("forwarding packets: {error}"),
        })?;
        let before = conntrack::ways(&state.plan);
        state.plan = plan.clone();
        state.planned = true;
        self.inner.settle(&mut state).await?;
        forget_datagrams(&before, &conntrack::ways(plan)).await;
        self.inner.userspace.apply(&at_loopback(plan)).await
    }

    fn holds_to_policies(&self) -> bool {
        true
    }

    async fn apply_policies(&self, plan: &PolicyPlan) -> Result<()> {
        let mut state = self.inner.state.lock().await;
        state.policies = plan.clone();
        state.planned = true;
        self.inner.settle(&mut state).await
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        let mut state = self.inner.state.lock().await;
        state.host_ports.retain(|sandbox, _| sandboxes.contains(sandbox));
        self.inner.settle(&mut state).await?;
        self.inner.userspace.retain(sandboxes).await
    }
}
