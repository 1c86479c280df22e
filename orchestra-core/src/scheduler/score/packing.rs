//! Emptier nodes are better, or fuller ones, or those that are filled as a curve says.

use smallvec::SmallVec;

use super::resources::{Use, Which, use_of};
use crate::scheduler::filter::Demand;
use crate::scheduler::node::NodeId;
use crate::scheduler::profile::Fit;

use super::MAX;

/// By the resources that the profile names, with a default for containers that ask for no processor time or memory.
pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let packing = &demand.profile.packing;
    let resources: SmallVec<[(Which<'_>, i64); 4]> =
        packing.resources.iter().map(|(name, weight)| (Which::from(&**name), *weight)).collect();
    let points = |id: &NodeId| {
        let (mut sum, mut weights) = (0, 0);
        for &(resource, weight) in &resources {
            let Some(used) = use_of(demand, *id, resource, true) else { continue };
            let points = points(&packing.fit, used);
            // A curve has no say where it gives nothing.
            if points > 0 || !matches!(packing.fit, Fit::RequestedToCapacityRatio(_)) {
                sum += points * weight;
                weights += weight;
            }
        }
        match (&packing.fit, weights) {
            (_, 0) => 0,
            (Fit::RequestedToCapacityRatio(_), _) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    };
    Some(nodes.iter().map(points).collect())
}

fn points(fit: &Fit, Use { with_pod, capacity, .. }: Use) -> i64 {
    let used = with_pod.min(capacity);
    let share = |part: i64| match part.checked_mul(MAX) {
        Some(hundredfold) => hundredfold / capacity,
        None => (i128::from(part) * i128::from(MAX) / i128::from(capacity)) as i64,
    };
    match fit {
        Fit::LeastAllocated => share(capacity - used),
        Fit::MostAllocated => share(used),
        Fit::RequestedToCapacityRatio(curve) => on(curve, share(used)),
    }
}

/// The height of a curve, which stays at its ends as it is there.
fn on(curve: &[(i64, i64)], at: i64) -> i64 {
    let next = curve.iter().position(|(end, _)| at <= *end);
    match next {
        None => curve.last().map_or(0, |(_, height)| *height),
        Some(0) => curve[0].1,
        Some(next) => {
            let ((begin, low), (end, high)) = (curve[next - 1], curve[next]);
            low + (high - low) * (at - begin) / (end - begin)
        }
    }
}
