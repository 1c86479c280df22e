//! What of two plans has to do with what differs between them, so that a change costs what it is of and not what there
//! is. Pure.
//!
//! Services share elements of sets: the addresses of their endpoints, and ports that two of them claim. A service that
//! does not differ itself is in it when it shares any with one that does, so that the kernel loses nothing that somebody
//! still has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use orchestra_core::network::{ServiceEntry, ServicePlan};

use super::render::Node;

/// The services of two plans, the one that the kernel holds and the one that it is to hold, that have to do with what
/// differs between them or between what is known of the node.
pub(super) fn narrowed(
    (held, node_held): (&ServicePlan, &Node),
    (wanted, node_wanted): (&ServicePlan, &Node),
) -> (ServicePlan, ServicePlan) {
    let mut shared = Shared::default();
    if node_held != node_wanted {
        shared.add_node(node_held);
        shared.add_node(node_wanted);
    }
    let differing = differing(held, wanted, &mut shared);
    let of = |plan: &ServicePlan| {
        let concerned =
            |service: &&ServiceEntry| differing.contains(&name(service)) || shared.has_some_of(service);
        ServicePlan { services: plan.services.iter().filter(concerned).cloned().collect() }
    };
    (of(held), of(wanted))
}

/// Brings one plan in line with another, without making again what is the same.
pub(super) fn follow(plan: &mut ServicePlan, now: &ServicePlan) {
    let held = &mut plan.services;
    held.truncate(now.services.len());
    for (held, now) in held.iter_mut().zip(&now.services).filter(|(held, now)| held != now) {
        now.clone_into(held);
    }
    held.extend(now.services[held.len()..].iter().cloned());
}

fn name(service: &ServiceEntry) -> (&str, &str) {
    (&service.namespace, &service.name)
}

/// The names of what is in one of the plans only, or not as in the other. Plans are in order of names.
fn differing<'a>(
    held: &'a ServicePlan,
    wanted: &'a ServicePlan,
    shared: &mut Shared,
) -> BTreeSet<(&'a str, &'a str)> {
    let mut found = BTreeSet::new();
    let mut differs = |service: &'a ServiceEntry| {
        found.insert(name(service));
        shared.add(service);
    };
    let (mut before, mut after) = (held.services.as_slice(), wanted.services.as_slice());
    while let ([old, rest @ ..], [new, others @ ..]) = (before, after) {
        if old == new {
            (before, after) = (rest, others);
            continue;
        }
        let order = name(old).cmp(&name(new));
        if order.is_le() {
            differs(old);
            before = rest;
        }
        if order.is_ge() {
            differs(new);
            after = others;
        }
    }
    before.iter().chain(after).for_each(differs);
    found
}

/// What services may share.
#[derive(Debug, Default)]
struct Shared {
    ips: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Shared {
    fn add(&mut self, service: &ServiceEntry) {
        self.ips.extend(ips(service));
        self.ports.extend(service.ports.iter().filter_map(|port| port.node_port));
    }

    fn add_node(&mut self, node: &Node) {
        for (pod, ports) in &node.host_ports {
            self.ips.insert(*pod);
            self.ips.extend(ports.iter().filter_map(|port| port.host_ip));
            self.ports.extend(ports.iter().map(|port| port.host_port));
        }
    }

    fn has_some_of(&self, service: &ServiceEntry) -> bool {
        service.ports.iter().any(|port| port.node_port.is_some_and(|number| self.ports.contains(&number)))
            || ips(service).any(|ip| self.ips.contains(&ip))
    }
}

fn ips(service: &ServiceEntry) -> impl Iterator<Item = IpAddr> {
    let endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
    let own = service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips);
    own.copied().chain(endpoints.map(|endpoint| endpoint.address.ip()))
}
