//! How pods get addresses and services lead to them: the port to a bridge, nftables, a proxy in user space, or a [`fake`].
//!
//! [`Network`] has two jobs. It connects sandboxes ([`attach`](Network::attach), [`detach`](Network::detach)), and it
//! makes services reachable: [`apply`](Network::apply) takes the whole [`ServicePlan`] each time, so an implementation
//! can compare it with what is there and change only that, and so one that was killed half-way is put right by the
//! next call. What leads where is decided in the plan; an implementation only renders it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub mod dns;
mod error;
pub mod fake;
mod plan;
mod policy;

pub use error::{NetworkError, Result};
pub use plan::{Affinity, Endpoint, ServiceEntry, ServicePlan, ServicePort, TrafficPolicy};
pub use policy::{Allowed, Block, Peers, PodPolicy, PolicyPlan, PortRange};

pub use crate::runtime::{HostPort, PodRef, Protocol, SandboxId};

/// Connects sandboxes and makes services reachable on one node.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Gives a sandbox its addresses.
    ///
    /// Called once a sandbox is made and before any container of it, and again for each sandbox that an agent adopts.
    /// Safe to repeat: an attached sandbox keeps the addresses it has. Never called for a pod on the host's network.
    ///
    /// A network that [holds to policies](Self::holds_to_policies) holds to those of the pod when this returns, so that
    /// none of its containers ever sends or receives what a policy forbids. While the plan does not
    /// [know](PolicyPlan::knows) the pod it is waited for; after that the pod may be connected to nothing until it does.
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment>;

    /// Takes a sandbox's addresses back, so that they can be given out again. One that is not attached is no error.
    async fn detach(&self, sandbox: &SandboxId, pod: &PodRef) -> Result<()>;

    /// Makes services reachable as the plan says, and nothing else: what an earlier plan held and this one does not
    /// goes away. Connections that still lead to an endpoint of the plan are left alone.
    ///
    /// What cannot be done for one port does not keep the others from being done; it is named in the answer.
    async fn apply(&self, plan: &ServicePlan) -> Result<Applied>;

    /// Whether it holds to policies. Where it does not, pods receive and send what they like.
    fn holds_to_policies(&self) -> bool {
        false
    }

    /// Lets pods receive and send what the plan says, those that it knows and are not in it everything, and those that it
    /// does not know nothing.
    async fn apply_policies(&self, plan: &PolicyPlan) -> Result<()> {
        let _ = plan;
        Ok(())
    }

    /// Forgets addresses of sandboxes that are not among these, which are all that the node has. Called once after the
    /// agent started, for what was left by a crash.
    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        let _ = sandboxes;
        Ok(())
    }
}

#[async_trait]
impl<N: Network + ?Sized> Network for Arc<N> {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        (**self).attach(request).await
    }

    async fn detach(&self, sandbox: &SandboxId, pod: &PodRef) -> Result<()> {
        (**self).detach(sandbox, pod).await
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        (**self).apply(plan).await
    }

    fn holds_to_policies(&self) -> bool {
        (**self).holds_to_policies()
    }

    async fn apply_policies(&self, plan: &PolicyPlan) -> Result<()> {
        (**self).apply_policies(plan).await
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        (**self).retain(sandboxes).await
    }
}

/// A sandbox that wants addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The pod it is for.
    pub pod: PodRef,
    /// Its network namespace, where a file names one.
    pub netns: Option<PathBuf>,
    /// Addresses the runtime has already given it. An implementation that leaves addressing to the runtime answers
    /// these.
    pub runtime_ips: Vec<IpAddr>,
    /// Addresses that the pod's status shows, when the sandbox is adopted: it keeps them if it was attached by an
    /// agent that has since died.
    pub known_ips: Vec<IpAddr>,
    /// Ports of the machine that lead to it, for networks that see to them themselves.
    pub host_ports: Vec<HostPort>,
    /// The pod's annotations, where networks find their options (`kubernetes.io/ingress-bandwidth` …).
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Addresses given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// At least one; the first is `status.podIP`.
    pub ips: Vec<IpAddr>,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Ports that could not be made reachable. They are tried again with the next plan.
    pub failures: Vec<PortFailure>,
}

/// A service port that could not be made reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFailure {
    /// `namespace/name` of the service.
    pub service: String,
    /// The address, or the unspecified address for a node port.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Why.
    pub message: String,
}
