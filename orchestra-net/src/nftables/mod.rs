//! Services and policies in the kernel, by nftables.
//!
//! What the kernel is to hold is made of the plan as a value (`render.rs`, `policy.rs`), of as much of it as has to do with
//! what is new (`narrow.rs`), and changes lead from what it holds to what it is to hold (`ruleset.rs`); all of this is pure.
//! They are done as a whole or not at all, and touch only what differs. The first ones are a text for the program `nft`,
//! which replaces whatever an earlier life of this program left. What follows is told to the kernel by messages
//! (`message.rs`): the program first reads all that there is. What only it can say, and what is very large, is left to it.
//!
//! Everything is in tables named after their owner, so clusters on one machine leave each other alone. Should somebody
//! remove or empty a table, it is put right within [`LOOK`].
//!
//! Nothing is loaded before both services and policies are known, so that what an earlier life left holds until then. A pod
//! is connected when the kernel has the rules for its addresses: [`Network::attach`] waits for a plan that knows it, and until
//! then nobody reaches it and it reaches nobody (`attached.rs`).
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
    SandboxId, ServicePlan, ServicePort,
};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod attached;
mod attributes;
mod cidr;
mod conntrack;
mod expression;
mod family;
mod forward;
mod message;
mod narrow;
mod netfilter;
mod policy;
mod program;
mod render;
mod rule;
mod ruleset;
#[cfg(test)]
mod tests;
mod wanted;

use crate::{Balance, UserspaceNetwork};
use attached::Attached;
use cidr::Cidr;
use family::Family;
use forward::{forward_packets, forward_v6, not_permitted};
use message::Batch;
use netfilter::Filter;
use render::Node;
use ruleset::{Changes, Ruleset};
use wanted::{News, Wanted};

/// How often it is looked whether the tables are still there.
const LOOK: Duration = Duration::from_secs(5);

/// How long a pod waits for a plan of policies that knows it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many bytes of changes the kernel takes at once without being asked for more room.
const LARGEST_BATCH: usize = 128 << 10;

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
    /// The plan of policies that the kernel holds.
    held: watch::Sender<Option<PolicyPlan>>,
}

#[derive(Debug, Default)]
struct State {
    wanted: Wanted,
    host_ports: BTreeMap<SandboxId, (Vec<IpAddr>, Vec<HostPort>)>,
    attached: Attached,
    /// The policies as they were told last.
    policies: Option<PolicyPlan>,
    /// Whether the kernel holds what is wanted, as far as is known.
    is_held: bool,
    /// The number of the kernel's state in which that was last seen to be so.
    seen: Option<u32>,
    /// Whether there was a plan of services.
    planned: bool,
    filter: Option<Filter>,
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
        Self::balanced(owner, host_ports, Balance::default())
    }

    /// The same with a choice of which endpoint of a service takes the next connection.
    pub fn balanced(owner: &str, host_ports: bool, balance: Balance) -> Self {
        let userspace = UserspaceNetwork::new()
            .owner(owner)
            .node_addresses([IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .host_ports(host_ports)
            .balance(balance);
        let wanted = Wanted { node: Node { balance, ..Node::default() }, ..Wanted::default() };
        let (table, state) = (table(owner), Mutex::new(State { wanted, ..State::default() }));
        let held = watch::Sender::default();
        let inner = Arc::new(Inner { table, userspace, serves_host_ports: host_ports, state, held });
        let watch = tokio::spawn(put_right(Arc::downgrade(&inner)));
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
        if own.iter().any(|(address, _)| address.is_ipv6()) {
            forward_v6().map_err(not_permitted)?;
        }
        let mut state = self.inner.state.lock().await;
        let node = Node { pods: ranges(own), cluster: ranges(cluster), ..state.wanted.node.clone() };
        self.inner.settle(&mut state, News::Node(node)).await
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
    /// Whether all is known that the kernel is to hold: nothing is touched before.
    fn is_told(&self) -> bool {
        self.planned && self.policies.is_some()
    }

    /// What is known of the node now that the pods with ports of the machine are others.
    fn node(&self) -> News<'static> {
        let of_pod = |(ips, ports): &(Vec<IpAddr>, Vec<HostPort>)| {
            ips.iter().map(|ip| (*ip, ports.clone())).collect::<Vec<_>>()
        };
        let host_ports = self.host_ports.values().flat_map(of_pod).collect();
        News::Node(Node { host_ports, ..self.wanted.node.clone() })
    }

    /// Tells the kernel. If nobody else changed anything meanwhile, what was seen before is as it was.
    async fn tell(&mut self, told: Told) -> io::Result<()> {
        let before = self.generation().await.filter(|before| self.seen == Some(*before));
        match told {
            Told::Text(text) => program::run(&text).await?,
            Told::Batch(batch) => self.filter(move |filter| filter.send(&batch)).await?,
        }
        let now = self.generation().await;
        self.seen = now.filter(|now| before.is_some_and(|before| before.wrapping_add(1) == *now));
        Ok(())
    }

    async fn generation(&mut self) -> Option<u32> {
        self.filter(Filter::generation).await.ok()
    }

    /// Asks the packet filter, where it may take its time.
    async fn filter<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&mut Filter) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut filter = match self.filter.take() {
            Some(filter) => filter,
            None => Filter::connect()?,
        };
        let asked = tokio::task::spawn_blocking(move || (ask(&mut filter), filter));
        let (answer, filter) = asked.await?;
        // After an error there may be answers that nobody waits for.
        self.filter = answer.is_ok().then_some(filter);
        answer
    }
}

/// Changes, as they are told to the kernel.
enum Told {
    Text(String),
    Batch(Batch),
}

impl From<Changes<'_>> for Told {
    /// By messages where it can be, as the program `nft` first reads all that there is.
    fn from(changes: Changes<'_>) -> Self {
        match Batch::of(&changes) {
            Some(batch) if batch.bytes.len() <= LARGEST_BATCH => Self::Batch(batch),
            _ => Self::Text(changes.text()),
        }
    }
}

impl Inner {
    /// Brings the kernel in line with what is wanted from now on.
    async fn settle(&self, state: &mut State, news: News<'_>) -> Result<()> {
        let held = std::mem::take(&mut state.is_held);
        let rulesets = held.then(|| state.wanted.before_and_after(&self.table, &news));
        state.wanted.take(news);
        if let Some((before, after)) = rulesets {
            let change = after.change_from(&before);
            let told = if change.list.is_empty() { Ok(()) } else { state.tell(change.into()).await };
            match told {
                Ok(()) => {
                    state.is_held = true;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, "the kernel does not hold what it held; loading all of it")
                }
            }
        }
        self.load(state).await
    }

    /// Has the kernel hold to the policies for the pods that are attached now.
    async fn settle_policies(&self, state: &mut State) -> Result<()> {
        let Some(told) = &state.policies else { return Ok(()) };
        let wanted = state.attached.policies(told);
        match state.is_held && wanted == state.wanted.policies {
            true => Ok(()),
            false => self.settle(state, News::Policies(&wanted)).await,
        }
    }

    /// Waits until the kernel holds to the policies that select a pod.
    async fn known(&self, request: &AttachRequest) -> Result<()> {
        let mut held = self.held.subscribe();
        let knows =
            |held: &Option<PolicyPlan>| held.as_ref().is_some_and(|plan| plan.knows(&request.pod.uid));
        if timeout(PATIENCE, held.wait_for(knows)).await.is_ok() {
            return Ok(());
        }
        if self.held.borrow().is_some() {
            tracing::warn!(pod = %request.pod, "no policies are known for the pod yet: it is connected to nothing");
            return Ok(());
        }
        let message = "it is not known yet which network policies there are".to_owned();
        Err(NetworkError::Unavailable { message })
    }

    /// Has the kernel hold what is wanted, whatever it holds.
    async fn load(&self, state: &mut State) -> Result<()> {
        if !state.is_told() {
            return Ok(());
        }
        let text = state.wanted.ruleset(&self.table).load();
        let loaded = state.tell(Told::Text(text)).await;
        loaded.map_err(|error| NetworkError::Unavailable { message: error.to_string() })?;
        state.is_held = true;
        Ok(())
    }

    /// Whether the kernel still holds it, as far as one chain tells.
    async fn is_there(&self, state: &mut State) -> bool {
        for family in [Family::V4, Family::V6] {
            let table = self.table.clone();
            let rules = state.filter(move |filter| filter.rules(family, &table, render::DISPATCH)).await;
            if !rules.is_ok_and(|rules| rules > 0) {
                return false;
            }
        }
        true
    }
}

/// Puts right what others took away.
async fn put_right(network: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(network) = network.upgrade() else { return };
        let mut state = network.state.lock().await;
        let now = state.generation().await;
        if !state.is_held || (now.is_some() && state.seen == now) {
            continue;
        }
        // Somebody changed something. What it was takes long to find out where there are many services.
        if network.is_there(&mut state).await {
            state.seen = now;
            continue;
        }
        tracing::warn!(table = network.table, "somebody removed the rules for services; loading them again");
        state.is_held = false;
        if let Err(error) = network.load(&mut state).await {
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

/// The part of a plan that is done in user space: node ports at loopback addresses, and health checks.
fn at_loopback(plan: &ServicePlan) -> ServicePlan {
    let of_node = |port: &ServicePort| port.node_port.is_some();
    let concerned = plan
        .services
        .iter()
        .filter(|service| service.health_check_node_port.is_some() || service.ports.iter().any(of_node));
    let services = concerned.cloned().map(|mut service| {
        service.cluster_ips.clear();
        service.external_ips.clear();
        service.load_balancer_ips.clear();
        if service.health_check_node_port.is_none() {
            service.ports.retain(of_node);
        }
        // Who asks here is on this node.
        service.external_policy = service.internal_policy;
        service
    });
    ServicePlan { services: services.collect() }
}

#[async_trait]
impl Network for NftablesNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let attachment = self.inner.userspace.attach(request).await?;
        let mut state = self.inner.state.lock().await;
        state.attached.add(request, &attachment.ips);
        self.inner.settle_policies(&mut state).await?;
        if self.inner.serves_host_ports && !request.host_ports.is_empty() && !attachment.ips.is_empty() {
            let of_pod = (attachment.ips.clone(), request.host_ports.clone());
            state.host_ports.insert(request.sandbox.clone(), of_pod);
            let node = state.node();
            self.inner.settle(&mut state, node).await?;
        }
        drop(state);
        // One that was connected by an earlier life of this program has been running, and goes on.
        if !request.known_ips.iter().any(|ip| attachment.ips.contains(ip)) {
            self.inner.known(request).await?;
        }
        Ok(attachment)
    }

    async fn detach(&self, sandbox: &SandboxId, pod: &PodRef) -> Result<()> {
        let mut state = self.inner.state.lock().await;
        if state.attached.remove(sandbox) {
            self.inner.settle_policies(&mut state).await?;
        }
        if state.host_ports.remove(sandbox).is_some() {
            let node = state.node();
            self.inner.settle(&mut state, node).await?;
        }
        drop(state);
        self.inner.userspace.detach(sandbox, pod).await
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        let mut state = self.inner.state.lock().await;
        forward_packets(plan).map_err(not_permitted)?;
        let before = conntrack::ways(&state.wanted.plan);
        state.planned = true;
        self.inner.settle(&mut state, News::Services(plan)).await?;
        if state.is_held {
            // What was told of policies before is in the kernel with the first plan of services.
            self.inner.held.send_if_modified(|held| {
                let news = *held != state.policies;
                held.clone_from(&state.policies);
                news
            });
        }
        forget_datagrams(&before, &conntrack::ways(plan)).await;
        self.inner.userspace.apply(&at_loopback(plan)).await
    }

    fn holds_to_policies(&self) -> bool {
        true
    }

    async fn apply_policies(&self, plan: &PolicyPlan) -> Result<()> {
        let mut state = self.inner.state.lock().await;
        state.policies = Some(plan.clone());
        self.inner.settle_policies(&mut state).await?;
        if state.is_held {
            self.inner.held.send_replace(Some(plan.clone()));
        }
        Ok(())
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        let mut state = self.inner.state.lock().await;
        state.host_ports.retain(|sandbox, _| sandboxes.contains(sandbox));
        state.attached.retain(sandboxes);
        self.inner.settle_policies(&mut state).await?;
        let node = state.node();
        self.inner.settle(&mut state, node).await?;
        self.inner.userspace.retain(sandboxes).await
    }
}
