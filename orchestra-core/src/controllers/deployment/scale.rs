//! How many replicas each ReplicaSet of a Deployment gets. Pure.

use super::bounds::Bounds;
use super::model::{DESIRED_REPLICAS, MAX_REPLICAS, Observed, Set};

/// How many the ReplicaSet of the present template gets: as many as there is room for.
pub(super) fn of_current(observed: &Observed<'_>, current: &Set, bounds: Bounds) -> i32 {
    if current.replicas() >= bounds.replicas {
        return bounds.replicas;
    }
    let room = (bounds.most() - total(observed)).max(0);
    current.replicas() + room.min(bounds.replicas - current.replicas())
}

/// Which old ReplicaSets give up pods, and how many they are left with: first those pods that are not available
/// anyway, then as many as there are available ones to spare.
pub(super) fn old_down<'o>(observed: &'o Observed<'_>, current: &Set, bounds: Bounds) -> Vec<(&'o Set, i32)> {
    let missing = current.replicas() - current.status().available_replicas;
    let most = total(observed) - bounds.least() - missing;
    if most <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<(&Set, i32)> = observed.old.iter().map(|set| (set, set.replicas())).collect();
    let mut unhealthy = most;
    for (set, size) in &mut sizes {
        let cut = (*size - set.status().available_replicas).clamp(0, unhealthy);
        *size -= cut;
        unhealthy -= cut;
    }
    let all = observed.old.iter().chain([current]);
    let available: i32 = all.map(|set| set.status().available_replicas).sum();
    let mut spare = (available - bounds.least()).max(0);
    for (_, size) in &mut sizes {
        let cut = (*size).min(spare);
        *size -= cut;
        spare -= cut;
    }
    sizes.retain(|(set, size)| *size != set.replicas());
    sizes
}

/// The sizes after the Deployment's own size changed: during a rollout each ReplicaSet takes its share of the change,
/// so that a rollout that is stuck does not get the better of what works.
pub(super) fn in_proportion<'o>(observed: &'o Observed<'_>, bounds: Bounds) -> Vec<(&'o Set, i32)> {
    let all = || observed.old.iter().chain(&observed.current);
    let mut active: Vec<&Set> = all().filter(|set| set.replicas() > 0).collect();
    let newest_old = || observed.old.iter().max_by_key(|set| set.age_key());
    let only = match &active[..] {
        [] => observed.current.as_ref().or_else(newest_old),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        return vec![(only, bounds.replicas)];
    }
    let saturated = observed.current.as_ref().is_some_and(|current| is_saturated(current, bounds));
    if saturated || is_recreated(observed) {
        return observed.old.iter().filter(|set| set.replicas() > 0).map(|set| (set, 0)).collect();
    }
    let allowed = if bounds.replicas > 0 { bounds.most() } else { 0 };
    let change = allowed - active.iter().map(|set| set.replicas()).sum::<i32>();
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    active.sort_by_key(|set| set.age_key());
    if change > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| std::cmp::Reverse(set.replicas()));
    distribute(observed, &active, change, bounds)
}

fn distribute<'o>(
    observed: &Observed<'_>,
    active: &[&'o Set],
    change: i32,
    bounds: Bounds,
) -> Vec<(&'o Set, i32)> {
    let mut given = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for set in active {
        let share = if change == 0 { 0 } else { share(observed, set, bounds) };
        let left = change - given;
        let share = if change > 0 { share.min(left) } else { share.max(left) };
        given += share;
        sizes.push((*set, set.replicas() + share));
    }
    // What rounding left over goes to the largest.
    if let Some((_, size)) = sizes.first_mut() {
        *size += change - given;
    }
    sizes.iter_mut().for_each(|(_, size)| *size = (*size).max(0));
    sizes
}

/// What a ReplicaSet gains or loses, if it keeps its part of the most pods there may be.
fn share(observed: &Observed<'_>, set: &Set, bounds: Bounds) -> i32 {
    if bounds.replicas == 0 {
        return -set.replicas();
    }
    let reported = || {
        let status = observed.deployment.status.as_ref();
        i64::from(status.and_then(|status| status.replicas).unwrap_or_default())
    };
    let before = set.number(MAX_REPLICAS).filter(|most| *most != 0).unwrap_or_else(reported);
    if before == 0 {
        return 0;
    }
    let size = f64::from(set.replicas()) * f64::from(bounds.most()) / before as f64;
    size.round() as i32 - set.replicas()
}

/// Whether the present template has all the pods it will ever have, and they are available.
fn is_saturated(current: &Set, bounds: Bounds) -> bool {
    current.replicas() == bounds.replicas
        && current.number(DESIRED_REPLICAS) == Some(i64::from(bounds.replicas))
        && current.status().available_replicas == bounds.replicas
}

fn is_recreated(observed: &Observed<'_>) -> bool {
    let spec = observed.deployment.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn total(observed: &Observed<'_>) -> i32 {
    observed.old.iter().chain(&observed.current).map(Set::replicas).sum()
}
