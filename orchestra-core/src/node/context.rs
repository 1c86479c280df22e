//! What all pods of one agent share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod, Secret, Service};

use tokio::sync::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::fields::Facts;
use super::followed::Followed;
use super::garbage::Images;
use super::in_use::InUse;
use super::ledger::Ledger;
use super::own_node::OwnNode;
use super::plugins::DevicePlugins;
use super::ports::{Manifests, Prober, VolumeHost};
use super::probe_counts::ProbeCounts;
use super::pulling::Pulling;
use super::residents::Residents;
use super::room::Room;
use super::sources::{Needs, Sources};
use super::status::NodeFacts;
use super::translate::ClusterDns;
use crate::api::{Client, Status};
use crate::clock::SharedClock;
use crate::control::events::{Recorder, reference};
use crate::network::{Network, dns};
use crate::runtime::{Filter, MachineInfo, Runtime};
use crate::watch::Query;

/// What all pods of one agent share.
pub(super) struct Context {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) network: Arc<dyn Network>,
    pub(super) volumes: Arc<dyn VolumeHost>,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) plugins: Option<Arc<dyn DevicePlugins>>,
    /// Which pods have which devices of the plugins.
    pub(super) ledger: Ledger,
    /// The volumes that have to be attached, as far as pods use them.
    pub(super) in_use: InUse,
    pub(super) manifests: Vec<Arc<dyn Manifests>>,
    pub(super) recorder: Option<Recorder>,
    pub(super) config: Config,
    pub(super) machine: MachineInfo,
    pub(super) facts: NodeFacts,
    /// What the pods have of the node.
    pub(super) room: Room,
    /// The node, as pods are let in by it.
    pub(super) own_node: OwnNode,
    /// What the pods refer to.
    pub(super) followed: Followed,
    /// The pods that have a loop.
    pub(super) residents: Residents,
    /// Held for writing while addresses that nobody uses are looked for, and for reading while one is given.
    pub(super) attaching: RwLock<()>,
    /// How probes came out.
    pub(super) probes: Arc<ProbeCounts>,
    /// The pulls that are under way.
    pub(super) pulling: Pulling,
    /// The images, as they were seen.
    pub(super) images: Mutex<Images>,
    /// The node is about to go, and its pods before it.
    pub(super) ending: CancellationToken,
    /// What is older than this was made by an agent before.
    pub(super) began: Timestamp,
}

impl Context {
    pub(super) fn clock(&self) -> &SharedClock {
        self.client.clock()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// The word for cluster and node by which this agent knows its own containers.
    pub(super) fn owner(&self) -> String {
        owner(&self.config, &self.name)
    }

    pub(super) fn filter(&self, uid: &str) -> Filter {
        Filter::owner(self.owner()).and_pod(uid)
    }

    /// What the downward API knows beside the pod.
    pub(super) fn pod_facts(&self, ips: &[std::net::IpAddr]) -> Facts {
        Facts {
            host_ips: self.facts.host_ips.iter().map(ToString::to_string).collect(),
            pod_ips: ips.iter().map(ToString::to_string).collect(),
            machine: self.machine.clone(),
        }
    }

    /// Reads what a pod refers to. What is not there is left out.
    pub(super) async fn sources(&self, namespace: &str, needs: &Needs) -> Result<Sources, Status> {
        let mut sources = Sources::default();
        for name in &needs.config_maps {
            let found = self.client.api::<ConfigMap>(namespace).find(name).await?;
            sources.config_maps.extend(found.map(|map| (name.clone(), map)));
        }
        for name in &needs.secrets {
            let found = self.client.api::<Secret>(namespace).find(name).await?;
            sources.secrets.extend(found.map(|secret| (name.clone(), secret)));
        }
        Ok(sources)
    }

    /// The services a pod of this namespace may be told of; none where the cluster has no such kind.
    pub(super) async fn services(&self, namespace: &str) -> Result<Vec<Service>, Status> {
        let cache = match self.client.cache::<Service>().await {
            Ok(cache) => cache,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let own = cache.list(&Query::namespace(namespace));
        let api = (namespace != "default").then(|| cache.list(&Query::namespace("default")));
        let all = own.into_iter().chain(api.into_iter().flatten());
        Ok(all.filter_map(|entry| entry.decode_bare().ok()).collect())
    }

    /// How pods look up names now: by the servers that were named, or by the cluster's own Service.
    pub(super) async fn dns(&self) -> Result<ClusterDns, Status> {
        let mut dns = self.config.dns.clone();
        if dns.servers.is_empty() && self.config.dns_service {
            let service = self.client.api::<Service>(dns::NAMESPACE).find(dns::SERVICE).await?;
            let addresses = service.and_then(|service| service.spec?.cluster_ips).unwrap_or_default();
            dns.servers.extend(addresses.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
        }
        Ok(dns)
    }

    pub(super) fn normal(&self, about: &ObjectReference, reason: &str, message: impl Into<String>) {
        if let Some(recorder) = &self.recorder {
            recorder.normal(about, reason, message);
        }
    }

    pub(super) fn warning(&self, about: &ObjectReference, reason: &str, message: impl Into<String>) {
        if let Some(recorder) = &self.recorder {
            recorder.warning(about, reason, message);
        }
    }
}

/// The word for cluster and node by which an agent knows its own containers.
pub(super) fn owner(config: &Config, node: &str) -> String {
    format!("{}/{node}", config.cluster)
}

/// What an event about a pod, or a container of it, is about.
pub(super) fn about(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let mut about = reference(pod);
    about.field_path = container.map(|name| {
        let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
        let is_init = init.is_some_and(|init| init.iter().any(|container| container.name == name));
        let added = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let is_added = added.into_iter().any(|container| container.name == name);
        let list = match (is_init, is_added) {
            (true, _) => "initContainers",
            (_, true) => "ephemeralContainers",
            _ => "containers",
        };
        format!("spec.{list}{{{name}}}")
    });
    about
}

/// Tokens that projected volumes ask for, by path.
pub(super) type Tokens = BTreeMap<String, String>;
