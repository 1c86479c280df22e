//! The controllers of the cluster: what `kube-controller-manager` is in Kubernetes.
//!
//! Each is a [`Reconciler`](crate::control::Reconciler) on the framework of [`control`](crate::control): a `mod.rs`
//! that observes and applies, and a `plan.rs` that decides and is pure. They talk to nobody but the API, and not to
//! each other. [`run_all`] runs them until it is told to stop, and can be started again.

mod apply;
mod claim;
mod deployment;
mod endpoint_slices;
mod endpoints;
mod event_expiry;
mod garbage;
mod namespace;
mod node_lifecycle;
mod pod;
mod pod_garbage;
mod replicas;
mod taint_eviction;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use self::node_lifecycle::NodeTimes;
use self::replicas::{ReplicaSets, ReplicationControllers};
use crate::api::{Client, User};

/// How the controllers do what they do. The defaults are Kubernetes'.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long nodes may be silent.
    pub nodes: NodeTimes,
    /// How many pods that have ended are kept: 12,500.
    pub finished_pods: usize,
    /// How long an Event is kept after it was last written: an hour.
    pub event_life: Duration,
    /// The certificate of the cluster's authority in PEM, which every namespace has in a ConfigMap for its pods.
    /// `None`: there is none, as in a cluster without TLS.
    pub root_ca: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: NodeTimes::default(),
            finished_pods: 12_500,
            event_life: Duration::from_secs(3600),
            root_ca: None,
        }
    }
}

/// Runs all controllers until `shutdown` resolves and what is under way has ended.
pub async fn run_all(client: Client, config: Config, shutdown: impl Future<Output = ()>) {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    // Each is a user of its own, named as in Kubernetes, so that it can be given what it needs and no more.
    let of = |name: &str| client.as_user(User::service_account("kube-system", name));
    let controllers = async {
        let stopped = || stop.clone().cancelled_owned();
        tokio::join!(
            deployment::run(of("deployment-controller"), stopped()),
            replicas::run::<ReplicaSets>(of("replicaset-controller"), stopped()),
            replicas::run::<ReplicationControllers>(of("replication-controller"), stopped()),
            endpoints::run(of("endpoint-controller"), stopped()),
            endpoint_slices::run(of("endpointslice-controller"), stopped()),
            endpoint_slices::run_mirroring(of("endpointslicemirroring-controller"), stopped()),
            namespace::run(of("namespace-controller"), stopped()),
            node_lifecycle::run(of("node-controller"), config.nodes, stopped()),
            taint_eviction::run(of("taint-eviction-controller"), stopped()),
            pod_garbage::run_orphans(of("pod-garbage-collector"), stopped()),
            pod_garbage::run_finished(of("pod-garbage-collector"), config.finished_pods, stopped()),
            event_expiry::run(of("event-expiry-controller"), config.event_life, stopped()),
            garbage::run(of("generic-garbage-collector"), stopped()),
            namespace::run_accounts(of("service-account-controller"), stopped()),
            async {
                if let Some(certificate) = config.root_ca {
                    namespace::run_root_ca(of("root-ca-cert-publisher"), certificate, stopped()).await;
                }
            },
        )
    };
    tokio::pin!(controllers);
    tokio::select! {
        _ = &mut controllers => {}
        () = shutdown => {
            stop.cancel();
            controllers.await;
        }
    }
}
