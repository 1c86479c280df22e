//! How long a node's agent may use a Secret or a ConfigMap before it asks for it again: the longer, the more nodes ask.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Node;
use serde::Deserialize;
use serde_json::json;

use super::Host;
use crate::api::{Patch, Status};
use crate::control::write;
use crate::control::{Action, Context, Error};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes to how many, and the seconds. The ranges overlap, so that one node that comes and goes does not
/// have all of them written each time.
const BOUNDS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1_000, 30), (900, 2_000, 60), (1_800, usize::MAX, 300)];

#[derive(Debug, Deserialize)]
struct View {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(rename = "node.alpha.kubernetes.io/ttl")]
    ttl: Option<String>,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let range = Arc::new(Mutex::new(0));
    let controller = host.controller::<Node>().named("ttl-controller");
    host.run(controller, move |context| annotate(context, Arc::clone(&range))).await
}

async fn annotate(context: Context, range: Arc<Mutex<usize>>) -> Result<Action, Error> {
    let nodes = context.cache::<Node>().await?;
    let seconds = {
        let mut held = range.lock().unwrap_or_else(PoisonError::into_inner);
        *held = next(*held, nodes.len());
        BOUNDS[*held].2
    };
    let Some(entry) = nodes.get(context.name()) else { return Ok(Action::Done) };
    let held = entry.view::<View>()?;
    if held.metadata.annotations.ttl.as_deref().and_then(|text| text.parse().ok()) == Some(seconds) {
        return Ok(Action::Done);
    }
    // Whatever else has changed in the node meanwhile, this is to be its annotation.
    let patch = json!({"metadata": {"uid": entry.uid(), "annotations": {ANNOTATION: seconds.to_string()}}});
    let target = write::target::<Node>(entry.name());
    write::was_deleted(context.client().call(target, Patch::Merge(patch).operation()).await)?;
    Ok(Action::Done)
}

/// The range that so many nodes are in, beginning with the one that they were in.
fn next(mut range: usize, nodes: usize) -> usize {
    while nodes > BOUNDS[range].1 {
        range += 1;
    }
    while nodes < BOUNDS[range].0 {
        range -= 1;
    }
    range
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_nodes_ask_less_often_and_one_more_or_less_changes_nothing() {
        for (from, nodes, expected) in [
            (0, 0, 0),
            (0, 100, 0),
            (0, 101, 15),
            (1, 95, 15),
            (1, 89, 0),
            (0, 95, 0),
            (1, 501, 30),
            (0, 5_000, 300),
            (4, 1_900, 300),
            (4, 1_799, 60),
            (4, 1, 0),
        ] {
            assert_eq!(BOUNDS[next(from, nodes)].2, expected, "{nodes} nodes, from {from}");
        }
    }
}
