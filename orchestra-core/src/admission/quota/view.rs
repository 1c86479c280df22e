//! A quota, and what it counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::usage;
use crate::admission::amounts::{Amounts, PodAmounts};
use crate::meta::GroupResource;
use crate::quantity::Quantity;

/// A ResourceQuota, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct QuotaView {
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

/// What a quota is to hold.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) hard: Amounts,
    scopes: Vec<String>,
    scope_selector: Option<ScopeSelector>,
}

/// What a quota holds, and what is used of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) hard: Amounts,
    pub(crate) used: Amounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ScopeSelector {
    match_expressions: Vec<ScopeTerm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ScopeTerm {
    scope_name: String,
    operator: String,
    values: Vec<String>,
}

impl QuotaView {
    /// What an object uses of this quota's amounts: nothing when it is out of scope. Only amounts that are not zero.
    pub(crate) fn used_by(&self, hard: &Amounts, id: &GroupResource, object: &Value) -> Amounts {
        if !self.covers(id, object) {
            return Amounts::new();
        }
        let mut used = usage::of(id, object);
        used.retain(|name, amount| hard.contains_key(name) && *amount != Quantity::ZERO);
        used
    }

    /// What the quota is to hold and does not yet: nothing of it is counted. `None` where there is none such.
    pub(super) fn uncounted(&self) -> Option<Amounts> {
        let held = &self.status.hard;
        if self.spec.hard.keys().all(|name| held.contains_key(name)) {
            return None;
        }
        let not_held = self.spec.hard.iter().filter(|(name, _)| !held.contains_key(*name));
        Some(not_held.map(|(name, amount)| (name.clone(), *amount)).collect())
    }

    /// Whether an object is in every scope that the quota names.
    pub(crate) fn covers(&self, id: &GroupResource, object: &Value) -> bool {
        let terms = self.spec.scope_selector.iter().flat_map(|selector| &selector.match_expressions);
        let mut scopes = self.spec.scopes.iter().map(|scope| (scope.as_str(), "Exists", &[] as &[String]));
        let mut terms = terms.map(|term| (term.scope_name.as_str(), term.operator.as_str(), &*term.values));
        let within = |(scope, operator, values): (&str, &str, &[String])| match (&*id.group, &*id.resource) {
            ("", "pods") => pod_is_in(object, scope, operator, values),
            ("", "persistentvolumeclaims") if scope == "VolumeAttributesClass" => {
                let class = object["spec"]["volumeAttributesClassName"].as_str().unwrap_or_default();
                name_fits(class, operator, values)
            }
            _ => false,
        };
        scopes.all(within) && terms.all(within)
    }
}

fn pod_is_in(pod: &Value, scope: &str, operator: &str, values: &[String]) -> bool {
    let spec = &pod["spec"];
    let terminates = spec["activeDeadlineSeconds"].as_i64().is_some();
    match scope {
        "Terminating" => terminates,
        "NotTerminating" => !terminates,
        "BestEffort" => PodAmounts::of(pod).is_best_effort(),
        "NotBestEffort" => !PodAmounts::of(pod).is_best_effort(),
        "PriorityClass" => {
            name_fits(spec["priorityClassName"].as_str().unwrap_or_default(), operator, values)
        }
        "CrossNamespacePodAffinity" => reaches_other_namespaces(&spec["affinity"]),
        _ => false,
    }
}

fn name_fits(name: &str, operator: &str, values: &[String]) -> bool {
    let is_one = values.iter().any(|value| value == name);
    match operator {
        "In" => !name.is_empty() && is_one,
        "NotIn" => !is_one,
        "Exists" => !name.is_empty(),
        "DoesNotExist" => name.is_empty(),
        _ => false,
    }
}

fn reaches_other_namespaces(affinity: &Value) -> bool {
    let names = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
            || term["namespaceSelector"].is_object()
    };
    let of = |rules: &Value| {
        let hard = rules["requiredDuringSchedulingIgnoredDuringExecution"].as_array().into_iter().flatten();
        let soft = rules["preferredDuringSchedulingIgnoredDuringExecution"].as_array().into_iter().flatten();
        hard.chain(soft.map(|weighted| &weighted["podAffinityTerm"])).any(names)
    };
    of(&affinity["podAffinity"]) || of(&affinity["podAntiAffinity"])
}

/// The amounts that a pod's containers must name because a quota counts them, each with the containers that do not.
pub(super) fn missing(hard: &Amounts, pod: &Value) -> BTreeMap<String, Vec<String>> {
    let asked = PodAmounts::of(pod);
    let whole = asked.resources.clone().unwrap_or_default();
    let mut missing = BTreeMap::<String, Vec<String>>::new();
    for name in hard.keys() {
        let (resource, is_limit) = match name.split_once('.') {
            Some(("requests", resource)) => (resource, false),
            Some(("limits", resource)) => (resource, true),
            _ => (name.as_str(), false),
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let names = |amounts: &crate::admission::amounts::Asked| {
            let side = if is_limit { &amounts.limits } else { &amounts.requests };
            side.contains_key(resource)
        };
        if names(&whole) {
            continue;
        }
        let all = asked.containers.iter().chain(&asked.init_containers);
        let without = all.filter(|container| !names(&container.resources));
        let without: Vec<_> = without.map(|container| container.name.clone()).collect();
        if !without.is_empty() {
            missing.insert(name.clone(), without);
        }
    }
    missing
}
