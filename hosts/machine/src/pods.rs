use std::sync::Arc;
use std::time::Duration;

use orchestra_net::NftablesNetwork;
use orchestra_net::routes::{Pods, Range as Addresses};
use orchestra_runtime::cri::CriRuntime;
use orchestra_runtime::process::{ProcessRuntime, Range};
use tokio::sync::watch;
use tracing::{info, warn};

/// How soon a runtime is told again that did not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// Who makes the networks of pods.
#[derive(Clone)]
pub(crate) enum Networks {
    /// We do.
    Ours(ProcessRuntime),
    /// Plugins of a runtime, which may want to know the range.
    Plugins(CriRuntime),
}

/// What must know which addresses pods have: the runtime that makes their networks, and the kernel where it leads to them.
/// Cheap to clone.
#[derive(Clone)]
pub struct PodNetwork {
    pub(crate) networks: Networks,
    pub(crate) kernel: Option<Arc<NftablesNetwork>>,
    /// The addresses of this node's pods, if they were said; else the cluster says them.
    pub(crate) own: Option<Range>,
    pub(crate) mtu: Option<u32>,
}

impl PodNetwork {
    /// The largest packet that was asked for, in bytes.
    pub fn mtu(&self) -> Option<u32> {
        self.mtu
    }

    /// Passes on where the cluster's pods are, until nobody tells any more.
    pub async fn follow(&self, mut told: watch::Receiver<Pods>) {
        if self.own.is_none() && told.changed().await.is_err() {
            return;
        }
        loop {
            let mut pods = told.borrow_and_update().clone();
            if let Some(own) = self.own {
                pods.own = addresses(own);
            }
            let settled = self.settle(&pods).await;
            let ended = tokio::select! {
                changed = told.changed() => changed.is_err(),
                () = tokio::time::sleep(AGAIN), if !settled => false,
            };
            if ended {
                return;
            }
        }
    }

    /// For pods that are reached from this machine alone.
    pub(crate) async fn settle_alone(&self) {
        let Networks::Ours(networks) = &self.networks else { return };
        if let Some(own) = self.own {
            networks.give_pods(own);
        }
        let own = networks.pods().map(addresses).unwrap_or_default();
        self.tell_kernel(&own, &own).await;
    }

    /// Whether everybody knows now.
    async fn settle(&self, pods: &Pods) -> bool {
        let texts: Vec<String> =
            pods.own.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
        match &self.networks {
            Networks::Ours(networks) => {
                if let Some(first) = texts.iter().find_map(|text| Range::parse(text)) {
                    let range = texts.iter().find_map(|text| first.and(text)).unwrap_or(first);
                    info!(%range, "pods of this node have these addresses");
                    networks.give_pods(range);
                }
            }
            Networks::Plugins(runtime) if !texts.is_empty() => {
                let ranges = texts.join(",");
                info!(%ranges, "the container runtime is told that pods have these addresses");
                if let Err(error) = runtime.give_pods(ranges).await {
                    warn!(%error, "the container runtime was not told which addresses pods have");
                    return false;
                }
            }
            Networks::Plugins(_) => {}
        }
        self.tell_kernel(&pods.own, &pods.cluster).await;
        true
    }

    async fn tell_kernel(&self, own: &[Addresses], cluster: &[Addresses]) {
        if let Some(kernel) = &self.kernel
            && let Err(error) = kernel.pods(own, cluster).await
        {
            warn!(%error, "the kernel was not told where the pods are");
        }
    }
}

fn addresses(range: Range) -> Vec<Addresses> {
    let second = range.second().map(|(gateway, prefix)| (gateway.into(), prefix));
    [(range.gateway().into(), range.prefix())].into_iter().chain(second).collect()
}
