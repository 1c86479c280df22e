//! What pods ask for, as amounts by name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::quantity::Quantity;

/// Amounts of resources, such as `cpu`, by name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Which of two things a container says of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What is set aside for it.
    Requests,
    /// What it may use at most.
    Limits,
}

/// What a container, or a pod as a whole, says of resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) requests: Amounts,
    pub(crate) limits: Amounts,
}

/// A container, as far as it asks for resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerAmounts {
    pub(crate) name: String,
    pub(crate) resources: Asked,
    restart_policy: Option<String>,
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodAmounts {
    pub(crate) containers: Vec<ContainerAmounts>,
    pub(crate) init_containers: Vec<ContainerAmounts>,
    /// Of the pod as a whole, instead of its containers'.
    pub(crate) resources: Option<Asked>,
    overhead: Amounts,
}

impl Asked {
    pub(crate) fn side(&self, side: Side) -> &Amounts {
        match side {
            Side::Requests => &self.requests,
            Side::Limits => &self.limits,
        }
    }
}

impl ContainerAmounts {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

impl PodAmounts {
    /// What a stored pod asks for. Nothing, if it is none.
    pub(crate) fn of(pod: &Value) -> Self {
        pod.get("spec").and_then(|spec| Self::deserialize(spec).ok()).unwrap_or_default()
    }

    /// The most that is in use at any time of the pod's life: its sidecars and containers together, or one init container
    /// with the sidecars that were started before it, whichever is more, resource by resource; and on top of that
    /// what its sandbox takes.
    pub(crate) fn total(&self, side: Side) -> Amounts {
        let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
        for container in &self.init_containers {
            let mut now = sidecars.clone();
            add(&mut now, container.resources.side(side));
            raise(&mut starting, &now);
            if container.is_sidecar() {
                sidecars = now;
            }
        }
        let mut total = sidecars;
        self.containers.iter().for_each(|container| add(&mut total, container.resources.side(side)));
        raise(&mut total, &starting);
        if let Some(whole) = &self.resources {
            total.extend(whole.side(side).iter().map(|(name, amount)| (name.clone(), *amount)));
        }
        for (name, amount) in &self.overhead {
            match (side, total.get_mut(name)) {
                (_, Some(held)) => *held += *amount,
                // Without a limit there is nothing to add to.
                (Side::Limits, None) => {}
                (Side::Requests, None) => drop(total.insert(name.clone(), *amount)),
            }
        }
        total
    }

    /// Whether it asks for no processor time and no memory, and is bounded in neither: the first to go when they are
    /// short.
    pub(crate) fn is_best_effort(&self) -> bool {
        let all = self.containers.iter().chain(&self.init_containers).map(|container| &container.resources);
        let mut amounts =
            all.chain(&self.resources).flat_map(|asked| asked.requests.iter().chain(&asked.limits));
        !amounts.any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && *amount > Quantity::ZERO)
    }
}

/// Adds amounts to others.
pub(crate) fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let held = to.entry(name.clone()).or_insert(*amount);
        *held = (*held).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn total(spec: Value, side: Side) -> Vec<String> {
        let total = PodAmounts::of(&json!({ "spec": spec })).total(side);
        total.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_asks_for_what_it_needs_at_its_busiest() {
        let mut sidecar = container("s", "100m");
        sidecar["restartPolicy"] = "Always".into();
        let both = json!([container("a", "200m"), container("b", "300m")]);
        for (spec, expected) in [
            (json!({"containers": both}), vec!["cpu=500m"]),
            (json!({"containers": both, "initContainers": [container("i", "900m")]}), vec!["cpu=900m"]),
            (json!({"containers": both, "initContainers": [sidecar]}), vec!["cpu=600m"]),
            (json!({"containers": both, "initContainers": [sidecar, container("i", "900m")]}), vec!["cpu=1"]),
            (json!({"containers": both, "resources": {"requests": {"cpu": "2"}}}), vec!["cpu=2"]),
            (
                json!({"containers": both, "overhead": {"cpu": "10m", "memory": "1Mi"}}),
                vec!["cpu=510m", "memory=1Mi"],
            ),
        ] {
            assert_eq!(total(spec.clone(), Side::Requests), expected, "{spec}");
        }
    }

    #[test]
    fn overhead_bounds_nothing_that_is_not_bounded() {
        let limited = json!([{"name": "a", "resources": {"limits": {"cpu": "1"}}}]);
        let spec = json!({"containers": limited, "overhead": {"cpu": "10m", "memory": "1Mi"}});
        assert_eq!(total(spec, Side::Limits), ["cpu=1010m"]);
    }

    #[test]
    fn a_device_makes_no_pod_more_than_best_effort() {
        let of = |requests: Value| {
            let containers = json!([{"name": "a", "resources": {"requests": requests}}]);
            PodAmounts::of(&json!({"spec": {"containers": containers}})).is_best_effort()
        };
        assert!(of(json!({})) && of(json!({"example.com/gpu": "1"})) && of(json!({"cpu": "0"})));
        assert!(!of(json!({"cpu": "1m"})) && !of(json!({"memory": "1"})));
    }
}
