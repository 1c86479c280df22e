//! What the pods of a node have of it, and whether there is room for one more, or for one that is to have more.
//!
//! The scheduler looks for room too. But a pod may be bound to a node without it, and one that is resized stays where it is:
//! what these ask for nobody but the node has looked at.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};

use super::admission::{Fault, Newcomer, Used, short};
use super::config::Config;
use super::model::reported;
use super::resize::PENDING;
use super::resources::{quantity, request, requested_by};
use crate::runtime::MachineInfo;
use crate::scheduler::{HostPort, NodeSpec, PodInfo, Resources};
use crate::watch::Entry;

/// Amounts of what can be had more or less of while a pod runs: thousandths of a core, and bytes of memory.
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

/// What a pod has of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    amounts: Resources,
    ports: Vec<HostPort>,
}

impl Held {
    /// What a pod that begins has.
    fn by(pod: &Newcomer) -> Self {
        Self { amounts: pod.info.requests.needed.clone(), ports: pod.info.ports.clone() }
    }
}

/// What the pods of a node have of it.
pub(super) struct Room {
    capacity: Resources,
    most_pods: i64,
    /// By the uids of the pods.
    taken: Mutex<BTreeMap<String, Held>>,
}

impl Room {
    /// The room that a machine has for pods, beside what is kept for others.
    pub(super) fn of_node(machine: &MachineInfo, config: &Config) -> Self {
        let (cpu, memory) = config.reserved;
        let left = |all: u64, kept: u64| i64::try_from(all.saturating_sub(kept)).unwrap_or(i64::MAX);
        let capacity = Resources {
            milli_cpu: left(machine.cpu_millis, cpu),
            memory: left(machine.memory_bytes, memory),
            ephemeral_storage: left(machine.ephemeral_storage_bytes, 0),
            others: Vec::new(),
        };
        Self::new(capacity, config.max_pods.unwrap_or(machine.pods))
    }

    fn new(capacity: Resources, most_pods: u32) -> Self {
        Self { capacity, most_pods: most_pods.into(), taken: Mutex::default() }
    }

    /// A pod is here already, and has what it has.
    pub(super) fn note(&self, uid: &str, held: Held) {
        self.lock().insert(uid.to_owned(), held);
    }

    /// Gives a pod that is to begin what it asks for, on the node as it is.
    ///
    /// # Errors
    /// What keeps it from being let in.
    pub(super) fn admit(&self, uid: &str, pod: &Newcomer, node: &NodeSpec) -> Result<(), Vec<Fault>> {
        let mut taken = self.lock();
        if taken.contains_key(uid) {
            return Ok(());
        }
        let faults = pod.faults(node, &used(taken.values()), &self.capacity, self.most_pods);
        if !faults.is_empty() {
            return Err(faults);
        }
        taken.insert(uid.to_owned(), Held::by(pod));
        Ok(())
    }

    /// Gives a pod what it asks for though others have it still, and says who they are: those have to go. `choose` says who, by
    /// what the pod lacks and by what each pod has. Nobody else is let in meanwhile.
    ///
    /// # Errors
    /// Why nobody goes: the pod is given nothing.
    pub(super) fn promise<E>(
        &self,
        uid: &str,
        pod: &Newcomer,
        node: &NodeSpec,
        choose: impl FnOnce(&[Fault], &dyn Fn(&str) -> Option<Resources>) -> Result<Vec<String>, E>,
    ) -> Result<Vec<String>, E> {
        let mut taken = self.lock();
        let faults = pod.faults(node, &used(taken.values()), &self.capacity, self.most_pods);
        let has = |uid: &str| taken.get(uid).map(|held| held.amounts.clone());
        let chosen = choose(&faults, &has)?;
        taken.insert(uid.to_owned(), Held::by(pod));
        Ok(chosen)
    }

    /// Whether a pod has anything.
    pub(super) fn is_held_by(&self, uid: &str) -> bool {
        self.lock().contains_key(uid)
    }

    /// Gives a pod that is here what it asks for by now.
    ///
    /// # Errors
    /// That there is not so much, now or ever: the pod keeps what it has.
    pub(super) fn resize(&self, uid: &str, asked: Amounts) -> Result<(), NoRoom> {
        let mut taken = self.lock();
        let Resources { milli_cpu, memory, .. } = self.capacity;
        for (what, asked, capacity) in [("memory", asked.memory, memory), ("cpu", asked.cpu, milli_cpu)] {
            if asked > capacity {
                return Err(NoRoom::Never(format!(
                    "Node didn't have enough capacity: {what}, requested: {asked}, capacity: {capacity}"
                )));
            }
        }
        let used = used(taken.iter().filter(|(other, _)| *other != uid).map(|(_, held)| held)).amounts;
        let short = short("cpu", asked.cpu, used.milli_cpu, milli_cpu)
            .or_else(|| short("memory", asked.memory, used.memory, memory));
        if let Some(short) = short {
            return Err(NoRoom::NotNow(short.to_string()));
        }
        let held = &mut taken.entry(uid.to_owned()).or_default().amounts;
        (held.milli_cpu, held.memory) = (asked.cpu, asked.memory);
        Ok(())
    }

    /// A pod has nothing any more, nor will.
    pub(super) fn free(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used<'a>(all: impl Iterator<Item = &'a Held>) -> Used {
    all.fold(Used::default(), |mut used, one| {
        used.pods += 1;
        used.amounts.add(&one.amounts);
        used.ports.extend_from_slice(&one.ports);
        used
    })
}

/// What can be had more or less of, as a pod asks for by now.
pub(super) fn asked(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let amount = |what: &str| requested_by(spec, what, &|container| request(container, what));
    Amounts { cpu: amount("cpu"), memory: amount("memory") }
}

/// What a pod has that another agent began: what it asks for, or what its containers were given, whichever is more; of one that
/// cannot be given what it asks for, what it was given.
pub(super) fn held(entry: &Entry, pod: &Pod) -> Held {
    let info = PodInfo::from_entry(entry);
    let (mut amounts, ports) = info.map_or_else(
        |error| {
            tracing::warn!(pod = %entry.name(), %error, "what the pod has of the node is not known in full");
            Default::default()
        },
        |info| (info.requests.needed, info.ports),
    );
    (amounts.milli_cpu, amounts.memory) = (held_of(pod, "cpu"), held_of(pod, "memory"));
    Held { amounts, ports }
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
    use crate::watch::IndexedFields;

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
        let waits = json!([{ "type": "PodResizePending", "status": "True" }]);
        for (conditions, cpu) in [(json!([]), 900_050), (waits, 150)] {
            let pod = pod(conditions);
            assert_eq!((held_of(&pod, "cpu"), held_of(&pod, "memory")), (cpu, 1 << 20));
        }
    }

    fn newcomer(cpu: i64, memory: i64) -> Newcomer {
        let requests = json!({ "cpu": format!("{cpu}m"), "memory": memory.to_string() });
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "containers": [{ "name": "c", "resources": { "requests": requests } }] } });
        let entry = Entry::of(&pod, &IndexedFields::none()).unwrap();
        Newcomer::of(&entry, &serde_json::from_value(pod).unwrap(), |_| false).unwrap()
    }

    #[test]
    fn there_is_room_for_so_much_and_no_more() {
        let capacity = Resources { milli_cpu: 2000, memory: 100, ..Resources::default() };
        let room = Room::new(capacity, 3);
        let refused = |uid: &str, (cpu, memory): (i64, i64)| {
            let admitted = room.admit(uid, &newcomer(cpu, memory), &NodeSpec::default());
            admitted.err().map(|faults| (faults[0].reason(), faults[0].to_string()))
        };
        assert_eq!(refused("a", (1500, 60)), None);
        assert_eq!(refused("a", (1500, 60)), None, "it has that already");
        let short = "Node didn't have enough resource: ";
        let told = |reason: &str, figures: &str| Some((reason.to_owned(), format!("{short}{figures}")));
        let cpu = "cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(refused("b", (501, 0)), told("OutOfcpu", cpu));
        let memory = "memory, requested: 41, used: 60, capacity: 100";
        assert_eq!(refused("b", (0, 41)), told("OutOfmemory", memory));
        assert_eq!(refused("b", (500, 40)), None);
        assert_eq!(refused("c", (0, 0)), None, "what asks for nothing fits");
        let pods = "pods, requested: 1, used: 3, capacity: 3";
        assert_eq!(refused("d", (0, 0)), told("OutOfpods", pods));
        let of = |cpu, memory| Amounts { cpu, memory };
        let never = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
        assert_eq!(room.resize("b", of(2001, 1)), Err(NoRoom::Never(never.into())));
        let later = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(room.resize("b", of(501, 40)), Err(NoRoom::NotNow(later.into())));
        assert_eq!(room.resize("a", of(1000, 60)), Ok(()));
        assert_eq!(room.resize("b", of(1000, 40)), Ok(()));
        room.free("a");
        assert_eq!(refused("d", (1000, 60)), None);
    }
}
