//! What of a pod may change once it is made: next to nothing, because it may be running.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use serde_json::Value;

use super::{containers, narrowed, scheduling};
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, shown};

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                       `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
                       additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set \
                       to 1 if it was previously negative)";

/// The annotation of a pod that stands for one which a node has from elsewhere.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Takes over the pod as it is, but for the uid by which somebody says which one they mean.
pub(super) fn keep_all_but_uid(new: &mut Value, old: &Value) {
    let uid = new.pointer_mut("/metadata/uid").map(Value::take);
    new.clone_from(old);
    if let (Some(uid), Some(meta)) = (uid, new["metadata"].as_object_mut()) {
        meta.insert("uid".to_owned(), uid);
    }
}

/// Says what is wrong with a change of a pod.
pub(super) fn validate(new: &Pod, old: &Pod, errors: &mut Errors) {
    let none = PodSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    let path = Path::new("spec");
    fn init(spec: &PodSpec) -> &[Container] {
        spec.init_containers.as_deref().unwrap_or_default()
    }
    let lists =
        [("containers", &*new.containers, &*old.containers), ("initContainers", init(new), init(old))];
    for (list, new, old) in lists {
        if new.len() != old.len() {
            return errors.forbidden(&path.child(list), "pod updates may not add or remove containers");
        }
        images(new, &path.child(list), errors);
    }
    if !deadline(new.active_deadline_seconds, old.active_deadline_seconds, &path, errors) {
        return;
    }
    tolerations(
        new.tolerations.as_deref().unwrap_or_default(),
        old.tolerations.as_deref().unwrap_or_default(),
        &path.child("tolerations"),
        errors,
    );
    gates(new, old, &path.child("schedulingGates"), errors);
    let differences = differences(&shown(&with_mutable_fields_of(new, old, &path, errors)), &shown(old));
    if !differences.is_empty() {
        errors.forbidden(&path, format!("{MUTABLE}\n@@ spec @@\n{}", differences.join("\n")));
    }
}

/// Images may change, so what is wrong with them is said once more.
fn images(containers: &[Container], path: &Path, errors: &mut Errors) {
    for (index, container) in containers.iter().enumerate() {
        let image = container.image.as_deref().unwrap_or_default();
        let path = path.index(index);
        if image.is_empty() {
            errors.required(&path.child("image"), "");
        }
        containers::trimmed_image(image, &path, errors);
    }
}

/// A deadline may be set, and be brought nearer.
fn deadline(new: Option<i64>, old: Option<i64>, path: &Path, errors: &mut Errors) -> bool {
    let at = path.child("activeDeadlineSeconds");
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            check::within(errors, &at, new, 0, i64::from(i32::MAX));
            false
        }
        (Some(new), Some(old)) if new > old => {
            errors.invalid(&at, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(&at, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn tolerations(new: &[Toleration], old: &[Toleration], path: &Path, errors: &mut Errors) {
    let same = |a: &Toleration, b: &Toleration| {
        (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
    };
    if !old.iter().all(|old| new.iter().any(|new| same(new, old))) {
        return errors
            .forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
    scheduling::tolerations(new, path, errors);
}

fn gates(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    let held =
        |spec: &PodSpec, name: &str| spec.scheduling_gates.iter().flatten().any(|gate| gate.name == name);
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !held(old, &gate.name) {
            errors.forbidden(
                &path.index(index).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name),
            );
        }
    }
}

/// The new specification, with what may change taken back.
fn with_mutable_fields_of(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) -> PodSpec {
    let mut spec = new.clone();
    let take_back = |new: &mut Vec<Container>, old: &[Container]| {
        for (new, old) in new.iter_mut().zip(old) {
            new.image.clone_from(&old.image);
        }
    };
    take_back(&mut spec.containers, &old.containers);
    if let (Some(new), Some(old)) = (&mut spec.init_containers, &old.init_containers) {
        take_back(new, old);
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    spec.tolerations.clone_from(&old.tolerations);
    spec.scheduling_gates.clone_from(&old.scheduling_gates);
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && spec.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        narrowed::take_back(&mut spec, old, path, errors);
    }
    spec
}

/// The paths at which two values differ, with both values. A list that is missing and an empty one are the same; an object that
/// says nothing is something else than none, as a selector of everything is.
fn differences(new: &Value, old: &Value) -> Vec<String> {
    fn empty(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            _ => false,
        }
    }
    fn walk(path: &Path, new: &Value, old: &Value, found: &mut Vec<String>) {
        match (new, old) {
            _ if new == old || (empty(new) && empty(old)) => {}
            (Value::Object(a), Value::Object(b)) => {
                let further = b.keys().filter(|key| !a.contains_key(*key));
                for key in a.keys().chain(further) {
                    let side =
                        |fields: &serde_json::Map<_, Value>| fields.get(key).cloned().unwrap_or_default();
                    walk(&path.child(key), &side(a), &side(b), found);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&path.index(index), a, b, found);
                }
            }
            _ => found.push(format!("  {path}: {old} -> {new}")),
        }
    }
    let mut found = Vec::new();
    walk(&Path::new("spec"), new, old, &mut found);
    found
}
