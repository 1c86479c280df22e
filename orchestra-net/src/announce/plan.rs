//! Which node answers for which address. Pure: every node finds the same, each by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use orchestra_core::controllers::load_balancer::CONDITION;
use serde::Deserialize;

use super::Segment;

/// The annotation of a node with the segments that it is on; empty if it cannot answer for addresses.
pub const SEGMENTS: &str = "orchestra.io/segments";
/// What it is for a node that is on no segment that it could name.
const NONE: &str = "none";
/// The label of nodes that no balancer shall lead to.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The label that says which service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions.iter().any(|condition| condition.kind == kind && condition.status == "True")
}

/// What is read of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceView {
    metadata: Meta,
    spec: ServiceSpec,
    status: ServiceStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: String,
    external_traffic_policy: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: Balancer,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Balancer {
    ingress: Vec<Point>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Point {
    ip: String,
}

/// What is read of a slice of endpoints.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SliceView {
    metadata: Meta,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Endpoint {
    conditions: Ready,
    node_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Ready {
    ready: Option<bool>,
}

/// What is read of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeView {
    metadata: Meta,
    status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    conditions: Vec<Condition>,
}

/// A node that can answer for addresses.
#[derive(Debug)]
struct Candidate<'v> {
    name: &'v str,
    segments: Vec<Segment>,
}

impl NodeView {
    fn candidate(&self) -> Option<Candidate<'_>> {
        let segments = self.metadata.annotations.get(SEGMENTS).filter(|text| !text.is_empty())?;
        let fit = is_true(&self.status.conditions, "Ready") && !self.metadata.labels.contains_key(EXCLUDED);
        fit.then(|| Candidate { name: &self.metadata.name, segments: parse(segments) })
    }
}

/// The value of the annotation of a node on these segments.
pub(super) fn text(segments: &[Segment]) -> String {
    let all: Vec<String> = segments.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}

fn parse(text: &str) -> Vec<Segment> {
    let one = |text: &str| {
        let (address, prefix) = text.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok()?))
    };
    text.split(',').filter_map(one).collect()
}

/// Whether an address is on a segment.
pub(super) fn is_on((own, prefix): Segment, address: IpAddr) -> bool {
    let differ = match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => u128::from(own.to_bits() ^ address.to_bits()) << 96,
        (IpAddr::V6(own), IpAddr::V6(address)) => own.to_bits() ^ address.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(prefix)
}

/// The addresses that the node of that name answers for.
pub(super) fn plan<'v>(
    node: &str,
    services: impl Iterator<Item = &'v ServiceView>,
    slices: impl Iterator<Item = &'v SliceView> + Clone,
    nodes: impl Iterator<Item = &'v NodeView>,
) -> BTreeSet<IpAddr> {
    let candidates: Vec<Candidate<'_>> = nodes.filter_map(NodeView::candidate).collect();
    let mut own = BTreeSet::new();
    for service in services.filter(|service| service.is_announced()) {
        let local = (service.spec.external_traffic_policy == "Local").then(|| service.places(slices.clone()));
        let fit =
            |candidate: &&Candidate<'_>| local.as_ref().is_none_or(|places| places.contains(candidate.name));
        let fit: Vec<&Candidate<'_>> = candidates.iter().filter(fit).collect();
        own.extend(service.addresses().filter(|address| elected(*address, &fit) == Some(node)));
    }
    own
}

impl ServiceView {
    /// Whether its addresses are out of a pool of the cluster's, so that nobody else answers for them.
    fn is_announced(&self) -> bool {
        self.spec.kind == "LoadBalancer" && is_true(&self.status.conditions, CONDITION)
    }

    /// Those of its addresses that somebody must answer for.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let all =
            self.status.load_balancer.ingress.iter().filter_map(|point| point.ip.parse::<IpAddr>().ok());
        all.filter(|address| !address.is_loopback())
    }

    /// The nodes where it has endpoints that are ready.
    fn places<'v>(&self, slices: impl Iterator<Item = &'v SliceView>) -> BTreeSet<&'v str> {
        let own = slices.filter(|slice| {
            slice.metadata.namespace == self.metadata.namespace
                && slice.metadata.labels.get(SERVICE_NAME) == Some(&self.metadata.name)
        });
        let ready = own
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .filter(|endpoint| endpoint.conditions.ready.unwrap_or(true));
        ready.filter_map(|endpoint| endpoint.node_name.as_deref()).collect()
    }
}

/// The one that answers for an address: of those on its segment, or of all if none is, the one that the address draws.
/// Each address draws for itself, so that they are spread, and when a node goes only its own move.
fn elected<'v>(address: IpAddr, candidates: &[&Candidate<'v>]) -> Option<&'v str> {
    let near =
        |candidate: &&&Candidate<'_>| candidate.segments.iter().any(|segment| is_on(*segment, address));
    let near: Vec<&&Candidate<'v>> = candidates.iter().filter(near).collect();
    let all = if near.is_empty() { candidates.iter().collect() } else { near };
    all.into_iter().map(|candidate| candidate.name).max_by_key(|name| (draw(name, address), *name))
}

/// A number for a node and an address, the same in every version of this program: FNV-1a, and its bits mixed.
fn draw(node: &str, address: IpAddr) -> u64 {
    let bytes = format!("{node} {address}");
    let hash = bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, change: impl FnOnce(&mut Value)) -> NodeView {
        let mut object = json!({
            "metadata": {"name": name, "annotations": {SEGMENTS: "192.0.2.1/24,2001:db8::1/64"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    fn service(addresses: &[&str], change: impl FnOnce(&mut Value)) -> ServiceView {
        let ingress: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": ingress}, "conditions": [{"type": CONDITION, "status": "True"}]},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    fn slice(name: &str, endpoints: &Value) -> SliceView {
        let metadata = json!({"name": "x", "namespace": "default", "labels": {SERVICE_NAME: name}});
        serde_json::from_value(json!({"metadata": metadata, "endpoints": endpoints})).unwrap()
    }

    /// Who answers for what, of all nodes.
    fn shown(services: &[ServiceView], slices: &[SliceView], nodes: &[NodeView]) -> Vec<String> {
        let of = |node: &NodeView| {
            let all = plan(&node.metadata.name, services.iter(), slices.iter(), nodes.iter());
            let name = node.metadata.name.clone();
            all.into_iter().map(move |address| format!("{name} {address}")).collect::<Vec<_>>()
        };
        nodes.iter().flat_map(of).collect()
    }

    #[test]
    fn one_that_can_answers() {
        let nodes = [
            node("notready", |object| object["status"]["conditions"][0]["status"] = "Unknown".into()),
            node("excluded", |object| object["metadata"]["labels"] = json!({EXCLUDED: ""})),
            node("cannot", |object| object["metadata"]["annotations"][SEGMENTS] = "".into()),
            node("elsewhere", |object| {
                object["metadata"]["annotations"][SEGMENTS] = "198.51.100.1/24".into()
            }),
            node("here", |_| {}),
        ];
        let near = service(&["192.0.2.240", "2001:db8::7"], |_| {});
        assert_eq!(shown(&[near], &[], &nodes), ["here 192.0.2.240", "here 2001:db8::7"]);
        // Where no node is on its segment a router may lead to one.
        let far = service(&["203.0.113.1"], |_| {});
        assert_eq!(shown(&[far], &[], &nodes).len(), 1);
        let nowhere =
            node("nowhere", |object| object["metadata"]["annotations"][SEGMENTS] = text(&[]).into());
        assert_eq!(shown(&[service(&["203.0.113.1"], |_| {})], &[], &[nowhere]), ["nowhere 203.0.113.1"]);
    }

    #[test]
    fn nobody_answers_for_what_is_others() {
        let nodes = [node("a", |_| {})];
        for (why, change) in [
            (
                "not of a pool",
                (|object: &mut Value| object["status"]["conditions"] = json!([])) as fn(&mut Value),
            ),
            ("no balancer", |object| object["spec"]["type"] = "ClusterIP".into()),
            ("loopback", |object| object["status"]["loadBalancer"]["ingress"][0]["ip"] = "127.0.0.9".into()),
            ("nothing here", |object| object["spec"]["externalTrafficPolicy"] = "Local".into()),
        ] {
            assert!(shown(&[service(&["192.0.2.240"], change)], &[], &nodes).is_empty(), "{why}");
        }
    }

    #[test]
    fn a_local_policy_has_a_node_with_ready_endpoints_answer() {
        let nodes = ["a", "b", "c"].map(|name| node(name, |_| {}));
        let local =
            service(&["192.0.2.240"], |object| object["spec"]["externalTrafficPolicy"] = "Local".into());
        let endpoints = json!([
            {"nodeName": "a", "conditions": {"ready": false}}, {"nodeName": "b", "conditions": {}},
        ]);
        let slices = [slice("other", &json!([{"nodeName": "c"}])), slice("web", &endpoints)];
        assert_eq!(shown(&[local], &slices, &nodes), ["b 192.0.2.240"]);
    }

    #[test]
    fn segments_are_written_as_they_are_read() {
        let segments = [("192.0.2.1".parse().unwrap(), 24), ("2001:db8::1".parse().unwrap(), 64)];
        assert_eq!(parse(&text(&segments)), segments);
        assert_eq!(parse(&text(&[])), []);
        assert!(is_on(segments[0], "192.0.2.255".parse().unwrap()));
        assert!(!is_on(segments[0], "192.0.3.1".parse().unwrap()));
        assert!(!is_on(segments[1], "192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn each_address_has_one_node_and_only_those_of_a_node_that_goes_move(
            count in 1usize..8, addresses in prop::collection::btree_set(any::<[u8; 4]>(), 1..20), gone in any::<prop::sample::Index>(),
        ) {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            let all: Vec<Candidate<'_>> = names.iter().map(|name| Candidate { name, segments: vec![] }).collect();
            let all: Vec<&Candidate<'_>> = all.iter().collect();
            let gone = all[gone.index(count)].name;
            let left: Vec<&Candidate<'_>> = all.iter().filter(|one| one.name != gone).copied().collect();
            for address in addresses.into_iter().map(IpAddr::from) {
                let before = elected(address, &all);
                prop_assert!(before.is_some());
                let after = elected(address, &left);
                prop_assert!(before == Some(gone) || after == before);
                prop_assert_eq!(after.is_some(), count > 1);
            }
        }
    }

    #[test]
    fn addresses_are_spread() {
        let names = ["a", "b", "c"];
        let all: Vec<Candidate<'_>> = names.iter().map(|name| Candidate { name, segments: vec![] }).collect();
        let all: Vec<&Candidate<'_>> = all.iter().collect();
        let mut counts = BTreeMap::new();
        for last in 0..=255 {
            *counts.entry(elected(IpAddr::from([192, 0, 2, last]), &all)).or_insert(0) += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count > 50), "{counts:?}");
    }
}
