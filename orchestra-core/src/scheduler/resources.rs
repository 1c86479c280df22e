//! What pods ask for and what nodes have, as integers that compare in a nanosecond.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::quantity::Quantity;

use super::view::{ContainerView, PodSpecView};

/// Processor time assumed for a container that names none, in milli-CPUs; for scoring only.
const DEFAULT_MILLI_CPU: i64 = 100;
/// Memory assumed for a container that names none, in bytes; for scoring only.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of the resources the scheduler counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processor time in milli-CPUs.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local disk in bytes.
    pub ephemeral_storage: i64,
    /// Everything else (huge pages, devices), by name, in whole units, sorted. Mostly empty.
    pub others: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// What there is of the three that every node has.
    pub(crate) fn common(&self) -> Common {
        let Self { milli_cpu, memory, ephemeral_storage, .. } = *self;
        Common { milli_cpu, memory, ephemeral_storage }
    }

    /// Reads a `requests`, `allocatable` or `overhead` map. The pod count of a node is not among the result.
    pub(crate) fn of(quantities: &BTreeMap<String, Quantity>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in quantities {
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => {}
                other => resources.others.push((other.into(), quantity.value())),
            }
        }
        resources
    }

    /// How much of a resource outside the common three, by name.
    pub fn other(&self, name: &str) -> i64 {
        self.others.iter().find(|(n, _)| &**n == name).map_or(0, |(_, amount)| *amount)
    }

    /// Changes how much of a resource there is, by name.
    pub(crate) fn set(&mut self, name: &str, amount: i64) {
        match name {
            "cpu" => self.milli_cpu = amount,
            "memory" => self.memory = amount,
            "ephemeral-storage" => self.ephemeral_storage = amount,
            other => self.others.iter_mut().filter(|(n, _)| &**n == other).for_each(|(_, a)| *a = amount),
        }
    }

    /// Whether nothing at all is asked for.
    pub fn is_zero(&self) -> bool {
        let common = self.milli_cpu | self.memory | self.ephemeral_storage;
        common == 0 && self.others.iter().all(|(_, amount)| *amount == 0)
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.combine(more, i64::saturating_add);
    }

    pub(crate) fn subtract(&mut self, less: &Self) {
        self.combine(less, i64::saturating_sub);
    }

    fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.others {
            match self.others.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(at) => self.others[at].1 = f(self.others[at].1, *amount),
                Err(at) => self.others.insert(at, (name.clone(), f(0, *amount))),
            }
        }
    }
}

/// Amounts of the three resources that every node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) milli_cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral_storage: i64,
}

/// What a pod asks for in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// What must be free on a node.
    pub needed: Resources,
    /// Milli-CPUs with a default for containers that name none, so that they count when nodes are compared.
    pub assumed_milli_cpu: i64,
    /// Bytes of memory, likewise.
    pub assumed_memory: i64,
}

impl Requests {
    /// The largest amount in use at any time of the pod's life: its sidecars and containers together, or one init
    /// container with the sidecars started before it, whichever is more; and the sandbox's overhead on top.
    pub(crate) fn of(spec: &PodSpecView) -> Self {
        let pod_level = spec.resources.as_ref().map(|resources| &resources.requests);
        let assume_cpu = pod_level.is_none_or(|r| !r.contains_key("cpu"));
        let assume_memory = pod_level.is_none_or(|r| !r.contains_key("memory"));
        let mut needed = peak(spec, |_| {});
        let mut assumed = peak(spec, |r| {
            if r.milli_cpu == 0 && assume_cpu {
                r.milli_cpu = DEFAULT_MILLI_CPU;
            }
            if r.memory == 0 && assume_memory {
                r.memory = DEFAULT_MEMORY;
            }
        });
        if let Some(requests) = pod_level {
            let whole = Resources::of(requests);
            for total in [&mut needed, &mut assumed] {
                replace_with_pod_level(total, &whole, requests);
            }
        }
        let overhead = Resources::of(&spec.overhead);
        needed.add(&overhead);
        assumed.add(&overhead);
        Self { needed, assumed_milli_cpu: assumed.milli_cpu, assumed_memory: assumed.memory }
    }
}

/// Requests of the pod as a whole count instead of its containers', resource by resource.
fn replace_with_pod_level(total: &mut Resources, whole: &Resources, named: &BTreeMap<String, Quantity>) {
    if named.contains_key("cpu") {
        total.milli_cpu = whole.milli_cpu;
    }
    if named.contains_key("memory") {
        total.memory = whole.memory;
    }
    for (name, amount) in &whole.others {
        total.others.retain(|(n, _)| n != name);
        total.others.push((name.clone(), *amount));
    }
    total.others.sort();
}

fn peak(spec: &PodSpecView, adjust: impl Fn(&mut Resources)) -> Resources {
    let of = |container: &ContainerView| {
        let requests = container.resources.as_ref().map(|resources| &resources.requests);
        let mut requests = requests.map(Resources::of).unwrap_or_default();
        adjust(&mut requests);
        requests
    };
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in &spec.init_containers {
        let mut now = of(container);
        now.add(&sidecars);
        if container.is_sidecar() {
            sidecars = now.clone();
        }
        starting.raise_to(&now);
    }
    let mut running = sidecars;
    spec.containers.iter().for_each(|container| running.add(&of(container)));
    running.raise_to(&starting);
    running
}
