use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::check::{self, shown};
use super::expressions::{Compiler, Whose};
use super::{FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, client, names, rules};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::objects::json::Fields;

/// What a webhook may do beside its answer: nothing, at least when nothing will be written.
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
/// The versions of a review that this server can send.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
/// How long a webhook may take, in seconds.
const PATIENCE: i32 = 10;
const MAX_PATIENCE: i32 = 30;

const COLUMNS: &[Column] =
    &[Column::NAME, Column::new("Webhooks", "How many webhooks it has.").integer(), Column::AGE];

/// The rules of ValidatingWebhookConfiguration objects.
pub(in crate::objects) struct ValidatingWebhookRules;

impl Rules for ValidatingWebhookRules {
    type Object = ValidatingWebhookConfiguration;

    const UNCONDITIONAL_UPDATE: bool = false;
    const METADATA_CHECKED_ONCE: bool = true;
    const ANY_FINALIZER: bool = true;
    const GENERATION: bool = true;
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        default(object, |_| {});
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        side_effects(object, errors);
    }

    fn validate(object: &ValidatingWebhookConfiguration, errors: &mut Errors) {
        all(object.webhooks.as_deref().unwrap_or_default(), errors, |hook, path, errors| {
            webhook(hook, path, errors);
            hook.name.as_str()
        });
    }

    fn cells(object: &ValidatingWebhookConfiguration, now: Timestamp) -> Vec<Value> {
        cells(&object.metadata, object.webhooks.as_ref().map_or(0, Vec::len), now)
    }
}

/// The rules of MutatingWebhookConfiguration objects.
pub(in crate::objects) struct MutatingWebhookRules;

impl Rules for MutatingWebhookRules {
    type Object = MutatingWebhookConfiguration;

    const UNCONDITIONAL_UPDATE: bool = false;
    const METADATA_CHECKED_ONCE: bool = true;
    const ANY_FINALIZER: bool = true;
    const GENERATION: bool = true;
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        default(object, |hook| hook.or("reinvocationPolicy", "Never"));
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        side_effects(object, errors);
    }

    fn validate(object: &MutatingWebhookConfiguration, errors: &mut Errors) {
        all(object.webhooks.as_deref().unwrap_or_default(), errors, |hook, path, errors| {
            webhook(&plain(hook), path, errors);
            if let Some(policy) = &hook.reinvocation_policy {
                let at = path.child("reinvocationPolicy");
                check::supported(errors, &at, policy, &REINVOCATION_POLICIES);
            }
            hook.name.as_str()
        });
    }

    fn cells(object: &MutatingWebhookConfiguration, now: Timestamp) -> Vec<Value> {
        cells(&object.metadata, object.webhooks.as_ref().map_or(0, Vec::len), now)
    }
}

/// A webhook that changes objects, without what only such a one has.
pub(crate) fn plain(hook: &MutatingWebhook) -> ValidatingWebhook {
    let hook = hook.clone();
    ValidatingWebhook {
        admission_review_versions: hook.admission_review_versions,
        client_config: hook.client_config,
        failure_policy: hook.failure_policy,
        match_conditions: hook.match_conditions,
        match_policy: hook.match_policy,
        name: hook.name,
        namespace_selector: hook.namespace_selector,
        object_selector: hook.object_selector,
        rules: hook.rules,
        side_effects: hook.side_effects,
        timeout_seconds: hook.timeout_seconds,
    }
}

fn default(object: &mut Value, further: impl Fn(&mut Map<String, Value>)) {
    for hook in object.as_object_mut().into_iter().flat_map(|fields| fields.each("webhooks")) {
        hook.or("failurePolicy", "Fail");
        hook.or("timeoutSeconds", PATIENCE);
        rules::default(hook, &["rules"]);
        if let Some(service) = hook.object("clientConfig").and_then(|client| client.object("service")) {
            service.or("port", 443);
        }
        further(hook);
    }
}

/// What a webhook does beside must be said, and there is no way to leave it open.
fn side_effects(object: &Value, errors: &mut Errors) {
    let hooks = object.get("webhooks").and_then(Value::as_array);
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        let path = Path::new("webhooks").index(index).child("sideEffects");
        match hook.get("sideEffects") {
            None | Some(Value::Null) => {
                errors.required(&path, format!("must specify one of {}", SIDE_EFFECTS.join(", ")));
            }
            Some(given) => {
                check::supported(errors, &path, given.as_str().unwrap_or_default(), &SIDE_EFFECTS);
            }
        }
    }
}

/// Checks each webhook, and that no two have one name, which `one` says.
fn all<'h, H>(hooks: &'h [H], errors: &mut Errors, one: impl Fn(&'h H, &Path, &mut Errors) -> &'h str) {
    let mut seen = HashSet::new();
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        let name = one(hook, &path, errors);
        if !name.is_empty() {
            check::unique(errors, &mut seen, &path.child("name"), name);
        }
    }
}

fn webhook(hook: &ValidatingWebhook, path: &Path, errors: &mut Errors) {
    qualified_name(&hook.name, &path.child("name"), errors);
    for (index, rule) in hook.rules.iter().flatten().enumerate() {
        rules::rule(rule, &path.child("rules").index(index), errors);
    }
    for (field, policy, supported) in [
        ("failurePolicy", &hook.failure_policy, &FAILURE_POLICIES),
        ("matchPolicy", &hook.match_policy, &MATCH_POLICIES),
    ] {
        if let Some(policy) = policy {
            check::supported(errors, &path.child(field), policy, supported);
        }
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|seconds| !(1..=MAX_PATIENCE).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, detail);
    }
    for (field, selector) in
        [("namespaceSelector", &hook.namespace_selector), ("objectSelector", &hook.object_selector)]
    {
        if let Some(selector) = selector {
            check::selector(errors, &path.child(field), selector);
        }
    }
    client::client(&hook.client_config, &path.child("clientConfig"), errors);
    let conditions = hook.match_conditions.as_deref().unwrap_or_default();
    let compiler = Compiler::new(Whose::Webhook);
    rules::conditions(conditions, &compiler, &path.child("matchConditions"), errors);
    reviews(&hook.admission_review_versions, &path.child("admissionReviewVersions"), errors);
}

/// A name within a domain.
fn qualified_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let faults = names::subdomain(name);
    if !faults.is_empty() {
        errors.invalid(path, name, faults.join(","));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.invalid(path, name, detail);
    }
}

/// The versions of a review that a webhook understands, one of which this server must know.
fn reviews(versions: &[String], path: &Path, errors: &mut Errors) {
    if versions.is_empty() {
        errors.required(path, format!("must specify one of {}", REVIEWS.join(", ")));
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(version) {
            errors.invalid(&path, version.as_str(), "duplicate version");
            continue;
        }
        check::say(errors, &path, version, names::label_1035(version));
    }
    if !versions.iter().any(|version| REVIEWS.contains(&version.as_str())) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.invalid(path, shown(&versions), detail);
    }
}

fn cells(meta: &ObjectMeta, hooks: usize, now: Timestamp) -> Vec<Value> {
    vec![meta.name.clone().into(), hooks.into(), table::age(meta, now).into()]
}
