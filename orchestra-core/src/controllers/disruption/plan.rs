//! What the status of a disruption budget says: how many pods there are, how many there must be, how many may go.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controllers::share::share;

/// How long a pod whose eviction was granted may take to be deleted. After that the eviction counts as not made.
pub(super) const DELETION: Duration = Duration::from_secs(120);

/// A pod of the budget.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) ready: bool,
    pub(super) deleting: bool,
}

/// How many pods are expected, and how many of them must be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) expected: i32,
    pub(super) desired: i32,
}

/// Whether a budget is about a share of what the controllers of its pods want, so that those must be asked.
pub(super) fn asks_controllers(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// What a budget demands, of so many pods that are there, and of so many that their controllers want.
pub(super) fn demand(spec: &PodDisruptionBudgetSpec, pods: i32, wanted: i32) -> Demand {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => Demand { expected: wanted, desired: (wanted - share(most, wanted, true)).max(0) },
        (None, Some(IntOrString::Int(least))) => Demand { expected: pods, desired: *least },
        (None, Some(least)) => Demand { expected: wanted, desired: share(least, wanted, true) },
        (None, None) => Demand { expected: 0, desired: 0 },
    }
}

/// Evictions that were granted and of which the pods are still to be seen going.
#[derive(Debug, Default, PartialEq)]
pub(super) struct UnderWay {
    pub(super) pods: BTreeMap<String, Time>,
    /// Pods that should have gone by now and have not.
    pub(super) lapsed: Vec<String>,
    /// When the next one lapses.
    pub(super) next: Option<Duration>,
}

/// What is still under way of the evictions that a status names.
pub(super) fn under_way(granted: &BTreeMap<String, Time>, pods: &[Member], now: Timestamp) -> UnderWay {
    let mut outcome = UnderWay::default();
    for pod in pods.iter().filter(|pod| !pod.deleting) {
        let Some(time) = granted.get(&pod.name) else { continue };
        let end = time.0.saturating_add(SignedDuration::try_from(DELETION).unwrap_or_default());
        let left = now.duration_until(end.unwrap_or(now));
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => {
                outcome.pods.insert(pod.name.clone(), time.clone());
                outcome.next = Some(outcome.next.map_or(left, |next| next.min(left)));
            }
            _ => outcome.lapsed.push(pod.name.clone()),
        }
    }
    outcome
}

/// How many pods are healthy, and are not about to go.
pub(super) fn healthy(pods: &[Member], under_way: &BTreeMap<String, Time>) -> i32 {
    let healthy = pods.iter().filter(|pod| pod.ready && !pod.deleting && !under_way.contains_key(&pod.name));
    i32::try_from(healthy.count()).unwrap_or(i32::MAX)
}

/// The status of a budget of that generation.
pub(super) fn status(
    held: &PodDisruptionBudgetStatus,
    generation: i64,
    demand: Demand,
    healthy: i32,
    under_way: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let left = healthy.saturating_sub(demand.desired);
    let allowed = if demand.expected > 0 { left.max(0) } else { 0 };
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        conditions: Some(condition(held, generation, (status, reason, ""), now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(demand.desired),
        disrupted_pods: (!under_way.is_empty()).then_some(under_way),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(demand.expected),
        observed_generation: Some(generation),
    }
}

/// The status of a budget that cannot be counted: nothing may go.
pub(super) fn failed(
    held: &PodDisruptionBudgetStatus,
    why: &str,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let generation = held.observed_generation.unwrap_or_default();
    PodDisruptionBudgetStatus {
        conditions: Some(condition(held, generation, ("False", "SyncFailed", why), now)),
        disruptions_allowed: Some(0),
        ..held.clone()
    }
}

fn condition(
    held: &PodDisruptionBudgetStatus,
    generation: i64,
    (status, reason, message): (&str, &str, &str),
    now: Timestamp,
) -> Vec<Condition> {
    const KIND: &str = "DisruptionAllowed";
    let mut conditions = held.conditions.clone().unwrap_or_default();
    let was = conditions.iter().find(|condition| condition.type_ == KIND && condition.status == status);
    let new = Condition {
        type_: KIND.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: was.map_or(Time(now), |was| was.last_transition_time.clone()),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == KIND) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::at;

    fn spec(min: Option<&str>, max: Option<&str>) -> PodDisruptionBudgetSpec {
        let amount = |text: &str| match text.parse() {
            Ok(number) => IntOrString::Int(number),
            Err(_) => IntOrString::String(text.to_owned()),
        };
        PodDisruptionBudgetSpec {
            min_available: min.map(amount),
            max_unavailable: max.map(amount),
            ..PodDisruptionBudgetSpec::default()
        }
    }

    fn pods(ready: usize, unready: usize) -> Vec<Member> {
        let pod = |index| Member { name: format!("p{index}"), ready: index < ready, deleting: false };
        (0..ready + unready).map(pod).collect()
    }

    #[test]
    fn shares_are_of_what_controllers_want_and_numbers_of_what_is_there() {
        for (min, max, pods, wanted, expected, desired) in [
            (Some("1"), None, 3, 9, 3, 1),
            (Some("50%"), None, 3, 3, 3, 2),
            (Some("50%"), None, 1, 5, 5, 3),
            (None, Some("1"), 3, 3, 3, 2),
            (None, Some("30%"), 9, 10, 10, 7),
            (None, Some("5"), 3, 3, 3, 0),
            (None, None, 3, 3, 0, 0),
        ] {
            let spec = spec(min, max);
            assert_eq!(demand(&spec, pods, wanted), Demand { expected, desired }, "{spec:?}");
        }
        assert!(!asks_controllers(&spec(Some("1"), None)) && asks_controllers(&spec(Some("1%"), None)));
    }

    #[test]
    fn so_many_may_go_as_are_healthy_beyond_what_must_be() {
        let allowed = |demand: Demand, healthy| {
            let held = PodDisruptionBudgetStatus::default();
            let status = status(&held, 1, demand, healthy, BTreeMap::new(), at(0));
            let condition = status.conditions.unwrap().remove(0);
            (status.disruptions_allowed.unwrap(), condition.status, condition.reason)
        };
        let sufficient = |count| (count, "True".to_owned(), "SufficientPods".to_owned());
        let insufficient = (0, "False".to_owned(), "InsufficientPods".to_owned());
        assert_eq!(allowed(Demand { expected: 3, desired: 1 }, 3), sufficient(2));
        assert_eq!(allowed(Demand { expected: 3, desired: 2 }, 2), insufficient);
        assert_eq!(allowed(Demand { expected: 3, desired: 2 }, 1), insufficient);
        assert_eq!(allowed(Demand { expected: 0, desired: 0 }, 3), insufficient);
    }

    #[test]
    fn a_granted_eviction_counts_until_its_pod_goes_or_two_minutes_have_passed() {
        let mut pods = pods(3, 1);
        pods[2].deleting = true;
        let granted: BTreeMap<_, _> = [("p0", 0), ("p1", 60), ("p2", 60), ("gone", 60)]
            .map(|(name, time)| (name.to_owned(), Time(at(time))))
            .into();
        let now = under_way(&granted, &pods, at(100));
        assert_eq!(now.pods.keys().collect::<Vec<_>>(), ["p0", "p1"]);
        assert_eq!((now.next, now.lapsed.len()), (Some(Duration::from_secs(20)), 0));
        assert_eq!(healthy(&pods, &now.pods), 0);
        let later = under_way(&granted, &pods, at(120));
        assert_eq!((later.pods.len(), later.lapsed), (1, vec!["p0".to_owned()]));
        assert_eq!(healthy(&pods, &later.pods), 1);
    }

    #[test]
    fn a_condition_keeps_its_time_while_it_says_the_same() {
        let demand = Demand { expected: 1, desired: 0 };
        let first = status(&PodDisruptionBudgetStatus::default(), 1, demand, 1, BTreeMap::new(), at(0));
        let time = |status: &PodDisruptionBudgetStatus| {
            status.conditions.as_ref().unwrap()[0].last_transition_time.0
        };
        let second = status(&first, 2, demand, 1, BTreeMap::new(), at(10));
        assert_eq!(time(&second), at(0));
        let third = failed(&second, "no", at(20));
        assert_eq!(
            (time(&third), third.disruptions_allowed, third.current_healthy),
            (at(20), Some(0), Some(1))
        );
    }
}
