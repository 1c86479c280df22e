use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicyBinding, MutatingAdmissionPolicyBindingSpec, ParamRef,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::check::{self, say, shown};
use super::validating_policy::constraint_defaults;
use super::{names, rules};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::objects::json::at;
use crate::objects::print;

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("PolicyName", "The policy that it makes hold."),
    Column::new("ParamRef", "The parameters of the policy."),
    Column::AGE,
];

/// The rules of ValidatingAdmissionPolicyBinding objects.
pub(in crate::objects) struct ValidatingBindingRules;

impl Rules for ValidatingBindingRules {
    type Object = ValidatingAdmissionPolicyBinding;

    const UNCONDITIONAL_UPDATE: bool = false;
    const METADATA_CHECKED_ONCE: bool = true;
    const ANY_FINALIZER: bool = true;
    const GENERATION: bool = true;
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        default(object);
    }

    fn validate(object: &ValidatingAdmissionPolicyBinding, errors: &mut Errors) {
        let spec = &object.spec;
        let resources = spec.match_resources.as_ref();
        binding(&spec.policy_name, spec.param_ref.as_ref(), resources, errors);
        actions(&spec.validation_actions, &Path::new("spec.validationActions"), errors);
    }

    fn cells(object: &ValidatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Value> {
        cells(&object.metadata, &object.spec.policy_name, object.spec.param_ref.as_ref(), now)
    }
}

/// The rules of MutatingAdmissionPolicyBinding objects.
pub(in crate::objects) struct MutatingBindingRules;

impl Rules for MutatingBindingRules {
    type Object = MutatingAdmissionPolicyBinding;

    const UNCONDITIONAL_UPDATE: bool = false;
    const METADATA_CHECKED_ONCE: bool = true;
    const ANY_FINALIZER: bool = true;
    const GENERATION: bool = true;
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        default(object);
    }

    fn validate(object: &MutatingAdmissionPolicyBinding, errors: &mut Errors) {
        let none = MutatingAdmissionPolicyBindingSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let (name, resources) =
            (spec.policy_name.as_deref().unwrap_or_default(), spec.match_resources.as_ref());
        binding(name, spec.param_ref.as_ref(), resources, errors);
        rules::mutable(resources, &Path::new("spec.matchResources"), errors);
    }

    fn cells(object: &MutatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let name = spec.policy_name.unwrap_or_default();
        cells(&object.metadata, &name, spec.param_ref.as_ref(), now)
    }
}

fn default(object: &mut Value) {
    if let Some(resources) = at(object, &["spec", "matchResources"]) {
        constraint_defaults(resources);
    }
}

fn binding(policy: &str, param: Option<&ParamRef>, resources: Option<&MatchResources>, errors: &mut Errors) {
    let path = Path::new("spec");
    match policy {
        "" => errors.required(&path.child("policyName"), ""),
        policy => say(errors, &path.child("policyName"), policy, names::subdomain(policy)),
    }
    if let Some(param) = param {
        parameters(param, &path.child("paramRef"), errors);
    }
    if let Some(resources) = resources {
        rules::matched(resources, &path.child("matchResources"), errors);
    }
}

/// Parameters are found by name or by selector.
fn parameters(param: &ParamRef, path: &Path, errors: &mut Errors) {
    let name = param.name.as_deref().unwrap_or_default();
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        say(errors, &path.child("name"), name, names::path_segment(name));
    }
    match &param.selector {
        Some(selector) => {
            check::selector(errors, &path.child("selector"), selector);
            if !name.is_empty() {
                errors.forbidden(&path.child("name"), both);
                errors.forbidden(&path.child("selector"), both);
            }
        }
        None if name.is_empty() => errors.required(path, "one of name or selector must be specified"),
        None => {}
    }
    let action = param.parameter_not_found_action.as_deref().unwrap_or_default();
    check::one_of(errors, &path.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

fn actions(actions: &[String], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        check::supported(errors, &path.index(index), action, &["Audit", "Deny", "Warn"]);
        check::unique(errors, &mut seen, &path.index(index), action);
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                      API response and headers serves no purpose)";
        errors.invalid(path, shown(&actions), detail);
    }
    if actions.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
}

fn cells(meta: &ObjectMeta, policy: &str, param: Option<&ParamRef>, now: Timestamp) -> Vec<Value> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let shown = param.and_then(|param| match given(&param.name) {
        Some(name) => Some(format!("{}/{name}", given(&param.namespace).unwrap_or_else(|| "*".to_owned()))),
        None => param.selector.as_ref().map(|selector| print::selector(Some(selector))),
    });
    vec![
        meta.name.clone().into(),
        policy.into(),
        shown.unwrap_or_else(|| "<unset>".to_owned()).into(),
        table::age(meta, now).into(),
    ]
}
