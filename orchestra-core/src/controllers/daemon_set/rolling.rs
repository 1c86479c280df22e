//! The rolling update: which old pods go, or which nodes get a second one first. Pure.

use super::model::{Observed, Plan, Why};
use crate::controllers::replicas::member::Member;
use crate::scheduler::Suits;

/// The pods of a node that stay: at most one of the present template and one of another; `None` if there are more.
fn pair<'o>(
    observed: &Observed<'o>,
    pods: &[&'o Member],
) -> Option<(Option<&'o Member>, Option<&'o Member>)> {
    let staying = pods.iter().copied().filter(|pod| !pod.entry.is_deleting());
    let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| observed.wanted.is_new(pod));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// Goes one step on. What makes no difference to how many nodes are served is done at once, the rest within the bounds.
pub(super) fn roll<'o>(observed: &Observed<'o>, plan: &mut Plan<'o>) {
    let desired = observed.nodes.values().filter(|suits| **suits == Suits::Yes).count();
    let bounds = observed.wanted.bounds(desired);
    if bounds.surge == 0 {
        replace(observed, bounds.unavailable, plan);
    } else {
        surge(observed, bounds.surge, desired, plan);
    }
}

/// The pods by node, with the nodes that should have one and have none.
fn by_node<'p, 'o>(observed: &'p Observed<'o>) -> impl Iterator<Item = (&'p str, &'p [&'o Member])> {
    let held = observed.pods.iter().map(|(node, pods)| (node.as_str(), pods.as_slice()));
    let empty = observed
        .nodes
        .iter()
        .filter(|(node, suits)| **suits == Suits::Yes && !observed.pods.contains_key(*node));
    held.chain(empty.map(|(node, _)| (node.as_str(), &[][..])))
}

/// Old pods go first and the new ones come after them.
fn replace<'o>(observed: &Observed<'o>, most: usize, plan: &mut Plan<'o>) {
    let mut unavailable = 0;
    let (mut broken, mut candidates) = (Vec::new(), Vec::new());
    for (_, pods) in by_node(observed) {
        match pair(observed, pods) {
            Some((Some(new), None)) => {
                unavailable += usize::from(!observed.wanted.is_available(new, observed.now));
            }
            Some((None, Some(old))) => {
                if observed.wanted.is_available(old, observed.now) {
                    candidates.push(old);
                } else {
                    broken.push(old);
                    unavailable += 1;
                }
            }
            _ => unavailable += 1,
        }
    }
    candidates.truncate(most.saturating_sub(unavailable));
    plan.delete.extend(broken.into_iter().chain(candidates).map(|pod| (pod, Why::Old)));
}

/// New pods come first and the old ones go when those are available.
fn surge<'o>(observed: &Observed<'o>, most: usize, desired: usize, plan: &mut Plan<'o>) {
    let wanted = &observed.wanted;
    let available = |pod: &Member| wanted.is_available(pod, observed.now);
    let (mut surging, mut serving) = (0, 0);
    let (mut broken, mut candidates, mut misplaced) = (Vec::new(), Vec::new(), Vec::new());
    for (node, pods) in by_node(observed) {
        let Some((new, old)) = pair(observed, pods) else {
            surging += 1;
            continue;
        };
        serving += usize::from(old.or(new).is_some_and(available));
        let suits = observed.nodes.get(node) == Some(&Suits::Yes);
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => match (available(old), suits) {
                (false, false) => plan.delete.push((old, Why::Superfluous)),
                (false, true) => broken.push(node.to_owned()),
                (true, false) => misplaced.push(old),
                (true, true) => candidates.push(node.to_owned()),
            },
            (Some(new), Some(_)) if !available(new) => surging += 1,
            (Some(_), Some(old)) => plan.delete.push((old, Why::Old)),
        }
    }
    // One on a node that is none for it any more serves until there are enough elsewhere.
    misplaced.truncate(serving.saturating_sub(desired));
    plan.delete.extend(misplaced.into_iter().map(|pod| (pod, Why::Superfluous)));
    candidates.truncate(most.saturating_sub(surging));
    plan.create.extend(broken.into_iter().chain(candidates));
}
