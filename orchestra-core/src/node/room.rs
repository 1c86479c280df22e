//! How much of a node its pods have, and whether there is room for one more, or for one that is to have more.
//!
//! The scheduler looks for room too. But a pod may be bound to a node without it, and one that is resized stays where it is:
//! what these ask for nobody but the node has looked at.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};

use super::config::Config;
use super::model::{Failure, reported};
use super::resize::PENDING;
use super::resources::{quantity, request, requested_by};
use crate::runtime::MachineInfo;

/// Amounts of what is counted: thousandths of a core, and bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) cpu: i64,
    pub(super) memory: i64,
}

/// Why a pod cannot be given what it asks for, in Kubernetes' words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The node is too small.
    Never(String),
    /// Others have too much of the node.
    NotNow(String),
}

/// What the pods of a node have of it.
pub(super) struct Room {
    capacity: Amounts,
    most_pods: i64,
    /// By the uids of the pods.
    taken: Mutex<BTreeMap<String, Amounts>>,
}

impl Room {
    /// The room that a machine has for pods, beside what is kept for others.
    pub(super) fn of_node(machine: &MachineInfo, config: &Config) -> Self {
        let (cpu, memory) = config.reserved;
        let left = |all: u64, kept: u64| i64::try_from(all.saturating_sub(kept)).unwrap_or(i64::MAX);
        let capacity =
            Amounts { cpu: left(machine.cpu_millis, cpu), memory: left(machine.memory_bytes, memory) };
        Self::new(capacity, config.max_pods.unwrap_or(machine.pods))
    }

    fn new(capacity: Amounts, most_pods: u32) -> Self {
        Self { capacity, most_pods: most_pods.into(), taken: Mutex::default() }
    }

    /// A pod is here already, and has what it has.
    pub(super) fn note(&self, uid: &str, held: Amounts) {
        self.lock().insert(uid.to_owned(), held);
    }

    /// Gives a pod that is to begin what it asks for.
    ///
    /// # Errors
    /// That there is not so much: the pod has failed.
    pub(super) fn admit(&self, uid: &str, asked: Amounts) -> Result<(), Failure> {
        let mut taken = self.lock();
        if taken.contains_key(uid) {
            return Ok(());
        }
        let failed = |what: &str, why: String| Failure {
            reason: format!("OutOf{what}"),
            message: format!("Pod was rejected: {why}"),
            grace: None,
        };
        let pods = i64::try_from(taken.len()).unwrap_or(i64::MAX);
        fits("pods", 1, pods, self.most_pods).map_err(|why| failed("pods", why))?;
        let used = sum(taken.values());
        fits("cpu", asked.cpu, used.cpu, self.capacity.cpu).map_err(|why| failed("cpu", why))?;
        fits("memory", asked.memory, used.memory, self.capacity.memory)
            .map_err(|why| failed("memory", why))?;
        taken.insert(uid.to_owned(), asked);
        Ok(())
    }

    /// Gives a pod that is here what it asks for by now.
    ///
    /// # Errors
    /// That there is not so much, now or ever: the pod keeps what it has.
    pub(super) fn resize(&self, uid: &str, asked: Amounts) -> Result<(), NoRoom> {
        let mut taken = self.lock();
        let both = [("memory", asked.memory, self.capacity.memory), ("cpu", asked.cpu, self.capacity.cpu)];
        for (what, asked, capacity) in both {
            if asked > capacity {
                return Err(NoRoom::Never(format!(
                    "Node didn't have enough capacity: {what}, requested: {asked}, capacity: {capacity}"
                )));
            }
        }
        let used = sum(taken.iter().filter(|(other, _)| *other != uid).map(|(_, amounts)| amounts));
        fits("cpu", asked.cpu, used.cpu, self.capacity.cpu).map_err(NoRoom::NotNow)?;
        fits("memory", asked.memory, used.memory, self.capacity.memory).map_err(NoRoom::NotNow)?;
        taken.insert(uid.to_owned(), asked);
        Ok(())
    }

    /// A pod has nothing any more, nor will.
    pub(super) fn free(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Amounts>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Amounts>) -> Amounts {
    all.fold(Amounts::default(), |sum, one| Amounts {
        cpu: sum.cpu.saturating_add(one.cpu),
        memory: sum.memory.saturating_add(one.memory),
    })
}

/// Whether there is so much beside what is used. What asks for nothing fits everywhere.
fn fits(what: &str, asked: i64, used: i64, capacity: i64) -> Result<(), String> {
    if asked <= 0 || asked.saturating_add(used) <= capacity {
        return Ok(());
    }
    Err(format!(
        "Node didn't have enough resource: {what}, requested: {asked}, used: {used}, capacity: {capacity}"
    ))
}

/// What a pod asks for by now.
pub(super) fn asked(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let amount = |what: &str| requested_by(spec, what, &|container| request(container, what));
    Amounts { cpu: amount("cpu"), memory: amount("memory") }
}

/// What a pod has that another agent began: what it asks for, or what its containers were given, whichever is more; of one that
/// cannot be given what it asks for, what it was given.
pub(super) fn held(pod: &Pod) -> Amounts {
    Amounts { cpu: held_of(pod, "cpu"), memory: held_of(pod, "memory") }
}

fn held_of(pod: &Pod, what: &str) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let waits =
        conditions.into_iter().any(|condition| condition.type_ == PENDING && condition.status == "True");
    let amount = |container: &Wanted| {
        let given = reported(pod, &container.name)
            .and_then(|status| quantity(status.resources.as_ref()?.requests.as_ref()?, what));
        let asked = request(container, what);
        if waits && given.is_some() { given } else { given.max(asked) }
    };
    let whole = pod.status.as_ref().and_then(|status| status.resources.clone());
    let with_given;
    let spec = match whole {
        Some(given) if waits => {
            with_given = PodSpec { resources: Some(given), ..spec.clone() };
            &with_given
        }
        _ => spec,
    };
    requested_by(spec, what, &amount)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_waits_has_what_it_was_given() {
        let pod = |conditions: serde_json::Value| -> Pod {
            let status = json!({ "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "resources": { "requests": { "cpu": "100m" } } });
            serde_json::from_value(json!({
                "spec": { "containers": [
                    { "name": "c", "resources": { "requests": { "cpu": "900", "memory": "1Mi" } } },
                    { "name": "d", "resources": { "requests": { "cpu": "50m" } } },
                ] },
                "status": { "containerStatuses": [status], "conditions": conditions },
            }))
            .unwrap()
        };
        let amounts = |cpu: i64| Amounts { cpu, memory: 1 << 20 };
        assert_eq!(held(&pod(json!([]))), amounts(900_050));
        assert_eq!(held(&pod(json!([{ "type": "PodResizePending", "status": "True" }]))), amounts(150));
    }

    #[test]
    fn there_is_room_for_so_much_and_no_more() {
        let room = Room::new(Amounts { cpu: 2000, memory: 100 }, 3);
        let of = |cpu, memory| Amounts { cpu, memory };
        let refused = |uid: &str, asked: Amounts| {
            room.admit(uid, asked).err().map(|failure| (failure.reason, failure.message))
        };
        assert_eq!(refused("a", of(1500, 60)), None);
        assert_eq!(refused("a", of(1500, 60)), None, "it has that already");
        let short = "Pod was rejected: Node didn't have enough resource: ";
        let told = |reason: &str, figures: &str| Some((reason.to_owned(), format!("{short}{figures}")));
        let cpu = "cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(refused("b", of(501, 0)), told("OutOfcpu", cpu));
        let memory = "memory, requested: 41, used: 60, capacity: 100";
        assert_eq!(refused("b", of(0, 41)), told("OutOfmemory", memory));
        assert_eq!(refused("b", of(500, 40)), None);
        assert_eq!(refused("c", of(0, 0)), None, "what asks for nothing fits");
        let pods = "pods, requested: 1, used: 3, capacity: 3";
        assert_eq!(refused("d", of(0, 0)), told("OutOfpods", pods));
        let never = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
        assert_eq!(room.resize("b", of(2001, 1)), Err(NoRoom::Never(never.into())));
        let later = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(room.resize("b", of(501, 40)), Err(NoRoom::NotNow(later.into())));
        assert_eq!(room.resize("a", of(1000, 60)), Ok(()));
        assert_eq!(room.resize("b", of(1000, 40)), Ok(()));
        room.free("a");
        assert_eq!(refused("d", of(1000, 60)), None);
    }
}
