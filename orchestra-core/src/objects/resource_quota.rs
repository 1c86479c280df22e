use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ResourceQuota, ResourceQuotaSpec, ScopeSelector, ScopedResourceSelectorRequirement,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::{Value, json};

use super::check::{IMMUTABLE, NEGATIVE, shown};
use super::json::{at, set};
use super::quantities;
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, Deletion, Rules, table};
use crate::quantity::Quantity;

/// Of which objects a quota can be: pods of some quality, and volumes of some class.
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Scopes that no object can be of both of.
const OPPOSITES: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
/// Scopes that are there or not, and have no values.
const WITHOUT_VALUES: &[&str] =
    &["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];

/// The rules of ResourceQuota objects. That no more is used than they allow is admission's to see to.
pub(super) struct ResourceQuotaRules;

impl Rules for ResourceQuotaRules {
    type Object = ResourceQuota;

    const DELETION: Deletion = Deletion::Object;

    const SHORT_NAMES: &'static [&'static str] = &["quota"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Request", "What is used and what may be, but for limits."),
        Column::new("Limit", "What limits are used and what limits may be."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        for (part, fields) in [("spec", &["hard"][..]), ("status", &["hard", "used"][..])] {
            if let Some(part) = at(object, &[part]) {
                fields.iter().for_each(|field| quantities::round_up(part, field));
            }
        }
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn validate(object: &ResourceQuota, errors: &mut Errors) {
        let Some(spec) = &object.spec else { return };
        let path = Path::new("spec");
        amounts(spec.hard.as_ref(), &path.child("hard"), errors);
        scopes(spec, &path.child("scopes"), errors);
        if let Some(selector) = &spec.scope_selector {
            scope_selector(spec, selector, &path.child("scopeSelector.matchExpressions"), errors);
        }
    }

    fn validate_update(new: &ResourceQuota, old: &ResourceQuota, errors: &mut Errors) {
        let scopes = |object: &ResourceQuota| object.spec.as_ref().and_then(|spec| spec.scopes.clone());
        let set = |object: &ResourceQuota| scopes(object).into_iter().flatten().collect::<BTreeSet<_>>();
        if set(new) != set(old) {
            errors.invalid(&Path::new("spec.scopes"), shown(&scopes(new)), IMMUTABLE);
        }
    }

    fn validate_status(new: &ResourceQuota, _old: &ResourceQuota, errors: &mut Errors) {
        let status = new.status.clone().unwrap_or_default();
        amounts(status.hard.as_ref(), &Path::new("status.hard"), errors);
        amounts(status.used.as_ref(), &Path::new("status.used"), errors);
    }

    fn cells(object: &ResourceQuota, now: Timestamp) -> Vec<Value> {
        let status = object.status.clone().unwrap_or_default();
        let [mut requests, mut limits] = [String::new(), String::new()];
        for (name, hard) in status.hard.iter().flatten() {
            let used = status.used.as_ref().and_then(|used| used.get(name)).map_or("0", |used| &used.0);
            let cell = if name.starts_with("limits.") { &mut limits } else { &mut requests };
            let comma = if cell.is_empty() { "" } else { ", " };
            // Writing to text cannot fail.
            let _ = write!(cell, "{comma}{name}: {used}/{}", hard.0);
        }
        vec![
            object.metadata.name.clone().into(),
            requests.into(),
            limits.into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn amounts(amounts: Option<&BTreeMap<String, Text>>, path: &Path, errors: &mut Errors) {
    for (name, amount) in amounts.into_iter().flatten() {
        let path = path.key(name);
        quantities::resource_name(name, &path, errors);
        if !name.contains('/') && !is_counted(name) {
            errors.invalid(&path, name.as_str(), "must be a standard resource for quota");
        }
        let Ok(parsed) = Quantity::parse(&amount.0) else { continue };
        if parsed.is_negative() {
            errors.invalid(&path, amount.0.as_str(), NEGATIVE);
        }
        if is_whole(name) && parsed.milli_value() % 1000 != 0 {
            errors.invalid(&path, amount.0.as_str(), "must be an integer");
        }
    }
}

/// Whether quotas count a resource without a domain.
fn is_counted(name: &str) -> bool {
    quantities::is_standard(name) && name != "storage"
}

/// Whether there are only whole ones of a resource: objects and devices.
fn is_whole(name: &str) -> bool {
    let measured = ["cpu", "memory", "storage"].iter().any(|unit| name.ends_with(unit));
    let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    extended || !name.contains('/') && !measured && is_counted(name) && !name.contains("hugepages-")
}

/// Whether a quota of a resource can be of a scope: those of pods count pods and what they use.
fn fits(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"]
        .contains(&resource);
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => resource == "pods" || compute,
        _ => true,
    }
}

fn is_misapplied(spec: &ResourceQuotaSpec, scope: &str) -> bool {
    spec.hard.iter().flatten().any(|(name, _)| is_counted(name) && !fits(scope, name))
}

fn conflict(scopes: &[&str]) -> bool {
    OPPOSITES.iter().any(|pair| pair.iter().all(|scope| scopes.contains(scope)))
}

fn scopes(spec: &ResourceQuotaSpec, path: &Path, errors: &mut Errors) {
    let value = shown(&spec.scopes);
    let scopes: Vec<&str> = spec.scopes.iter().flatten().map(String::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.invalid(path, value.clone(), "unsupported scope");
        }
        if is_misapplied(spec, scope) {
            errors.invalid(path, value.clone(), "unsupported scope applied to resource");
        }
    }
    if conflict(&scopes) {
        errors.invalid(path, value, "conflicting scopes");
    }
}

fn scope_selector(spec: &ResourceQuotaSpec, selector: &ScopeSelector, path: &Path, errors: &mut Errors) {
    let requirements = selector.match_expressions.as_deref().unwrap_or_default();
    for requirement in requirements {
        let scope = requirement.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        if is_misapplied(spec, scope) {
            errors.invalid_object(path, shown_selector(selector), "unsupported scope applied to resource");
        }
        operator(requirement, path, errors);
    }
    let scopes: Vec<&str> = requirements.iter().map(|requirement| requirement.scope_name.as_str()).collect();
    if conflict(&scopes) {
        errors.invalid(path, shown(&spec.scopes), "conflicting scopes");
    }
}

fn operator(requirement: &ScopedResourceSelectorRequirement, path: &Path, errors: &mut Errors) {
    let (at_operator, at_values) = (path.child("operator"), path.child("values"));
    let operator = requirement.operator.as_str();
    if WITHOUT_VALUES.contains(&&*requirement.scope_name) && operator != "Exists" {
        errors.invalid(
            &at_operator,
            operator,
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
             ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
             ResourceQuotaScopeCrossNamespacePodAffinity",
        );
    }
    let values = requirement.values.as_deref().unwrap_or_default();
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&at_values, detail);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(&at_values, shown(&values), detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&at_operator, other, "not a valid selector operator"),
    }
}

fn shown_selector(selector: &ScopeSelector) -> Shown {
    let requirements = selector.match_expressions.iter().flatten().map(|requirement| {
        Shown::object([
            ("ScopeName", shown(&requirement.scope_name).into()),
            ("Operator", shown(&requirement.operator).into()),
            ("Values", shown(&requirement.values).into()),
        ])
    });
    Shown::object([("MatchExpressions", Shown::list(requirements))])
}
