//! From services and endpoint slices to what one node should do.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::network::dns::PROXY_LABEL;
use crate::network::{Affinity, Endpoint, Protocol, ServiceEntry, ServicePlan, ServicePort, TrafficPolicy};

/// The label that says which service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of a service that no proxy carries.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// How long a client stays with its endpoint unless the service says otherwise.
const AFFINITY_SECONDS: u64 = 10_800;

/// What the proxy reads of a service.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ServiceView {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Meta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    load_balancer_source_ranges: Vec<String>,
    ports: Vec<Port>,
    session_affinity: String,
    session_affinity_config: AffinityConfig,
    internal_traffic_policy: String,
    external_traffic_policy: String,
    health_check_node_port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: ClientIp,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientIp {
    timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    protocol: String,
    port: u16,
    node_port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: String,
    #[serde(rename = "ipMode")]
    ip_mode: String,
}

/// What the proxy reads of an endpoint slice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slice {
    metadata: Meta,
    endpoints: Option<Vec<SliceEndpoint>>,
    ports: Option<Vec<SlicePort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SliceEndpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    node_name: Option<String>,
    hints: Option<Hints>,
}

/// For whom an endpoint is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hints {
    for_zones: Option<Vec<Named>>,
    for_nodes: Option<Vec<Named>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

impl SliceEndpoint {
    fn zones(&self) -> &[Named] {
        self.hints.as_ref().and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default()
    }

    fn nodes(&self) -> &[Named] {
        self.hints.as_ref().and_then(|hints| hints.for_nodes.as_deref()).unwrap_or_default()
    }
}

impl Slice {
    /// Whether an endpoint says for whom it is.
    pub(super) fn has_hints(&self) -> bool {
        self.endpoints.iter().flatten().any(|endpoint| endpoint.hints.is_some())
    }
}

/// Where services are carried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    pub(super) node: &'p str,
    /// The node's zone, if it is known.
    pub(super) zone: Option<&'p str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SlicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

/// What a node should do for these services, whose endpoints are in these slices.
pub(super) fn plan<'v>(
    place: Place<'_>,
    services: impl Iterator<Item = &'v ServiceView>,
    slices: impl Iterator<Item = &'v Slice>,
) -> ServicePlan {
    let mut by_service: BTreeMap<(&str, &str), Vec<&Slice>> = BTreeMap::new();
    for slice in slices {
        if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
            by_service.entry((&slice.metadata.namespace, service)).or_default().push(slice);
        }
    }
    let entry = |service: &ServiceView| {
        let key = (service.metadata.namespace.as_str(), service.metadata.name.as_str());
        entry(place, service, by_service.get(&key).map(Vec::as_slice).unwrap_or_default())
    };
    let mut services: Vec<ServiceEntry> = services.filter_map(entry).collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    ServicePlan { services }
}

/// A service without an address of its own, or without ports, is nothing that a proxy serves, nor is one that says that
/// another proxy carries it.
fn entry(place: Place<'_>, service: &ServiceView, slices: &[&Slice]) -> Option<ServiceEntry> {
    let spec = &service.spec;
    let addresses =
        |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect::<Vec<IpAddr>>();
    let cluster_ips = addresses(&spec.cluster_ips);
    if [PROXY_LABEL, HEADLESS_LABEL].iter().any(|label| service.metadata.labels.contains_key(*label)) {
        return None;
    }
    if spec.kind == "ExternalName" || cluster_ips.is_empty() || spec.ports.is_empty() {
        return None;
    }
    // A balancer that is a proxy connects to a port of the node itself.
    let balancers = service.status.load_balancer.ingress.iter().filter(|ingress| ingress.ip_mode != "Proxy");
    let seconds = spec.session_affinity_config.client_ip.timeout_seconds.unwrap_or(AFFINITY_SECONDS);
    Some(ServiceEntry {
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        cluster_ips,
        external_ips: addresses(&spec.external_ips),
        load_balancer_ips: balancers.filter_map(|ingress| ingress.ip.parse().ok()).collect(),
        source_ranges: spec.load_balancer_source_ranges.iter().filter_map(|text| range(text)).collect(),
        affinity: match spec.session_affinity.as_str() {
            "ClientIP" => Affinity::ClientIp(Duration::from_secs(seconds)),
            _ => Affinity::None,
        },
        internal_policy: policy(&spec.internal_traffic_policy),
        external_policy: policy(&spec.external_traffic_policy),
        health_check_node_port: spec.health_check_node_port.filter(|port| *port != 0),
        ports: spec.ports.iter().map(|port| service_port(place, service, port, slices)).collect(),
    })
}

/// A range of addresses, as `10.0.0.0/8`.
fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.trim().split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

fn policy(text: &str) -> TrafficPolicy {
    if text == "Local" { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn protocol(text: &str) -> Protocol {
    match text {
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn service_port(place: Place<'_>, service: &ServiceView, port: &Port, slices: &[&Slice]) -> ServicePort {
    let wanted = protocol(&port.protocol);
    let mut ready = Vec::new();
    let mut ending = Vec::new();
    for slice in slices {
        let matching = slice.ports.iter().flatten().filter(|offered| {
            offered.name.as_deref().unwrap_or_default() == port.name
                && protocol(offered.protocol.as_deref().unwrap_or_default()) == wanted
        });
        let numbers: Vec<u16> = matching.filter_map(|offered| offered.port).collect();
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = &endpoint.conditions;
            let local = endpoint.node_name.as_deref() == Some(place.node);
            let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            let all = addresses.flat_map(|ip| numbers.iter().map(move |number| SocketAddr::new(ip, *number)));
            let all = all.map(|address| (endpoint, Endpoint { address, local }));
            // Kubernetes: a missing `ready` counts as true, a missing `serving` as what `ready` says.
            let is_ready = conditions.ready.unwrap_or(true);
            if is_ready {
                ready.extend(all);
            } else if conditions.serving.unwrap_or(is_ready) && conditions.terminating == Some(true) {
                ending.extend(all.map(|(_, endpoint)| endpoint));
            }
        }
    }
    let mut endpoints = if ready.is_empty() { ending } else { preferred(place, service, &ready) };
    endpoints.sort_unstable_by_key(|endpoint| endpoint.address);
    endpoints.dedup();
    ServicePort {
        name: port.name.clone(),
        protocol: wanted,
        port: port.port,
        node_port: port.node_port.filter(|port| *port != 0),
        endpoints,
    }
}

/// Of the ready endpoints of each family those that are for this node, else those for its zone, else all: what they say of
/// it counts only if all of them do.
fn preferred(place: Place<'_>, service: &ServiceView, ready: &[(&SliceEndpoint, Endpoint)]) -> Vec<Endpoint> {
    let has = |list: &[Named], name: Option<&str>| list.iter().any(|one| Some(one.name.as_str()) == name);
    let spec = &service.spec;
    // By such a policy all that are here are chosen from, whoever else they are for.
    let all_here =
        [&spec.internal_traffic_policy, &spec.external_traffic_policy].contains(&&"Local".to_owned());
    let of_family = |is_v4: bool| {
        let all: Vec<_> = ready.iter().filter(|(_, endpoint)| endpoint.address.is_ipv4() == is_v4).collect();
        let names = [
            (SliceEndpoint::nodes as fn(&SliceEndpoint) -> &[Named], Some(place.node)),
            (SliceEndpoint::zones, place.zone),
        ];
        let by = names.into_iter().find(|(hints, name)| {
            all.iter().all(|(said, _)| !hints(said).is_empty())
                && all.iter().any(|(said, _)| has(hints(said), *name))
        });
        let chosen = all.into_iter().filter(move |(said, endpoint)| match by {
            Some((hints, name)) => has(hints(said), name) || endpoint.local && all_here,
            None => true,
        });
        chosen.map(|(_, endpoint)| *endpoint).collect::<Vec<_>>()
    };
    [of_family(true), of_family(false)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(name: &str, spec: Value) -> ServiceView {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}))
            .unwrap()
    }

    fn slice(service: &str, endpoints: Value) -> Slice {
        serde_json::from_value(json!({
            "metadata": {"name": "x", "namespace": "default", "labels": {SERVICE_NAME: service}},
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }))
        .unwrap()
    }

    fn plan<'v>(
        node: &str,
        services: impl Iterator<Item = &'v ServiceView>,
        slices: impl Iterator<Item = &'v Slice>,
    ) -> ServicePlan {
        super::plan(Place { node, zone: Some("z1") }, services, slices)
    }

    fn addresses(plan: &ServicePlan) -> Vec<String> {
        plan.services
            .iter()
            .flat_map(|service| &service.ports)
            .flat_map(|port| &port.endpoints)
            .map(|endpoint| format!("{}{}", endpoint.address, if endpoint.local { " local" } else { "" }))
            .collect()
    }

    fn web() -> ServiceView {
        service(
            "web",
            json!({"clusterIPs": ["10.96.0.9"], "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}),
        )
    }

    fn labelled(label: &str, value: &str) -> ServiceView {
        let mut service = web();
        service.metadata.labels.insert(label.into(), value.into());
        service
    }

    #[test]
    fn ready_endpoints_take_all_and_ending_ones_only_when_alone() {
        let ending = json!({"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}});
        let ready = json!({"addresses": ["10.0.0.1"], "nodeName": "a", "conditions": {"ready": true}});
        let both = plan("a", [&web()].into_iter(), [&slice("web", json!([ending, ready]))].into_iter());
        assert_eq!(addresses(&both), ["10.0.0.1:8080 local"]);
        let alone = plan("a", [&web()].into_iter(), [&slice("web", json!([ending]))].into_iter());
        assert_eq!(addresses(&alone), ["10.0.0.2:8080"]);
        assert_eq!(alone.services[0].ports[0].node_port, Some(30080));
    }

    #[test]
    fn endpoints_of_the_node_come_first_then_those_of_its_zone() {
        let endpoint = |n: usize, node: &str, hints: Value| {
            json!({
                "addresses": [format!("10.0.0.{n}")], "nodeName": node, "conditions": {"ready": true}, "hints": hints,
            })
        };
        let zone = |name: &str| json!({"forZones": [{"name": name}]});
        let both =
            |node: &str, zone: &str| json!({"forZones": [{"name": zone}], "forNodes": [{"name": node}]});
        let chosen = |node: &str, endpoints: &[Value]| {
            let slice = slice("web", json!(endpoints));
            addresses(&plan(node, [&web()].into_iter(), [&slice].into_iter()))
        };
        let zones =
            [endpoint(1, "a", zone("z1")), endpoint(2, "b", zone("z1")), endpoint(3, "c", zone("z2"))];
        assert_eq!(chosen("a", &zones), ["10.0.0.1:8080 local", "10.0.0.2:8080"]);
        assert_eq!(chosen("a", &zones[2..]), ["10.0.0.3:8080"], "none of the zone is left");
        let nodes = [endpoint(1, "a", both("a", "z1")), endpoint(2, "b", both("b", "z1"))];
        assert_eq!(chosen("a", &nodes), ["10.0.0.1:8080 local"]);
        assert_eq!(chosen("x", &nodes), ["10.0.0.1:8080", "10.0.0.2:8080"], "by its zone");
        let one_silent = [endpoint(1, "a", both("a", "z1")), endpoint(2, "b", Value::Null)];
        assert_eq!(chosen("a", &one_silent), ["10.0.0.1:8080 local", "10.0.0.2:8080"]);

        let mut here = web();
        here.spec.external_traffic_policy = "Local".into();
        let elsewhere = [endpoint(1, "a", zone("z2")), endpoint(2, "b", zone("z1"))];
        let slice = slice("web", json!(elsewhere));
        let plan = plan("a", [&here].into_iter(), [&slice].into_iter());
        assert_eq!(addresses(&plan), ["10.0.0.1:8080 local", "10.0.0.2:8080"]);
    }

    #[test]
    fn addresses_of_a_balancer_are_its_services_unless_it_is_a_proxy() {
        let mut balanced = web();
        balanced.spec.external_ips = vec!["198.51.100.1".into()];
        balanced.spec.load_balancer_source_ranges =
            vec!["10.0.0.0/8".into(), " fd00::/16".into(), "x".into()];
        balanced.status = serde_json::from_value(json!({"loadBalancer": {"ingress": [
            {"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}, {"hostname": "x"}, {"ip": "2001:db8::1"},
        ]}}))
        .unwrap();
        let plan = plan("a", [&balanced].into_iter(), std::iter::empty());
        let shown = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&plan.services[0].external_ips), ["198.51.100.1"]);
        assert_eq!(shown(&plan.services[0].load_balancer_ips), ["192.0.2.1", "2001:db8::1"]);
        let ranges = [("10.0.0.0", 8), ("fd00::", 16)].map(|(ip, prefix)| (ip.parse().unwrap(), prefix));
        assert_eq!(plan.services[0].source_ranges, ranges);
    }

    #[test]
    fn what_has_no_address_is_not_served() {
        let services = [
            service("headless", json!({"clusterIPs": ["None"], "ports": [{"port": 80}]})),
            service(
                "name",
                json!({"type": "ExternalName", "clusterIPs": ["10.96.0.3"], "ports": [{"port": 80}]}),
            ),
            service("bare", json!({"clusterIPs": ["10.96.0.4"]})),
            labelled("service.kubernetes.io/service-proxy-name", "another"),
            labelled("service.kubernetes.io/headless", ""),
        ];
        assert_eq!(plan("a", services.iter(), std::iter::empty()), ServicePlan::default());
    }
}
