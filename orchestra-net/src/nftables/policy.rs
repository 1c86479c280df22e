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

use orchestra_core::network::{Allowed, Peers, PodPolicy, PolicyPlan, PortRange};

use super::family::{Family, word};
use super::ruleset::{Chain, Set, Table};

/// Adds what a plan asks for.
pub(super) fn add(table: &mut Table, family: Family, plan: &PolicyPlan) {
    let (ip, kind) = (family.ip(), family.kind());
    for map in ["policy-in", "policy-out"] {
        table.sets.insert(map.into(), Set::map(format!("type {kind} : verdict;")));
    }
    let rules = vec![
        "ct state established,related accept".to_owned(),
        // A pod that reaches itself through a service.
        format!("{ip} saddr . {ip} daddr @hairpin accept"),
        format!("{ip} saddr vmap @policy-out"),
        format!("{ip} daddr vmap @policy-in"),
    ];
    let hook = Some("type filter hook forward priority filter;");
    table.chains.insert("policies".into(), Chain { hook, rules });
    for pod in &plan.pods {
        add_pod(table, family, pod);
    }
}

fn add_pod(table: &mut Table, family: Family, pod: &PodPolicy) {
    let ips: Vec<&IpAddr> = pod.ips.iter().filter(|address| family.has(address)).collect();
    let directions = [("in", "saddr", &pod.ingress), ("out", "daddr", &pod.egress)];
    for (direction, side, allowed) in directions {
        let Some(allowed) = allowed.as_ref().filter(|_| !ips.is_empty()) else { continue };
        let chain = format!("{direction}-{}", pod.pod);
        let mut rules: Vec<String> =
            allowed.iter().flat_map(|allowed| allow(table, family, side, allowed)).collect();
        rules.push("drop".into());
        table.chains.insert(chain.clone(), Chain { hook: None, rules });
        if let Some(map) = table.sets.get_mut(&format!("policy-{direction}")) {
            map.elements.extend(ips.iter().map(|ip| (ip.to_string(), format!("jump {chain}"))));
        }
    }
}

/// The rules by which one entry of a plan lets packets return.
fn allow(table: &mut Table, family: Family, side: &str, allowed: &Allowed) -> Vec<String> {
    let peers = match &allowed.peers {
        None => vec![String::new()],
        Some(peers) => matches(table, family, side, &allowed.rule, peers),
    };
    let ports = allowed.ports.as_ref().map_or_else(|| vec![String::new()], |ports| ports_of(ports));
    let pairs = peers.iter().flat_map(|peer| ports.iter().map(move |port| format!("{peer}{port}return")));
    pairs.collect()
}

/// What matches one of some peers: each is the beginning of a rule.
fn matches(table: &mut Table, family: Family, side: &str, rule: &str, peers: &Peers) -> Vec<String> {
    let ip = family.ip();
    let mut found = Vec::new();
    let pods: BTreeMap<String, String> = peers
        .pods
        .iter()
        .filter(|address| family.has(address))
        .map(|ip| (ip.to_string(), String::new()))
        .collect();
    if !pods.is_empty() {
        let name = format!("peers-{rule}");
        let mut set = Set::new(format!("type {};", family.kind()));
        set.elements = pods;
        found.push(format!("{ip} {side} @{name} "));
        table.sets.insert(name, set);
    }
    for block in peers.blocks.iter().filter(|block| family.has(&block.range.0)) {
        let except: Vec<String> =
            block.except.iter().filter(|(ip, _)| family.has(ip)).map(|range| shown(*range)).collect();
        let but = match except.is_empty() {
            true => String::new(),
            false => format!("{ip} {side} != {{ {} }} ", except.join(", ")),
        };
        found.push(match block.range.1 {
            // The kernel's language has no word for a range of everything.
            0 => but,
            _ => format!("{ip} {side} {} {but}", shown(block.range)),
        });
    }
    found
}

fn shown((address, prefix): (IpAddr, u8)) -> String {
    format!("{address}/{prefix}")
}

/// What matches one of some ports, one for each protocol.
fn ports_of(ports: &[PortRange]) -> Vec<String> {
    let mut by_protocol: BTreeMap<&str, Option<Vec<(u16, u16)>>> = BTreeMap::new();
    for port in ports {
        let held = by_protocol.entry(word(port.protocol)).or_insert_with(|| Some(Vec::new()));
        match (port.bounds, held.as_mut()) {
            (Some(bounds), Some(held)) => held.push(bounds),
            _ => *held = None,
        }
    }
    let shown = by_protocol.into_iter().map(|(protocol, bounds)| match bounds {
        None => format!("meta l4proto {protocol} "),
        Some(bounds) => {
            let ranges = merged(bounds).into_iter().map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            });
            format!("{protocol} dport {{ {} }} ", ranges.collect::<Vec<_>>().join(", "))
        }
    });
    shown.collect()
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
