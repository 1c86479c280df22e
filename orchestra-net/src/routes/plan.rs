//! From the nodes of a cluster to what one of them must know. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

/// A node, as the ways to its pods see it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeView {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Vec<Address>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// A range of addresses: its first, and how many leading bits they share.
pub type Range = (IpAddr, u8);

/// Where the pods of a cluster are, seen from one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pods {
    /// The addresses of this node's pods; none until the cluster has given it some.
    pub own: Vec<Range>,
    /// Those of all nodes' pods.
    pub cluster: Vec<Range>,
}

/// What a node brings to its ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here {
    /// Whose its routes and tunnels are.
    pub(super) owner: u32,
    /// Its end of tunnels, if it has one.
    pub(super) own: Option<Own>,
    /// The largest packet in them, if it is said.
    pub(super) mtu: Option<u32>,
}

/// How each range is reached.
pub(super) type Ways = BTreeMap<Range, Way>;

/// How a range of another node's pods is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// The node's address of the same family, if it has one.
    pub(super) by: Option<IpAddr>,
    /// Its end of a tunnel, if it has one.
    pub(super) end: Option<Own>,
}

/// What tunnels say of a node: its address, and the addresses of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) address: Ipv4Addr,
    pub(super) range: (Ipv4Addr, u8),
}

/// What a node of that name must know.
pub(super) fn plan<'v>(node: &str, nodes: impl Iterator<Item = &'v NodeView>) -> (Pods, Ways, Option<Own>) {
    let (mut pods, mut ways, mut own) = (Pods::default(), Ways::new(), None);
    for view in nodes {
        let ranges: Vec<Range> = view.spec.ranges().collect();
        pods.cluster.extend(&ranges);
        let end = view.end();
        if view.metadata.name == node {
            pods.own.extend(&ranges);
            own = end;
            continue;
        }
        ways.extend(ranges.into_iter().filter_map(|range| {
            let by = match range.0 {
                IpAddr::V4(_) => view.status.internal().map(IpAddr::V4),
                IpAddr::V6(_) => view.status.internal_v6().map(IpAddr::V6),
            };
            (by.is_some() || end.is_some()).then_some((range, Way { by, end }))
        }));
    }
    pods.cluster.sort_unstable();
    pods.cluster.dedup();
    (pods, ways, own)
}

impl NodeView {
    /// Its end of tunnels.
    fn end(&self) -> Option<Own> {
        let range = self.spec.ranges().find_map(|(address, prefix)| match address {
            IpAddr::V4(address) => Some((address, prefix)),
            IpAddr::V6(_) => None,
        });
        self.status.internal().zip(range).map(|(address, range)| Own { address, range })
    }
}

impl Spec {
    fn ranges(&self) -> impl Iterator<Item = Range> + use<'_> {
        let texts =
            if self.pod_cidrs.is_empty() { std::slice::from_ref(&self.pod_cidr) } else { &self.pod_cidrs };
        texts.iter().filter_map(|text| {
            let (address, prefix) = text.split_once('/')?;
            let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
            (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
        })
    }
}

impl Status {
    fn internal(&self) -> Option<Ipv4Addr> {
        self.all_internal().find(|ip: &Ipv4Addr| !ip.is_loopback())
    }

    fn internal_v6(&self) -> Option<Ipv6Addr> {
        self.all_internal().find(|ip: &Ipv6Addr| !ip.is_loopback())
    }

    fn all_internal<A: std::str::FromStr>(&self) -> impl Iterator<Item = A> {
        let internal = self.addresses.iter().filter(|address| address.kind == "InternalIP");
        internal.filter_map(|address| address.address.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, ranges: &[&str], addresses: &[(&str, &str)]) -> NodeView {
        let addresses: Vec<_> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"podCIDR": ranges.first().unwrap_or(&""), "podCIDRs": ranges},
            "status": {"addresses": addresses},
        }))
        .unwrap()
    }

    #[test]
    fn each_other_nodes_pods_are_reached_by_its_address() {
        let nodes = [
            node("a", &["10.244.0.0/24", "fd00::/64"], &[("InternalIP", "192.0.2.1")]),
            node(
                "b",
                &["10.244.1.0/24", "fd00:0:0:1::/64"],
                &[("Hostname", "b"), ("InternalIP", "192.0.2.2")],
            ),
            node("c", &["10.244.2.0/24"], &[("Hostname", "c")]),
            node("d", &[], &[("InternalIP", "192.0.2.4")]),
            node("e", &["10.244.4.0/24"], &[("InternalIP", "127.0.0.1")]),
            node("f", &["10.244.5.0/40", "x"], &[("InternalIP", "192.0.2.5")]),
        ];
        let (pods, ways, own) = plan("a", nodes.iter());
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(own, Some(Own { address: ip("192.0.2.1"), range: (ip("10.244.0.0"), 24) }));
        let shown = |ranges: &[Range]| ranges.iter().map(|(ip, n)| format!("{ip}/{n}")).collect::<Vec<_>>();
        assert_eq!(shown(&pods.own), ["10.244.0.0/24", "fd00::/64"]);
        assert_eq!(
            shown(&pods.cluster),
            [
                "10.244.0.0/24",
                "10.244.1.0/24",
                "10.244.2.0/24",
                "10.244.4.0/24",
                "fd00::/64",
                "fd00:0:0:1::/64"
            ]
        );
        let end = Some(Own { address: ip("192.0.2.2"), range: (ip("10.244.1.0"), 24) });
        let first = Way { by: Some("192.0.2.2".parse().unwrap()), end };
        let expected = [
            (("10.244.1.0".parse().unwrap(), 24), first),
            // It has no address of version 6: by a tunnel.
            (("fd00:0:0:1::".parse().unwrap(), 64), Way { by: None, end }),
        ];
        assert_eq!(ways, Ways::from(expected));
        let (pods, ways, own) = plan("d", nodes.iter());
        assert!(pods.own.is_empty() && own.is_none() && ways.len() == 4, "{ways:?}");

        let both = [("InternalIP", "192.0.2.6"), ("InternalIP", "::1"), ("InternalIP", "2001:db8::6")];
        let (_, ways, _) = plan("a", [node("g", &["fd00:0:0:6::/64"], &both)].iter());
        let way = Way { by: Some("2001:db8::6".parse().unwrap()), end: None };
        assert_eq!(ways, Ways::from([(("fd00:0:0:6::".parse().unwrap(), 64), way)]));
    }
}
