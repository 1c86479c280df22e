//! From a policy plan to what the kernel is to hold. Pure.
//!
//! A pod that a policy selects has a chain for what it receives and one for what it sends; two maps lead to them by its
//! address, so that a packet costs the same however many pods there are. The chain returns for what is allowed, and drops
//! the rest. Only the first packet of a connection is looked at.
//!
//! What a node and its own pods send each other is not looked at, as Kubernetes has it for what a pod receives; the
//! cluster's names are answered by the node, so they are found whatever a policy says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use orchestra_core::network::{Allowed, Peers, PodPolicy, PolicyPlan, PortRange, Protocol};

use super::cidr::{Cidr, outermost};
use super::family::Family;
use super::rule::{Key, Kind, Name, Part, Rule, Side, Verdict};
use super::ruleset::{Chain, Set, Table};

/// Adds what a plan asks for.
pub(super) fn add(table: &mut Table, family: Family, plan: &PolicyPlan) {
    let ip = family.ip();
    for map in ["policy-in", "policy-out"] {
        table.sets.insert(map.into(), Set::map(Kind::Ip));
    }
    let rules = vec![
        "ct state established,related accept".into(),
        // A pod that reaches itself through a service.
        format!("{ip} saddr . {ip} daddr @hairpin accept").into(),
        format!("{ip} saddr vmap @policy-out").into(),
        format!("{ip} daddr vmap @policy-in").into(),
    ];
    let hook = Some("type filter hook forward priority filter;");
    table.chains.insert("policies".into(), Chain { hook, rules });
    for pod in &plan.pods {
        add_pod(table, family, pod);
    }
}

fn add_pod(table: &mut Table, family: Family, pod: &PodPolicy) {
    let ips: Vec<&IpAddr> = pod.ips.iter().filter(|address| family.has(address)).collect();
    let directions = [("in", Side::Source, &pod.ingress), ("out", Side::Destination, &pod.egress)];
    for (direction, side, allowed) in directions {
        let Some(allowed) = allowed.as_ref().filter(|_| !ips.is_empty()) else { continue };
        let chain = Name::from(format!("{direction}-{}", pod.pod));
        let mut rules: Vec<Rule> =
            allowed.iter().flat_map(|allowed| allow(table, family, side, allowed)).collect();
        rules.push(Verdict::Drop.into());
        table.chains.insert(chain.clone(), Chain { hook: None, rules });
        if let Some(map) = table.sets.get_mut(format!("policy-{direction}").as_str()) {
            let verdict = Some(Verdict::Jump(chain));
            map.elements.extend(ips.iter().map(|ip| (Key::Ip(**ip), verdict.clone())));
        }
    }
}

/// The rules by which one entry of a plan lets packets return.
fn allow(table: &mut Table, family: Family, side: Side, allowed: &Allowed) -> Vec<Rule> {
    let peers = match &allowed.peers {
        None => vec![Vec::new()],
        Some(peers) => matches(table, family, side, &allowed.rule, peers),
    };
    let ports = allowed.ports.as_ref().map_or_else(|| vec![None], |ports| ports_of(ports));
    let pairs = peers.iter().flat_map(|peer| ports.iter().map(move |port| (peer, port)));
    let rules = pairs.map(|(peer, port)| {
        let end = Part::Verdict(Verdict::Return);
        Rule(peer.iter().chain(port).cloned().chain([end]).collect())
    });
    rules.collect()
}

/// What matches one of some peers: each is the beginning of a rule.
fn matches(table: &mut Table, family: Family, side: Side, rule: &str, peers: &Peers) -> Vec<Vec<Part>> {
    let mut found = Vec::new();
    let pods = peers.pods.iter().filter(|address| family.has(address));
    let pods: BTreeMap<Key, Option<Verdict>> = pods.map(|ip| (Key::Ip(*ip), None)).collect();
    if !pods.is_empty() {
        let name = Name::from(format!("peers-{rule}"));
        found.push(vec![Part::In(side, name.clone())]);
        table.sets.insert(name, Set { elements: pods, ..Set::new(Kind::Ip) });
    }
    for block in peers.blocks.iter().filter(|block| family.has(&block.range.0)) {
        let except = block.except.iter().filter(|(ip, _)| family.has(ip));
        let except = outermost(except.map(|range| Cidr::from(*range)));
        // The kernel's language has no word for a range of everything.
        let within = (block.range.1 > 0).then(|| Part::Within(side, block.range.into()));
        let outside = (!except.is_empty()).then_some(Part::Outside(side, except));
        found.push(within.into_iter().chain(outside).collect());
    }
    found
}

/// What matches one of some ports, one for each protocol.
fn ports_of(ports: &[PortRange]) -> Vec<Option<Part>> {
    let mut by_protocol: BTreeMap<Protocol, Option<Vec<(u16, u16)>>> = BTreeMap::new();
    for port in ports {
        let held = by_protocol.entry(port.protocol).or_insert_with(|| Some(Vec::new()));
        match (port.bounds, held.as_mut()) {
            (Some(bounds), Some(held)) => held.push(bounds),
            _ => *held = None,
        }
    }
    let parts = by_protocol.into_iter().map(|(protocol, bounds)| match bounds {
        None => Some(Part::Protocol(protocol)),
        Some(bounds) => Some(Part::Ports(protocol, merged(bounds))),
    });
    parts.collect()
}

/// The same ports in ranges that do not overlap, which the kernel would refuse.
fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}
