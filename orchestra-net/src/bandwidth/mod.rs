//! How much pods may receive and send, as their annotations `kubernetes.io/ingress-bandwidth` and `egress-bandwidth` say.
//!
//! The kernel holds to it where a pod's cable ends at the machine (`kernel.rs`). What the pod receives leaves the machine
//! there, through a queue that lets no more through than it may. What it sends comes in there, where nothing queues: it is
//! led through a mirror device of the pod's own, which has such a queue, and goes on from there as if it had just come.
//!
//! The queues end with the cable. Mirrors do not: they are known by their owner and by their sandbox, and go with the
//! sandbox, at a start when nobody has it any more, and with `orchestra reset`.
//!
//! Starts no task.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::network::{
    Applied, AttachRequest, Attachment, Network, NetworkError, PodRef, PolicyPlan, Result, SandboxId,
    ServicePlan,
};
use tokio::sync::Mutex;

pub(crate) mod kernel;
pub(crate) mod limits;
#[cfg(test)]
mod tests;

use crate::address::metric;
use kernel::Cable;
use limits::Limits;

/// A network whose pods receive and send no more than their annotations say.
pub struct LimitedNetwork {
    network: Arc<dyn Network>,
    owner: u32,
    device: Box<dyn Fn(Ipv4Addr) -> String + Send + Sync>,
    /// One change at a time: what has been begun for one sandbox is nobody's as yet.
    turn: Mutex<()>,
}

impl fmt::Debug for LimitedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedNetwork").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl LimitedNetwork {
    /// Holds the pods of a network to what they may. `owner` is one word for cluster and node, as with
    /// [`UserspaceNetwork::owner`](crate::UserspaceNetwork::owner); `device` says of the first address of a pod which of
    /// this machine's devices its cable ends at.
    pub fn new(
        network: Arc<dyn Network>,
        owner: &str,
        device: impl Fn(Ipv4Addr) -> String + Send + Sync + 'static,
    ) -> Self {
        Self { network, owner: metric(owner), device: Box::new(device), turn: Mutex::default() }
    }

    async fn hold(&self, request: &AttachRequest, ips: &[IpAddr], limits: Limits) -> Result<()> {
        let v4 = ips.iter().find_map(|ip| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        let Some(address) = v4 else {
            return Err(NetworkError::NoAddress { sandbox: request.sandbox.to_string() });
        };
        let cable = Cable {
            device: (self.device)(address),
            mirror: kernel::mirror(address),
            owner: self.owner,
            sandbox: request.sandbox.to_string(),
        };
        let _turn = self.turn.lock().await;
        let held = kernel::hold(&cable, limits).await;
        held.map_err(|error| NetworkError::Failed {
            message: format!("its bandwidth cannot be limited: {error}"),
        })
    }
}

#[async_trait]
impl Network for LimitedNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let limits = Limits::of(&request.annotations);
        let adopted = !request.known_ips.is_empty();
        if let Err(why) = &limits
            && !adopted
        {
            return Err(NetworkError::Refused { message: why.clone() });
        }
        let attachment = self.network.attach(request).await?;
        // One that was connected by an earlier life of this program has been running, and goes on. It may have had limits
        // that it has no more.
        let held = match limits {
            Ok(limits) if limits.is_none() && !adopted => Ok(()),
            Ok(limits) => self.hold(request, &attachment.ips, limits).await,
            Err(message) => Err(NetworkError::Refused { message }),
        };
        match held {
            Err(error) if adopted => {
                tracing::warn!(pod = %request.pod, %error, "the pod is not held to what it may send and receive");
            }
            held => held?,
        }
        Ok(attachment)
    }

    async fn detach(&self, sandbox: &SandboxId, pod: &PodRef) -> Result<()> {
        let turn = self.turn.lock().await;
        let name = sandbox.to_string();
        kernel::remove(self.owner, |of| of == name).await.map_err(unavailable)?;
        drop(turn);
        self.network.detach(sandbox, pod).await
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        self.network.apply(plan).await
    }

    fn holds_to_policies(&self) -> bool {
        self.network.holds_to_policies()
    }

    async fn apply_policies(&self, plan: &PolicyPlan) -> Result<()> {
        self.network.apply_policies(plan).await
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        let turn = self.turn.lock().await;
        let names: Vec<String> = sandboxes.iter().map(ToString::to_string).collect();
        kernel::remove(self.owner, |of| !names.iter().any(|name| name == of)).await.map_err(unavailable)?;
        drop(turn);
        self.network.retain(sandboxes).await
    }
}

fn unavailable(error: std::io::Error) -> NetworkError {
    NetworkError::Unavailable { message: format!("netlink: {error}") }
}
