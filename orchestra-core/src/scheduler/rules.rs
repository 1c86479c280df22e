//! The placement rules of a pod, compiled once from its spec.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;

use crate::meta::Uid;
use crate::selector::{
    CompiledNodeSelector, CompiledSelector, FieldOperator, FieldRequirement, InvalidRequirement,
    InvalidSelector, LabelSet, Labels, NodeSelector, Operator, Requirement, Selector,
};

use super::view::{AffinityView, MetaView, PodSpecView, PodTermsView, PreferredNodeView};

/// Where a pod may run and where it would like to.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `nodeSelector` and the required node affinity.
    pub node: NodeRule,
    /// Node affinity that is only preferred.
    pub preferred_nodes: Vec<PreferredNodes>,
    /// Pods it must run next to.
    pub affinity: Vec<PodTerm>,
    /// Pods it must not run next to.
    pub anti_affinity: Vec<PodTerm>,
    /// Pods it would like to run next to (weight 1 to 100) or away from (-100 to -1).
    pub preferred_pods: Vec<(i64, PodTerm)>,
    /// How evenly pods like it are to be spread.
    pub spread: Vec<Spread>,
    /// The text the affinity was compiled from: pods with the same text mean the same by it.
    pub(crate) source: Option<Box<str>>,
}

/// A rule of a pod that cannot be compiled; validation lets none of these through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRule {
    /// `spec.affinity` is not of its type.
    #[error("spec.affinity cannot be decoded")]
    Affinity(#[from] serde_json::Error),
    /// A label selector is invalid.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// A label of the pod, compared by `matchLabelKeys`, is invalid.
    #[error(transparent)]
    Requirement(#[from] InvalidRequirement),
}

impl Rules {
    pub(crate) fn compile(meta: &MetaView, spec: &PodSpecView) -> Result<Self, InvalidRule> {
        let affinity: AffinityView = match &spec.affinity {
            Some(raw) => serde_json::from_str::<Option<_>>(raw.get())?.unwrap_or_default(),
            None => AffinityView::default(),
        };
        let nodes = affinity.node_affinity.unwrap_or_default();
        let (together, apart) =
            (affinity.pod_affinity.unwrap_or_default(), affinity.pod_anti_affinity.unwrap_or_default());
        let mut preferred_pods = preferred_terms(&together, 1, meta)?;
        preferred_pods.extend(preferred_terms(&apart, -1, meta)?);
        Ok(Self {
            node: NodeRule::compile(&spec.node_selector, nodes.required.as_ref())?,
            preferred_nodes: all(&nodes.preferred, PreferredNodes::compile)?,
            affinity: all(&together.required, |t| PodTerm::compile(t, meta))?,
            anti_affinity: all(&apart.required, |t| PodTerm::compile(t, meta))?,
            preferred_pods,
            spread: all(&spec.topology_spread_constraints, |c| Spread::compile(c, &meta.labels))?,
            source: spec.affinity.as_ref().map(|raw| raw.get().into()),
        })
    }

    /// Whether a pod with these rules has a say in where *other* pods run.
    pub(crate) fn concerns_others(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred_pods.is_empty())
    }

    /// The keys of node labels that these rules divide the cluster by.
    pub(crate) fn topology_keys(&self) -> impl Iterator<Item = &str> {
        let terms = self.affinity.iter().chain(&self.anti_affinity);
        let terms = terms.chain(self.preferred_pods.iter().map(|(_, t)| t)).map(|t| t.topology_key.as_str());
        terms.chain(self.spread.iter().map(|s| s.terms.topology_key.as_str()))
    }
}

fn all<T, U>(given: &[T], compile: impl Fn(&T) -> Result<U, InvalidRule>) -> Result<Vec<U>, InvalidRule> {
    given.iter().map(compile).collect()
}

fn preferred_terms(
    terms: &PodTermsView,
    sign: i64,
    meta: &MetaView,
) -> Result<Vec<(i64, PodTerm)>, InvalidRule> {
    all(&terms.preferred, |t| Ok((sign * i64::from(t.weight), PodTerm::compile(&t.pod_affinity_term, meta)?)))
}

/// The nodes a pod may run on: all of `nodeSelector`, and one of the terms of the required affinity.
#[derive(Clone, Debug)]
pub struct NodeRule {
    selector: CompiledSelector,
    affinity: Option<CompiledNodeSelector>,
    /// The nodes that the affinity names, when each of its terms names one.
    named: Option<Vec<String>>,
}

impl NodeRule {
    fn compile(
        selector: &BTreeMap<String, String>,
        affinity: Option<&core::NodeSelector>,
    ) -> Result<Self, InvalidRule> {
        let affinity = affinity.map(NodeSelector::try_from).transpose()?;
        Ok(Self {
            selector: Selector::from_map(selector).compile(),
            named: affinity.as_ref().and_then(named),
            affinity: affinity.as_ref().map(NodeSelector::compile),
        })
    }

    /// The rule that every node fulfils.
    pub fn any() -> Self {
        Self { selector: Selector::everything().compile(), affinity: None, named: None }
    }

    /// Whether every node will do.
    pub fn is_any(&self) -> bool {
        self.affinity.is_none() && self.selector.selector().is_everything()
    }

    /// Whether a node of this name and these labels will do.
    pub fn matches(&self, name: &str, labels: &LabelSet) -> bool {
        self.selector.matches(labels)
            && self.affinity.as_ref().is_none_or(|affinity| affinity.matches(labels, name_field(name)))
    }

    /// The labels asked for by `nodeSelector`.
    pub fn selector(&self) -> &Selector {
        self.selector.selector()
    }

    /// The names of the only nodes that can match, when the rule names them.
    ///
    /// This is how a DaemonSet pins its pods: each of them then costs one node's check and not the cluster's.
    pub(crate) fn named(&self) -> Option<&[String]> {
        self.named.as_deref()
    }
}

fn named(affinity: &NodeSelector) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for term in affinity.terms() {
        let equals = |f: &&FieldRequirement| f.path == NAME_FIELD && f.operator == FieldOperator::Equals;
        names.push(term.fields().requirements().iter().find(equals)?.value.clone());
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// The only field of a node that a selector can look at.
const NAME_FIELD: &str = "metadata.name";

fn name_field<'n>(name: &'n str) -> impl Fn(&str) -> Option<&'n str> {
    move |path: &str| (path == NAME_FIELD).then_some(name)
}

/// Nodes a pod would like, all else being equal.
#[derive(Clone, Debug)]
pub struct PreferredNodes {
    /// From 1 to 100.
    pub weight: i64,
    term: CompiledNodeSelector,
}

impl PreferredNodes {
    fn compile(given: &PreferredNodeView) -> Result<Self, InvalidRule> {
        Self::new(given.weight, given.preference.clone())
    }

    fn new(weight: i32, preference: core::NodeSelectorTerm) -> Result<Self, InvalidRule> {
        let terms = core::NodeSelector { node_selector_terms: vec![preference] };
        let term = NodeSelector::try_from(&terms)?.compile();
        Ok(Self { weight: i64::from(weight), term })
    }

    /// Whether a node of this name and these labels is one of them.
    pub fn include(&self, name: &str, labels: &LabelSet) -> bool {
        self.term.matches(labels, name_field(name))
    }
}

/// Nodes that a profile adds to what its pods ask for.
#[derive(Clone, Debug, Default)]
pub struct AddedAffinity {
    required: Option<CompiledNodeSelector>,
    preferred: Vec<PreferredNodes>,
}

impl AddedAffinity {
    /// Reads a node affinity.
    ///
    /// # Errors
    /// When one of its selectors is invalid.
    pub fn compile(affinity: &core::NodeAffinity) -> Result<Self, InvalidRule> {
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
        let required = required.map(NodeSelector::try_from).transpose()?;
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref();
        let view =
            |term: &core::PreferredSchedulingTerm| PreferredNodes::new(term.weight, term.preference.clone());
        Ok(Self {
            required: required.as_ref().map(NodeSelector::compile),
            preferred: all(preferred.unwrap_or_default(), view)?,
        })
    }

    /// Whether some node may be out.
    pub(crate) fn requires(&self) -> bool {
        self.required.is_some()
    }

    /// Whether a node of this name and these labels will do.
    pub fn matches(&self, name: &str, labels: &LabelSet) -> bool {
        self.required.as_ref().is_none_or(|affinity| affinity.matches(labels, name_field(name)))
    }

    /// The nodes that are liked.
    pub fn preferred(&self) -> &[PreferredNodes] {
        &self.preferred
    }
}

/// Which pods an affinity term means, and how close "next to" is.
#[derive(Clone, Debug)]
pub struct PodTerm {
    selector: CompiledSelector,
    namespaces: Vec<String>,
    namespace_selector: Option<Selector>,
    /// Nodes with one value of this label are one place.
    pub topology_key: String,
}

impl PodTerm {
    fn compile(term: &core::PodAffinityTerm, meta: &MetaView) -> Result<Self, InvalidRule> {
        let selector = Selector::from_label_selector(term.label_selector.as_ref())?;
        let (same, other) = (term.match_label_keys.iter(), term.mismatch_label_keys.iter());
        let selector = with_pod_values(selector, same.flatten(), &meta.labels, Operator::In)?;
        let selector = with_pod_values(selector, other.flatten(), &meta.labels, Operator::NotIn)?;
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(meta.namespace.clone());
        }
        let namespace_selector = term.namespace_selector.as_ref().map(Selector::try_from).transpose()?;
        let topology_key = term.topology_key.clone();
        Ok(Self { selector: selector.compile(), namespaces, namespace_selector, topology_key })
    }

    /// Whether a pod with these labels, in this namespace with that namespace's labels, is meant.
    pub fn matches(&self, namespace: &str, namespace_labels: Option<&Labels>, labels: &LabelSet) -> bool {
        self.selector.matches(labels) && self.covers(namespace, namespace_labels)
    }

    /// Whether pods of this namespace can be meant.
    fn covers(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        self.namespaces.iter().any(|n| n == namespace)
            || self.namespace_selector.as_ref().is_some_and(|s| match labels {
                Some(labels) => s.matches(labels),
                None => s.matches(&Labels::new()),
            })
    }

    /// The labels of the pods that are meant.
    pub fn selector(&self) -> &Selector {
        self.selector.selector()
    }
}

/// Adds what `matchLabelKeys` and `mismatchLabelKeys` say: the pod's own value of each key it has.
fn with_pod_values<'k>(
    selector: Selector,
    keys: impl Iterator<Item = &'k String>,
    labels: &Labels,
    operator: Operator,
) -> Result<Selector, InvalidRule> {
    let own = keys.filter_map(|key| Some((key, labels.get(key)?)));
    let own = own.map(|(key, value)| Requirement::new(key, operator, [value]));
    let own = own.collect::<Result<Vec<_>, _>>()?;
    if selector.is_nothing() || own.is_empty() {
        return Ok(selector);
    }
    Ok(Selector::new(selector.requirements().iter().cloned().chain(own)))
}

/// One topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    /// What is asked.
    pub terms: SpreadTerms,
    selector: CompiledSelector,
    /// Of those that are selected, only the pods of this controller count.
    controller: Option<Uid>,
}

/// What a topology spread constraint asks, of whatever pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadTerms {
    /// Nodes with one value of this label are one place.
    pub topology_key: String,
    /// How many more pods one place may have than the emptiest.
    pub max_skew: i64,
    /// With fewer places than this, the emptiest counts as empty.
    pub min_domains: i64,
    /// Whether a node that would break it is out (`DoNotSchedule`), or only less liked.
    pub required: bool,
    /// Whether places the pod's node selector excludes are left out of the count.
    pub honours_affinity: bool,
    /// Whether places whose taints the pod does not tolerate are left out of the count.
    pub honours_taints: bool,
}

impl SpreadTerms {
    /// At most one more in a place than in the emptiest, where it is easy.
    pub fn preferred(topology_key: &str) -> Self {
        Self {
            topology_key: topology_key.to_owned(),
            max_skew: 1,
            min_domains: 1,
            required: false,
            honours_affinity: true,
            honours_taints: false,
        }
    }
}

impl From<&core::TopologySpreadConstraint> for SpreadTerms {
    fn from(constraint: &core::TopologySpreadConstraint) -> Self {
        Self {
            topology_key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
            required: constraint.when_unsatisfiable == "DoNotSchedule",
            honours_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

impl Spread {
    fn compile(constraint: &core::TopologySpreadConstraint, labels: &Labels) -> Result<Self, InvalidRule> {
        let selector = Selector::from_label_selector(constraint.label_selector.as_ref())?;
        let keys = constraint.match_label_keys.iter().flatten();
        let selector = with_pod_values(selector, keys, labels, Operator::In)?;
        Ok(Self { terms: constraint.into(), selector: selector.compile(), controller: None })
    }

    /// The terms for pods that are selected and of a controller, if one is given.
    pub(crate) fn of_group(terms: SpreadTerms, selector: CompiledSelector, controller: Option<Uid>) -> Self {
        Self { terms, selector, controller }
    }

    /// Whether a pod of the same namespace with these labels and this controller counts.
    pub fn counts(&self, labels: &LabelSet, controller: Option<&Uid>) -> bool {
        self.controller.as_ref().is_none_or(|own| Some(own) == controller) && self.selector.matches(labels)
    }
}
