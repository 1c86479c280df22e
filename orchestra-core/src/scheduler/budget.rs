//! Disruption budgets, as far as making room has to spare their pods.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hashbrown::HashMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::pod::PodInfo;
use crate::meta::{ObjectName, Uid};
use crate::selector::{CompiledSelector, Selector};

/// A disruption budget: whose pods it is of, and how many of them may go.
#[derive(Clone, Debug)]
pub struct Budget {
    selector: CompiledSelector,
    allowed: i64,
    /// Pods whose eviction it has granted: they are counted already.
    granted: HashSet<String>,
}

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Option<LabelSelector>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    disruptions_allowed: i64,
    disrupted_pods: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

impl Budget {
    /// A PodDisruptionBudget in JSON; `None` for one that is of no pods.
    ///
    /// # Errors
    /// When it is not one.
    pub fn from_json(json: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        let View { spec, status } = serde_json::from_slice(json)?;
        let selector = spec.selector.and_then(|selector| Selector::try_from(&selector).ok());
        Ok(selector.map(|selector| Self {
            selector: selector.compile(),
            allowed: status.disruptions_allowed,
            granted: status.disrupted_pods.unwrap_or_default().into_keys().collect(),
        }))
    }

    fn is_of(&self, pod: &PodInfo) -> bool {
        self.selector.matches(&pod.labels) && !self.granted.contains(pod.name.name())
    }
}

/// The budgets of a cluster, by namespace and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Budgets(HashMap<String, BTreeMap<String, Budget>>);

impl Budgets {
    pub(super) fn set(&mut self, name: &ObjectName, budget: Option<Budget>) {
        let namespace = name.namespace().unwrap_or_default();
        match budget {
            Some(budget) => {
                self.0.entry(namespace.to_owned()).or_default().insert(name.name().to_owned(), budget);
            }
            None => {
                if let Some(budgets) = self.0.get_mut(namespace) {
                    budgets.remove(name.name());
                }
            }
        }
    }

    /// Which of these pods a budget does not let go, if all of them went, one after the other.
    pub(super) fn exceeded_by(&self, pods: &[&Arc<PodInfo>]) -> HashSet<Uid> {
        let (mut taken, mut exceeded) = (HashMap::<(&str, &str), i64>::new(), HashSet::new());
        for pod in pods {
            let namespace = pod.name.namespace().unwrap_or_default();
            for (name, budget) in self.0.get(namespace).into_iter().flatten() {
                if !budget.is_of(pod) {
                    continue;
                }
                let taken = taken.entry((namespace, name)).or_default();
                *taken += 1;
                if *taken > budget.allowed {
                    exceeded.insert(pod.uid.clone());
                }
            }
        }
        exceeded
    }
}
