//! Which addresses offer which ports. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

use super::service::{Backend, Family, HEADLESS, Port, Service};
use crate::selector::Labels;
use crate::watch::Entry;

/// Says whose an Endpoints object is.
pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpoint-controller";
/// Says that there are more addresses than one object may hold.
pub(super) const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// How many addresses one object may hold.
const CAPACITY: usize = 1000;

/// What the Endpoints of a Service are to be.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) labels: Labels,
    pub(super) subsets: Vec<EndpointSubset>,
    pub(super) truncated: bool,
}

/// Sorts the pods that a Service selects by the ports they offer, and by whether they are ready.
pub(super) fn plan(entry: &Entry, service: &Service, backends: &[Backend]) -> Plan {
    let family = service.families().first().copied().unwrap_or(Family::V4);
    let publish = service.spec.publish_not_ready_addresses;
    // By port, who offers it: an address, and whether it is ready.
    let mut offers: BTreeMap<Option<Port>, BTreeSet<(usize, bool)>> = BTreeMap::new();
    let mut addresses = Vec::new();
    let wanted = backends
        .iter()
        .filter(|backend| backend.is_addressable() && (publish || !backend.entry.is_deleting()));
    let mut wanted: Vec<(&Backend, &str)> =
        wanted.filter_map(|backend| Some((backend, backend.address(family)?))).collect();
    let is_ready = |backend: &Backend| publish || backend.pod.is_ready();
    // If not all fit, those that are ready come first.
    wanted.sort_by_key(|(backend, _)| (!is_ready(backend), backend.entry.name().clone()));
    let truncated = wanted.len() > CAPACITY;
    wanted.truncate(CAPACITY);
    for (backend, ip) in wanted {
        let index = addresses.len();
        addresses.push(EndpointAddress {
            ip: ip.to_owned(),
            node_name: backend.pod.node().map(str::to_owned),
            hostname: backend.hostname(entry),
            target_ref: Some(backend.reference()),
        });
        let ports: Vec<Option<Port>> = match service.spec.ports.is_empty() {
            true => vec![None],
            false => service.ports_of(&backend.pod).into_iter().map(Some).collect(),
        };
        for port in ports {
            offers.entry(port).or_default().insert((index, is_ready(backend)));
        }
    }
    Plan { labels: labels(entry, service), subsets: pack(offers, &addresses), truncated }
}

/// One subset for each set of addresses, with all the ports that exactly these offer.
fn pack(
    offers: BTreeMap<Option<Port>, BTreeSet<(usize, bool)>>,
    addresses: &[EndpointAddress],
) -> Vec<EndpointSubset> {
    let mut by_addresses: BTreeMap<BTreeSet<(usize, bool)>, Vec<Port>> = BTreeMap::new();
    for (port, offering) in offers {
        by_addresses.entry(offering).or_default().extend(port);
    }
    let subset = |(offering, ports): (BTreeSet<(usize, bool)>, Vec<Port>)| {
        let pick = |ready: bool| {
            let of = offering.iter().filter(|(_, is_ready)| *is_ready == ready);
            let mut picked: Vec<_> = of.map(|(index, _)| addresses[*index].clone()).collect();
            picked.sort_by(|a, b| a.ip.cmp(&b.ip));
            Some(picked).filter(|picked| !picked.is_empty())
        };
        EndpointSubset {
            addresses: pick(true),
            not_ready_addresses: pick(false),
            ports: Some(ports.into_iter().map(endpoint_port).collect())
                .filter(|ports: &Vec<_>| !ports.is_empty()),
        }
    };
    let mut subsets: Vec<_> = by_addresses.into_iter().map(subset).collect();
    subsets.sort_by_key(|subset| {
        let ports = subset.ports.iter().flatten();
        ports.map(|port| (port.port, port.name.clone())).collect::<Vec<_>>()
    });
    subsets
}

fn endpoint_port(port: Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name).filter(|name| !name.is_empty()),
        port: port.port.unwrap_or_default(),
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

fn labels(entry: &Entry, service: &Service) -> Labels {
    let mut labels = entry.labels().to_labels();
    labels.remove(HEADLESS);
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

#[cfg(test)]
mod tests;
