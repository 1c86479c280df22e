//! From policies, pods and namespaces to what the pods of one node may receive and send. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::view::{NamespaceView, PeerView, PodView, PolicyView, PortName, PortView};
use crate::network::{Allowed, Block, Peers, PodPolicy, PolicyPlan, PortRange};
use crate::selector::{Labels, Selector};

/// All that is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) policies: Vec<Arc<PolicyView>>,
    pub(super) pods: Vec<Arc<PodView>>,
    pub(super) namespaces: Vec<Arc<NamespaceView>>,
}

/// What the pods of a node may receive and send.
pub(super) fn plan(node: &str, seen: &Seen) -> PolicyPlan {
    let cluster = Cluster::new(seen);
    let mut rules: Vec<(&PolicyView, Selector, Vec<Rule<'_>>)> = Vec::new();
    for policy in &seen.policies {
        let policy: &PolicyView = policy;
        if let Ok(selector) = Selector::try_from(&policy.spec.pod_selector) {
            rules.push((policy, selector, cluster.rules(policy)));
        }
    }
    let local = seen.pods.iter().filter(|pod| pod.spec.node_name == node && pod.is_connected());
    let mut pods: Vec<PodPolicy> = local.clone().filter_map(|pod| cluster.pod(pod, &rules)).collect();
    pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    PolicyPlan { pods, known: Some(local.map(|pod| pod.uid().to_owned()).collect()) }
}

/// One rule of a policy: the pods and ranges it is about, found once for all pods that it is for.
struct Rule<'s> {
    name: String,
    is_ingress: bool,
    ports: Option<&'s [PortView]>,
    /// `None`: everybody.
    peers: Option<(Vec<&'s PodView>, Vec<Block>)>,
}

struct Cluster<'s> {
    namespaces: BTreeMap<&'s str, &'s Labels>,
    pods: &'s [Arc<PodView>],
}

impl<'s> Cluster<'s> {
    fn new(seen: &'s Seen) -> Self {
        let namespaces = seen.namespaces.iter();
        let namespaces =
            namespaces.map(|view| (view.metadata.name.as_str(), &view.metadata.labels)).collect();
        Self { namespaces, pods: &seen.pods }
    }

    fn rules(&self, policy: &'s PolicyView) -> Vec<Rule<'s>> {
        let named = |direction: &str, n: usize| {
            format!("{}/{}/{direction}-{n}", policy.metadata.namespace, policy.metadata.name)
        };
        let namespace = policy.metadata.namespace.as_str();
        let ingress = policy.spec.ingress.iter().flatten().enumerate().map(|(n, rule)| Rule {
            name: named("ingress", n),
            is_ingress: true,
            ports: some(rule.ports.as_deref()),
            peers: some(rule.from.as_deref()).map(|peers| self.peers(namespace, peers)),
        });
        let egress = policy.spec.egress.iter().flatten().enumerate().map(|(n, rule)| Rule {
            name: named("egress", n),
            is_ingress: false,
            ports: some(rule.ports.as_deref()),
            peers: some(rule.to.as_deref()).map(|peers| self.peers(namespace, peers)),
        });
        ingress.chain(egress).collect()
    }

    fn peers(&self, namespace: &str, peers: &[PeerView]) -> (Vec<&'s PodView>, Vec<Block>) {
        let (mut pods, mut blocks) = (Vec::new(), Vec::new());
        for peer in peers {
            if let Some(block) = &peer.ip_block {
                let range = block.range();
                blocks.extend(range.map(|range| Block { range, except: block.except() }));
                continue;
            }
            // A selector that is none selects nothing: what is not understood is not allowed.
            let Some(of_pods) = selector(peer.pod_selector.as_ref()) else { continue };
            let Some(of_namespaces) = selector(peer.namespace_selector.as_ref()) else { continue };
            let nowhere = Labels::new();
            let selected = self.pods.iter().map(|pod| &**pod).filter(|pod| {
                let theirs = pod.metadata.namespace.as_str();
                let in_namespace = match &peer.namespace_selector {
                    None => theirs == namespace,
                    Some(_) => {
                        of_namespaces.matches(self.namespaces.get(theirs).copied().unwrap_or(&nowhere))
                    }
                };
                in_namespace && of_pods.matches(&pod.metadata.labels)
            });
            pods.extend(selected);
        }
        blocks.sort_unstable();
        blocks.dedup();
        (pods, blocks)
    }

    /// What one pod may; `None` if no policy selects it.
    fn pod(&self, pod: &PodView, policies: &[(&PolicyView, Selector, Vec<Rule<'_>>)]) -> Option<PodPolicy> {
        let (mut ingress, mut egress) = (None, None);
        for (policy, selector, rules) in policies {
            let selected = policy.metadata.namespace == pod.metadata.namespace;
            if !selected || !selector.matches(&pod.metadata.labels) {
                continue;
            }
            let (receives, sends) = policy.spec.directions();
            if receives {
                let allowed =
                    rules.iter().filter(|rule| rule.is_ingress).filter_map(|rule| received(rule, pod));
                ingress.get_or_insert_with(Vec::new).extend(allowed);
            }
            if sends {
                let allowed = rules.iter().filter(|rule| !rule.is_ingress).flat_map(sent);
                egress.get_or_insert_with(Vec::new).extend(allowed);
            }
        }
        if ingress.is_none() && egress.is_none() {
            return None;
        }
        for rules in [&mut ingress, &mut egress].into_iter().flatten() {
            rules.sort_by(|a, b| a.rule.cmp(&b.rule));
        }
        let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        Some(PodPolicy { pod: name, uid: pod.uid().to_owned(), ips: pod.ips(), ingress, egress })
    }
}

/// A list that is empty says as little as one that is not there: everybody, or every port.
fn some<T>(list: Option<&[T]>) -> Option<&[T]> {
    list.filter(|list| !list.is_empty())
}

fn selector(selector: Option<&LabelSelector>) -> Option<Selector> {
    selector.map_or_else(|| Some(Selector::from_map(&Labels::new())), |selector| selector.try_into().ok())
}

fn addresses<'s>(pods: impl Iterator<Item = &'s PodView>) -> Vec<IpAddr> {
    pods.flat_map(PodView::ips).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a rule lets a pod receive: names of ports are its own.
fn received(rule: &Rule<'_>, pod: &PodView) -> Option<Allowed> {
    let ports = match rule.ports {
        None => None,
        Some(ports) => {
            let known: BTreeSet<PortRange> = ports.iter().filter_map(|port| range(port, pod)).collect();
            // Names that this pod does not have.
            if known.is_empty() {
                return None;
            }
            Some(known.into_iter().collect())
        }
    };
    Some(Allowed { rule: rule.name.clone(), peers: peers(rule), ports })
}

/// What a rule lets pods send: names of ports are the receivers', which may mean a number each.
fn sent(rule: &Rule<'_>) -> Vec<Allowed> {
    let Some(ports) = rule.ports else {
        return vec![Allowed { rule: rule.name.clone(), peers: peers(rule), ports: None }];
    };
    let numbers: BTreeSet<PortRange> = ports.iter().filter_map(numbered).collect();
    let mut allowed = Vec::new();
    if !numbers.is_empty() {
        let ports = Some(numbers.into_iter().collect());
        allowed.push(Allowed { rule: rule.name.clone(), peers: peers(rule), ports });
    }
    let mut by_port: BTreeMap<PortRange, Vec<&PodView>> = BTreeMap::new();
    let receivers = rule.peers.iter().flat_map(|(pods, _)| pods);
    for receiver in receivers {
        for port in ports.iter().filter(|port| numbered(port).is_none()) {
            if let Some(range) = range(port, receiver) {
                by_port.entry(range).or_default().push(receiver);
            }
        }
    }
    for (range, pods) in by_port {
        let number = range.bounds.map_or(0, |(first, _)| first);
        let rule = format!("{}/{}-{number}", rule.name, range.protocol.to_string().to_lowercase());
        let peers = Some(Peers { pods: addresses(pods.into_iter()), blocks: Vec::new() });
        allowed.push(Allowed { rule, peers, ports: Some(vec![range]) });
    }
    allowed
}

/// With whom a rule allows traffic; `None` is everybody.
fn peers(rule: &Rule<'_>) -> Option<Peers> {
    let peers = rule.peers.as_ref();
    peers.map(|(pods, blocks)| Peers { pods: addresses(pods.iter().copied()), blocks: blocks.clone() })
}

/// The ports that are meant whoever receives.
fn numbered(port: &PortView) -> Option<PortRange> {
    let protocol = port.protocol();
    match &port.port {
        None => Some(PortRange { protocol, bounds: None }),
        Some(PortName::Number(first)) => {
            let last = port.end_port.unwrap_or(*first).max(*first);
            Some(PortRange { protocol, bounds: Some((*first, last)) })
        }
        Some(PortName::Name(_)) => None,
    }
}

/// The ports that are meant of this receiver.
fn range(port: &PortView, receiver: &PodView) -> Option<PortRange> {
    match &port.port {
        Some(PortName::Name(name)) => {
            let number = receiver.port(name, port.protocol())?;
            Some(PortRange { protocol: port.protocol(), bounds: Some((number, number)) })
        }
        _ => numbered(port),
    }
}
