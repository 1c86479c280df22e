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

/// The quality of service of a pod.
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let amount = |of: &Option<BTreeMap<String, Text>>, what: &str| {
        of.as_ref().and_then(|map| quantity(map, what)).filter(|q| !q.is_zero())
    };
    let mut any = false;
    let mut all = true;
    for container in containers() {
        let none = ResourceRequirements::default();
        let resources = container.resources.as_ref().unwrap_or(&none);
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

const CPU_PERIOD_MICROS: u64 = 100_000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const MIN_QUOTA_MICROS: i64 = 1_000;

/// The figures of one container for a runtime, on a machine with so much memory.
pub fn for_runtime(pod: &Pod, container: &Container, machine_memory: u64) -> Resources {
    let requested = request(container, "cpu").map_or(0, |cpu| cpu.milli_value().max(0).unsigned_abs());
    let cpu_limit = limit(container, "cpu").map(|cpu| cpu.milli_value()).filter(|milli| *milli > 0);
    let memory = limit(container, "memory").map(|memory| memory.value()).filter(|bytes| *bytes > 0);
    Resources {
        cpu_shares: (requested.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES),
        cpu_quota: cpu_limit.map(|milli| milli.saturating_mul(100).max(MIN_QUOTA_MICROS)),
        cpu_period: CPU_PERIOD_MICROS,
        memory_bytes: memory,
        oom_score_adj: oom_score_adj(pod, container, machine_memory),
    }
}

/// How willingly the kernel ends a container when memory is short. The more of the machine it asked for, the less.
fn oom_score_adj(pod: &Pod, container: &Container, machine_memory: u64) -> i32 {
    let spec = pod.spec.as_ref();
    match spec.map_or(QosClass::BestEffort, qos_class) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let asked = request(container, "memory").map_or(0, |memory| memory.value().max(0)) as u128;
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
