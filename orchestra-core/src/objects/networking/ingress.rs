use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressLoadBalancerIngress, IngressRule, IngressServiceBackend,
    IngressTLS,
};
use serde_json::Value;

use super::check::{self, say};
use super::{address, names, print};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};

/// The annotation by which an Ingress named its class before there was a field for that.
const CLASS: &str = "kubernetes.io/ingress.class";
/// How a path may be matched.
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// How many hosts a table shows.
const SHOWN_HOSTS: usize = 3;
/// The most letters of addresses that a table shows.
const SHOWN_ADDRESSES: usize = 16;

/// The rules of Ingress objects.
pub(in crate::objects) struct IngressRules;

impl Rules for IngressRules {
    type Object = Ingress;

    const SHORT_NAMES: &'static [&'static str] = &["ing"];
    const STATUS: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Class", "Which class of ingress serves it."),
        Column::new("Hosts", "The hosts that it is for, the first three."),
        Column::new("Address", "Where it is reached."),
        Column::new("Ports", "The ports at which it is reached."),
        Column::AGE,
    ];

    fn validate(object: &Ingress, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.spec.clone().unwrap_or_default();
        let rules = spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() && spec.default_backend.is_none() {
            errors.invalid(&path, Value::Null, "either `defaultBackend` or `rules` must be specified");
        }
        if let Some(fallback) = &spec.default_backend {
            backend(fallback, &path.child("defaultBackend"), errors);
        }
        for (index, one) in rules.iter().enumerate() {
            rule(one, &path.child("rules").index(index), errors);
        }
        for (index, one) in spec.tls.iter().flatten().enumerate() {
            tls(one, &path.child("tls").index(index), errors);
        }
        if let Some(class) = &spec.ingress_class_name {
            say(errors, &path.child("ingressClassName"), class, names::subdomain(class));
        }
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        let rules = object.pointer("/spec/rules").and_then(Value::as_array);
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let paths = rule.pointer("/http/paths").and_then(Value::as_array);
            let at = Path::new("spec.rules").index(index).child("http.paths");
            for (index, path) in paths.into_iter().flatten().enumerate() {
                let at = at.index(index).child("pathType");
                match path.get("pathType") {
                    None | Some(Value::Null) => errors.required(&at, "pathType must be specified"),
                    Some(kind) if kind == "" => errors.not_supported(&at, "", &PATH_TYPES),
                    Some(_) => {}
                }
            }
        }
    }

    fn validate_create(object: &Ingress, errors: &mut Errors) {
        let annotated = object.metadata.annotations.iter().flatten().find(|(key, _)| *key == CLASS);
        let class = object.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
        if let (Some((_, annotated)), Some(class)) = (annotated, class)
            && annotated != class
        {
            errors.invalid(
                &Path::new("annotations").child(CLASS),
                annotated.as_str(),
                "must match `ingressClassName` when both are specified",
            );
        }
    }

    fn validate_status(new: &Ingress, old: &Ingress, errors: &mut Errors) {
        let held: Vec<_> = ways(old).iter().filter_map(|way| way.ip.clone()).collect();
        for (index, way) in ways(new).iter().enumerate() {
            let path = Path::new("status.loadBalancer.ingress").index(index);
            let ip = way.ip.as_deref().unwrap_or_default();
            if !ip.is_empty() && !held.iter().any(|held| held == ip) {
                address::plain(errors, &path.child("ip"), ip);
            }
            let hostname = way.hostname.as_deref().unwrap_or_default();
            if !hostname.is_empty() {
                say(errors, &path.child("hostname"), hostname, names::subdomain(hostname));
                no_address(hostname, &path.child("hostname"), errors);
            }
        }
    }

    fn warnings_at_creation(object: &Ingress) -> Vec<String> {
        let annotated = object.metadata.annotations.iter().flatten().any(|(key, _)| key == CLASS);
        let named = object.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some());
        if !annotated || named {
            return Vec::new();
        }
        vec![format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }

    fn cells(object: &Ingress, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let secure = spec.tls.as_ref().is_some_and(|tls| !tls.is_empty());
        let class = spec.ingress_class_name.as_deref().unwrap_or("<none>");
        vec![
            object.metadata.name.clone().into(),
            class.into(),
            hosts(spec.rules.as_deref().unwrap_or_default()).into(),
            print::shortened(&addresses(object), SHOWN_ADDRESSES).into(),
            if secure { "80, 443" } else { "80" }.into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// The ways that lead to an Ingress, as its status says.
fn ways(object: &Ingress) -> &[IngressLoadBalancerIngress] {
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default()
}

fn addresses(object: &Ingress) -> String {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let all: BTreeSet<String> =
        ways(object).iter().filter_map(|way| given(&way.ip).or_else(|| given(&way.hostname))).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

fn hosts(rules: &[IngressRule]) -> String {
    let (mut shown, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= shown.len() == SHOWN_HOSTS;
        if let Some(host) = rule.host.as_deref().filter(|host| !more && !host.is_empty()) {
            shown.push(host);
        }
    }
    match shown.join(",") {
        none if none.is_empty() => "*".to_owned(),
        some if more => format!("{some} + {} more...", rules.len() - SHOWN_HOSTS),
        all => all,
    }
}

fn no_address(host: &str, path: &Path, errors: &mut Errors) {
    if host.parse::<IpAddr>().is_ok() {
        errors.invalid(path, host, "must be a DNS name, not an IP address");
    }
}

/// A host, or all hosts below a domain.
fn host_name(host: &str, path: &Path, errors: &mut Errors) {
    let faults = if host.contains('*') { names::wildcard(host) } else { names::subdomain(host) };
    say(errors, path, host, faults);
}

fn rule(rule: &IngressRule, path: &Path, errors: &mut Errors) {
    if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
        no_address(host, &path.child("host"), errors);
        host_name(host, &path.child("host"), errors);
    }
    let Some(http) = &rule.http else { return };
    let path = path.child("http.paths");
    if http.paths.is_empty() {
        errors.required(&path, "");
    }
    for (index, one) in http.paths.iter().enumerate() {
        http_path(one, &path.index(index), errors);
    }
}

fn http_path(path: &HTTPIngressPath, at: &Path, errors: &mut Errors) {
    let (text, field) = (path.path.as_deref().unwrap_or_default(), at.child("path"));
    let absolute = text.starts_with('/');
    match path.path_type.as_str() {
        "Exact" | "Prefix" => {
            if !absolute {
                errors.invalid(&field, text, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.contains(**part)) {
                errors.invalid(&field, text, format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|end| text.ends_with(**end)) {
                errors.invalid(&field, text, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" if text.is_empty() || absolute => {}
        "ImplementationSpecific" => errors.invalid(&field, text, "must be an absolute path"),
        // What is wrong with it is said where a missing one can be told from an empty one.
        "" => return,
        other => errors.not_supported(&at.child("pathType"), other, &PATH_TYPES),
    }
    backend(&path.backend, &at.child("backend"), errors);
}

fn backend(backend: &IngressBackend, path: &Path, errors: &mut Errors) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            errors.invalid(path, "", "cannot set both resource and service backends");
        }
        (Some(resource), None) => resource_backend(resource, &path.child("resource"), errors),
        (None, Some(service)) => service_backend(service, path, errors),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
    }
}

fn resource_backend(resource: &TypedLocalObjectReference, path: &Path, errors: &mut Errors) {
    if let Some(group) = &resource.api_group {
        say(errors, &path.child("apiGroup"), group, names::subdomain(group));
    }
    check::required_segment(errors, &path.child("kind"), &resource.kind);
    check::required_segment(errors, &path.child("name"), &resource.name);
}

fn service_backend(service: &IngressServiceBackend, path: &Path, errors: &mut Errors) {
    let at = path.child("service");
    check::required_label(errors, &at.child("name"), &service.name);
    let port = service.port.clone().unwrap_or_default();
    let at = at.child("port");
    match (port.name.as_deref().unwrap_or_default(), port.number.unwrap_or_default()) {
        ("", 0) => errors.required(path, "port name or number is required"),
        ("", number) => check::port_number(errors, &at.child("number"), number),
        (name, 0) => say(errors, &at.child("name"), name, names::port(name)),
        _ => errors.invalid(path, "", "cannot set both port name & port number"),
    }
}

fn tls(tls: &IngressTLS, path: &Path, errors: &mut Errors) {
    for (index, host) in tls.hosts.iter().flatten().enumerate() {
        host_name(host, &path.child("hosts").index(index), errors);
    }
    if let Some(secret) = tls.secret_name.as_deref().filter(|secret| !secret.is_empty()) {
        say(errors, &path.child("secretName"), secret, names::subdomain(secret));
    }
}
