use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use serde_json::{Map, Value, json};

use super::check::{self, say, shown};
use super::json::{Fields, at};
use super::print::or_none;
use super::{names, pod, quantities};
use crate::api::field::{Errors, Path, Problem, Shown};
use crate::api::{Column, Rules, Subresource, table};
use crate::watch::IndexedField;

/// The rules of Node objects.
pub(super) struct NodeRules;

impl Rules for NodeRules {
    type Object = Node;

    const SHORT_NAMES: &'static [&'static str] = &["no"];
    const STATUS: bool = true;
    const STATUS_AT_CREATION: bool = true;
    const GENERATION: bool = false;
    const FIELDS: &'static [IndexedField] = &[IndexedField::or("spec.unschedulable", "false")];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::proxy("NodeProxyOptions")];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Status", "Whether the node is ready, and whether pods are placed on it."),
        Column::new("Roles", "What the node is for."),
        Column::AGE,
        Column::new("Version", "The version of the node's agent."),
        Column::new("Internal-IP", "The node's address within the cluster.").wide(),
        Column::new("External-IP", "The node's address outside of it.").wide(),
        Column::new("OS-Image", "The node's operating system.").wide(),
        Column::new("Kernel-Version", "The version of its kernel.").wide(),
        Column::new("Container-Runtime", "What runs its containers.").wide(),
    ];

    /// All that a node has may be used, unless it says how much.
    fn default(object: &mut Value) {
        if let Some(spec) = at(object, &["spec"]) {
            pod_range(spec);
        }
        let Some(status) = at(object, &["status"]) else { return };
        quantities::round_up(status, "capacity");
        quantities::round_up(status, "allocatable");
        if let Some(capacity) = status.get("capacity").filter(|held| held.is_object()).cloned() {
            status.or("allocatable", capacity);
        }
    }

    fn validate(object: &Node, errors: &mut Errors) {
        let spec = object.spec.clone().unwrap_or_default();
        let path = Path::new("spec");
        // Kubernetes looks for them in the metadata, where they began as an annotation.
        taints(spec.taints.as_deref().unwrap_or_default(), &Path::new("metadata.taints"), errors);
        pod_ranges(spec.pod_cidrs.as_deref().unwrap_or_default(), &path.child("podCIDRs"), errors);
    }

    fn validate_update(new: &Node, old: &Node, errors: &mut Errors) {
        let none = NodeSpec::default();
        let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        let path = Path::new("spec");
        let ranges = |spec: &NodeSpec| spec.pod_cidrs.clone().unwrap_or_default();
        if !ranges(old).is_empty() && ranges(new) != ranges(old) {
            errors.forbidden(
                &path.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            );
        }
        let provider = |spec: &NodeSpec| spec.provider_id.clone().unwrap_or_default();
        if !provider(old).is_empty() && provider(new) != provider(old) {
            errors.forbidden(
                &path.child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
    }

    fn validate_status(new: &Node, _old: &Node, errors: &mut Errors) {
        let none = NodeStatus::default();
        let status = new.status.as_ref().unwrap_or(&none);
        let path = Path::new("status.addresses");
        let mut seen = HashSet::new();
        for (index, address) in status.addresses.iter().flatten().enumerate() {
            if !seen.insert((address.type_.as_str(), address.address.as_str())) {
                errors.duplicate(&path.index(index), shown(address));
            }
        }
    }

    fn cells(object: &Node, now: Timestamp) -> Vec<Value> {
        let status = object.status.clone().unwrap_or_default();
        let address = |kind: &str| {
            let mut addresses = status.addresses.iter().flatten();
            or_none(addresses.find(|held| held.type_ == kind).map(|held| held.address.as_str()))
        };
        let known = |text: &str| if text.is_empty() { "<unknown>".to_owned() } else { text.to_owned() };
        let info = status.node_info.clone().unwrap_or_default();
        let kernel = match info.architecture.as_str() {
            "" => known(&info.kernel_version),
            architecture => format!("{} ({architecture})", known(&info.kernel_version)),
        };
        vec![
            object.metadata.name.clone().into(),
            condition(object, &status).into(),
            roles(object).into(),
            table::age(&object.metadata, now).into(),
            info.kubelet_version.into(),
            address("InternalIP").into(),
            address("ExternalIP").into(),
            known(&info.os_image).into(),
            kernel.into(),
            known(&info.container_runtime_version).into(),
        ]
    }
}

fn condition(node: &Node, status: &NodeStatus) -> String {
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let ready = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match node.spec.as_ref().and_then(|spec| spec.unschedulable) {
        Some(true) => format!("{ready},SchedulingDisabled"),
        _ => ready.to_owned(),
    }
}

fn roles(node: &Node) -> String {
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (key == "kubernetes.io/role").then_some(value.as_str()),
        })
        .filter(|role| !role.is_empty())
        .collect();
    or_none(Some(&roles.into_iter().collect::<Vec<_>>().join(",")))
}

fn taints(taints: &[Taint], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        say(errors, &path.child("key"), &taint.key, names::qualified(&taint.key));
        let value = taint.value.as_deref().unwrap_or_default();
        let faults = names::label_value(value);
        if !faults.is_empty() {
            errors.invalid(&path.child("value"), value, faults.join(";"));
        }
        check::one_of(errors, &path.child("effect"), &taint.effect, pod::EFFECTS);
        if !seen.insert((taint.key.as_str(), taint.effect.as_str())) {
            let value = Shown::object([
                ("Key", Value::from(taint.key.as_str()).into()),
                ("Value", Value::from(value).into()),
                ("Effect", Value::from(taint.effect.as_str()).into()),
                ("TimeAdded", shown(&taint.time_added).into()),
            ]);
            let detail = "taints must be unique by key and effect pair";
            errors.push(&path, Problem::Duplicate(value, detail.to_owned()));
        }
    }
}

/// At most one range of each family.
fn pod_ranges(ranges: &[String], path: &Path, errors: &mut Errors) {
    for (index, range) in ranges.iter().enumerate() {
        check::cidr(errors, &path.index(index), range);
    }
    let families: HashSet<_> = ranges.iter().filter_map(|range| check::family_of_cidr(range)).collect();
    if ranges.len() > 1 && families.len() < ranges.len() {
        errors.invalid(path, shown(&ranges), "may specify no more than one CIDR for each IP family");
    }
}

/// `podCIDR` is the first of `podCIDRs`; an object has both.
fn pod_range(spec: &mut Map<String, Value>) {
    let first = spec.get("podCIDRs").and_then(|ranges| ranges.get(0)).and_then(Value::as_str);
    match (spec.text("podCIDR").to_owned(), first.map(str::to_owned)) {
        (one, None) if !one.is_empty() => drop(spec.insert("podCIDRs".to_owned(), json!([one]))),
        (one, Some(first)) if one.is_empty() => drop(spec.insert("podCIDR".to_owned(), first.into())),
        // Who sets only the old field means it.
        (one, Some(first)) if one != first => drop(spec.insert("podCIDRs".to_owned(), json!([one]))),
        _ => {}
    }
}
