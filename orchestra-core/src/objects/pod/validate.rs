//! What is wrong with a pod's specification.

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::place::Place;
use super::{containers, resources, scheduling, security, volumes};
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say, shown};
use crate::objects::names;

/// Says what is wrong with a pod.
pub(super) fn pod(pod: &Pod, errors: &mut Errors) {
    let default = PodSpec::default();
    let given = pod.spec.as_ref().unwrap_or(&default);
    let path = Path::new("spec");
    let node = given.node_name.as_deref().unwrap_or_default();
    let mirror = "kubernetes.io/config.mirror";
    if let Some(value) = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(mirror))
        && node.is_empty()
    {
        errors.invalid(
            &Path::new("metadata.annotations").key(mirror),
            value.as_str(),
            "must set spec.nodeName if mirror pod annotation is set",
        );
    }
    annotations(&pod.metadata, &Path::new("metadata.annotations"), errors);
    spec(given, &path, Place::Pod(&pod.metadata), errors);
    volumes::tokens(given, &path, errors);
    let lists = [("containers", Some(&given.containers)), ("initContainers", given.init_containers.as_ref())];
    for (list, held) in lists {
        containers::only_for_pods(held.into_iter().flatten(), &path.child(list), errors);
    }
}

/// Says what is wrong with a pod that is to be created: it is not placed before it may be, and nobody looks into it yet.
pub(super) fn created(pod: &Pod, errors: &mut Errors) {
    let Some(spec) = &pod.spec else { return };
    let path = Path::new("spec");
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    if gated && spec.node_name.as_deref().is_some_and(|node| !node.is_empty()) {
        errors
            .forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

/// Says what is wrong with annotations that mean something to pods.
pub(in crate::objects) fn annotations(meta: &ObjectMeta, path: &Path, errors: &mut Errors) {
    let cost = "controller.kubernetes.io/pod-deletion-cost";
    let Some(given) = meta.annotations.as_ref().and_then(|annotations| annotations.get(cost)) else { return };
    // A number as it is written otherwise: no plus sign, no zeros before it.
    let sound = given.parse::<i32>().is_ok_and(|number| number.to_string() == *given);
    if !sound {
        errors.invalid(&path.key(cost), given.as_str(), "must be a 32bit integer");
    }
}

/// Says what is wrong with the specification of a pod.
pub(in crate::objects) fn spec(spec: &PodSpec, path: &Path, place: Place<'_>, errors: &mut Errors) {
    if spec.termination_grace_period_seconds.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::validate(spec.volumes.as_deref().unwrap_or_default(), place, path, errors);
    containers::all(spec, &volumes, path, errors);
    if let Some(own) = &spec.resources {
        resources::of_pod(spec, own, &path.child("resources"), errors);
    }
    host_ports(spec, path, place, errors);
    check::one_of(
        errors,
        &path.child("restartPolicy"),
        spec.restart_policy.as_deref().unwrap_or_default(),
        &["Always", "OnFailure", "Never"],
    );
    check::one_of(
        errors,
        &path.child("dnsPolicy"),
        spec.dns_policy.as_deref().unwrap_or_default(),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    check::labels(errors, &path.child("nodeSelector"), spec.node_selector.as_ref());
    security::of_pod(spec, path, errors);
    scheduling::validate(spec, path, errors);
    dns(spec, &path.child("dnsConfig"), errors);
    readiness_gates(spec, &path.child("readinessGates"), errors);
    named(spec, path, errors);
    limits(spec, path, errors);
    host_aliases(spec, &path.child("hostAliases"), errors);
}

fn host_ports(spec: &PodSpec, path: &Path, place: Place<'_>, errors: &mut Errors) {
    if spec.host_network != Some(true) {
        return;
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for (at, port) in container.ports.iter().flatten().enumerate() {
            let host = port.host_port.unwrap_or_default();
            if (matches!(place, Place::Pod(_)) || host != 0) && host != port.container_port {
                let path = path.child("containers").index(index).child("ports").index(at).child("hostPort");
                errors.invalid(&path, host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let none = PodDNSConfig::default();
    let config = spec.dns_config.as_ref().unwrap_or(&none);
    let servers = config.nameservers.as_deref().unwrap_or_default();
    if spec.dns_policy.as_deref() == Some("None") {
        if spec.dns_config.is_none() {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            errors.required(
                &path.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
            return;
        }
    }
    if servers.len() > 3 {
        errors.invalid(&path.child("nameservers"), shown(&servers), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().enumerate() {
        check::ip(errors, &path.child("nameservers").index(index), server);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let at = path.child("searches");
    if searches.len() > 32 {
        errors.invalid(&at, shown(&searches), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        errors.invalid(
            &at,
            shown(&searches),
            "must not have more than 2048 characters (including spaces) in the search list",
        );
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        // Underscores are allowed here, and nowhere else in a domain.
        let plain = search.strip_suffix('.').unwrap_or(search);
        say(errors, &at.index(index), plain, names::subdomain_with_underscores(plain));
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

fn readiness_gates(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path.index(index).child("conditionType");
        say(errors, &path, &gate.condition_type, names::qualified(&gate.condition_type));
    }
}

/// The fields that hold one name.
fn named(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    type Rule = fn(&str) -> Vec<String>;
    let fields: [(&str, Option<&String>, Rule); 7] = [
        ("serviceAccountName", spec.service_account_name.as_ref(), names::subdomain),
        ("nodeName", spec.node_name.as_ref(), names::subdomain),
        ("hostname", spec.hostname.as_ref(), names::label),
        ("subdomain", spec.subdomain.as_ref(), names::label),
        ("priorityClassName", spec.priority_class_name.as_ref(), names::subdomain),
        ("runtimeClassName", spec.runtime_class_name.as_ref(), names::subdomain),
        ("hostnameOverride", spec.hostname_override.as_ref(), names::subdomain),
    ];
    for (field, value, rule) in fields {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            say(errors, &path.child(field), value, rule(value));
        }
    }
    match spec.os.as_ref().map(|os| os.name.as_str()) {
        None => {}
        Some("") => errors.required(&path.child("os.name"), ""),
        Some(name) => check::supported(errors, &path.child("os"), name, &["linux", "windows"]),
    }
}

fn limits(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if let Some(seconds) = spec.active_deadline_seconds {
        check::within(errors, &path.child("activeDeadlineSeconds"), seconds, 1, i64::from(i32::MAX));
    }
    if let Some(policy) = &spec.preemption_policy {
        check::one_of(errors, &path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    if let Some(overhead) = &spec.overhead {
        resources::amounts(overhead, &path.child("overhead"), errors);
    }
}

fn host_aliases(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.index(index);
        check::ip(errors, &path.child("ip"), &alias.ip);
        for (at, name) in alias.hostnames.iter().flatten().enumerate() {
            say(errors, &path.child("hostnames").index(at), name, names::subdomain(name));
        }
    }
}
