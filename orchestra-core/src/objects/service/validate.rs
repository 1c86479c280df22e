//! What is wrong with a Service.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use serde_json::Value;

use crate::api::field::{Errors, Path, Problem, Shown};
use crate::objects::check::{self, say, shown};
use crate::objects::{address, names};

const MAX_AFFINITY_SECONDS: i32 = 86_400;
/// The families of addresses that a Service may have.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

pub(super) fn service(service: &Service, errors: &mut Errors) {
    let spec = service.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    let kind = spec.type_.as_deref().unwrap_or_default();
    let headless = is_headless(&spec);
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    if headless && matches!(kind, "LoadBalancer" | "NodePort") {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.invalid(&path.child("clusterIPs").index(0), "None", detail);
    }
    if kind == "ExternalName" {
        external_name(&spec, &path, errors);
    }
    each_port(ports, &path.child("ports"), errors);
    check::labels(errors, &path.child("selector"), spec.selector.as_ref());
    affinity(&spec, &path, errors);
    cluster_ips(&spec, &path, errors);
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        address::endpoint(errors, &path.child("externalIPs").index(index), ip, false);
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    check::one_of(errors, &path.child("type"), kind, &kinds);
    node_ports(ports, kind, &path.child("ports"), errors);
    load_balancer(&spec, kind, &path, errors);
    traffic(&spec, kind, &path, errors);
}

fn is_headless(spec: &ServiceSpec) -> bool {
    let first = spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref());
    first.is_some_and(|ip| ip == "None")
}

fn external_name(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    for (field, set) in [
        ("clusterIPs", given(&spec.cluster_ips)),
        ("ipFamilies", given(&spec.ip_families)),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        if set {
            errors.forbidden(&path.child(field), "may not be set for ExternalName services");
        }
    }
    let name = spec.external_name.as_deref().unwrap_or_default();
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.required(&path.child("externalName"), ""),
        name => say(errors, &path.child("externalName"), name, names::subdomain(name)),
    }
}

fn each_port(ports: &[ServicePort], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        match port.name.as_deref().unwrap_or_default() {
            "" if ports.len() > 1 => errors.required(&path.child("name"), ""),
            "" => {}
            name => {
                say(errors, &path.child("name"), name, names::label(name));
                check::unique(errors, &mut seen, &path.child("name"), name);
            }
        }
        check::port_number(errors, &path.child("port"), port.port);
        let protocol = port.protocol.as_deref().unwrap_or_default();
        check::one_of(errors, &path.child("protocol"), protocol, check::PROTOCOLS);
        if let Some(target) = &port.target_port {
            check::port(errors, &path.child("targetPort"), target);
        }
        if let Some(protocol) = &port.app_protocol {
            say(errors, &path.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

fn affinity(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let kind = spec.session_affinity.as_deref().unwrap_or_default();
    check::one_of(errors, &path.child("sessionAffinity"), kind, &["ClientIP", "None"]);
    let path = path.child("sessionAffinityConfig");
    match (kind, &spec.session_affinity_config) {
        ("None", Some(_)) => errors.forbidden(&path, "must not be set when session affinity is None"),
        ("ClientIP", config) => {
            let seconds = config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
            let path = path.child("clientIP.timeoutSeconds");
            match seconds {
                None => errors.required(&path, "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => errors.invalid(
                    &path,
                    seconds,
                    format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"),
                ),
                Some(_) => {}
            }
        }
        _ => {}
    }
}

/// Says what is wrong with the addresses of a Service and with their families, by themselves.
pub(crate) fn cluster_ips(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if spec.type_.as_deref() == Some("ExternalName") {
        return;
    }
    let one = spec.cluster_ip.as_deref().unwrap_or_default();
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    let at = path.child("clusterIPs");
    match list.first() {
        None if !one.is_empty() => errors.required(&at, ""),
        Some(first) if first != one => {
            errors.invalid(&at, shown(&list), "first value must match `clusterIP`");
        }
        _ => {}
    }
    if list.len() > 2 {
        let detail = "may only hold up to 2 values";
        errors.invalid(&at, shown(&list), detail);
    }
    for (index, ip) in list.iter().enumerate() {
        if ip == "None" && list.len() > 1 {
            errors.invalid(&at, shown(&list), "'None' must be the first and only value");
        } else if ip != "None"
            && let Some(parsed) = check::ip(errors, &at.index(index), ip)
        {
            let wanted = spec.ip_families.as_ref().and_then(|families| families.get(index));
            let family = if parsed.is_ipv4() { "IPv4" } else { "IPv6" };
            // Of what is no family at all it is said by itself.
            let is_other = |wanted: &&String| *wanted != family && FAMILIES.contains(&wanted.as_str());
            if let Some(wanted) = wanted.filter(is_other) {
                let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
                errors.invalid(&at.index(index), ip.as_str(), detail);
            }
        }
    }
    let mut seen = HashSet::new();
    for (index, family) in spec.ip_families.iter().flatten().enumerate() {
        let at = path.child("ipFamilies").index(index);
        check::supported(errors, &at, family, &FAMILIES);
        check::unique(errors, &mut seen, &at, family);
    }
    if let Some(policy) = &spec.ip_family_policy {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        check::supported(errors, &path.child("ipFamilyPolicy"), policy, &policies);
    }
}

fn node_ports(ports: &[ServicePort], kind: &str, path: &Path, errors: &mut Errors) {
    let (mut on_nodes, mut inside) = (HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if let Some(number) = port.node_port.filter(|number| *number != 0) {
            if kind == "ClusterIP" {
                errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if !on_nodes.insert((protocol, number)) {
                errors.duplicate(&path.child("nodePort"), number);
            }
        }
        if !inside.insert((protocol, port.port)) {
            let (none, zero) = (Value::from(""), Value::from(0));
            let key = Shown::object([
                ("Name", none.into()),
                ("Protocol", Value::from(protocol).into()),
                ("AppProtocol", Value::Null.into()),
                ("Port", Value::from(port.port).into()),
                ("TargetPort", zero.clone().into()),
                ("NodePort", zero.into()),
            ]);
            errors.push(&path, Problem::Duplicate(key, String::new()));
        }
    }
}

fn load_balancer(spec: &ServiceSpec, kind: &str, path: &Path, errors: &mut Errors) {
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let at = path.child("LoadBalancerSourceRanges");
    if kind != "LoadBalancer" && !ranges.is_empty() {
        errors.forbidden(&at, only);
    }
    for (index, range) in ranges.iter().enumerate() {
        check::cidr(errors, &at.index(index), range.trim());
    }
    if kind != "LoadBalancer" && spec.allocate_load_balancer_node_ports.is_some() {
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), only);
    }
    match &spec.load_balancer_class {
        Some(_) if kind != "LoadBalancer" => errors.forbidden(&path.child("loadBalancerClass"), only),
        Some(class) => say(errors, &path.child("loadBalancerClass"), class, names::qualified(class)),
        None => {}
    }
}

fn traffic(spec: &ServiceSpec, kind: &str, path: &Path, errors: &mut Errors) {
    let at = path.child("externalTrafficPolicy");
    let has_ips = spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    let external = matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_ips);
    let policy = spec.external_traffic_policy.as_deref().unwrap_or_default();
    if external {
        check::one_of(errors, &at, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        errors.invalid(&at, policy, "may only be set for externally-accessible services");
    }
    let checked = kind == "LoadBalancer" && policy == "Local";
    if let Some(number) = spec.health_check_node_port.filter(|number| *number != 0) {
        let at = path.child("healthCheckNodePort");
        if checked {
            check::port_number(errors, &at, number);
        } else {
            errors.invalid(
                &at,
                number,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            );
        }
    }
    if let Some(policy) = &spec.internal_traffic_policy {
        check::supported(errors, &path.child("internalTrafficPolicy"), policy, &["Cluster", "Local"]);
    }
    if let Some(wanted) = &spec.traffic_distribution {
        let supported = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        check::supported(errors, &path.child("trafficDistribution"), wanted, &supported);
    }
}

/// An address, once given, stays, unless the Service stops or begins to have one.
pub(super) fn update(new: &Service, old: &Service, errors: &mut Errors) {
    let none = ServiceSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    let outside = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
    if outside(new) || outside(old) {
        return;
    }
    let path = Path::new("spec");
    let (now, before) = (&new.cluster_ips, &old.cluster_ips);
    let first = |list: &Option<Vec<String>>| list.iter().flatten().next().cloned();
    if let Some(held) = first(before)
        && first(now).as_ref() != Some(&held)
    {
        errors.invalid(&path.child("clusterIPs").index(0), shown(now), "may not change once set");
    }
    if let Some(held) = first(&old.ip_families)
        && first(&new.ip_families).as_ref() != Some(&held)
    {
        errors.invalid(
            &path.child("ipFamilies").index(0),
            shown(&new.ip_families),
            "may not change once set",
        );
    }
    let balanced = |spec: &ServiceSpec| spec.type_.as_deref() == Some("LoadBalancer");
    if balanced(new) && balanced(old) {
        let at = path.child("loadBalancerClass");
        if new.load_balancer_class != old.load_balancer_class {
            errors.invalid(&at, shown(&new.load_balancer_class), "may not change once set");
        }
    }
    let health_port = |spec: &ServiceSpec| {
        let checked = balanced(spec) && spec.external_traffic_policy.as_deref() == Some("Local");
        spec.health_check_node_port.filter(|port| checked && *port != 0)
    };
    if let (Some(new), Some(old)) = (health_port(new), health_port(old))
        && new != old
    {
        errors.forbidden(&path.child("healthCheckNodePort"), check::IMMUTABLE);
    }
}

pub(super) fn warnings(service: &Service) -> Vec<String> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut warnings = Vec::new();
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if spec.load_balancer_ip.as_deref().is_some_and(|ip| !ip.is_empty()) {
        warnings.push("spec.loadBalancerIP is deprecated".to_owned());
    }
    if given(&spec.external_ips) {
        let what = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(what.to_owned());
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        warnings.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    if given(&spec.external_ips) && spec.type_.as_deref() == Some("ExternalName") {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if spec.type_.as_deref() != Some("ExternalName") && is_headless(spec) {
        if spec.session_affinity.as_deref().is_some_and(|affinity| affinity != "None") {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if spec.load_balancer_ip.as_deref().is_some_and(|ip| !ip.is_empty()) {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if given(&spec.external_ips) {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
    }
    warnings
}
