//! Nodes that hold the pod's images already are better: the more so the larger the images, and the more of the
//! nodes hold them, lest all pods go to the one node that has the image.

use super::MAX;
use crate::scheduler::filter::Demand;
use crate::scheduler::node::NodeId;

const MEBIBYTE: i64 = 1024 * 1024;
/// Images smaller than this in all are pulled so quickly that it does not matter.
const LEAST: i64 = 23 * MEBIBYTE;
/// More than this for each container makes no difference.
const MOST: i64 = 1000 * MEBIBYTE;

pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let all = demand.snapshot.len() as f64;
    let images = demand.pod.images.iter().map(|image| {
        let share = f64::from(demand.snapshot.holders_of(image)) / all;
        (image, share)
    });
    let images: Vec<_> = images.filter(|(_, share)| *share > 0.0).collect();
    if images.is_empty() {
        return None;
    }
    let most = MOST * demand.pod.images.len() as i64;
    let points = |id: &NodeId| {
        let held = &demand.snapshot.node(*id).spec.images;
        let sizes =
            images.iter().filter_map(|(image, share)| Some((*held.get(*image)? as f64 * share) as i64));
        (sizes.sum::<i64>().clamp(LEAST, most) - LEAST) * MAX / (most - LEAST)
    };
    Some(nodes.iter().map(points).collect())
}
