use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use serde_json::{Value, json};

use super::check::say;
use super::json::{Fields, at, keep_metadata, set};
use super::names;
use crate::api::field::{Errors, Path};
use crate::api::{Column, NameRule, Rules, table};

/// The port at which an API is served unless its service says otherwise.
const PORT: i32 = 443;
/// The highest priority of a group, and of a version in it.
const MAX_GROUP: i32 = 20_000;
const MAX_VERSION: i32 = 1000;

/// The rules of APIService objects: each version of a group of APIs, and who serves it.
pub(super) struct ApiServiceRules;

impl Rules for ApiServiceRules {
    type Object = APIService;

    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const UNCONDITIONAL_UPDATE: bool = false;
    const ANY_FINALIZER: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Service", "Who serves it."),
        Column::new("Available", "Whether it can be used."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        if let Some(service) = at(object, &["spec", "service"]) {
            service.or("port", PORT);
        }
    }

    /// What this server serves itself is there from the beginning.
    fn prepare_create(object: &mut Value) {
        if object.pointer("/spec/service").is_none_or(Value::is_null) {
            let available = json!({
                "type": "Available",
                "status": "True",
                "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": object["metadata"]["creationTimestamp"],
            });
            set(object, "status", json!({ "conditions": [available] }));
        }
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        keep_metadata(new, old);
    }

    fn validate(object: &APIService, errors: &mut Errors) {
        let none = APIServiceSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let path = Path::new("spec");
        let group = spec.group.as_deref().unwrap_or_default();
        let version = spec.version.as_deref().unwrap_or_default();
        name(&object.metadata, version, group, errors);
        if group.is_empty() && version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&path.child("group"), detail);
        } else if !group.is_empty() {
            say(errors, &path.child("group"), group, names::subdomain(group));
        }
        say(errors, &path.child("version"), version, names::label_1035(version));
        for (field, priority, most, below) in [
            ("groupPriorityMinimum", spec.group_priority_minimum, MAX_GROUP, "20000"),
            ("versionPriority", spec.version_priority, MAX_VERSION, "1000"),
        ] {
            if !(1..=most).contains(&priority) {
                let detail = format!("must be positive and less than {below}");
                errors.invalid(&path.child(field), priority, detail);
            }
        }
        match &spec.service {
            None => local(spec, &path, errors),
            Some(service) => remote(spec, service, &path, errors),
        }
    }

    fn validate_status(new: &APIService, _old: &APIService, errors: &mut Errors) {
        let conditions = new.status.iter().flat_map(|status| status.conditions.iter().flatten());
        for (index, condition) in conditions.enumerate() {
            let supported = ["True", "False", "Unknown"];
            if !supported.contains(&condition.status.as_str()) {
                let path = Path::new("status.conditions").index(index).child("status");
                errors.not_supported(&path, condition.status.as_str(), &supported);
            }
        }
    }

    fn cells(object: &APIService, now: Timestamp) -> Vec<Value> {
        let service = object.spec.as_ref().and_then(|spec| spec.service.clone());
        let served = service.map_or_else(
            || "Local".to_owned(),
            |service| {
                let text = |text: Option<String>| text.unwrap_or_default();
                format!("{}/{}", text(service.namespace), text(service.name))
            },
        );
        vec![
            object.metadata.name.clone().into(),
            served.into(),
            available(object).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn available(object: &APIService) -> String {
    let mut conditions = object.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let Some(condition) = conditions.find(|condition| condition.type_ == "Available") else {
        return "Unknown".to_owned();
    };
    let reason = condition.reason.as_deref().unwrap_or_default();
    match condition.status.as_str() {
        status if status == "True" || reason.is_empty() => status.to_owned(),
        status => format!("{status} ({reason})"),
    }
}

/// It is named after what it is, so that there is one of each version. What a name would begin with is held to that too, so
/// that none can be generated.
fn name(meta: &ObjectMeta, version: &str, group: &str, errors: &mut Errors) {
    let wanted = format!("{version}.{group}");
    for (field, name) in [("generateName", &meta.generate_name), ("name", &meta.name)] {
        let name = name.as_deref().unwrap_or_default();
        if !name.is_empty() && name != wanted && names::path_segment(name).is_empty() {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.invalid(&Path::new("metadata").child(field), name, detail);
        }
    }
}

fn has_bundle(spec: &APIServiceSpec) -> Option<usize> {
    spec.ca_bundle.as_ref().map(|bundle| bundle.0.len()).filter(|size| *size > 0)
}

fn local(spec: &APIServiceSpec, path: &Path, errors: &mut Errors) {
    if let Some(size) = has_bundle(spec) {
        let detail = "local APIServices may not have a caBundle";
        errors.invalid(&path.child("caBundle"), format!("{size} bytes"), detail);
    }
    if spec.insecure_skip_tls_verify == Some(true) {
        let detail = "local APIServices may not have insecureSkipTLSVerify";
        errors.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
    }
}

fn remote(spec: &APIServiceSpec, service: &ServiceReference, path: &Path, errors: &mut Errors) {
    let at = path.child("service");
    for (field, text) in [("namespace", &service.namespace), ("name", &service.name)] {
        if text.as_deref().unwrap_or_default().is_empty() {
            errors.required(&at.child(field), "");
        }
    }
    let port = service.port.unwrap_or_default();
    if !(1..=65535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&at.child("port"), port, detail);
    }
    if spec.insecure_skip_tls_verify == Some(true) && has_bundle(spec).is_some() {
        let detail = "may not be true if caBundle is present";
        errors.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
    }
}
