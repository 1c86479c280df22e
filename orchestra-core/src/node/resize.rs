//! What running containers, and their pod as a whole, have of processors and memory, beside what is asked for by now. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::model::{Allotted, Memory, Unresized, containers, reported};
use super::resources::{held_by, limit, quantity};
use crate::runtime::{ContainerId, SandboxId};

/// The condition of a pod that cannot be given what it asks for by now.
pub const PENDING: &str = "PodResizePending";

/// The reasons why a pod does not have what it asks for by now: something went wrong, the node has no room now, it cannot be.
pub const ERROR: &str = "Error";
pub const DEFERRED: &str = "Deferred";
pub const INFEASIBLE: &str = "Infeasible";

/// What can be had more or less of while a container runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// How a running container comes to what its pod asks for by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// While it runs.
    InPlace,
    /// By a new start, as its resize policy asks for.
    Restart,
}

/// What a pod asks for in the name of a container.
pub fn asked(wanted: &Wanted) -> ResourceRequirements {
    wanted.resources.clone().unwrap_or_default()
}

/// What a running container has: what this agent gave it, else what was reported of it, by this agent or the one before,
/// else what its pod asked for all the time.
pub fn given(pod: &Pod, memory: &Memory, wanted: &Wanted, id: &ContainerId) -> ResourceRequirements {
    if let Some(given) = memory.given.get(id) {
        return given.clone();
    }
    let shown = reported(pod, &wanted.name).filter(|known| {
        known.container_id.as_deref().and_then(|shown| shown.rsplit("://").next()) == Some(id.as_str())
    });
    shown.and_then(|known| known.resources.clone()).unwrap_or_else(|| asked(wanted))
}

/// All that a pod asks for by now.
pub fn all_asked(pod: &Pod) -> Allotted {
    allot(pod, asked, pod.spec.as_ref().and_then(|spec| spec.resources.clone()))
}

/// What an agent before this one has set aside for a pod, as its status says; all that it asks for where that says nothing.
pub fn allotted_before(pod: &Pod) -> Allotted {
    let shown = |wanted: &Wanted| reported(pod, &wanted.name).and_then(|known| known.resources.clone());
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.clone());
    let shown_whole = pod.status.as_ref().and_then(|status| status.resources.clone());
    let whole = whole.map(|asked| shown_whole.unwrap_or(asked));
    allot(pod, |wanted| shown(wanted).unwrap_or_else(|| asked(wanted)), whole)
}

fn allot(
    pod: &Pod,
    of: impl Fn(&Wanted) -> ResourceRequirements,
    whole: Option<ResourceRequirements>,
) -> Allotted {
    let all = pod.spec.iter().flat_map(containers);
    Allotted { containers: all.map(|(_, wanted)| (wanted.name.clone(), of(wanted))).collect(), whole }
}

/// What the node has set aside for a container.
pub fn allotted(memory: &Memory, wanted: &Wanted) -> ResourceRequirements {
    let of_pod = memory.allotted.as_ref();
    of_pod.and_then(|pod| pod.containers.get(&wanted.name)).cloned().unwrap_or_else(|| asked(wanted))
}

/// A pod as it would be if it asked for no other amounts than those that the node has set aside for it; `None` if it does not.
pub fn as_allotted(pod: &Pod, memory: &Memory) -> Option<Pod> {
    let of_pod = memory.allotted.as_ref()?;
    let mut other = pod.clone();
    let spec = other.spec.as_mut()?;
    let mut differs = false;
    let mut set = |asked: &mut Option<ResourceRequirements>, held: &ResourceRequirements| {
        let now = asked.clone().unwrap_or_default();
        for what in RESIZABLE.into_iter().filter(|what| differ(held, &now, what)) {
            let resources = asked.get_or_insert_default();
            differs = true;
            put(&mut resources.limits, held.limits.as_ref(), what);
            put(&mut resources.requests, held.requests.as_ref(), what);
        }
    };
    for wanted in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(held) = of_pod.containers.get(&wanted.name) {
            set(&mut wanted.resources, held);
        }
    }
    if let Some(held) = &of_pod.whole {
        set(&mut spec.resources, held);
    }
    differs.then_some(other)
}

/// Takes one amount from another list, or takes it away.
fn put(into: &mut Option<BTreeMap<String, Quantity>>, from: Option<&BTreeMap<String, Quantity>>, what: &str) {
    match from.and_then(|from| from.get(what)) {
        Some(amount) => drop(into.get_or_insert_default().insert(what.to_owned(), amount.clone())),
        None => drop(into.as_mut().and_then(|into| into.remove(what))),
    }
}

/// How a running container is brought to what its pod asks for; `None` when it has that.
pub fn change(given: &ResourceRequirements, wanted: &Wanted) -> Option<Resize> {
    let asked = asked(wanted);
    let mut changed = changed(given, &asked).peekable();
    changed.peek()?;
    Some(if changed.any(|what| restarts(wanted, what)) { Resize::Restart } else { Resize::InPlace })
}

/// Of what there is another amount now.
pub fn changed(
    given: &ResourceRequirements,
    asked: &ResourceRequirements,
) -> impl Iterator<Item = &'static str> {
    RESIZABLE.into_iter().filter(|what| differ(given, asked, what))
}

/// Whether a container is to have another amount from its start.
pub fn restarts(wanted: &Wanted, what: &str) -> bool {
    let mut policies = wanted.resize_policy.iter().flatten();
    policies.any(|policy| policy.resource_name == what && policy.restart_policy == "RestartContainer")
}

/// Why a running container does not have what its pod asks for by now, if that is known.
pub fn unresized<'m>(memory: &'m Memory, wanted: &Wanted, id: &ContainerId) -> Option<&'m Unresized> {
    memory.unresized.get(id).filter(|failed| failed.asked == asked(wanted))
}

/// The same of a pod as a whole.
pub fn unresized_pod<'m>(memory: &'m Memory, spec: &PodSpec) -> Option<&'m Unresized> {
    memory.unresized_pod.as_ref().filter(|failed| failed.asked == asked_of_pod(spec))
}

/// What the node has set aside for what is to be resized: what is asked for, unless there is no room for that.
pub fn set_aside(
    asked: ResourceRequirements,
    given: ResourceRequirements,
    failed: Option<&Unresized>,
) -> Option<BTreeMap<String, Quantity>> {
    if failed.is_some_and(|failed| failed.reason != ERROR) { given.requests } else { asked.requests }
}

/// What a pod asks for as a whole.
pub fn asked_of_pod(spec: &PodSpec) -> ResourceRequirements {
    spec.resources.clone().unwrap_or_default()
}

/// What a pod has as a whole in a sandbox: what this agent gave it, else what was reported of it, else what it asked for all
/// the time.
pub fn given_to_pod(pod: &Pod, memory: &Memory, sandbox: &SandboxId) -> ResourceRequirements {
    if let Some((_, given)) = memory.given_pod.as_ref().filter(|(of, _)| of == sandbox) {
        return given.clone();
    }
    let shown = pod.status.as_ref().and_then(|status| status.resources.clone());
    shown.or_else(|| pod.spec.as_ref()?.resources.clone()).unwrap_or_default()
}

/// Whether the limit of a pod for something is what holds a container.
pub fn is_held_by_pod(spec: &PodSpec, wanted: &Wanted, what: &str) -> bool {
    limit(wanted, what).is_none() && held_by(spec, wanted, what).is_some()
}

/// Whether a container has anything of its limits from its pod.
pub fn inherits(spec: &PodSpec, wanted: &Wanted) -> bool {
    RESIZABLE.into_iter().any(|what| is_held_by_pod(spec, wanted, what))
}

fn differ(a: &ResourceRequirements, b: &ResourceRequirements, what: &str) -> bool {
    let amount = |of: &Option<BTreeMap<_, _>>| of.as_ref().and_then(|of| quantity(of, what));
    amount(&a.limits) != amount(&b.limits) || amount(&a.requests) != amount(&b.requests)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(resources: Value, policy: Value) -> Wanted {
        let container = json!({ "name": "c", "resources": resources, "resizePolicy": policy });
        serde_json::from_value(container).unwrap()
    }

    #[test]
    fn what_restarts_a_container_is_the_policy_of_what_changes() {
        let given = serde_json::from_value(json!({ "requests": { "cpu": "1", "memory": "1Mi" } })).unwrap();
        let of = |cpu: &str, memory: &str| {
            let policy = json!([{ "resourceName": "memory", "restartPolicy": "RestartContainer" }]);
            change(&given, &container(json!({ "requests": { "cpu": cpu, "memory": memory } }), policy))
        };
        assert_eq!(of("1000m", "1024Ki"), None);
        assert_eq!(of("2", "1Mi"), Some(Resize::InPlace));
        assert_eq!(of("1", "2Mi"), Some(Resize::Restart));
        assert_eq!(of("2", "2Mi"), Some(Resize::Restart));
        let more = json!({ "requests": { "cpu": "1", "memory": "1Mi" }, "limits": { "cpu": "2" } });
        assert_eq!(change(&given, &container(more, json!([]))), Some(Resize::InPlace));
    }

    #[test]
    fn a_pod_is_begun_with_what_was_set_aside_for_it() {
        let pod = |cpu: &str, limits: Value| -> Pod {
            let resources = json!({ "requests": { "cpu": cpu, "a.io/b": "1" }, "limits": limits });
            let containers = json!([{ "name": "c", "resources": resources }, { "name": "d" }]);
            serde_json::from_value(json!({ "spec": { "containers": containers } })).unwrap()
        };
        let before = pod("1", json!({ "memory": "1Gi" }));
        let memory = Memory { allotted: Some(all_asked(&before)), ..Memory::default() };
        assert_eq!(as_allotted(&pod("1000m", json!({ "memory": "1024Mi" })), &memory), None);
        let more = pod("2", json!({ "cpu": "3", "memory": "2Gi" }));
        assert_eq!(as_allotted(&more, &memory), Some(before));
        assert_eq!(as_allotted(&more, &Memory::default()), None);
        let mut shown = more.clone();
        let resources = json!({ "requests": { "cpu": "1" } });
        shown.status = serde_json::from_value(json!({ "containerStatuses": [{ "name": "c", "image": "i",
            "imageID": "", "ready": false, "restartCount": 0, "resources": resources }] }))
        .unwrap();
        let memory = Memory { allotted: Some(allotted_before(&shown)), ..Memory::default() };
        let begun =
            as_allotted(&shown, &memory).unwrap().spec.unwrap().containers[0].resources.clone().unwrap();
        assert_eq!((&*begun.requests.unwrap()["cpu"].0, begun.limits), ("1", Some(BTreeMap::new())));
    }

    #[test]
    fn another_agent_goes_by_what_was_reported_of_that_container() {
        let wanted = container(json!({ "requests": { "cpu": "2" } }), json!([]));
        let status = json!({ "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": "docker://a", "resources": { "requests": { "cpu": "1" } } });
        let pod: Pod =
            serde_json::from_value(json!({ "status": { "containerStatuses": [status] } })).unwrap();
        let (a, b) = (ContainerId::new("a"), ContainerId::new("b"));
        let cpu = |memory: &Memory, id: &ContainerId| {
            given(&pod, memory, &wanted, id).requests.unwrap()["cpu"].0.clone()
        };
        let mut memory = Memory::default();
        assert_eq!((cpu(&memory, &a), cpu(&memory, &b)), ("1".to_owned(), "2".to_owned()));
        memory.given.insert(a.clone(), asked(&wanted));
        assert_eq!(cpu(&memory, &a), "2");
    }
}
