//! When a node runs short of memory, disk or processes: what it says, and which pod has to go. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::backoff::between;
use super::model::{Failure, LEAST_GRACE, is_terminal};
use super::resources::{request, request_of_whole};
use super::thresholds::{Signal, Thresholds};
use crate::quantity::{Format, Quantity};
use crate::runtime::MachineStats;

/// A condition holds for so long after it was found last, so that pods do not come and go.
const TRANSITION: Duration = Duration::from_secs(300);
/// Pods of this priority are never evicted: the system needs them.
const CRITICAL: i32 = 2_000_000_000;

/// What a node runs short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Short {
    /// Memory.
    Memory,
    /// Disk: bytes or inodes.
    Disk,
    /// Processes.
    Processes,
}

/// A threshold that is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// What is short.
    pub short: Short,
    /// What Kubernetes calls the resource: `memory`, `ephemeral-storage`, `inodes`, `pids`.
    resource: &'static str,
    threshold: String,
    available: String,
}

/// The thresholds that are met, in the order in which they are looked at.
pub fn met(stats: &MachineStats, thresholds: &Thresholds) -> Vec<Met> {
    let met = thresholds.met(stats).map(|(signal, available, least)| {
        let (short, resource, bytes) = match signal {
            Signal::Memory => (Short::Memory, "memory", true),
            Signal::Disk | Signal::ImageDisk => (Short::Disk, "ephemeral-storage", true),
            Signal::Inodes => (Short::Disk, "inodes", false),
            Signal::Processes => (Short::Processes, "pids", false),
        };
        Met { short, resource, threshold: amount(least, bytes), available: amount(available, bytes) }
    });
    met.collect()
}

/// An amount as Kubernetes writes it.
fn amount(amount: u64, bytes: bool) -> String {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    match bytes {
        true => Quantity::from_value(amount / 1024 * 1024, Format::BinarySi).to_string(),
        false => amount.to_string(),
    }
}

/// What a node has run short of, and when it was found last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pressure(BTreeMap<Short, Timestamp>);

impl Pressure {
    /// Takes what was found now.
    pub fn take(&mut self, met: &[Met], now: Timestamp) {
        self.0.retain(|_, at| between(*at, now) < TRANSITION);
        self.0.extend(met.iter().map(|met| (met.short, now)));
    }

    /// All that the node is said to be short of.
    pub fn held(&self) -> Vec<Short> {
        self.0.keys().copied().collect()
    }

    /// Whether the node is said to be short of it.
    pub fn holds(&self, short: Short) -> bool {
        self.0.contains_key(&short)
    }
}

/// A pod, and what it takes of what is short, in bytes; 0 where that is not counted.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The pod.
    pub pod: Pod,
    /// By container.
    pub used: BTreeMap<String, u64>,
}

impl Tenant {
    fn uses(&self) -> u64 {
        self.used.values().sum()
    }

    fn asked(&self, what: &str) -> u64 {
        if let Some(whole) = self.pod.spec.as_ref().and_then(|spec| request_of_whole(spec, what)) {
            return whole.value().max(0).unsigned_abs();
        }
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        let asked = containers.filter_map(|container| request(container, what));
        asked.map(|amount| amount.value().max(0).unsigned_abs()).sum()
    }

    fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default()
    }

    /// Whether it may be evicted at all.
    fn may_go(&self) -> bool {
        let gone = is_terminal(&self.pod) || self.pod.metadata.deletion_timestamp.is_some();
        !gone && !is_critical(&self.pod)
    }
}

/// Whether the system needs a pod, by its priority.
pub fn is_critical(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default() >= CRITICAL
}

/// Who has to go first, and what is said of it: first those that take more than they asked for, of these the least
/// important, of these the one that takes most beyond what it asked for.
pub fn victim<'a>(tenants: &'a [Tenant], met: &Met) -> Option<(&'a Pod, Failure)> {
    let rank = |tenant: &&Tenant| {
        let (uses, asked) = (tenant.uses(), tenant.asked(met.resource));
        (uses > asked, Reverse(tenant.priority()), i128::from(uses) - i128::from(asked))
    };
    let found = tenants.iter().filter(|tenant| tenant.may_go()).max_by_key(rank)?;
    let failure = Failure {
        reason: EVICTED.into(),
        message: format!(
            "The node was low on resource: {}. Threshold quantity: {}, available: {}. {}",
            met.resource,
            met.threshold,
            met.available,
            consumption(found, met)
        ),
        grace: Some(LEAST_GRACE),
    };
    Some((&found.pod, failure))
}

/// The reason of a pod that had to go.
pub const EVICTED: &str = "Evicted";

/// Which containers take more than they asked for.
fn consumption(tenant: &Tenant, met: &Met) -> String {
    let mut text = String::new();
    for container in tenant.pod.spec.iter().flat_map(|spec| &spec.containers) {
        let asked = request(container, met.resource).map_or(0, |amount| amount.value().max(0).unsigned_abs());
        let Some(used) = tenant.used.get(&container.name).filter(|used| **used > asked) else { continue };
        text.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {}. ",
            container.name,
            amount(*used, true),
            amount(asked, true),
            met.resource
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::DiskStats;
    use serde_json::json;

    fn stats(memory: u64, disk: u64) -> MachineStats {
        MachineStats {
            at: Timestamp::UNIX_EPOCH,
            started_at: None,
            cpu_nanos: 0,
            memory_working_set_bytes: 0,
            memory_usage_bytes: 0,
            memory_available_bytes: memory,
            disk: DiskStats {
                capacity_bytes: 1000 << 20,
                available_bytes: disk,
                inodes: 1000,
                inodes_free: 40,
            },
            processes: 10,
            most_processes: 100,
        }
    }

    fn tenant(name: &str, priority: i32, asked: &str, used: u64) -> Tenant {
        let pod = json!({"metadata": {"name": name}, "spec": {"priority": priority,
            "containers": [{"name": "app", "resources": {"requests": {"memory": asked}}}]}});
        Tenant { pod: serde_json::from_value(pod).unwrap(), used: [("app".to_owned(), used << 20)].into() }
    }

    #[test]
    fn thresholds_are_met_when_less_is_left() {
        let names = |stats: &MachineStats, thresholds: &Thresholds| -> Vec<&'static str> {
            met(stats, thresholds).iter().map(|met| met.resource).collect()
        };
        let usual = Thresholds::default();
        let of = |text: &str| text.parse::<Thresholds>().unwrap();
        assert_eq!(names(&stats(100 << 20, 150 << 20), &usual), ["inodes"]);
        assert_eq!(names(&stats(99 << 20, 149 << 20), &usual), ["memory", "ephemeral-storage", "inodes"]);
        assert_eq!(names(&stats(0, 0), &Thresholds::none()), [""; 0]);
        assert_eq!(names(&stats(0, 0), &of("pid.available<95%")), ["pids"]);
        assert_eq!(names(&stats(0, 0), &of("pid.available<90")), [""; 0]);
        let disk = of("nodefs.available<10%");
        assert_eq!(names(&stats(0, 100 << 20), &disk), [""; 0]);
        assert_eq!(names(&stats(0, 99 << 20), &disk), ["ephemeral-storage"]);
    }

    #[test]
    fn a_condition_holds_for_a_while_after_it_was_found() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let short = met(&stats(0, 500 << 20), &"memory.available<100Mi".parse().unwrap());
        let mut pressure = Pressure::default();
        pressure.take(&short, at(0));
        pressure.take(&[], at(299));
        assert!(pressure.holds(Short::Memory) && !pressure.holds(Short::Disk));
        pressure.take(&[], at(300));
        assert!(!pressure.holds(Short::Memory));
    }

    #[test]
    fn who_takes_more_than_it_asked_for_goes_before_who_is_less_important() {
        let low = met(&stats(50 << 20, 500 << 20), &Thresholds::default()).remove(0);
        for (tenants, first) in [
            (vec![tenant("greedy", 10, "10Mi", 20), tenant("modest", 0, "100Mi", 90)], Some("greedy")),
            (vec![tenant("high", 10, "0", 90), tenant("low", 5, "0", 20)], Some("low")),
            (vec![tenant("some", 0, "10Mi", 20), tenant("more", 0, "10Mi", 21)], Some("more")),
            (vec![tenant("system", 2_000_000_000, "0", 90)], None),
            (vec![], None),
        ] {
            let found = victim(&tenants, &low);
            assert_eq!(found.and_then(|(pod, _)| pod.metadata.name.clone()).as_deref(), first);
        }
        let tenants = [tenant("greedy", 0, "10Mi", 20)];
        assert_eq!(
            victim(&tenants, &low).unwrap().1.message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container app was using \
             20Mi, request is 10Mi, has larger consumption of memory. "
        );
    }
}
