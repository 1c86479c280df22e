//! The status that a pod begins with, and what binding it to a node does to it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::resources;
use crate::api::field::{Errors, Path};
use crate::api::{Reason, Status};
use crate::meta::GroupResource;
use crate::objects::json::{Fields, at};

/// The status of a new pod.
pub(super) fn prepare(object: &mut Value) {
    let spec = object.get("spec");
    let asked = spec.and_then(|spec| resources::Asked::deserialize(spec).ok()).unwrap_or_default();
    let mut status = json!({ "phase": "Pending", "qosClass": resources::quality(&asked) });
    let gates = spec.and_then(|spec| spec.get("schedulingGates")).and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        // As old as the pod.
        let since = object.pointer("/metadata/creationTimestamp").cloned();
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "lastTransitionTime": since,
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert("status".to_owned(), status);
    }
}

/// Says of a pod that somebody asked for its eviction, so that a Job can tell it from a failure.
pub(super) fn evict(object: &mut Value, now: Timestamp) {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": Time(now),
    });
    let status = object.as_object_mut().and_then(|fields| fields.object_or_new("status"));
    let Some(status) = status else { return };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|held| held["type"] != condition["type"]);
        conditions.push(condition);
    }
}

/// Binds a pod to the node that a `Binding` names.
///
/// # Errors
/// When the pod cannot be bound any more, or not yet, or the binding names no node.
pub(super) fn bind(object: &mut Value, binding: &Value, now: Timestamp) -> Result<(), Status> {
    let name = text(object, "/metadata/name").to_owned();
    let node = target(binding)?.to_owned();
    let conflict = |why: String| Status::conflict(&GroupResource::new("", "pods/binding"), &name, why);
    let uid = text(binding, "/metadata/uid");
    if !uid.is_empty() && uid != text(object, "/metadata/uid") {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            text(object, "/metadata/uid")
        )));
    }
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    match text(object, "/spec/nodeName") {
        "" => {}
        held => return Err(conflict(format!("pod {name} is already assigned to node {held:?}"))),
    }
    if object
        .pointer("/spec/schedulingGates")
        .and_then(Value::as_array)
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    if let Some(spec) = at(object, &["spec"]) {
        spec.insert("nodeName".to_owned(), node.into());
    }
    for field in ["annotations", "labels"] {
        let given = binding.pointer("/metadata").and_then(|meta| meta.get(field)).and_then(Value::as_object);
        let meta = at(object, &["metadata"]);
        if let (Some(given), Some(meta)) = (given.filter(|given| !given.is_empty()), meta)
            && let Some(held) = meta.object_or_new(field)
        {
            held.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    if let Some(status) = object.as_object_mut().and_then(|fields| fields.object_or_new("status")) {
        status.remove("nominatedNodeName");
        scheduled(status, now);
    }
    Ok(())
}

/// The name of the node that a binding is to.
///
/// # Errors
/// What is wrong with it, in Kubernetes without a reason.
pub(super) fn target(binding: &Value) -> Result<&str, Status> {
    let mut errors = Errors::new();
    let path = Path::new("target");
    let kind = text(binding, "/target/kind");
    if !matches!(kind, "" | "Node") {
        errors.not_supported(&path.child("kind"), kind, &["Node", "<empty>"]);
    }
    let node = text(binding, "/target/name");
    if node.is_empty() {
        errors.required(&path.child("name"), "");
    }
    if errors.is_empty() { Ok(node) } else { Err(Status::broken(&errors)) }
}

/// Sets the condition `PodScheduled`.
fn scheduled(status: &mut Map<String, Value>, now: Timestamp) {
    status.or("conditions", json!([]));
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now),
    });
    match conditions.iter_mut().find(|held| text(held, "/type") == "PodScheduled") {
        Some(held) if text(held, "/status") == "True" => {}
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What asks for a subresource that pods do not have.
pub(super) fn unknown(subresource: &str) -> Status {
    Status::new(
        Reason::MethodNotAllowed,
        format!("the server does not allow this method on the requested resource: pods/{subresource}"),
    )
}
