//! What a Service has when its manifest does not say.

use serde_json::{Map, Value, json};

use crate::objects::json::{Fields, at};

/// Three hours.
const AFFINITY_SECONDS: i32 = 10_800;

pub(super) fn service(object: &mut Value) {
    // A service has a specification though its manifest has none.
    let Some(spec) = object.as_object_mut().and_then(|service| service.object_or_new("spec")) else { return };
    affinity(spec);
    spec.or_text("type", "ClusterIP");
    for port in spec.each("ports") {
        port.or_text("protocol", "TCP");
        let unset = port.get("targetPort").is_none_or(|held| held.is_null() || *held == 0 || *held == "");
        if let Some(number) = port.get("port").filter(|_| unset).cloned() {
            port.insert("targetPort".to_owned(), number);
        }
    }
    if is_external(spec) {
        spec.or_text("externalTrafficPolicy", "Cluster");
    }
    if matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
        spec.or("internalTrafficPolicy", "Cluster");
    }
    if spec.text("type") == "LoadBalancer" {
        spec.or("allocateLoadBalancerNodePorts", true);
        let balancer = at(object, &["status", "loadBalancer"]);
        for point in balancer.into_iter().flat_map(|balancer| balancer.each("ingress")) {
            if !point.text("ip").is_empty() {
                point.or("ipMode", "VIP");
            }
        }
    }
}

fn affinity(spec: &mut Map<String, Value>) {
    spec.or_text("sessionAffinity", "None");
    match spec.text("sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let config = spec.object("sessionAffinityConfig").and_then(|config| config.object("clientIP"));
            if config.is_none_or(|config| !config.has("timeoutSeconds")) {
                let config = json!({ "clientIP": { "timeoutSeconds": AFFINITY_SECONDS } });
                spec.insert("sessionAffinityConfig".to_owned(), config);
            }
        }
        _ => {}
    }
}

/// Whether a Service is reached from outside of the cluster.
pub(super) fn is_external(spec: &Map<String, Value>) -> bool {
    let external = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    match spec.text("type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => external,
        _ => false,
    }
}
