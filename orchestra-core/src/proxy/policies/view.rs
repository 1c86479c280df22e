//! What is read of policies, pods and namespaces.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use crate::network::Protocol;

/// What a pod has that only shows how a static pod is: the uid of that one.
const MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    uid: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamespaceView {
    pub(super) metadata: Meta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodView {
    pub(super) metadata: Meta,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: String,
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_policy: String,
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerPort {
    name: String,
    container_port: u16,
    protocol: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

impl PodView {
    /// By which uid its node knows it: that of the manifest, for a pod that only shows how a static pod is.
    pub(super) fn uid(&self) -> &str {
        self.metadata.annotations.get(MIRROR).unwrap_or(&self.metadata.uid)
    }

    /// Whether a network connects it at all.
    pub(super) fn is_connected(&self) -> bool {
        !self.spec.host_network && !matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Its own addresses. A pod on its node's network has none, and one that has ended gave them back.
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        if !self.is_connected() {
            return Vec::new();
        }
        let first = self.status.pod_ip.parse().ok();
        let mut ips: Vec<IpAddr> =
            first.into_iter().chain(self.status.pod_ips.iter().filter_map(|ip| ip.ip.parse().ok())).collect();
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    /// The port of that name and protocol, of a container that goes on running.
    pub(super) fn port(&self, name: &str, wanted: Protocol) -> Option<u16> {
        let beside =
            self.spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
        let mut ports = self.spec.containers.iter().chain(beside).flat_map(|container| &container.ports);
        ports
            .find(|port| port.name == name && protocol(&port.protocol) == wanted)
            .map(|port| port.container_port)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PolicyView {
    pub(super) metadata: Meta,
    pub(super) spec: PolicySpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PolicySpec {
    pub(super) pod_selector: LabelSelector,
    policy_types: Option<Vec<String>>,
    pub(super) ingress: Option<Vec<IngressRule>>,
    pub(super) egress: Option<Vec<EgressRule>>,
}

impl PolicySpec {
    /// Whether it is about what pods receive, and whether about what they send.
    pub(super) fn directions(&self) -> (bool, bool) {
        match &self.policy_types {
            Some(types) if !types.is_empty() => {
                let has = |wanted: &str| types.iter().any(|kind| kind == wanted);
                (has("Ingress"), has("Egress"))
            }
            _ => (true, self.egress.as_ref().is_some_and(|rules| !rules.is_empty())),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressRule {
    pub(super) ports: Option<Vec<PortView>>,
    pub(super) from: Option<Vec<PeerView>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EgressRule {
    pub(super) ports: Option<Vec<PortView>>,
    pub(super) to: Option<Vec<PeerView>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PortView {
    protocol: String,
    pub(super) port: Option<PortName>,
    pub(super) end_port: Option<u16>,
}

impl PortView {
    pub(super) fn protocol(&self) -> Protocol {
        protocol(&self.protocol)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PortName {
    Number(u16),
    Name(String),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PeerView {
    pub(super) pod_selector: Option<LabelSelector>,
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) ip_block: Option<BlockView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BlockView {
    cidr: String,
    except: Option<Vec<String>>,
}

impl BlockView {
    pub(super) fn range(&self) -> Option<(IpAddr, u8)> {
        range(&self.cidr)
    }

    pub(super) fn except(&self) -> Vec<(IpAddr, u8)> {
        self.except.iter().flatten().filter_map(|text| range(text)).collect()
    }
}

fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

fn protocol(text: &str) -> Protocol {
    Protocol::parse(text).unwrap_or_default()
}
