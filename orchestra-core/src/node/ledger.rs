//! Which containers hold which devices. What is held is noted among the pod's files too, so that an agent that begins anew
//! gives no device twice, and gives a container that starts again those that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::plugins::{Choice, Devices, Given};

/// The file of a pod in which it is noted what it holds.
pub(super) const NOTE: &str = "devices.json";
/// The longest such note.
pub(super) const LONGEST_NOTE: usize = 4 << 20;

/// What a container holds of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) devices: Vec<String>,
    /// What it is given with them, once the plugin has said that.
    pub(super) given: Option<Given>,
}

/// What the containers of a pod hold, by container and resource.
pub(super) type OfPod = BTreeMap<String, BTreeMap<String, Held>>;

/// What is held, by the uids of pods.
#[derive(Default)]
pub(super) struct Ledger {
    held: Mutex<BTreeMap<String, OfPod>>,
    /// Held while devices are chosen.
    pub(super) choosing: tokio::sync::Mutex<()>,
}

impl Ledger {
    /// What a container holds of a resource, if it does.
    pub(super) fn get(&self, uid: &str, container: &str, resource: &str) -> Option<Held> {
        self.lock().get(uid)?.get(container)?.get(resource).cloned()
    }

    /// What the containers of a pod hold.
    pub(super) fn of_pod(&self, uid: &str) -> OfPod {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// The pods that hold any.
    pub(super) fn pods(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn put(&self, uid: &str, container: &str, resource: &str, held: Held) {
        let mut all = self.lock();
        let of_container = all.entry(uid.to_owned()).or_default().entry(container.to_owned()).or_default();
        of_container.insert(resource.to_owned(), held);
    }

    /// A note was found of a pod.
    pub(super) fn noted(&self, uid: &str, noted: OfPod) {
        self.lock().entry(uid.to_owned()).or_insert(noted);
    }

    /// A container could not be given what was chosen for it.
    pub(super) fn take_back(&self, uid: &str, container: &str, resource: &str) {
        if let Some(held) = self.lock().get_mut(uid).and_then(|pod| pod.get_mut(container)) {
            held.remove(resource);
        }
    }

    /// Nothing of a pod runs any more, nor will.
    pub(super) fn free(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// All devices of a resource that somebody holds.
    pub(super) fn taken(&self, resource: &str) -> BTreeSet<String> {
        let all = self.lock();
        let held = all.values().flat_map(BTreeMap::values).filter_map(|held| held.get(resource));
        held.flat_map(|held| held.devices.iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, OfPod>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From which devices of a resource some are chosen: those that the pod has and can use again first, and those that nobody has.
/// Why there are not enough is an answer.
pub(super) fn choice(
    resource: &str,
    devices: &Devices,
    taken: &BTreeSet<String>,
    reusable: &[String],
    size: usize,
) -> Result<Choice, String> {
    if devices.healthy.is_empty() {
        return Err(format!("no healthy devices present; cannot allocate unhealthy devices {resource}"));
    }
    let again = reusable.iter().filter(|device| devices.healthy.contains(*device));
    let must_include: Vec<String> = again.take(size).cloned().collect();
    let free = devices.healthy.iter().filter(|device| !taken.contains(*device)).cloned();
    let available: Vec<String> = must_include.iter().cloned().chain(free).collect();
    if available.len() < size {
        return Err(format!(
            "requested number of devices unavailable for {resource}. Requested: {size}, Available: {}",
            available.len()
        ));
    }
    Ok(Choice { available, must_include, size })
}

/// The devices of a choice, by what a plugin prefers: what it may not choose is not chosen, and what it leaves open is filled up.
pub(super) fn chosen(choice: &Choice, preferred: Vec<String>) -> Vec<String> {
    let mut chosen = choice.must_include.clone();
    let preferred = preferred.into_iter().filter(|device| choice.available.contains(device));
    for device in preferred.chain(choice.available.iter().cloned()) {
        if chosen.len() < choice.size && !chosen.contains(&device) {
            chosen.push(device);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn set(of: &[&str]) -> BTreeSet<String> {
        names(of).into_iter().collect()
    }

    #[test]
    fn devices_are_those_that_nobody_has_and_the_pods_own() {
        let devices = Devices { healthy: set(&["a", "b", "c", "d"]), unhealthy: set(&["x"]) };
        let of = |taken: &[&str], reusable: &[&str], size| {
            choice("r.io/d", &devices, &set(taken), &names(reusable), size)
        };
        let made = of(&["a", "x"], &[], 2).unwrap();
        assert_eq!((&made.available, &made.must_include), (&names(&["b", "c", "d"]), &names(&[])));
        assert_eq!(chosen(&made, names(&["d", "a", "x"])), ["d", "b"], "what it may not have is filled up");
        assert_eq!(chosen(&made, Vec::new()), ["b", "c"]);
        let made = of(&["a", "b", "c"], &["c", "x", "b"], 3).unwrap();
        assert_eq!((&made.available, &made.must_include), (&names(&["c", "b", "d"]), &names(&["c", "b"])));
        assert_eq!(chosen(&made, names(&["d", "b", "c"])), ["c", "b", "d"]);
        assert_eq!(
            of(&["a", "b", "c"], &[], 2).unwrap_err(),
            "requested number of devices unavailable for r.io/d. Requested: 2, Available: 1"
        );
        let none = choice("r.io/d", &Devices::default(), &set(&[]), &[], 1).unwrap_err();
        assert_eq!(none, "no healthy devices present; cannot allocate unhealthy devices r.io/d");
    }
}
