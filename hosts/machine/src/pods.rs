use std::sync::Arc;

use orchestra_net::NftablesNetwork;
use orchestra_net::routes::{Pods, Range as Addresses};
use orchestra_runtime::process::{ProcessRuntime, Range};
use tokio::sync::watch;
use tracing::{info, warn};

/// What must know which addresses pods have, where their networks are of our making: the runtime that makes them, and the
/// kernel that leads to them. Cheap to clone.
#[derive(Clone)]
pub struct PodNetwork {
    pub(crate) networks: ProcessRuntime,
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
            self.settle(&pods).await;
            if told.changed().await.is_err() {
                return;
            }
        }
    }

    /// For pods that are reached from this machine alone.
    pub(crate) async fn settle_alone(&self) {
        if let Some(own) = self.own {
            self.networks.give_pods(own);
        }
        let own = self.networks.pods().map(addresses).unwrap_or_default();
        self.tell_kernel(&own, &own).await;
    }

    async fn settle(&self, pods: &Pods) {
        let texts: Vec<String> =
            pods.own.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
        if let Some(first) = texts.iter().find_map(|text| Range::parse(text)) {
            let range = texts.iter().find_map(|text| first.and(text)).unwrap_or(first);
            info!(%range, "pods of this node have these addresses");
            self.networks.give_pods(range);
        }
        self.tell_kernel(&pods.own, &pods.cluster).await;
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
