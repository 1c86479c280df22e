//! What a Service keeps over a change, and what goes with its type.

use serde_json::{Map, Value, json};

use super::defaults::is_external;
use crate::objects::json::{Fields, at, set};

type Spec = Map<String, Value>;

pub(super) fn prepare_create(object: &mut Value) {
    set(object, "status", json!({ "loadBalancer": {} }));
    if let Some(spec) = at(object, &["spec"]) {
        if !spec.text("clusterIP").is_empty() && !spec.has("clusterIPs") {
            let ip = spec.text("clusterIP").to_owned();
            spec.insert("clusterIPs".to_owned(), json!([ip]));
        }
        families(spec, None);
    }
}

pub(super) fn prepare(new: &mut Value, old: &Value) {
    let Some(old) = old.get("spec").and_then(Value::as_object) else { return };
    let Some(spec) = at(new, &["spec"]) else { return };
    keep_allocated(spec, old);
    keep_in_step(spec, old);
    drop_by_type(spec, old);
    families(spec, Some(old));
}

fn has_cluster_ip(spec: &Spec) -> bool {
    spec.text("type") != "ExternalName"
}

/// Whether a Service may have ports of the nodes.
fn has_node_ports(spec: &Spec) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer")
}

/// Whether a Service is given ports of the nodes that it does not name.
fn is_given_node_ports(spec: &Spec) -> bool {
    has_node_ports(spec)
        && (spec.text("type") == "NodePort"
            || spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)))
}

fn has_health_port(spec: &Spec) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// What was given to the Service and is not mentioned is kept.
fn keep_allocated(new: &mut Spec, old: &Spec) {
    if has_cluster_ip(new) && has_cluster_ip(old) {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(field) {
                match value {
                    Value::Array(_) => new.or(field, value.clone()),
                    _ => new.or_text(field, value.clone()),
                }
            }
        }
    }
    if is_given_node_ports(new) && is_given_node_ports(old) {
        let kept = numbers(new);
        let before = |name: &str| {
            let ports = old.get("ports").and_then(Value::as_array).into_iter().flatten();
            let mut named =
                ports.filter(|port| port.get("name").and_then(Value::as_str).unwrap_or_default() == name);
            named.find_map(|port| port.get("nodePort").filter(|port| !port.is_null()).cloned())
        };
        for port in new.each("ports") {
            if let Some(number) = before(port.text("name")).filter(|number| !kept.contains(number)) {
                port.or_number("nodePort", number);
            }
        }
    }
    if has_health_port(new)
        && has_health_port(old)
        && let Some(number) = old.get("healthCheckNodePort").cloned()
    {
        new.or_number("healthCheckNodePort", number);
    }
}

/// `clusterIP` is the first of `clusterIPs`; who changes the one means both.
fn keep_in_step(new: &mut Spec, old: &Spec) {
    let one_changed = new.text("clusterIP") != old.text("clusterIP");
    let list_changed = new.get("clusterIPs") != old.get("clusterIPs");
    if one_changed && !list_changed {
        match new.text("clusterIP").to_owned() {
            ip if ip.is_empty() => {
                new.remove("clusterIPs");
            }
            ip => {
                new.insert("clusterIPs".to_owned(), json!([ip]));
            }
        }
    }
}

/// What only the old type has is dropped, unless the user changed it and so means it.
fn drop_by_type(new: &mut Spec, old: &Spec) {
    let gone = |needs: fn(&Spec) -> bool| needs(old) && !needs(new);
    let mut fields: Vec<&[&str]> = Vec::new();
    if gone(has_cluster_ip) {
        fields.extend([
            &["clusterIP", "clusterIPs"][..],
            &["ipFamilies"],
            &["ipFamilyPolicy"],
            &["internalTrafficPolicy"],
        ]);
    }
    if gone(is_external) {
        fields.push(&["externalTrafficPolicy"]);
    }
    if gone(has_health_port) {
        fields.push(&["healthCheckNodePort"]);
    }
    if gone(|spec| spec.text("type") == "LoadBalancer") {
        fields.extend([&["allocateLoadBalancerNodePorts"][..], &["loadBalancerClass"]]);
    }
    if gone(|spec| spec.text("type") == "ExternalName") {
        fields.push(&["externalName"]);
    }
    let node_ports = gone(has_node_ports);
    for group in fields {
        if group.iter().all(|field| new.get(*field) == old.get(*field)) {
            group.iter().for_each(|field| drop(new.remove(*field)));
        }
    }
    if node_ports && numbers(new) == numbers(old) {
        new.each("ports").for_each(|port| drop(port.remove("nodePort")));
    }
}

/// The ports of the nodes that a Service names, port by port.
fn numbers(spec: &Spec) -> Vec<Value> {
    let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
    ports.map(|port| port.get("nodePort").cloned().unwrap_or_default()).collect()
}

/// The families of a Service's addresses, and whether it must have both: one, unless the manifest says otherwise. What
/// has neither an address nor pods is of both.
///
/// An address of version 6 says nothing of families: whether the cluster has it is for the allocator to say.
fn families(spec: &mut Spec, old: Option<&Spec>) {
    if !has_cluster_ip(spec) {
        return;
    }
    let selects = spec.get("selector").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty());
    let bare = spec.text("clusterIP") == "None" && !selects;
    let before = old.map(|old| old.text("ipFamilyPolicy")).filter(|policy| !policy.is_empty());
    spec.or("ipFamilyPolicy", before.unwrap_or(if bare { "RequireDualStack" } else { "SingleStack" }));
    let single = spec.text("ipFamilyPolicy") == "SingleStack";
    if single {
        // Who takes the second family away by the policy alone means its address too.
        for field in ["clusterIPs", "ipFamilies"] {
            if old.is_some_and(|old| old.get(field) == spec.get(field))
                && let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut)
            {
                list.truncate(1);
            }
        }
    }
    let ips = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
    if ips.filter_map(Value::as_str).any(|ip| ip.contains(':')) {
        return;
    }
    spec.or("ipFamilies", json!(["IPv4"]));
    let Some(families) = spec.get_mut("ipFamilies").and_then(Value::as_array_mut) else { return };
    if bare && !single && families.len() == 1 {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
}
