//! A pod to be placed, with everything about it that is the same for all nodes worked out once.

use std::sync::Arc;

use super::{Exclusive, InterPod, Reason, Rule, SpreadState, Verdict};
use crate::scheduler::devices::Wanted;
use crate::scheduler::node::{NodeId, NodeInfo};
use crate::scheduler::plugin::{Filter, Plugin};
use crate::scheduler::pod::PodInfo;
use crate::scheduler::profile::Profile;
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::volumes::Claims;

#[derive(Clone)]
pub(crate) struct Demand<'s> {
    pub(crate) snapshot: &'s Snapshot,
    pub(crate) pod: &'s PodInfo,
    pub(crate) profile: &'s Profile,
    pub(crate) spread: SpreadState<'s>,
    pub(crate) inter_pod: Option<InterPod<'s>>,
    pub(crate) claims: Claims,
    pub(crate) exclusive: Exclusive,
    pub(crate) devices: Wanted,
    rules: Vec<&'static Rule>,
    /// The profile's own rules that nodes must pass; they are asked last.
    own: Vec<&'s dyn Plugin>,
}

impl<'s> Demand<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, pod: &'s PodInfo, profile: &'s Profile) -> Self {
        let mut demand = Self::local(snapshot, pod, profile);
        if profile.filters_by(Filter::PodTopologySpread) {
            demand.spread = SpreadState::new(snapshot, pod, profile);
        }
        if profile.filters_by(Filter::InterPodAffinity) {
            demand.inter_pod = InterPod::new(snapshot, pod);
        }
        demand.claims = Claims::of(&snapshot.volumes, pod.namespace(), &pod.claims);
        demand.exclusive = Exclusive::of(snapshot, pod);
        if profile.filters_by(Filter::DynamicResources) {
            demand.devices = Wanted::of(&snapshot.devices, pod);
        }
        demand.rules = super::applying(&demand);
        demand
    }

    /// With only the rules that look at nothing but the node. Much cheaper.
    pub(crate) fn local(snapshot: &'s Snapshot, pod: &'s PodInfo, profile: &'s Profile) -> Self {
        let (spread, claims, exclusive, devices) = Default::default();
        let own = profile.own.iter().map(|(plugin, _)| &**plugin);
        let own = own.filter(|plugin| profile.filters_by(Filter::Own(plugin.name())));
        let own = own.collect();
        let mut demand = Self {
            snapshot,
            pod,
            profile,
            spread,
            inter_pod: None,
            claims,
            exclusive,
            devices,
            rules: Vec::new(),
            own,
        };
        demand.rules = super::applying(&demand);
        demand
    }

    /// Counts a pod in (1) or out (-1), as if it came to the node or left it.
    pub(crate) fn adjust(&mut self, other: &'s PodInfo, node: NodeId, change: i64) {
        self.spread.adjust(self.pod, other, node, change);
        self.exclusive.adjust(self.pod, other, change);
        if let Some(inter_pod) = &mut self.inter_pod {
            inter_pod.adjust(self.pod, other, node, change);
        }
    }

    /// Whether a node can take the pod.
    pub(crate) fn fits(&self, id: NodeId) -> bool {
        self.rules.iter().all(|rule| rule.admits(self, id)) && self.admitted_by_own(self.snapshot.node(id))
    }

    /// Whether a node could take the pod if it were as given.
    pub(crate) fn fits_as(&self, id: NodeId, node: &NodeInfo) -> bool {
        self.rules.iter().all(|rule| (rule.passes)(self, id, node)) && self.admitted_by_own(node)
    }

    fn admitted_by_own(&self, node: &NodeInfo) -> bool {
        self.own_verdicts(node).next().is_none()
    }

    /// What the first rule that a node, taken as given, fails says of it; `None` when it can take the pod.
    pub(crate) fn verdict_as(&self, id: NodeId, node: &NodeInfo) -> Option<Verdict> {
        let failed = self.rules.iter().find(|rule| !(rule.passes)(self, id, node));
        failed.map(|rule| rule.verdict(self, id, node)).or_else(|| self.own_verdicts(node).next())
    }

    fn own_verdicts(&self, node: &NodeInfo) -> impl Iterator<Item = Verdict> {
        self.own.iter().filter_map(move |plugin| {
            let message = plugin.refuses(self.pod, node, self.snapshot)?;
            Some(Verdict { filter: Filter::Own(plugin.name()), reasons: vec![Reason::Own { message }] })
        })
    }

    /// What the first rule that a node fails says of it; `None` when it can take the pod.
    pub(crate) fn verdict(&self, id: NodeId) -> Option<Verdict> {
        self.verdict_as(id, self.snapshot.node(id))
    }

    /// What every rule that a node fails says of it.
    pub(crate) fn faults(&self, id: NodeId) -> Vec<Verdict> {
        let node = self.snapshot.node(id);
        let failed = self.rules.iter().filter(|rule| !(rule.passes)(self, id, node));
        failed.map(|rule| rule.verdict(self, id, node)).chain(self.own_verdicts(node)).collect()
    }

    /// The pods that room on a node is kept for and that go before this one.
    pub(crate) fn ahead_on(&self, id: NodeId) -> impl Iterator<Item = &'s Arc<PodInfo>> {
        let (priority, uid) = (self.pod.priority, &self.pod.uid);
        self.snapshot.nominated_on(id).iter().filter(move |p| p.priority >= priority && p.uid != *uid)
    }

    /// The few nodes that the pod names, when it does.
    pub(crate) fn named_nodes(&self) -> Option<Vec<NodeId>> {
        if !self.profile.follows_named_nodes {
            return None;
        }
        let names = self.pod.rules.node.named()?;
        Some(names.iter().filter_map(|name| self.snapshot.id_of(name)).collect())
    }
}
