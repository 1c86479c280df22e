use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::api::field::{Errors, Path};
use crate::api::{Column, NameRule, Rules, check};

const COLUMNS: &[Column] = &[Column::NAME, Column::CREATED_AT];

/// The rules of Role objects.
pub(in crate::objects) struct RoleRules;

impl Rules for RoleRules {
    type Object = Role;

    const CREATED_BY_UPDATE: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn validate(object: &Role, errors: &mut Errors) {
        rules(object.rules.as_deref(), true, errors);
    }

    fn cells(object: &Role, _now: jiff::Timestamp) -> Vec<Value> {
        cells(&object.metadata)
    }
}

/// The rules of ClusterRole objects. That the rules of an aggregated one follow from others is a controller's to see to.
pub(in crate::objects) struct ClusterRoleRules;

impl Rules for ClusterRoleRules {
    type Object = ClusterRole;

    const CREATED_BY_UPDATE: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn validate(object: &ClusterRole, errors: &mut Errors) {
        rules(object.rules.as_deref(), false, errors);
        let Some(aggregation) = &object.aggregation_rule else { return };
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        if selectors.is_empty() {
            errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (index, selector) in selectors.iter().enumerate() {
            check::selector(errors, &path.index(index), selector);
        }
    }

    fn cells(object: &ClusterRole, _now: jiff::Timestamp) -> Vec<Value> {
        cells(&object.metadata)
    }
}

fn cells(meta: &ObjectMeta) -> Vec<Value> {
    vec![meta.name.clone().into(), json!(meta.creation_timestamp)]
}

fn rules(rules: Option<&[PolicyRule]>, namespaced: bool, errors: &mut Errors) {
    for (index, held) in rules.unwrap_or_default().iter().enumerate() {
        rule(held, namespaced, &Path::new("rules").index(index), errors);
    }
}

fn rule(rule: &PolicyRule, namespaced: bool, path: &Path, errors: &mut Errors) {
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if rule.verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if let Some(urls) = rule.non_resource_urls.as_ref().filter(|urls| !urls.is_empty()) {
        let path = path.child("nonResourceURLs");
        if namespaced {
            errors.invalid(&path, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if ![&rule.api_groups, &rule.resources, &rule.resource_names].into_iter().all(is_empty) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&path, urls.clone(), why);
        }
        return;
    }
    if is_empty(&rule.api_groups) {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if is_empty(&rule.resources) {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}
