//! What the status of a definition says: pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::names;
use crate::api::field::{Errors, Path};
use crate::api::structural::check_structure;
use crate::objects::custom_resource_definition::{Approval, is_protected};

/// Whether a condition is true.
pub(super) fn is_true(definition: &Value, kind: &str) -> bool {
    find(&definition["status"], kind).is_some_and(|condition| condition["status"] == "True")
}

fn find<'v>(status: &'v Value, kind: &str) -> Option<&'v Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A condition, beside the time at which it came to be so.
struct Condition<'c> {
    kind: &'c str,
    status: &'c str,
    reason: &'c str,
    message: String,
}

/// Sets a condition. Its time changes only with its status.
fn set(status: &mut Value, condition: &Condition<'_>, now: Timestamp) {
    let Condition { kind, status: state, reason, message } = condition;
    let held = find(status, kind).filter(|held| held["status"] == *state);
    let since = held.map(|held| held["lastTransitionTime"].clone()).filter(|time| !time.is_null());
    let new = json!({
        "type": kind,
        "status": state,
        "lastTransitionTime": since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()),
        "reason": reason,
        "message": message,
    });
    match &mut status["conditions"] {
        Value::Array(held) => match held.iter_mut().find(|held| held["type"] == *kind) {
            Some(held) => *held = new,
            None => held.push(new),
        },
        other => *other = json!([new]),
    }
}

/// The status with the names that the definition gets, and what follows from its specification.
pub(super) fn settled(definition: &Value, others: &[Value], now: Timestamp) -> Value {
    let mut status = definition["status"].clone();
    let names = names::settle(definition, others);
    status["acceptedNames"] = names.accepted;
    let accepted = names.conflict.is_none();
    let (state, reason, message) = match names.conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, message)) => ("False", reason, message),
    };
    set(&mut status, &Condition { kind: "NamesAccepted", status: state, reason, message }, now);
    // Once established, it stays so.
    if !is_true(definition, "Established") {
        let (reason, message) = match accepted {
            true => ("Installing", "the initial names have been accepted"),
            false => ("NotAccepted", "not all names are accepted"),
        };
        let message = message.to_owned();
        set(&mut status, &Condition { kind: "Established", status: "False", reason, message }, now);
    }
    set_approval(&mut status, definition, now);
    set_structure(&mut status, definition, now);
    status
}

/// The status of a definition whose kind is served.
pub(super) fn established(definition: &Value, now: Timestamp) -> Value {
    let mut status = definition["status"].clone();
    let message = "the initial names have been accepted".to_owned();
    let reason = "InitialNamesAccepted";
    set(&mut status, &Condition { kind: "Established", status: "True", reason, message }, now);
    status
}

/// The status of a definition whose objects are being deleted, or are gone.
pub(super) fn terminating(
    definition: &Value,
    state: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    let mut status = definition["status"].clone();
    let message = message.to_owned();
    set(&mut status, &Condition { kind: "Terminating", status: state, reason, message }, now);
    status
}

fn set_approval(status: &mut Value, definition: &Value, now: Timestamp) {
    if !is_protected(definition["spec"]["group"].as_str().unwrap_or_default()) {
        return;
    }
    let annotation = &definition["metadata"]["annotations"][Approval::ANNOTATION];
    let approval = Approval::of(annotation.as_str().unwrap_or_default());
    let (state, reason) = approval.condition();
    let kind = "KubernetesAPIApprovalPolicyConformant";
    set(status, &Condition { kind, status: state, reason, message: approval.message() }, now);
}

/// A schema from before schemas had to be structural is told of.
fn set_structure(status: &mut Value, definition: &Value, now: Timestamp) {
    const KIND: &str = "NonStructuralSchema";
    let mut errors = Errors::new();
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    for (index, version) in versions.enumerate() {
        let path = Path::new("spec.versions").index(index).child("schema.openAPIV3Schema");
        check_structure(&version["schema"]["openAPIV3Schema"], &path, &mut errors);
    }
    if errors.is_empty() {
        if let Some(conditions) = status["conditions"].as_array_mut() {
            conditions.retain(|condition| condition["type"] != KIND);
        }
        return;
    }
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let message = if let [one] = &all[..] { one.clone() } else { format!("[{}]", all.join(", ")) };
    set(status, &Condition { kind: KIND, status: "True", reason: "Violations", message }, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        json!({
            "metadata": {},
            "spec": {
                "group": "example.com",
                "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
                "versions": [{"schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]},
        })
    }

    fn condition(status: &Value, kind: &str) -> (String, String) {
        let held = find(status, kind).cloned().unwrap_or_default();
        let text = |field: &str| held[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    fn pair(status: &str, reason: &str) -> (String, String) {
        (status.to_owned(), reason.to_owned())
    }

    #[test]
    fn a_definition_is_settled_once_and_then_established() {
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let mut definition = definition();
        definition["status"] = settled(&definition, &[], first);
        assert_eq!(condition(&definition["status"], "NamesAccepted"), pair("True", "NoConflicts"));
        assert_eq!(condition(&definition["status"], "Established"), pair("False", "Installing"));
        assert_eq!(settled(&definition, &[], later), definition["status"], "nothing is to be done twice");
        definition["status"] = established(&definition, later);
        assert_eq!(condition(&definition["status"], "Established"), pair("True", "InitialNamesAccepted"));
        assert_eq!(settled(&definition, &[], later), definition["status"]);
        let time = |kind: &str| find(&definition["status"], kind).unwrap()["lastTransitionTime"].clone();
        assert_eq!(time("NamesAccepted"), "1970-01-01T00:00:00Z");
        assert_eq!(time("Established"), "1970-01-01T00:01:00Z");
    }

    #[test]
    fn what_is_old_or_protected_is_told_of() {
        let mut odd = definition();
        odd["spec"]["group"] = "x.k8s.io".into();
        odd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"properties": {}});
        let status = settled(&odd, &[], Timestamp::UNIX_EPOCH);
        let approval = "KubernetesAPIApprovalPolicyConformant";
        assert_eq!(condition(&status, approval), pair("False", "MissingAnnotation"));
        assert_eq!(condition(&status, "NonStructuralSchema"), pair("True", "Violations"));
        odd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "https://example.com/1"});
        let status = settled(&odd, &[], Timestamp::UNIX_EPOCH);
        assert_eq!(condition(&status, approval), pair("True", "ApprovedAnnotation"));
    }
}
