//! The addresses of each node's pods: a range of its own out of the cluster's, written into the node once and given to
//! another when the node is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use serde::Deserialize;
use serde_json::json;

use super::Host;
use crate::api::{Patch, Status};
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, write};
use crate::watch::{Cache, Query};

/// How soon a node that got no range is looked at again: another may have gone.
const RETRY: Duration = Duration::from_secs(30);
/// How many bits the addresses of one node's pods share, unless the cluster's own share more.
const NODE_PREFIX: u8 = 24;
/// The same of version 6.
const NODE_PREFIX_V6: u8 = 64;

/// The addresses of all pods of a cluster, and how large a part of them a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRanges {
    network: Ipv4Addr,
    prefix: u8,
    node_prefix: u8,
    /// Those of version 6, where pods have both: a node's part is as far into it as its part is into the first.
    second: Option<(Ipv6Addr, u8)>,
}

/// Text that is no network fit for pods, or no two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an IPv4 network of /8 to /28 such as 10.244.0.0/16, or one and an IPv6 network with a /64 for as many \
     nodes such as 10.244.0.0/16,fd00:10:244::/48"
)]
pub struct InvalidPodRange(String);

impl FromStr for PodRanges {
    type Err = InvalidPodRange;

    fn from_str(text: &str) -> Result<Self, InvalidPodRange> {
        let invalid = || InvalidPodRange(text.to_owned());
        let (first, second) = match text.split_once(',') {
            Some((first, second)) => (first, Some(second)),
            None => (text, None),
        };
        let (network, prefix) = first.split_once('/').ok_or_else(invalid)?;
        let prefix: u8 =
            prefix.parse().ok().filter(|prefix| (8..=28).contains(prefix)).ok_or_else(invalid)?;
        let network: Ipv4Addr = network.parse().map_err(|_| invalid())?;
        let network = Ipv4Addr::from_bits(network.to_bits() & mask(prefix));
        let mut ranges = Self { network, prefix, node_prefix: NODE_PREFIX.max(prefix), second: None };
        if let Some(second) = second {
            let largest = NODE_PREFIX_V6 - (ranges.node_prefix - prefix);
            let parsed = second.trim().split_once('/').and_then(|(network, prefix)| {
                let prefix: u8 = prefix.parse().ok().filter(|prefix| (8..=largest).contains(prefix))?;
                let network: Ipv6Addr = network.parse().ok()?;
                Some((Ipv6Addr::from_bits(network.to_bits() & (u128::MAX << (128 - prefix))), prefix))
            });
            ranges.second = Some(parsed.ok_or_else(invalid)?);
        }
        Ok(ranges)
    }
}

impl fmt::Display for PodRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)?;
        match self.second {
            Some((network, prefix)) => write!(f, ",{network}/{prefix}"),
            None => Ok(()),
        }
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - prefix)
}

impl PodRanges {
    /// How many nodes it is enough for.
    fn count(&self) -> u32 {
        1 << (self.node_prefix - self.prefix)
    }

    fn nth(&self, n: u32) -> String {
        let base = self.network.to_bits() + (n << (32 - self.node_prefix));
        format!("{}/{}", Ipv4Addr::from_bits(base), self.node_prefix)
    }

    /// The range of version 6 that goes with one that was given.
    fn second(&self, first: &str) -> Option<String> {
        let (network, _) = self.second?;
        let part = u128::from(self.parts_of(first).start) << (128 - NODE_PREFIX_V6);
        Some(format!("{}/{NODE_PREFIX_V6}", Ipv6Addr::from_bits(network.to_bits() | part)))
    }

    /// The parts that another range takes something of, which may have been given by hand.
    fn parts_of(&self, range: &str) -> std::ops::Range<u32> {
        let parsed = range.split_once('/').and_then(|(address, prefix)| {
            let prefix: u8 = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
            Some((address.parse::<Ipv4Addr>().ok()?.to_bits() & mask(prefix), prefix))
        });
        let Some((begin, prefix)) = parsed else { return 0..0 };
        let (begin, end) = (u64::from(begin), u64::from(begin) + (1u64 << (32 - prefix)));
        let base = u64::from(self.network.to_bits());
        let part = |address: u64| address.saturating_sub(base) >> (32 - self.node_prefix);
        let last = end.saturating_sub(base).div_ceil(1 << (32 - self.node_prefix));
        let bound = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).min(self.count());
        bound(part(begin))..bound(last)
    }
}

/// What was given, by the names of nodes, and where the search for the next begins: who still has an address of a node
/// that is gone shall not reach another's pod at once.
#[derive(Debug, Default)]
struct Given {
    ranges: BTreeMap<String, String>,
    next: u32,
}

impl Given {
    /// A free range for a node. What nodes have is known from them, and what was given to those that do not show it yet.
    fn give(&mut self, ranges: &PodRanges, node: &str, held: &BTreeMap<String, String>) -> Option<String> {
        self.ranges.retain(|name, _| held.contains_key(name));
        if let Some(range) = self.ranges.get(node) {
            return Some(range.clone());
        }
        let mut taken = vec![false; ranges.count() as usize];
        for range in held.values().chain(self.ranges.values()) {
            let parts = ranges.parts_of(range);
            taken[parts.start as usize..parts.end as usize].fill(true);
        }
        let count = ranges.count();
        let free = (0..count).map(|n| (self.next % count + n) % count).find(|n| !taken[*n as usize])?;
        self.next = free + 1;
        let range = ranges.nth(free);
        self.ranges.insert(node.to_owned(), range.clone());
        Some(range)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

/// Runs the controller.
pub(super) async fn run(host: Host, ranges: PodRanges) -> Result<(), Status> {
    let given = Arc::new(Mutex::new(Given::default()));
    let recorder = host.recorder("cidrAllocator");
    let controller = host.controller::<Node>().named("node-ipam-controller");
    let reconcile = move |context| allocate(context, ranges, Arc::clone(&given), recorder.clone());
    host.run(controller, reconcile).await
}

async fn allocate(
    context: Context,
    ranges: PodRanges,
    given: Arc<Mutex<Given>>,
    recorder: Recorder,
) -> Result<Action, Error> {
    let nodes = context.cache::<Node>().await?;
    let Some(entry) = nodes.get(context.name()) else { return Ok(Action::Done) };
    if !entry.view::<View>()?.spec.pod_cidr.is_empty() {
        return Ok(Action::Done);
    }
    let range = {
        let mut given = given.lock().unwrap_or_else(PoisonError::into_inner);
        given.give(&ranges, entry.name().name(), &held(&nodes))
    };
    let Some(range) = range else {
        let message = format!("Node {} status is now: CIDRNotAvailable", entry.name().name());
        recorder.warning(&reference_to::<Node>(&entry), "CIDRNotAvailable", message);
        return Ok(Action::Again(RETRY));
    };
    let second = ranges.second(&range);
    let both: Vec<&String> = [&range].into_iter().chain(&second).collect();
    let patch = json!({"metadata": {"uid": entry.uid()}, "spec": {"podCIDR": range, "podCIDRs": both}});
    let target = write::target::<Node>(entry.name());
    write::was_deleted(context.client().call(target, Patch::Merge(patch).operation()).await)?;
    Ok(Action::Done)
}

/// The ranges of all nodes that there are; empty for one that has none yet.
fn held(nodes: &Cache) -> BTreeMap<String, String> {
    let all = nodes.list(&Query::all()).into_iter();
    let ranges = all.map(|entry| {
        let view = entry.view::<View>().ok();
        let range = view.map(|view| match view.spec.pod_cidrs.iter().find(|range| !range.contains(':')) {
            Some(range) => range.clone(),
            None => view.spec.pod_cidr.clone(),
        });
        (entry.name().name().to_owned(), range.unwrap_or_default())
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> PodRanges {
        text.parse().unwrap()
    }

    #[test]
    fn networks() {
        let small = ranges("10.244.7.9/22");
        assert_eq!((small.to_string().as_str(), small.count()), ("10.244.4.0/22", 4));
        assert_eq!(small.nth(3), "10.244.7.0/24");
        assert_eq!(ranges("10.0.0.0/26").nth(0), "10.0.0.0/26");
        assert_eq!(small.second("10.244.5.0/24"), None);
        let dual = ranges("10.244.0.0/16, fd00:10:244::1/56");
        assert_eq!(dual.to_string(), "10.244.0.0/16,fd00:10:244::/56");
        assert_eq!(dual.second("10.244.3.0/24").as_deref(), Some("fd00:10:244:3::/64"));
        let bad = ["", "10.244.0.0", "10.244.0.0/29", "10.244.0.0/7", "fd00::/64"];
        for bad in bad.into_iter().chain(["10.244.0.0/16,10.0.0.0/16", "10.244.0.0/16,fd00::/57"]) {
            assert!(bad.parse::<PodRanges>().is_err(), "{bad}");
        }
        for (range, parts) in [
            ("10.244.5.0/24", 1..2),
            ("10.244.4.0/23", 0..2),
            ("10.244.5.128/25", 1..2),
            ("10.0.0.0/8", 0..4),
            ("10.244.8.0/24", 4..4),
            ("10.243.0.0/24", 0..0),
            ("", 0..0),
        ] {
            assert_eq!(small.parts_of(range), parts, "{range}");
        }
    }

    #[test]
    fn each_node_has_its_own_and_one_that_is_free_again_comes_last() {
        let (ranges, mut given) = (ranges("10.244.4.0/22"), Given::default());
        let held = |nodes: &[(&str, &str)]| -> BTreeMap<String, String> {
            nodes.iter().map(|(name, range)| ((*name).to_owned(), (*range).to_owned())).collect()
        };
        let mut give = |node: &str, nodes: &[(&str, &str)]| given.give(&ranges, node, &held(nodes));
        let is = |n: u8| Some(format!("10.244.{n}.0/24"));
        assert_eq!(give("a", &[("a", ""), ("b", ""), ("x", "10.244.5.0/24")]), is(4));
        assert_eq!(
            give("a", &[("a", ""), ("b", ""), ("x", "10.244.5.0/24")]),
            is(4),
            "the same when asked again"
        );
        assert_eq!(give("b", &[("a", ""), ("b", ""), ("x", "10.244.5.0/24")]), is(6), "one is not shown yet");
        let now = [("b", "10.244.6.0/24"), ("c", ""), ("d", ""), ("x", "10.244.5.0/24")];
        assert_eq!(give("c", &now), is(7), "not the one that was given last");
        assert_eq!(give("d", &now), is(4), "of a node that is gone");
        let now = [("b", "10.244.6.0/24"), ("c", ""), ("d", ""), ("e", ""), ("x", "10.244.5.0/24")];
        assert_eq!(give("e", &now), None);
    }
}
