//! What an object uses of what quotas count.

use serde_json::Value;

use crate::admission::amounts::{Amounts, PodAmounts, Side};
use crate::meta::GroupResource;
use crate::quantity::{Format, Quantity};

/// Core kinds that are counted under their bare names too, as they were before every kind was.
const BARE: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// The name under which the objects of a kind are counted: `count/deployments.apps`.
pub(crate) fn count_name(id: &GroupResource) -> String {
    match &*id.group {
        "" => format!("count/{}", id.resource),
        group => format!("count/{}.{group}", id.resource),
    }
}

/// What one object of a kind uses.
pub(crate) fn of(id: &GroupResource, object: &Value) -> Amounts {
    let mut used = Amounts::from([(count_name(id), one())]);
    if !id.group.is_empty() {
        return used;
    }
    let plural = &*id.resource;
    if BARE.contains(&plural) {
        used.insert(plural.to_owned(), one());
    }
    match plural {
        "pods" => of_pod(object, &mut used),
        "services" => of_service(object, &mut used),
        "persistentvolumeclaims" => of_claim(object, &mut used),
        _ => {}
    }
    used
}

/// The kind whose objects are counted under a name; `None` if it is none that is known without its group.
pub(crate) fn kind_of(name: &str) -> Option<GroupResource> {
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some(GroupResource { group: group.into(), resource: plural.into() });
    }
    let plural = match name {
        name if BARE.contains(&name) => name,
        "services.nodeports" | "services.loadbalancers" => "services",
        "requests.storage" => "persistentvolumeclaims",
        name if name.contains(".storageclass.storage.k8s.io/") => "persistentvolumeclaims",
        _ => "pods",
    };
    Some(GroupResource { group: "".into(), resource: plural.into() })
}

/// Whether a pod has ended, and uses nothing any more.
pub(super) fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

fn of_pod(pod: &Value, used: &mut Amounts) {
    if has_ended(pod) {
        return;
    }
    used.insert("pods".to_owned(), one());
    let asked = PodAmounts::of(pod);
    for (side, prefix) in [(Side::Requests, "requests"), (Side::Limits, "limits")] {
        for (name, amount) in asked.total(side) {
            let is_plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
            let is_page = name.starts_with("hugepages-");
            if side == Side::Requests && (is_plain || is_page) {
                used.insert(name.clone(), amount);
            }
            if is_plain || (side == Side::Requests && (is_page || name.contains('/'))) {
                used.insert(format!("{prefix}.{name}"), amount);
            }
        }
    }
}

fn of_service(service: &Value, used: &mut Amounts) {
    let spec = &service["spec"];
    let kind = spec["type"].as_str().unwrap_or_default();
    let ports = spec["ports"].as_array().map_or(0, Vec::len);
    let balanced = kind == "LoadBalancer";
    let allocates = spec["allocateLoadBalancerNodePorts"] != false;
    // A port that is given without being asked for counts as well.
    let given = spec["ports"].as_array().into_iter().flatten();
    let given = given.filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    let node_ports = match kind {
        "NodePort" => ports,
        "LoadBalancer" if allocates => ports,
        "LoadBalancer" => given,
        _ => 0,
    };
    if node_ports > 0 {
        used.insert(
            "services.nodeports".to_owned(),
            Quantity::from_value(node_ports as i64, Format::DecimalSi),
        );
    }
    if balanced {
        used.insert("services.loadbalancers".to_owned(), one());
    }
}

fn of_claim(claim: &Value, used: &mut Amounts) {
    let storage = claim.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
    let storage = storage.and_then(|text| Quantity::parse(text).ok());
    if let Some(storage) = storage {
        used.insert("requests.storage".to_owned(), storage);
    }
    let class = claim["spec"]["storageClassName"].as_str().unwrap_or_default();
    if !class.is_empty() {
        let of_class = format!("{class}.storageclass.storage.k8s.io/");
        used.insert(format!("{of_class}persistentvolumeclaims"), one());
        if let Some(storage) = storage {
            used.insert(format!("{of_class}requests.storage"), storage);
        }
    }
}

fn one() -> Quantity {
    Quantity::from_value(1, Format::DecimalSi)
}
