use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference, IngressClassSpec};
use serde_json::Value;

use super::check::{self, say};
use super::names;
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Rules, table};
use crate::objects::json::{Fields, at};

/// The annotation of the class that Ingresses have which name none.
pub(crate) const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// The most bytes that the name of a controller may have.
const MAX_CONTROLLER: usize = 250;

/// The rules of IngressClass objects.
pub(in crate::objects) struct IngressClassRules;

impl Rules for IngressClassRules {
    type Object = IngressClass;

    const GENERATION: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Controller", "Who serves Ingresses of the class."),
        Column::new("Parameters", "Where the class is described further."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        if let Some(parameters) = at(object, &["spec", "parameters"]) {
            parameters.or("scope", "Cluster");
        }
    }

    fn validate(object: &IngressClass, errors: &mut Errors) {
        let path = Path::new("spec");
        let none = IngressClassSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let controller = spec.controller.as_deref().unwrap_or_default();
        if controller.len() > MAX_CONTROLLER {
            errors.push(&path.child("controller"), Problem::TooLong(MAX_CONTROLLER));
        }
        check::domain_prefixed_path(errors, &path.child("controller"), controller);
        if let Some(reference) = &spec.parameters {
            parameters(reference, &path.child("parameters"), errors);
        }
    }

    fn validate_update(new: &IngressClass, old: &IngressClass, errors: &mut Errors) {
        let controller = |object: &IngressClass| {
            object.spec.as_ref().and_then(|spec| spec.controller.clone()).unwrap_or_default()
        };
        check::unchanged(errors, &Path::new("spec.controller"), &controller(new), &controller(old));
    }

    fn cells(object: &IngressClass, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let annotated = object.metadata.annotations.iter().flatten();
        let is_default = annotated.clone().any(|(key, value)| key == DEFAULT && value == "true");
        vec![
            if is_default { format!("{name} (default)") } else { name }.into(),
            spec.controller.unwrap_or_default().into(),
            spec.parameters.map_or_else(|| "<none>".to_owned(), |parameters| shown(&parameters)).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn shown(parameters: &IngressClassParametersReference) -> String {
    let group = parameters.api_group.as_ref().map_or_else(String::new, |group| format!(".{group}"));
    format!("{}{group}/{}", parameters.kind, parameters.name)
}

fn parameters(parameters: &IngressClassParametersReference, path: &Path, errors: &mut Errors) {
    if let Some(group) = &parameters.api_group {
        say(errors, &path.child("apiGroup"), group, names::subdomain(group));
    }
    check::required_segment(errors, &path.child("kind"), &parameters.kind);
    check::required_segment(errors, &path.child("name"), &parameters.name);
    let at = path.child("namespace");
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => errors.required(&path.child("scope"), ""),
        (Some("Namespace"), None) => errors.required(&at, "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(namespace)) => say(errors, &at, namespace, names::label(namespace)),
        (Some("Cluster"), Some(_)) => errors.forbidden(&at, "`parameters.scope` is set to 'Cluster'"),
        (Some("Cluster"), None) => {}
        (Some(other), _) => {
            errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]);
        }
    }
}
