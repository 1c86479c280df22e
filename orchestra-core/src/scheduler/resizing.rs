//! What pods are counted for whose containers do not have yet, or cannot have, what they ask for by now.
//!
//! A pod that is to have more or less counts for the larger of both until it has that. One that its node is too small for
//! counts for what it was given: what it asks for it will never have.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::view::{ConditionView, ContainerView, PodView, ResourcesView, or_default};
use crate::quantity::Quantity;

const PENDING: &str = "PodResizePending";
const UNDER_WAY: &str = "PodResizeInProgress";
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// What is read of such a pod beside its view, whose readers are many and want none of this.
#[derive(Deserialize)]
struct Resizing {
    spec: Containers,
    status: Statuses,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Containers {
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Named>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<Named>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Statuses {
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<Named>,
    #[serde(deserialize_with = "or_default")]
    init_container_statuses: Vec<Named>,
    resources: Option<ResourcesView>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    resources: Option<ResourcesView>,
}

/// Has a pod that is being resized ask for what it is counted for.
///
/// # Errors
/// The JSON is not a pod's.
pub(super) fn count(view: &mut PodView, json: &[u8]) -> Result<(), serde_json::Error> {
    let holds = |kind: &str| {
        let conditions = view.status.conditions.iter();
        conditions.into_iter().find(|held| held.r#type == kind && held.status == "True")
    };
    let never = holds(PENDING).is_some_and(ConditionView::is_infeasible);
    if holds(PENDING).is_none() && holds(UNDER_WAY).is_none() {
        return Ok(());
    }
    let Resizing { spec, status } = serde_json::from_slice(json)?;
    let count_all = |views: &mut [ContainerView], names: &[Named], statuses: &[Named]| {
        for (view, named) in views.iter_mut().zip(names) {
            let given = statuses.iter().find(|status| status.name == named.name);
            if let Some(given) = given.and_then(|status| status.resources.as_ref()) {
                raise(&mut view.resources, given, never);
            }
        }
    };
    count_all(&mut view.spec.containers, &spec.containers, &status.container_statuses);
    count_all(&mut view.spec.init_containers, &spec.init_containers, &status.init_container_statuses);
    if let Some(given) = status.resources.filter(|_| view.spec.resources.is_some()) {
        raise(&mut view.spec.resources, &given, never);
    }
    Ok(())
}

/// Counts the larger of what is asked for and what was given, or the latter.
fn raise(asked: &mut Option<ResourcesView>, given: &ResourcesView, never: bool) {
    let asked: &mut BTreeMap<String, Quantity> = &mut asked.get_or_insert_default().requests;
    for what in RESIZABLE {
        let given = given.requests.get(what);
        match (asked.get(what), given) {
            (Some(held), Some(given)) if *held >= *given && !never => {}
            (_, Some(given)) => drop(asked.insert(what.to_owned(), *given)),
            (Some(_), None) if never => drop(asked.remove(what)),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::scheduler::pod::PodInfo;

    fn counted(condition: Value) -> (i64, i64) {
        let requests = |cpu: &str, memory: &str| json!({ "requests": { "cpu": cpu, "memory": memory } });
        let pod = json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "containers": [
                { "name": "b", "resources": requests("900", "1Mi") },
                { "name": "a", "resources": requests("1", "1Mi") },
            ] },
            "status": {
                "conditions": [condition],
                "containerStatuses": [
                    { "name": "a", "resources": requests("1", "1Mi") },
                    { "name": "b", "resources": requests("2", "3Mi") },
                ],
            },
        });
        let needed = PodInfo::from_json(pod.to_string().as_bytes()).unwrap().requests.needed;
        (needed.milli_cpu / 1000, needed.memory >> 20)
    }

    #[test]
    fn what_a_pod_has_counts_while_it_is_resized() {
        let is = |kind: &str, reason: &str| json!({ "type": kind, "status": "True", "reason": reason });
        assert_eq!(counted(is("Ready", "")), (901, 2));
        assert_eq!(counted(is("PodResizeInProgress", "")), (901, 4));
        assert_eq!(counted(is("PodResizePending", "Deferred")), (901, 4));
        assert_eq!(counted(is("PodResizePending", "Infeasible")), (3, 4));
    }
}
