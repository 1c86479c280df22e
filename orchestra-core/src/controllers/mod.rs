//! The controllers of the cluster: what `kube-controller-manager` is in Kubernetes.
//!
//! Each is a [`Reconciler`](crate::control::Reconciler) on the framework of [`control`](crate::control): a `mod.rs`
//! that observes and applies, and a `plan.rs` that decides and is pure. They talk to nobody but the API, and not to
//! each other. [`run_all`] runs them until it is told to stop, and can be started again.

mod admission_policy;
mod api_registration;
mod api_service;
mod attachment;
pub mod autoscaler;
mod bootstrap_tokens;
pub mod certificates;
mod cron_job;
mod daemon_set;
mod deployment;
mod device_claims;
mod device_taints;
mod disruption;
mod dns_service;
mod endpoint_slices;
mod endpoints;
mod ephemeral_volumes;
mod event_expiry;
mod finished_jobs;
mod flow_control;
mod garbage;
mod job;
pub mod load_balancer;
pub mod local_path;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod node_ttl;
mod of_pods;
mod pod;
mod pod_garbage;
mod pod_volume;
mod replicas;
mod resource_quota;
mod revisions;
mod role_aggregation;
mod scale;
mod service_cidr;
mod share;
mod stateful_set;
mod storage_protection;
mod system_namespaces;
mod taint_eviction;
#[cfg(test)]
mod testing;
mod token_secrets;
mod volume_binder;
mod words;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

pub use self::api_service::ApiService;
pub(crate) use self::api_service::{Seen as SeenMasters, announce};
use self::autoscaler::MetricsSource;
use self::certificates::CertificateAuthority;
use self::load_balancer::AddressPool;
use self::local_path::LocalPath;
pub use self::node_ipam::{InvalidPodRange, PodRanges};
pub use self::node_lifecycle::{EvictionRates, NodeTimes};
use self::replicas::{ReplicaSets, ReplicationControllers};
pub(crate) use self::system_namespaces::SYSTEM_NAMESPACES;
use crate::access::tokens::SigningKeys;
use crate::api::{Client, Status, User};
use crate::control::events::Recorder;
use crate::control::{Controller, Metrics, Reconciler};
use crate::meta::Object;
use crate::supervise::Supervisor;

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
    /// The service through which pods reach the API. `None`: whoever makes it also keeps it.
    pub api_service: Option<ApiService>,
    /// The address of the Service `kube-dns`, at which pods ask for names. `None`: the cluster makes no such Service.
    pub dns_service: Option<IpAddr>,
    /// The addresses of all pods, of which each node is given a part. `None`: nodes are given none.
    pub pod_ranges: Option<PodRanges>,
    /// The keys that sign the tokens which stand in Secrets. `None`: the cluster issues none.
    pub tokens: Option<Arc<dyn SigningKeys>>,
    /// The authority that signs the certificates that are asked for. `None`: they are for others to sign.
    pub authority: Option<Arc<dyn CertificateAuthority>>,
    /// Where volumes are made that are directories of nodes. `None`: there are none, and no class of them.
    pub local_path: Option<LocalPath>,
    /// The addresses that Services of type LoadBalancer are given. Empty: others give them some, if anybody does.
    pub load_balancers: AddressPool,
    /// Whether the API server is ours, so that what it sees to by itself in Kubernetes is seen to here: the system's
    /// namespaces, the levels of its flow control, whether other servers answer, the end of Events. `false` beside a
    /// server that does so.
    pub upkeep: bool,
    /// What pods use, for autoscalers. `None`: what the cluster serves as `metrics.k8s.io`.
    pub figures: Option<Arc<dyn MetricsSource>>,
    /// Where a host can read how the controllers keep up.
    pub metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: NodeTimes::default(),
            finished_pods: 12_500,
            event_life: Duration::from_secs(3600),
            root_ca: None,
            api_service: None,
            dns_service: None,
            pod_ranges: None,
            tokens: None,
            authority: None,
            local_path: None,
            load_balancers: AddressPool::default(),
            upkeep: true,
            figures: None,
            metrics: Metrics::default(),
        }
    }
}

/// What every controller here is made with.
#[derive(Clone)]
struct Host {
    client: Client,
    metrics: Metrics,
    recorders: Arc<Mutex<Vec<Recorder>>>,
    stop: CancellationToken,
}

impl Host {
    fn controller<K: Object>(&self) -> Controller {
        Controller::new::<K>(self.client.clone()).metrics(&self.metrics)
    }

    async fn run(&self, controller: Controller, reconciler: impl Reconciler) -> Result<(), Status> {
        controller.run(reconciler, self.stop.clone().cancelled_owned()).await
    }

    /// A recorder whose last events are written when all controllers have ended.
    fn recorder(&self, component: &str) -> Recorder {
        let recorder = Recorder::new(self.client.clone(), component, "");
        self.recorders.lock().unwrap_or_else(PoisonError::into_inner).push(recorder.clone());
        recorder
    }

    async fn finish_events(&self) {
        let recorders = std::mem::take(&mut *self.recorders.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(recorders.into_iter().map(Recorder::finish)).await;
    }
}

/// The controllers, each a task of its own: one that panics is begun again.
struct Running {
    host: Host,
    tasks: Supervisor<&'static str>,
}

impl Running {
    /// Starts one, as the user that has this service account: so that it can be given what it needs and no more.
    fn start<F, W>(&mut self, name: &'static str, account: &str, run: F)
    where
        F: Fn(Host) -> W + Send + 'static,
        W: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let user = User::service_account("kube-system", account);
        let host = Host { client: self.host.client.as_user(user), ..self.host.clone() };
        self.tasks.start(name, move || {
            let run = run(host.clone());
            async move {
                if let Err(error) = run.await {
                    tracing::error!(controller = name, %error, "a controller ended");
                }
            }
        });
    }

    async fn ended(&mut self) {
        while self.tasks.next().await.is_some() {}
    }
}

/// Runs all controllers until `shutdown` resolves and what is under way has ended.
pub async fn run_all(client: Client, config: Config, shutdown: impl Future<Output = ()>) {
    let tasks = Supervisor::new("controllers", Arc::clone(client.clock()));
    let (metrics, recorders, stop) = (config.metrics.clone(), Arc::default(), CancellationToken::new());
    let mut running = Running { host: Host { client, metrics, recorders, stop }, tasks };
    running.start("deployment", "deployment-controller", deployment::run);
    running.start("replicaset", "replicaset-controller", replicas::run::<ReplicaSets>);
    running.start("replicationcontroller", "replication-controller", replicas::run::<ReplicationControllers>);
    running.start("resourcequota", "resourcequota-controller", move |host| {
        resource_quota::run(host, config.upkeep)
    });
    running.start("daemonset", "daemon-set-controller", daemon_set::run);
    running.start("statefulset", "statefulset-controller", stateful_set::run);
    running.start("job", "job-controller", job::run);
    running.start("job-orphan-pods", "job-controller", job::run_orphans);
    running.start("ttl-after-finished", "ttl-after-finished-controller", finished_jobs::run);
    running.start("cronjob", "cronjob-controller", cron_job::run);
    running.start("disruption", "disruption-controller", disruption::run);
    let figures = config.figures.clone();
    running.start("horizontalpodautoscaler", "horizontal-pod-autoscaler", move |host| {
        autoscaler::run(host, figures.clone())
    });
    running.start("stale-pod-disruption", "disruption-controller", disruption::run_stale);
    running.start("endpoints", "endpoint-controller", endpoints::run);
    running.start("endpointslice", "endpointslice-controller", endpoint_slices::run);
    running.start(
        "endpointslice-mirroring",
        "endpointslicemirroring-controller",
        endpoint_slices::run_mirroring,
    );
    running.start("namespace", "namespace-controller", namespace::run);
    running.start("serviceaccount", "service-account-controller", namespace::run_accounts);
    running.start("node-lifecycle", "node-controller", move |host| node_lifecycle::run(host, config.nodes));
    running.start("ttl", "ttl-controller", node_ttl::run);
    running.start("taint-eviction", "taint-eviction-controller", taint_eviction::run);
    running.start("pod-garbage-orphans", "pod-garbage-collector", pod_garbage::run_orphans);
    running.start("pod-garbage-finished", "pod-garbage-collector", move |host| {
        pod_garbage::run_finished(host, config.finished_pods)
    });
    running.start("persistentvolumeclaim-binder", "persistent-volume-binder", volume_binder::run_claims);
    running.start("persistentvolume-binder", "persistent-volume-binder", volume_binder::run_volumes);
    running.start("attachdetach", "attachdetach-controller", attachment::run);
    running.start("ephemeral-volume", "ephemeral-volume-controller", ephemeral_volumes::run);
    running.start("device-taint-eviction", "device-taint-eviction-controller", device_taints::run);
    running.start("resource-claim", "resource-claim-controller", device_claims::run_making);
    running.start("resource-claim-releaser", "resource-claim-controller", device_claims::run_releasing);
    if let Some(local) = config.local_path {
        let removing = local.clone();
        running.start("local-path-provisioner", "local-path-provisioner", move |host| {
            local_path::run_making(host, local.clone())
        });
        running.start("local-path-remover", "local-path-provisioner", move |host| {
            local_path::run_removing(host, removing.clone())
        });
    }
    let pool = config.load_balancers;
    running.start("service-lb", "service-controller", move |host| load_balancer::run(host, pool.clone()));
    running.start("pvc-protection", "pvc-protection-controller", storage_protection::run_claims);
    running.start("pv-protection", "pv-protection-controller", storage_protection::run_volumes);
    running.start(
        "volumeattributesclass-protection",
        "volumeattributesclass-protection-controller",
        storage_protection::run_classes,
    );
    running.start("clusterrole-aggregation", "clusterrole-aggregation-controller", role_aggregation::run);
    running.start(
        "validating-admission-policies",
        "validatingadmissionpolicy-status-controller",
        admission_policy::run,
    );
    if config.upkeep {
        running.start("system-namespaces", "namespace-controller", system_namespaces::run);
        running.start("event-expiry", "event-expiry-controller", move |host| {
            event_expiry::run(host, config.event_life)
        });
        running.start("prioritylevels", "flow-control-controller", flow_control::run_levels);
        running.start("flowschemas", "flow-control-controller", flow_control::run_schemas);
        running.start("api-registration", "autoregister-controller", api_registration::run);
    }
    let ranges = config.api_service.as_ref().map(|service| service.ranges.clone());
    running.start("service-cidrs", "service-cidrs-controller", move |host| {
        service_cidr::run(host, ranges.clone())
    });
    running.start("csrapproving", "certificate-controller", certificates::run_approving);
    running.start("csrcleaner", "certificate-controller", certificates::run_cleaning);
    if let Some(authority) = config.authority {
        running.start("csrsigning", "certificate-controller", move |host| {
            certificates::run_signing(host, Arc::clone(&authority))
        });
    }
    running.start("token-cleaner", "token-cleaner", bootstrap_tokens::run);
    running.start("garbage-collector", "generic-garbage-collector", garbage::run);
    if let Some(keys) = config.tokens {
        let authority = config.root_ca.clone();
        running.start("serviceaccount-token", "tokens-controller", move |host| {
            token_secrets::run(host, Arc::clone(&keys), authority.clone())
        });
    }
    if let Some(certificate) = config.root_ca {
        running.start("root-ca", "root-ca-cert-publisher", move |host| {
            namespace::run_root_ca(host, certificate.clone())
        });
    }
    if let Some(service) = config.api_service {
        running.start("kubernetes-service", "kubernetes-service-controller", move |host| {
            api_service::run(host, service.clone())
        });
    }
    if let Some(ranges) = config.pod_ranges {
        running.start("node-ipam", "node-controller", move |host| node_ipam::run(host, ranges));
    }
    if let Some(address) = config.dns_service {
        running.start("dns-service", "dns-service-controller", move |host| dns_service::run(host, address));
    }
    tokio::select! {
        biased;
        () = running.ended() => {}
        () = shutdown => {}
    }
    running.host.stop.cancel();
    running.ended().await;
    running.host.finish_events().await;
}
