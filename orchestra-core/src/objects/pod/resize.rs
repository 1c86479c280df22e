//! The part `resize`: what containers ask for is changed while they run. Processors and memory alone can be, and nothing
//! that was asked for can be left out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize as _;
use serde_json::Value;

use super::resources::{Asked, quality};
use super::update::MIRROR;
use crate::api::field::{Errors, Path};
use crate::objects::check::shown;

type Amounts = BTreeMap<String, Quantity>;

/// What of a container is taken from what was sent.
const WRITTEN: [&str; 2] = ["resources", "resizePolicy"];
/// What can be had more or less of while a container runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Takes over from the pod as it is all but what its containers ask for, and what it asks for as a whole. Containers that
/// are not those of the pod are left as they were sent, to be refused.
pub(super) fn take_over(new: &mut Value, old: &Value) {
    let sent = new.get_mut("spec").map(Value::take).unwrap_or_default();
    super::update::keep_all_but_uid(new, old);
    let lists = ["containers", "initContainers"];
    if !lists.iter().all(|list| same_containers(&sent[*list], &old["spec"][*list])) {
        new["spec"] = sent;
        return;
    }
    let Some(spec) = new["spec"].as_object_mut() else { return };
    put(spec, "resources", sent.get("resources"));
    for list in lists {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (container, sent) in containers.iter_mut().zip(sent[list].as_array().into_iter().flatten()) {
            let Some(container) = container.as_object_mut() else { continue };
            WRITTEN.iter().for_each(|field| put(container, field, sent.get(*field)));
        }
    }
}

fn put(fields: &mut serde_json::Map<String, Value>, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
}

/// Whether two lists have the same names in the same order.
fn same_containers(a: &Value, b: &Value) -> bool {
    let names = |list: &Value| -> Vec<Value> {
        list.as_array().into_iter().flatten().map(|container| container["name"].clone()).collect()
    };
    names(a) == names(b)
}

/// Says what is wrong with a change of what containers ask for.
pub(super) fn validate(new: &Pod, old: &Pod, errors: &mut Errors) {
    super::validate::pod(new, errors);
    let none = PodSpec::default();
    let (now, before) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    if old.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR)) {
        return errors.forbidden(&Path::root(), "static pods cannot be resized");
    }
    if before.os.as_ref().is_some_and(|os| os.name == "windows") {
        return errors.forbidden(&Path::root(), "windows pods cannot be resized");
    }
    let path = Path::new("spec");
    quality_stays(new, old, now, &path, errors);
    if !supports(old) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    pod_level(now, before, &path, errors);
    let claimed =
        old.status.as_ref().and_then(|status| status.node_allocatable_resource_claim_statuses.as_ref());
    if claimed.is_some_and(|claims| !claims.is_empty()) {
        errors.forbidden(&path, "pods with node allocatable resource claims cannot be resized");
    }
    let empty = Vec::new();
    let inits =
        (now.init_containers.as_ref().unwrap_or(&empty), before.init_containers.as_ref().unwrap_or(&empty));
    let both = [("initContainers", inits), ("containers", (&now.containers, &before.containers))];
    // Of others than those of the pod nothing more can be said.
    if both.iter().rev().filter(|(list, held)| !order(list, *held, &path, errors)).count() > 0 {
        return;
    }
    for (list, (new, old)) in both {
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            let at = path.child(list).index(index);
            kept(
                new.resources.as_ref(),
                old.resources.as_ref(),
                ("resource", &at.child("resources")),
                errors,
            );
        }
    }
    for (new, old) in both[1].1.0.iter().zip(both[1].1.1) {
        if resized_otherwise(new, old) {
            errors.forbidden(&path, "only cpu and memory resources are mutable");
        }
    }
    for (index, (new, old)) in inits.0.iter().zip(inits.1).enumerate() {
        init_container(new, old, &path.child("initContainers").index(index), errors);
    }
}

/// The class of service is that of the pod's whole life.
fn quality_stays(new: &Pod, old: &Pod, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let of = |spec: &PodSpec| Asked::deserialize(shown(spec)).map(|asked| quality(&asked)).ok();
    let given = old.status.as_ref().and_then(|status| status.qos_class.clone());
    let before = given.or_else(|| old.spec.as_ref().and_then(of).map(ToOwned::to_owned));
    if before.as_deref() != of(spec) {
        let shown = new.status.as_ref().and_then(|status| status.qos_class.clone()).unwrap_or_default();
        errors.invalid(path, shown, "Pod QOS Class may not change as a result of resizing");
    }
}

/// Whether the node that the pod runs on can do it: it says then what its containers have.
fn supports(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let running = |status: &&_| -> bool {
        let status: &k8s_openapi::api::core::v1::ContainerStatus = status;
        status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    statuses.into_iter().flatten().find(running).is_none_or(|status| status.resources.is_some())
}

/// Says what is wrong with a change of what the pod asks for as a whole.
fn pod_level(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    let at = path.child("resources");
    if old.resources.is_some() && new.resources.is_none() {
        return errors.forbidden(&at, "pod-level resources cannot be removed");
    }
    kept(new.resources.as_ref(), old.resources.as_ref(), ("pod-level resource", &at), errors);
    if masked(new.resources.as_ref(), old.resources.as_ref())
        != masked(old.resources.as_ref(), old.resources.as_ref())
    {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

/// Says that containers were added, taken away, moved or renamed; answers whether they were not.
fn order(
    list: &str,
    (new, old): (&Vec<Container>, &Vec<Container>),
    path: &Path,
    errors: &mut Errors,
) -> bool {
    let path = path.child(list);
    if new.len() != old.len() {
        errors.forbidden(&path, format!("{list} may not be added or removed on resize"));
        return false;
    }
    let others = new.iter().zip(old).enumerate().filter(|(_, (new, old))| new.name != old.name);
    let mut same = true;
    for (index, _) in others {
        same = false;
        errors.forbidden(
            &path.index(index).child("name"),
            format!("{list} may not be renamed or reordered on resize"),
        );
    }
    same
}

/// Says that something is not asked for any more that was.
fn kept(
    new: Option<&ResourceRequirements>,
    old: Option<&ResourceRequirements>,
    (what, path): (&str, &Path),
    errors: &mut Errors,
) {
    type Side = fn(&ResourceRequirements) -> Option<&Amounts>;
    let sides: [(&str, Side); 2] =
        [("requests", |held| held.requests.as_ref()), ("limits", |held| held.limits.as_ref())];
    for (field, side) in sides {
        let now = new.and_then(side);
        let held = |name: &String| now.is_some_and(|now| now.contains_key(name));
        if old.and_then(side).into_iter().flatten().any(|(name, _)| !held(name)) {
            errors.forbidden(&path.child(field), format!("{what} {field} cannot be removed"));
        }
    }
}

/// What is asked for, with processors and memory as they are asked for in `old`.
fn masked(
    held: Option<&ResourceRequirements>,
    old: Option<&ResourceRequirements>,
) -> (Amounts, Amounts, Value) {
    let mask = |held: Option<&Amounts>, old: Option<&Amounts>| -> Amounts {
        let others = held.into_iter().flatten().filter(|(name, _)| !RESIZABLE.contains(&name.as_str()));
        let taken = old.into_iter().flatten().filter(|(name, _)| RESIZABLE.contains(&name.as_str()));
        others.chain(taken).map(|(name, amount)| (name.clone(), amount.clone())).collect()
    };
    let (limits, requests) = match old {
        Some(old) => (old.limits.as_ref(), old.requests.as_ref()),
        None => (None, None),
    };
    (
        mask(held.and_then(|held| held.limits.as_ref()), limits),
        mask(held.and_then(|held| held.requests.as_ref()), requests),
        shown(&held.and_then(|held| held.claims.as_ref())),
    )
}

/// Whether more of a container differs than how much it has of processors and memory.
fn resized_otherwise(new: &Container, old: &Container) -> bool {
    let own = |container: &Container| Container { resources: None, ..container.clone() };
    let (now, before) = (new.resources.as_ref(), old.resources.as_ref());
    own(new) != own(old) || masked(now, before) != masked(before, before)
}

/// Says what is wrong with a change of a container that runs before the others, or beside them.
fn init_container(new: &Container, old: &Container, path: &Path, errors: &mut Errors) {
    if resized_otherwise(new, old) {
        errors.forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable");
    }
    let beside = new.restart_policy.as_deref() == Some("Always");
    let restarts =
        new.resize_policy.iter().flatten().filter(|policy| policy.restart_policy == "RestartContainer");
    if new != old && !beside {
        for _ in restarts {
            errors.forbidden(
                path,
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
            );
        }
    }
}
