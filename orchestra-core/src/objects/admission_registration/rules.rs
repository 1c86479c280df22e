//! Which requests are meant.

use std::collections::HashSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ParamKind, RuleWithOperations,
};
use serde_json::{Map, Value};

use super::check::{self, say, shown};
use super::expressions::Compiler;
use super::{MATCH_POLICIES, names};
use crate::api::field::{Errors, Path, Problem};
use crate::objects::json::Fields;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
/// The most conditions that a request must meet.
const MAX_CONDITIONS: usize = 64;

/// Fills in what rules, and what selects the objects that they are about, leave out.
pub(super) fn default(fields: &mut Map<String, Value>, rules: &[&str]) {
    fields.or("matchPolicy", "Equivalent");
    fields.or("namespaceSelector", Map::new());
    fields.or("objectSelector", Map::new());
    for list in rules {
        for rule in fields.each(list) {
            rule.or("scope", "*");
        }
    }
}

/// The lists of rules of what a policy is about.
pub(super) const NAMED: [&str; 2] = ["resourceRules", "excludeResourceRules"];

fn has_all(list: &[String]) -> bool {
    list.iter().any(|item| item == "*")
}

fn all_alone(list: &[String], what: &str, path: &Path, errors: &mut Errors) {
    if list.len() > 1 && has_all(list) {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path, shown(&list), detail);
    }
}

/// A rule of a webhook.
pub(super) fn rule(rule: &RuleWithOperations, path: &Path, errors: &mut Errors) {
    let operations = rule.operations.as_deref().unwrap_or_default();
    let at = path.child("operations");
    if operations.is_empty() {
        errors.required(&at, "");
    }
    all_alone(operations, "operations", &at, errors);
    for (index, operation) in operations.iter().enumerate() {
        check::supported(errors, &at.index(index), operation, &OPERATIONS);
    }
    for (field, list, what) in
        [("apiGroups", &rule.api_groups, "API groups"), ("apiVersions", &rule.api_versions, "API versions")]
    {
        let list = list.as_deref().unwrap_or_default();
        let at = path.child(field);
        if list.is_empty() {
            errors.required(&at, "");
        }
        all_alone(list, what, &at, errors);
        for (index, _) in
            list.iter().enumerate().filter(|(_, item)| field == "apiVersions" && item.is_empty())
        {
            errors.required(&at.index(index), "");
        }
    }
    resources(rule.resources.as_deref().unwrap_or_default(), &path.child("resources"), errors);
    if let Some(scope) = &rule.scope {
        check::supported(errors, &path.child("scope"), scope, &SCOPES);
    }
}

/// Kinds and their subresources: what stands for many may not stand beside one of them.
fn resources(list: &[String], path: &Path, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(path, "");
    }
    let (mut every_part, mut every_kind) = (HashSet::new(), HashSet::new());
    let mut kind_alone = false;
    for (index, resource) in list.iter().enumerate() {
        let at = path.index(index);
        if resource.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let Some((kind, part)) = resource.split_once('/') else {
            kind_alone = resource != "*";
            continue;
        };
        for (covered, whole) in [
            (every_part.contains(kind), format!("{kind}/*")),
            (every_kind.contains(part), format!("*/{part}")),
        ] {
            if covered {
                let detail = format!("if '{whole}' is present, must not specify {resource}");
                errors.invalid(&at, resource.as_str(), detail);
            }
        }
        if part == "*" {
            every_part.insert(kind);
        }
        if kind == "*" {
            every_kind.insert(part);
        }
    }
    if list.len() > 1 && list.iter().any(|resource| resource == "*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.invalid(path, shown(&list), detail);
    }
    if has_all(list) && kind_alone {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, shown(&list), detail);
    }
}

/// What a policy is about, or where a binding makes it hold.
pub(super) fn matched(matched: &MatchResources, path: &Path, errors: &mut Errors) {
    let at = path.child("matchPolicy");
    match &matched.match_policy {
        None => errors.required(&at, ""),
        Some(policy) => check::supported(errors, &at, policy, &MATCH_POLICIES),
    }
    for (field, selector) in
        [("namespaceSelector", &matched.namespace_selector), ("objectSelector", &matched.object_selector)]
    {
        let at = path.child(field);
        match selector {
            None => errors.required(&at, ""),
            Some(selector) => check::selector(errors, &at, selector),
        }
    }
    for (field, list) in NAMED.iter().zip([&matched.resource_rules, &matched.exclude_resource_rules]) {
        for (index, rule) in list.iter().flatten().enumerate() {
            named_rule(rule, &path.child(field).index(index), errors);
        }
    }
}

fn named_rule(named: &NamedRuleWithOperations, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, name) in named.resource_names.iter().flatten().enumerate() {
        let at = path.child("resourceNames").index(index);
        say(errors, &at, name, names::path_segment(name));
        check::unique(errors, &mut seen, &at, name);
    }
    let plain = RuleWithOperations {
        api_groups: named.api_groups.clone(),
        api_versions: named.api_versions.clone(),
        operations: named.operations.clone(),
        resources: named.resources.clone(),
        scope: named.scope.clone(),
    };
    rule(&plain, path, errors);
}

/// What a policy is about: it must be about something.
pub(super) fn constraints(matched_by: Option<&MatchResources>, path: &Path, errors: &mut Errors) {
    let Some(by) = matched_by else {
        errors.required(path, "");
        return;
    };
    matched(by, path, errors);
    if by.resource_rules.as_ref().is_none_or(Vec::is_empty) {
        errors.required(&path.child("resourceRules"), "");
    }
}

/// Nothing is changed of what is deleted.
pub(super) fn mutable(matched_by: Option<&MatchResources>, path: &Path, errors: &mut Errors) {
    let rules = matched_by.iter().flat_map(|by| by.resource_rules.iter().flatten());
    for operation in rules.flat_map(|rule| rule.operations.iter().flatten()) {
        let supported = ["*", "CONNECT", "CREATE", "UPDATE"];
        check::supported(errors, &path.child("resourceRules.operations"), operation, &supported);
    }
}

/// Conditions that a request must meet.
pub(super) fn conditions(list: &[MatchCondition], compiler: &Compiler, path: &Path, errors: &mut Errors) {
    if list.len() > MAX_CONDITIONS {
        errors.push(path, Problem::TooMany(list.len(), MAX_CONDITIONS));
    }
    let mut seen = HashSet::new();
    for (index, condition) in list.iter().enumerate() {
        let path = path.index(index);
        if condition.expression.trim().is_empty() {
            errors.required(&path.child("expression"), "");
        } else if let Err(why) = compiler.condition(&condition.expression) {
            errors.invalid(&path.child("expression"), condition.expression.as_str(), why);
        }
        let (at, name) = (path.child("name"), condition.name.as_str());
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        say(errors, &at, name, names::qualified(name));
        check::unique(errors, &mut seen, &at, name);
    }
}

/// Of which kind parameters are.
pub(super) fn parameters(kind: &ParamKind, path: &Path, errors: &mut Errors) {
    let (version, name) = (kind.api_version.as_deref().unwrap_or_default(), kind.kind.as_deref());
    let at = path.child("apiVersion");
    let joined = |faults: Vec<String>| (!faults.is_empty()).then(|| faults.join(","));
    if version.is_empty() {
        errors.required(&at, "");
    } else if version.matches('/').count() > 1 {
        errors.invalid(&at, version, format!("unexpected GroupVersion string: {version}"));
    } else {
        let (group, number) = crate::api::split_api_version(version);
        if let Some(faults) = joined(names::subdomain(group)).filter(|_| !group.is_empty()) {
            errors.invalid(&at, group, faults);
        }
        if number.is_empty() {
            errors.invalid(&at, version, "version must be specified");
        } else if let Some(faults) = joined(names::label_1035(number)) {
            errors.invalid(&at, number, faults);
        }
    }
    let at = path.child("kind");
    match name.unwrap_or_default() {
        "" => errors.required(&at, ""),
        name => {
            if let Some(faults) = joined(names::label_1035(&name.to_lowercase())) {
                let detail = format!("may have mixed case, but should otherwise match: {faults}");
                errors.invalid(&at, name, detail);
            }
        }
    }
}
