//! From processor time to use: how much of a core something has used between two looks at it. Pure.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::runtime::{ContainerStats, MachineStats};

/// Processor time used until a moment, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) at: Timestamp,
    pub(super) nanos: u64,
}

/// How much of a core was used, in billionths, and over how many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) nano_cores: u64,
    pub(super) window_millis: u64,
}

/// A container, in all its lives.
pub(super) type Key = (String, String);

/// One look at everything.
#[derive(Clone, Debug)]
pub(super) struct Look {
    machine: Counter,
    containers: HashMap<Key, Counter>,
}

impl Look {
    pub(super) fn new(machine: &MachineStats, containers: &[ContainerStats]) -> Self {
        let each = containers.iter().map(|one| (key(one), counter(one)));
        Self { machine: Counter { at: machine.at, nanos: machine.cpu_nanos }, containers: each.collect() }
    }

    pub(super) fn at(&self) -> Timestamp {
        self.machine.at
    }

    /// The use of the machine since this look.
    pub(super) fn machine_since(&self, now: &MachineStats) -> Option<Rate> {
        between(self.machine, Counter { at: now.at, nanos: now.cpu_nanos })
    }

    /// The use of a container since this look, or since it began if that was later.
    pub(super) fn since(&self, now: &ContainerStats, started: Option<Timestamp>) -> Option<Rate> {
        let before = self.containers.get(&key(now)).copied();
        let began = started.map(|at| Counter { at, nanos: 0 });
        let seen = before.and_then(|before| between(before, counter(now)));
        seen.or_else(|| {
            between(began.filter(|began| began.at >= self.at() || before.is_some())?, counter(now))
        })
    }
}

fn key(of: &ContainerStats) -> Key {
    (of.pod.uid.clone(), of.container.clone())
}

fn counter(of: &ContainerStats) -> Counter {
    Counter { at: of.at, nanos: of.cpu_nanos }
}

/// The use between two looks; `None` if no time has passed, or the count began anew.
pub(super) fn between(before: Counter, now: Counter) -> Option<Rate> {
    let passed = now.at.duration_since(before.at);
    let nanos = u128::try_from(passed.as_nanos()).ok().filter(|nanos| *nanos > 0)?;
    let used = u128::from(now.nanos.checked_sub(before.nanos)?);
    let nano_cores = u64::try_from(used * 1_000_000_000 / nanos).ok()?;
    Some(Rate { nano_cores, window_millis: u64::try_from(nanos / 1_000_000).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::PodRef;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn counted(seconds: i64, nanos: u64) -> Counter {
        Counter { at: at(seconds), nanos }
    }

    #[test]
    fn use_is_time_over_time() {
        for (before, now, nano_cores) in [
            (counted(0, 0), counted(10, 5_000_000_000), Some(500_000_000)),
            (counted(0, 0), counted(10, 25_000_000_000), Some(2_500_000_000)),
            (counted(0, 7), counted(10, 7), Some(0)),
            (counted(0, 7), counted(10, 6), None),
            (counted(5, 0), counted(5, 1), None),
            (counted(6, 0), counted(5, 1), None),
            (counted(0, 0), counted(1, u64::MAX), Some(u64::MAX)),
        ] {
            assert_eq!(between(before, now).map(|rate| rate.nano_cores), nano_cores, "{before:?} {now:?}");
        }
        assert_eq!(between(counted(0, 0), counted(10, 1)).unwrap().window_millis, 10_000);
    }

    #[test]
    fn a_container_that_began_later_counts_from_its_beginning() {
        let stats = |seconds, cpu_nanos| ContainerStats {
            pod: PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() },
            container: "c".into(),
            at: at(seconds),
            cpu_nanos,
            memory_working_set_bytes: 0,
            disk_bytes: 0,
        };
        let machine = |seconds| MachineStats {
            at: at(seconds),
            started_at: None,
            cpu_nanos: 0,
            memory_working_set_bytes: 0,
            memory_usage_bytes: 0,
            memory_available_bytes: 0,
            disk: Default::default(),
            processes: 0,
            most_processes: 0,
        };
        let cores = |rate: Option<Rate>| rate.map(|rate| (rate.nano_cores / 1_000_000, rate.window_millis));
        let empty = Look::new(&machine(10), &[]);
        let second = 1_000_000_000;
        assert_eq!(cores(empty.since(&stats(20, second), Some(at(18)))), Some((500, 2000)));
        assert_eq!(cores(empty.since(&stats(20, second), Some(at(5)))), None, "it was there and not seen");
        assert_eq!(cores(empty.since(&stats(20, second), None)), None);
        let seen = Look::new(&machine(10), &[stats(10, 5 * second)]);
        assert_eq!(cores(seen.since(&stats(20, 6 * second), Some(at(0)))), Some((100, 10_000)));
        assert_eq!(cores(seen.since(&stats(20, second), Some(at(16)))), Some((250, 4000)), "another life");
    }
}
