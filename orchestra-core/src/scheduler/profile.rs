//! How the pods of one `schedulerName` are placed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::plugin::{Filter, Plugin, Score};
use super::pod::{DEFAULT_SCHEDULER, PodInfo};
use super::rules::{AddedAffinity, SpreadTerms};
use super::snapshot::{HOSTNAME, ZONE};

/// Which rules are asked, in which order, with which weights and arguments.
///
/// The default is Kubernetes' of the same name. [`Configuration`](super::Configuration) makes profiles of a file.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The `schedulerName` of the pods it is for.
    pub name: Arc<str>,
    /// In a large cluster, stop looking once this share of the nodes (1 to 100 percent) turned out to be able to
    /// take the pod. `None` for Kubernetes' rule: from 50 percent at 100 nodes down to 5 percent at 5,625.
    pub percentage_of_nodes_to_score: Option<u8>,
    /// The rules that decide which nodes can take a pod, in the order in which they are asked.
    pub filters: Vec<Filter>,
    /// Whether a pod whose affinity names its nodes is tried on no others.
    pub follows_named_nodes: bool,
    /// The rules that decide which node suits a pod best, with what each weighs.
    pub scores: Vec<(Score, i64)>,
    /// Rules of the program's own, with what their points weigh.
    pub own: Vec<(Arc<dyn Plugin>, i64)>,
    /// Resources that a node need not have free.
    pub ignored: IgnoredResources,
    /// How full nodes are to be.
    pub packing: Packing,
    /// The resources that are to be filled alike.
    pub balanced: Vec<Arc<str>>,
    /// What a pod that *must* run next to another is worth to that one, beside the 1 to 100 of those that would like to.
    pub required_affinity_weight: i64,
    /// Whether a pod without preferences of its own is not drawn to the pods that have some.
    pub ignores_preferences_of_others: bool,
    /// How pods that say nothing of it are spread.
    pub spreading: Spreading,
    /// Nodes that every pod must, and would like to, run on.
    pub added_affinity: AddedAffinity,
    /// On how many nodes it is looked for room to make; `None` if none is ever made.
    pub preemption: Option<Candidates>,
    /// How long volumes may take to be made and bound.
    pub binding_patience: Duration,
}

/// Resources that nodes need not have free: extended ones, of a domain other than Kubernetes' own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredResources {
    /// By their whole names.
    pub names: Vec<String>,
    /// By what stands before the `/` in their names.
    pub groups: Vec<String>,
}

impl IgnoredResources {
    /// Whether a resource is one of them.
    pub fn include(&self, resource: &str) -> bool {
        let Some((group, _)) =
            resource.split_once('/').filter(|(group, _)| !group.ends_with("kubernetes.io"))
        else {
            return false;
        };
        self.names.iter().any(|name| name == resource) || self.groups.iter().any(|name| name == group)
    }
}

/// What is scored by how full a node would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Packing {
    /// How.
    pub fit: Fit,
    /// The resources that count, with what each weighs.
    pub resources: Vec<(Arc<str>, i64)>,
}

impl Default for Packing {
    fn default() -> Self {
        Self { fit: Fit::LeastAllocated, resources: vec![("cpu".into(), 1), ("memory".into(), 1)] }
    }
}

/// How full nodes are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fit {
    /// The emptiest node is the best, as in Kubernetes by default.
    #[default]
    LeastAllocated,
    /// The fullest node on which a pod fits is the best, so that others stay empty.
    MostAllocated,
    /// Points (0 to 100) by what is used of a resource in percent, with straight lines between.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// How pods that say nothing of spreading are spread, away from the others of their services and controller.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Spreading {
    /// Over hosts and zones, where it is easy.
    System,
    /// By these constraints.
    By(Vec<SpreadTerms>),
}

impl Spreading {
    /// The constraints that are required, or those that are only preferred.
    pub(crate) fn terms(&self, required: bool) -> Vec<SpreadTerms> {
        match self {
            Self::System if required => Vec::new(),
            Self::System => [(HOSTNAME, 3), (ZONE, 5)]
                .map(|(key, max_skew)| SpreadTerms { max_skew, ..SpreadTerms::preferred(key) })
                .into(),
            Self::By(terms) => terms.iter().filter(|terms| terms.required == required).cloned().collect(),
        }
    }
}

/// On how many nodes it is looked for room to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// At least this share of those where it could help, in percent.
    pub percentage: u8,
    /// And at least so many.
    pub least: usize,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { percentage: 10, least: 100 }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: DEFAULT_SCHEDULER.into(),
            percentage_of_nodes_to_score: None,
            filters: Filter::ALL.into(),
            follows_named_nodes: true,
            scores: Score::ALL.into(),
            own: Vec::new(),
            ignored: IgnoredResources::default(),
            packing: Packing::default(),
            balanced: vec!["cpu".into(), "memory".into()],
            required_affinity_weight: 1,
            ignores_preferences_of_others: false,
            spreading: Spreading::System,
            added_affinity: AddedAffinity::default(),
            preemption: Some(Candidates::default()),
            binding_patience: Duration::from_secs(600),
        }
    }
}

impl Profile {
    /// What weighs more than all other rules together, each of which is worth 100 times its weight at most.
    const ABOVE_ALL: i64 = 2000;

    /// A profile that fills one node after the other, before all else that is only preferred.
    pub fn packing() -> Self {
        let mut packing = Self::default();
        packing.packing.fit = Fit::MostAllocated;
        let fit = packing.scores.iter_mut().filter(|(score, _)| *score == Score::NodeResourcesFit);
        fit.for_each(|(_, weight)| *weight = Self::ABOVE_ALL);
        packing
    }

    /// The same for the pods of another `schedulerName`.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// With a rule of the program's own: it is asked after the others, and its points weigh so much.
    #[must_use]
    pub fn with(mut self, plugin: impl Plugin + 'static, weight: i64) -> Self {
        let plugin: Arc<dyn Plugin> = Arc::new(plugin);
        self.filters.push(Filter::Own(plugin.name()));
        self.own.push((plugin, weight));
        self
    }

    /// Whether a rule decides which nodes can take a pod.
    pub(crate) fn filters_by(&self, filter: Filter) -> bool {
        self.filters.contains(&filter)
    }

    /// The labels by which pods that say nothing of it are spread.
    pub(crate) fn topology_keys(&self) -> Vec<String> {
        let terms = [true, false].map(|required| self.spreading.terms(required));
        terms.into_iter().flatten().map(|terms| terms.topology_key).collect()
    }
}

/// The profiles of a scheduler, by name.
#[derive(Clone, Debug)]
pub(crate) struct Profiles(BTreeMap<Arc<str>, Arc<Profile>>);

impl Profiles {
    pub(crate) fn of(profile: Profile) -> Self {
        [profile].into_iter().collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }

    /// The profile that a pod asks for; `None` when another scheduler is to place it.
    pub(crate) fn of_pod(&self, pod: &PodInfo) -> Option<&Arc<Profile>> {
        self.0.get(&pod.scheduler)
    }
}

impl FromIterator<Profile> for Profiles {
    fn from_iter<I: IntoIterator<Item = Profile>>(profiles: I) -> Self {
        let named = profiles.into_iter().map(|profile| (profile.name.clone(), Arc::new(profile)));
        Self(named.collect())
    }
}
