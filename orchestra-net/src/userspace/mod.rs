//! A service network that carries the traffic itself.
//!
//! For each address and port of a service it listens with a socket, and passes what arrives to the endpoints in turn, or by chance.
//! Cluster addresses outside of `127.0.0.0/8` are first given to the machine's loopback device, which takes root; pods
//! on a bridge and programs of the machine then both reach them. Without root, take cluster addresses from a loopback
//! range, such as `127.96.0.0/16`.
//!
//! Tasks: one a socket that listens, one a TCP connection, one a UDP client. They end with the [`UserspaceNetwork`],
//! but connections that are being carried end by themselves.
//!
//! What a proxy in user space cannot do: the pod sees the machine's address, not its client's; a port that a program of
//! the machine has taken at *all* addresses cannot be had at a cluster address either (it is named in
//! [`Applied`]); a local traffic policy without local endpoints refuses connections instead of dropping them; IPv6
//! cluster addresses are served only if the machine has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::network::{
    Applied, AttachRequest, Attachment, HostPort, Network, NetworkError, PodRef, PortFailure, Protocol,
    Result, SandboxId, ServicePlan,
};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

mod balance;
mod health;
mod plan;
pub(crate) mod tcp;
pub(crate) mod udp;

use self::health::HealthPorts;
use crate::{Balance, address};
use balance::Balancer;
use plan::{Backend, Listen, Wanted};

/// How long, and how often, a port that has just been closed may seem to be in use: a program that this one is starting
/// has its sockets too, until it is what it is to be.
const FORK: Duration = Duration::from_millis(20);
const FORKS: usize = 5;

/// A service network in user space. Pods keep the addresses their runtime gave them.
#[derive(Debug)]
pub struct UserspaceNetwork {
    label: String,
    node_addresses: Vec<IpAddr>,
    shared: bool,
    serves_host_ports: bool,
    balance: Balance,
    udp_idle: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: ServicePlan,
    /// Whether addresses may have to be taken away: nothing is touched before there is a plan.
    planned: bool,
    host_ports: BTreeMap<SandboxId, (String, IpAddr, Vec<HostPort>)>,
    sockets: BTreeMap<Listen, Socket>,
    addresses: Option<address::Kept>,
    health: HealthPorts,
}

#[derive(Debug)]
struct Socket {
    backend: Backend,
    balancer: Arc<Balancer>,
    task: JoinHandle<()>,
}

/// What a socket may do that is not usual.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sharing {
    /// Listen where others of the same user do.
    pub(crate) port: bool,
    /// Listen at an address that the machine does not have.
    pub(crate) absent: bool,
}

impl Socket {
    /// Returns when nobody listens there any more: until then the kernel would give it connections, of several that share
    /// an address too, and they would be broken off.
    async fn close(mut self) {
        self.task.abort();
        // It was aborted, so that it ends as cancelled.
        let _cancelled = (&mut self.task).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for UserspaceNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl UserspaceNetwork {
    /// A network with node ports at all addresses of the machine.
    pub fn new() -> Self {
        Self {
            label: address::label("default"),
            node_addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            shared: false,
            serves_host_ports: false,
            balance: Balance::default(),
            udp_idle: Duration::from_secs(60),
            state: Mutex::default(),
        }
    }

    /// Whose addresses these are, one word for cluster and node. Networks of one machine need different ones, and the
    /// same one again after a restart, so that each takes away what it left and nothing else.
    pub fn owner(mut self, owner: &str) -> Self {
        self.label = address::label(owner);
        self
    }

    /// Node ports at these addresses only.
    pub fn node_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.node_addresses = addresses.into_iter().collect();
        self
    }

    /// Lets other networks of the same user listen at the same addresses (`SO_REUSEPORT`); the kernel spreads
    /// connections among them. For several nodes of *one* cluster on one machine, which all carry the same services.
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Also carries the host ports of pods, for runtimes that do not (processes; Docker does it itself).
    pub fn host_ports(mut self, serves: bool) -> Self {
        self.serves_host_ports = serves;
        self
    }

    /// Which endpoint of a service takes the next connection; each in its turn unless said otherwise.
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// How long a UDP client may be silent before it is forgotten; 60 s unless said otherwise.
    pub fn udp_idle(mut self, idle: Duration) -> Self {
        self.udp_idle = idle;
        self
    }

    /// Brings the sockets in line with the plan and the pods.
    async fn reconcile(&self, state: &mut State) -> Result<Vec<PortFailure>> {
        let mut wanted = Wanted::of(&state.plan, &self.node_addresses);
        for (pod, ip, ports) in state.host_ports.values() {
            wanted.add_host_ports(pod, *ip, ports);
        }
        let changes = plan::changes(
            state.sockets.iter().map(|(listen, socket)| (listen, &socket.backend)),
            &wanted.sockets,
        );
        for listen in changes.close {
            if let Some(socket) = state.sockets.remove(&listen) {
                socket.close().await;
            }
        }
        let mut missing = BTreeMap::new();
        if state.planned {
            let kept = state.addresses.get_or_insert_with(|| address::Kept::new(&self.label));
            let set = kept.set(&wanted.addresses).await;
            missing =
                set.map_err(|error| NetworkError::Unavailable { message: format!("netlink: {error}") })?;
        }
        for (listen, backend) in changes.update {
            if let Some(socket) = state.sockets.get_mut(&listen) {
                socket.balancer.update(&backend);
                socket.backend = backend;
            }
        }
        let mut failures = wanted.failures;
        let mut taken = self.open_all(state, changes.open, &wanted.maybe);
        for _ in 0..FORKS {
            if taken.iter().all(|(.., error)| error.kind() != io::ErrorKind::AddrInUse) {
                break;
            }
            tokio::time::sleep(FORK).await;
            let again = taken.into_iter().map(|(listen, backend, _)| (listen, backend));
            taken = self.open_all(state, again, &wanted.maybe);
        }
        let failed = taken.iter().map(|(listen, backend, error)| {
            plan::failure(&backend.owner, listen, why(listen, error, &missing))
        });
        failures.extend(failed);
        Ok(failures)
    }

    /// Opens sockets, and answers those that cannot be had.
    fn open_all(
        &self,
        state: &mut State,
        wanted: impl IntoIterator<Item = (Listen, Backend)>,
        maybe: &BTreeSet<IpAddr>,
    ) -> Vec<(Listen, Backend, io::Error)> {
        let mut taken = Vec::new();
        for (listen, backend) in wanted {
            let balancer = Arc::new(Balancer::new(&backend, self.balance));
            match self.open(&listen, &balancer, maybe.contains(&listen.address.ip())) {
                Ok(task) => drop(state.sockets.insert(listen, Socket { backend, balancer, task })),
                Err(error) => taken.push((listen, backend, error)),
            }
        }
        taken
    }

    /// Listens, also at an address that the machine has not yet, if it is one that `may_come`.
    fn open(&self, listen: &Listen, balancer: &Arc<Balancer>, may_come: bool) -> io::Result<JoinHandle<()>> {
        let (balancer, how) = (balancer.clone(), Sharing { port: self.shared, absent: may_come });
        Ok(match listen.protocol {
            Protocol::Tcp => tokio::spawn(tcp::serve(tcp::listen(listen.address, how)?, balancer)),
            Protocol::Udp => {
                tokio::spawn(udp::serve(udp::listen(listen.address, how)?, balancer, self.udp_idle))
            }
            Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

fn why(listen: &Listen, error: &io::Error, missing: &BTreeMap<Ipv4Addr, String>) -> String {
    let refused = match listen.address.ip() {
        IpAddr::V4(ip) => missing.get(&ip),
        IpAddr::V6(_) => None,
    };
    match refused {
        Some(refused) => format!(
            "{} cannot be given to this machine ({refused}): run as root, or take cluster addresses from 127.0.0.0/8",
            listen.address.ip()
        ),
        None if error.kind() == io::ErrorKind::AddrInUse => {
            format!("{listen} is already in use on this machine")
        }
        None => format!("listening at {listen}: {error}"),
    }
}

#[async_trait]
impl Network for UserspaceNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let Some(ip) = request.runtime_ips.first() else {
            return Err(NetworkError::NoAddress { sandbox: request.sandbox.to_string() });
        };
        if self.serves_host_ports && !request.host_ports.is_empty() {
            let pod = format!("{}/{}", request.pod.namespace, request.pod.name);
            let mut state = self.state.lock().await;
            state.host_ports.insert(request.sandbox.clone(), (pod.clone(), *ip, request.host_ports.clone()));
            let failures = self.reconcile(&mut state).await?;
            if let Some(failure) = failures.into_iter().find(|failure| failure.service == pod) {
                return Err(NetworkError::Failed { message: failure.message });
            }
        }
        Ok(Attachment { ips: request.runtime_ips.clone() })
    }

    async fn detach(&self, sandbox: &SandboxId, _pod: &PodRef) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.host_ports.remove(sandbox).is_some() {
            self.reconcile(&mut state).await?;
        }
        Ok(())
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        let mut state = self.state.lock().await;
        state.plan = plan.clone();
        state.planned = true;
        let mut failures = state.health.set(plan);
        failures.extend(self.reconcile(&mut state).await?);
        Ok(Applied { failures })
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        let mut state = self.state.lock().await;
        let before = state.host_ports.len();
        state.host_ports.retain(|sandbox, _| sandboxes.contains(sandbox));
        if state.host_ports.len() != before {
            self.reconcile(&mut state).await?;
        }
        Ok(())
    }
}
