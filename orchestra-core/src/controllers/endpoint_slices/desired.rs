//! The endpoints of a Service, and those that a user wrote down. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, ForNode, ForZone};

use super::plan::Desired;
use crate::controllers::endpoints::service::{Backend, Distribution, Family, HEADLESS, Port, Service};
use crate::selector::Labels;
use crate::watch::Entry;

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The endpoints of a Service. `zone` says in which zone a node is.
pub(super) fn of_service(
    entry: &Entry,
    service: &Service,
    backends: &[Backend],
    manager: &str,
    zone: impl Fn(&str) -> Option<String>,
) -> Desired {
    let mut desired = Desired {
        labels: labels(entry, manager, entry.name().name()),
        changed_at: service.changed_at(backends),
        ..Desired::default()
    };
    if service.is_headless() {
        desired.labels.insert(HEADLESS.to_owned(), String::new());
    }
    for family in service.families() {
        let before = desired.groups.len();
        for backend in backends.iter().filter(|backend| backend.is_addressable()) {
            let Some(address) = backend.address(family) else { continue };
            let ports = service.ports_of(&backend.pod);
            if ports.is_empty() && !(service.spec.ports.is_empty() && service.is_headless()) {
                continue;
            }
            let endpoint = endpoint(entry, service, backend, address, &zone);
            desired.groups.entry((family, ports)).or_default().push(endpoint);
        }
        if desired.groups.len() == before {
            desired.groups.insert((family, Vec::new()), Vec::new());
        }
    }
    desired
}

fn endpoint(
    entry: &Entry,
    service: &Service,
    backend: &Backend,
    address: &str,
    zone: impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let serving = backend.pod.is_ready();
    let terminating = backend.entry.is_deleting();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node = backend.pod.node().map(str::to_owned);
    let zone = node.as_deref().and_then(zone);
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: backend.hostname(entry),
        hints: hints(service.spec.traffic_distribution.filter(|_| ready), node.as_deref(), zone.as_deref()),
        zone,
        node_name: node,
        target_ref: Some(backend.reference()),
        ..Endpoint::default()
    }
}

/// For whom an endpoint is: those of its zone, and those of its node before them.
fn hints(wanted: Option<Distribution>, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let zone = || zone.map(|name| vec![ForZone { name: name.to_owned() }]);
    let hints = match wanted? {
        Distribution::PreferSameZone => EndpointHints { for_zones: zone(), for_nodes: None },
        Distribution::PreferSameNode => {
            let for_nodes = node.map(|name| vec![ForNode { name: name.to_owned() }]);
            EndpointHints { for_zones: zone(), for_nodes }
        }
        Distribution::Other => return None,
    };
    (hints.for_zones.is_some() || hints.for_nodes.is_some()).then_some(hints)
}

/// The labels of the owner, and those that say whose a slice is.
fn labels(owner: &Entry, manager: &str, service: &str) -> Labels {
    let mut labels = owner.labels().to_labels();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.to_owned());
    labels.insert(MANAGED_BY.to_owned(), manager.to_owned());
    labels
}

/// The endpoints that a user wrote down for a Service without a selector.
pub(super) fn mirrored(entry: &Entry, endpoints: &Endpoints, manager: &str) -> Desired {
    let mut groups: BTreeMap<(Family, Vec<Port>), Vec<Endpoint>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<Port> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let others = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(others) {
            if let Some(family) = Family::of(&address.ip) {
                groups.entry((family, ports.clone())).or_default().push(mirror(address, ready));
            }
        }
    }
    Desired { labels: labels(entry, manager, entry.name().name()), groups, ..Desired::default() }
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> Port {
    Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    }
}

fn mirror(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
