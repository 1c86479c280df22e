//! What a pod asks for and may use: quality of service, and the figures a runtime understands.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::quantity::Quantity;
use crate::runtime::Resources;

/// The quality of service of a pod: who goes first when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QosClass {
    /// Every container has limits for cpu and memory, and asks for as much.
    Guaranteed,
    /// Some container asks for something.
    Burstable,
    /// None does.
    BestEffort,
}

impl QosClass {
    /// As it stands in pod status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// The quality of service of a pod: by what it asks for as a whole, if it does, else by what its containers do.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let asked: Vec<Option<&ResourceRequirements>> = match of_whole(spec) {
        Some(whole) => vec![Some(whole)],
        None => containers().map(|container| container.resources.as_ref()).collect(),
    };
    let amount = |of: &Option<BTreeMap<String, Text>>, what: &str| {
        of.as_ref().and_then(|map| quantity(map, what)).filter(|q| !q.is_zero())
    };
    let mut any = false;
    let mut all = true;
    for resources in asked {
        let none = ResourceRequirements::default();
        let resources = resources.unwrap_or(&none);
        for what in COMPUTE {
            let (limit, request) = (amount(&resources.limits, what), amount(&resources.requests, what));
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// Reads one amount. `None` where there is none, or where it is no quantity (which validation does not let in).
pub fn quantity(of: &BTreeMap<String, Text>, what: &str) -> Option<Quantity> {
    Quantity::parse(&of.get(what)?.0).ok()
}

/// A container's limit for something.
pub fn limit(container: &Container, what: &str) -> Option<Quantity> {
    quantity(container.resources.as_ref()?.limits.as_ref()?, what)
}

/// What a container asks for: its request, or its limit where it names only that.
pub fn request(container: &Container, what: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let named = resources.requests.as_ref().and_then(|requests| quantity(requests, what));
    named.or_else(|| limit(container, what))
}

/// What a pod asks for as a whole, if it does.
fn of_whole(spec: &PodSpec) -> Option<&ResourceRequirements> {
    let says = |of: &Option<BTreeMap<String, Text>>| of.as_ref().is_some_and(|map| !map.is_empty());
    spec.resources.as_ref().filter(|whole| says(&whole.limits) || says(&whole.requests))
}

/// The limit of a pod as a whole for something, if it says one.
fn limit_of_whole(spec: &PodSpec, what: &str) -> Option<Quantity> {
    quantity(of_whole(spec)?.limits.as_ref()?, what)
}

/// What a pod asks for as a whole, if it does: its request, or its limit where it names only that.
pub fn request_of_whole(spec: &PodSpec, what: &str) -> Option<Quantity> {
    let requests = of_whole(spec)?.requests.as_ref();
    requests.and_then(|requests| quantity(requests, what)).or_else(|| limit_of_whole(spec, what))
}

/// What holds a container: its own limit, or that of its pod where it has none.
pub fn held_by(spec: &PodSpec, container: &Container, what: &str) -> Option<Quantity> {
    limit(container, what).or_else(|| limit_of_whole(spec, what))
}

/// The most that the containers of a pod have at any time, by what each of them has: sidecars and the pod's own together, or an
/// init container with the sidecars before it. `None` if one of them has no such figure.
fn together(spec: &PodSpec, each: impl Fn(&Container) -> Option<i64>) -> Option<i64> {
    let (mut sidecars, mut starting) = (0_i64, 0_i64);
    for container in spec.init_containers.iter().flatten() {
        let now = sidecars.saturating_add(each(container)?);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = now;
        }
        starting = starting.max(now);
    }
    let mut own = spec.containers.iter();
    let running = own.try_fold(sidecars, |sum, container| Some(sum.saturating_add(each(container)?)))?;
    Some(running.max(starting))
}

/// Thousandths of a core, or bytes.
fn count(what: &str, amount: Quantity) -> i64 {
    match what {
        "cpu" => amount.milli_value(),
        _ => amount.value(),
    }
}

/// What a pod takes beside its containers.
fn overhead(spec: &PodSpec, what: &str) -> i64 {
    let amount = spec.overhead.as_ref().and_then(|overhead| quantity(overhead, what));
    amount.map_or(0, |amount| count(what, amount))
}

/// What a pod asks for in all, with its overhead, in thousandths of a core or in bytes. `each`: what its containers do, where
/// it does not itself.
pub fn requested_by(spec: &PodSpec, what: &str, each: &dyn Fn(&Container) -> Option<Quantity>) -> i64 {
    let whole = request_of_whole(spec, what).map(|amount| count(what, amount));
    let each = |container: &Container| Some(each(container).map_or(0, |amount| count(what, amount)));
    whole.or_else(|| together(spec, each)).unwrap_or_default().saturating_add(overhead(spec, what))
}

/// What all containers of a pod may use together, with its overhead; `None` where nothing is said of that, and each is held
/// for itself.
pub fn of_pod(spec: &PodSpec) -> Option<Resources> {
    if of_whole(spec).is_none() && spec.overhead.as_ref().is_none_or(BTreeMap::is_empty) {
        return None;
    }
    let asked = |what: &str| requested_by(spec, what, &|container| request(container, what));
    let most = |what: &str| {
        let whole = limit_of_whole(spec, what).map(|amount| count(what, amount));
        let each = |container: &Container| {
            limit(container, what).map(|amount| count(what, amount)).filter(|amount| *amount > 0)
        };
        let most = whole.or_else(|| together(spec, each)).filter(|amount| *amount > 0)?;
        Some(most.saturating_add(overhead(spec, what)))
    };
    Some(Resources {
        cpu_shares: shares(asked("cpu")),
        cpu_quota: most("cpu").map(quota),
        cpu_period: CPU_PERIOD_MICROS,
        memory_bytes: most("memory"),
        // Each container has its own.
        oom_score_adj: 0,
    })
}

const CPU_PERIOD_MICROS: u64 = 100_000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const MIN_QUOTA_MICROS: i64 = 1_000;

/// The weight of so many thousandths of a core.
fn shares(milli: i64) -> u64 {
    (milli.max(0).unsigned_abs().saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The time in each period that so many thousandths of a core are.
fn quota(milli: i64) -> i64 {
    milli.saturating_mul(100).max(MIN_QUOTA_MICROS)
}

/// The figures of one container for a runtime, on a machine with so much memory.
pub fn for_runtime(pod: &Pod, container: &Container, machine_memory: u64) -> Resources {
    let held = |what: &str| match &pod.spec {
        Some(spec) => held_by(spec, container, what),
        None => limit(container, what),
    };
    let cpu_limit = held("cpu").map(|cpu| cpu.milli_value()).filter(|milli| *milli > 0);
    let requested = request(container, "cpu").map(|cpu| cpu.milli_value()).or(cpu_limit).unwrap_or_default();
    Resources {
        cpu_shares: shares(requested),
        cpu_quota: cpu_limit.map(quota),
        cpu_period: CPU_PERIOD_MICROS,
        memory_bytes: held("memory").map(|memory| memory.value()).filter(|bytes| *bytes > 0),
        oom_score_adj: oom_score_adj(pod, container, machine_memory),
    }
}

/// How willingly the kernel ends a container when memory is short. The more of the machine it asked for, the less.
fn oom_score_adj(pod: &Pod, container: &Container, machine_memory: u64) -> i32 {
    let Some(spec) = &pod.spec else { return 1000 };
    let bytes =
        |container: &Container| request(container, "memory").map_or(0, |memory| memory.value().max(0));
    match qos_class(spec) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            // What the pod asks for beyond its containers is for all of them alike.
            let all: i64 = spec.containers.iter().map(bytes).sum();
            let whole = request_of_whole(spec, "memory").map_or(0, |memory| memory.value());
            let part = (whole - all).max(0) / i64::try_from(spec.containers.len().max(1)).unwrap_or(1);
            let asked = u128::from(bytes(container).saturating_add(part).unsigned_abs());
            let share = 1000 * asked / u128::from(machine_memory.max(1));
            i32::try_from(1000 - share.min(1000) as i64).unwrap_or(3).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: serde_json::Value) -> Pod {
        let containers: Vec<_> = resources
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(n, resources)| json!({"name": format!("c{n}"), "resources": resources}))
            .collect();
        serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn classes() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let same = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        for (resources, class) in [
            (json!([{}]), QosClass::BestEffort),
            (json!([{"requests": {"cpu": "0"}}]), QosClass::BestEffort),
            (json!([full]), QosClass::Guaranteed),
            (json!([full, same]), QosClass::Guaranteed),
            (json!([less]), QosClass::Burstable),
            (json!([full, {}]), QosClass::Burstable),
            (json!([{"limits": {"cpu": "1"}}]), QosClass::Burstable),
        ] {
            assert_eq!(qos_class(pod(resources.clone()).spec.as_ref().unwrap()), class, "{resources}");
        }
    }

    fn with(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_is_of_the_class_of_what_it_asks_for_as_a_whole() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let some = json!({"requests": {"cpu": "1"}});
        for (whole, own, class) in [
            (full.clone(), json!({}), QosClass::Guaranteed),
            (full, some.clone(), QosClass::Guaranteed),
            (some.clone(), json!({}), QosClass::Burstable),
            (json!({}), some, QosClass::Burstable),
            (json!({"limits": {}}), json!({}), QosClass::BestEffort),
        ] {
            let pod = with(json!({"resources": whole, "containers": [{"name": "a", "resources": own}]}));
            assert_eq!(qos_class(pod.spec.as_ref().unwrap()), class, "{pod:?}");
        }
    }

    #[test]
    fn what_containers_may_use_together() {
        let of = |spec: serde_json::Value| of_pod(with(spec).spec.as_ref().unwrap());
        let own = |cpu: &str, memory: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu, "memory": memory}}});
        assert_eq!(of(json!({"containers": [own("1", "1Gi")]})), None, "nothing is said of all of them");
        let whole = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "3Gi"}});
        let made =
            of(json!({"resources": whole, "overhead": {"memory": "1Gi"}, "containers": [own("1", "1Gi")]}));
        let made = made.unwrap();
        assert_eq!((made.cpu_shares, made.cpu_quota, made.memory_bytes), (512, Some(200_000), Some(4 << 30)));
        // Without limits for all of them: those of its containers, if each has one.
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
        let made = of(
            json!({"overhead": {"cpu": "250m", "memory": "1Gi"}, "initContainers": [sidecar, own("4", "1Gi")],
            "containers": [own("1", "1Gi"), own("1", "2Gi")]}),
        );
        let made = made.unwrap();
        assert_eq!(
            (made.cpu_shares, made.cpu_quota),
            (5376, Some(525_000)),
            "the init container beside the sidecar"
        );
        assert_eq!(made.memory_bytes, Some(5 << 30));
        let made =
            of(json!({"overhead": {"cpu": "1"}, "containers": [own("1", "1Gi"), {"name": "free"}]})).unwrap();
        assert_eq!((made.cpu_shares, made.cpu_quota, made.memory_bytes), (2048, None, None));
    }

    #[test]
    fn what_a_container_has_no_limit_of_is_held_by_that_of_its_pod() {
        let pod = with(
            json!({"resources": {"requests": {"memory": "4Gi"}, "limits": {"cpu": "2", "memory": "6Gi"}},
            "containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"memory": "2Gi"}, "limits": {"cpu": "1"}}}]}),
        );
        let of = |n: usize| for_runtime(&pod, &pod.spec.as_ref().unwrap().containers[n], 8 << 30);
        assert_eq!(
            (of(0).cpu_quota, of(0).cpu_shares, of(0).memory_bytes),
            (Some(200_000), 2048, Some(6 << 30))
        );
        assert_eq!(
            (of(1).cpu_quota, of(1).cpu_shares, of(1).memory_bytes),
            (Some(100_000), 1024, Some(6 << 30))
        );
        // Each has half of what the pod asks for beyond them.
        assert_eq!((of(0).oom_score_adj, of(1).oom_score_adj), (875, 625));
    }

    #[test]
    fn figures_for_the_runtime() {
        let of = |resources: serde_json::Value| {
            let pod = pod(json!([resources]));
            let spec = pod.spec.as_ref().unwrap();
            for_runtime(&pod, &spec.containers[0], 8 << 30)
        };
        let none = of(json!({}));
        assert_eq!(
            (none.cpu_shares, none.cpu_quota, none.memory_bytes, none.oom_score_adj),
            (2, None, None, 1000)
        );
        let some = of(
            json!({"requests": {"cpu": "250m", "memory": "4Gi"}, "limits": {"cpu": "1", "memory": "5Gi"}}),
        );
        assert_eq!((some.cpu_shares, some.cpu_quota), (256, Some(100_000)));
        assert_eq!((some.memory_bytes, some.oom_score_adj), (Some(5 << 30), 500));
        let tiny = of(json!({"limits": {"cpu": "1m", "memory": "64Mi"}}));
        assert_eq!((tiny.cpu_shares, tiny.cpu_quota, tiny.oom_score_adj), (2, Some(1000), -997));
    }
}
