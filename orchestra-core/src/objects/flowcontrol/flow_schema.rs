use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};
use serde::Deserialize as _;
use serde_json::Value;

use super::check::{say, shown};
use super::{bootstrap, conditions, names};
use crate::api::field::{Errors, Path, Problem, Shown};
use crate::api::{Column, Rules, table};
use crate::objects::json::{Fields, keep_metadata};

/// The precedence of a schema that does not say its own, and the last.
const USUAL: i32 = 1000;
const LAST: i32 = 10_000;
/// The verbs of requests, in order of the alphabet.
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The rules of FlowSchema objects.
pub(in crate::objects) struct FlowSchemaRules;

impl Rules for FlowSchemaRules {
    type Object = FlowSchema;

    const METADATA_CHECKED_ONCE: bool = true;
    const STATUS: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("PriorityLevel", "The level of priority of its requests."),
        Column::new("MatchingPrecedence", "Whether it is asked before others; lower numbers are."),
        Column::new("DistinguisherMethod", "What tells its flows apart."),
        Column::AGE,
        Column::new("MissingPL", "Whether its level of priority is missing."),
    ];

    fn default(object: &mut Value) {
        if let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) {
            spec.or_number("matchingPrecedence", USUAL);
        }
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        keep_metadata(new, old);
    }

    fn validate(object: &FlowSchema, errors: &mut Errors) {
        let path = Path::new("spec");
        let none = FlowSchemaSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        precedence(name, spec.matching_precedence.unwrap_or_default(), &path, errors);
        if let Some(method) = &spec.distinguisher_method {
            let kinds = ["ByNamespace", "ByUser"];
            if !kinds.contains(&method.type_.as_str()) {
                let value = Shown::object([("Type", Value::from(method.type_.as_str()).into())]);
                let problem = Problem::NotSupported(value, kinds.map(str::to_owned).into());
                errors.push(&path.child("distinguisherMethod.type"), problem);
            }
        }
        let at = path.child("priorityLevelConfiguration.name");
        match spec.priority_level_configuration.name.as_str() {
            "" => errors.required(&at, "must reference a priority level"),
            level => say(errors, &at, level, names::subdomain(level)),
        }
        for (index, one) in spec.rules.iter().flatten().enumerate() {
            rule(one, &path.child("rules").index(index), errors);
        }
        if let Some(fixed) =
            bootstrap::flow_schemas().iter().find(|fixed| fixed.mandatory && fixed.name == name)
            && FlowSchemaSpec::deserialize(&fixed.spec).is_ok_and(|fixed| fixed != *spec)
        {
            errors.invalid(&path, shown(spec), format!("spec of '{name}' must equal the fixed value"));
        }
    }

    fn validate_status(new: &FlowSchema, _old: &FlowSchema, errors: &mut Errors) {
        let held = new.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions(held.map(|condition| condition.type_.as_ref()), errors);
    }

    fn cells(object: &FlowSchema, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let held = object.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let dangling = held.into_iter().find(|condition| condition.type_.as_deref() == Some("Dangling"));
        let missing = dangling.map(|condition| condition.status.clone().unwrap_or_default());
        let method = spec.distinguisher_method.map_or_else(|| "<none>".to_owned(), |method| method.type_);
        vec![
            object.metadata.name.clone().into(),
            spec.priority_level_configuration.name.into(),
            spec.matching_precedence.unwrap_or_default().into(),
            method.into(),
            table::age(&object.metadata, now).into(),
            missing.unwrap_or_else(|| "?".to_owned()).into(),
        ]
    }
}

fn precedence(name: &str, precedence: i32, path: &Path, errors: &mut Errors) {
    let path = path.child("matchingPrecedence");
    match precedence {
        ..=0 => errors.invalid(&path, precedence, "must be a positive value"),
        1 if name != "exempt" => {
            errors.invalid(&path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        1..=LAST => {}
        _ => errors.invalid(&path, precedence, format!("must not be greater than {LAST}")),
    }
}

fn rule(rule: &PolicyRulesWithSubjects, path: &Path, errors: &mut Errors) {
    if rule.subjects.is_empty() {
        errors.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (index, one) in rule.subjects.iter().enumerate() {
        subject(one, &path.child("subjects").index(index), errors);
    }
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let others = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (index, one) in resources.iter().enumerate() {
        resource_rule(one, &path.child("resourceRules").index(index), errors);
    }
    for (index, one) in others.iter().enumerate() {
        non_resource_rule(one, &path.child("nonResourceRules").index(index), errors);
    }
}

/// Who is meant: just what the kind says, and nothing else beside it.
fn subject(subject: &Subject, path: &Path, errors: &mut Errors) {
    let kinds = ["Group", "ServiceAccount", "User"];
    if !kinds.contains(&subject.kind.as_str()) {
        errors.not_supported(&path.child("kind"), subject.kind.as_str(), &kinds);
        return;
    }
    let account = subject.service_account.as_ref();
    let names = [
        ("ServiceAccount", "serviceAccount", account.map(|account| account.name.as_str())),
        ("User", "user", subject.user.as_ref().map(|user| user.name.as_str())),
        ("Group", "group", subject.group.as_ref().map(|group| group.name.as_str())),
    ];
    for (kind, field, name) in names {
        let path = path.child(field);
        match name {
            Some(_) if kind != subject.kind => {
                errors.forbidden(&path, format!("{field} is forbidden when subject kind is not '{kind}'"));
            }
            None if kind == subject.kind => {
                errors.required(&path, format!("{field} is required when subject kind is '{kind}'"));
            }
            Some("") => errors.required(&path.child("name"), ""),
            Some(name) if kind == "ServiceAccount" && name != "*" => {
                say(errors, &path.child("name"), name, names::subdomain(name));
            }
            _ => {}
        }
    }
    if let Some(account) = account.filter(|_| subject.kind == "ServiceAccount") {
        let path = path.child("serviceAccount.namespace");
        match account.namespace.as_str() {
            "" => errors.required(&path, "must specify namespace for service account"),
            namespace => say(errors, &path, namespace, names::label(namespace)),
        }
    }
}

fn has_all(list: &[String]) -> bool {
    list.iter().any(|item| item == "*")
}

/// What stands for all may stand beside nothing else.
fn all_alone(list: &[String], what: &str, path: &Path, errors: &mut Errors) {
    if list.len() > 1 && has_all(list) {
        errors.invalid(path, shown(&list), format!("if '*' is present, must not specify other {what}"));
    }
}

fn verbs(verbs: &[String], path: &Path, errors: &mut Errors) {
    let path = path.child("verbs");
    if verbs.is_empty() {
        errors.required(&path, "verbs must contain at least one value");
    } else if has_all(verbs) {
        all_alone(verbs, "verbs", &path, errors);
    } else if !verbs.iter().all(|verb| VERBS.contains(&verb.as_str())) {
        errors.not_supported(&path, shown(&verbs), &VERBS);
    }
}

fn resource_rule(rule: &ResourcePolicyRule, path: &Path, errors: &mut Errors) {
    verbs(&rule.verbs, path, errors);
    for (field, list, one, many) in [
        ("apiGroups", &rule.api_groups, "api group", "api groups"),
        ("resources", &rule.resources, "resource", "resources"),
    ] {
        let path = path.child(field);
        if list.is_empty() {
            errors.required(&path, format!("resource rules must supply at least one {one}"));
        }
        all_alone(list, many, &path, errors);
    }
    let path = path.child("namespaces");
    let namespaces = rule.namespaces.as_deref().unwrap_or_default();
    if namespaces.is_empty() && rule.cluster_scope != Some(true) {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&path, detail);
    } else if has_all(namespaces) {
        all_alone(namespaces, "namespaces", &path, errors);
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            for fault in names::label(namespace) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {fault}");
                errors.invalid(&path.index(index), namespace.as_str(), detail);
            }
        }
    }
}

fn non_resource_rule(rule: &NonResourcePolicyRule, path: &Path, errors: &mut Errors) {
    verbs(&rule.verbs, path, errors);
    let (path, urls) = (path.child("nonResourceURLs"), &rule.non_resource_urls);
    if urls.is_empty() {
        errors.required(&path, "nonResourceURLs must contain at least one value");
    } else if has_all(urls) {
        all_alone(urls, "non-resource URLs", &path, errors);
    } else {
        for (index, url) in urls.iter().enumerate() {
            if let Some(fault) = fault_of_url(url) {
                errors.invalid(&path.index(index), url.as_str(), fault);
            }
        }
    }
}

fn fault_of_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        url if !url.starts_with('/') => Some("must start with slash"),
        url if url.contains(' ') => Some("must not contain white-space"),
        url if url.contains("//") => Some("must not contain double slash"),
        url if stars > 1 || (stars == 1 && !url.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}
