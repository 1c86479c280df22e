//! The drivers of volumes on this machine, as its CSINode and its labels tell of them: by these whoever attaches volumes knows
//! what a driver calls the machine, and the scheduler how many it can have and where it is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::context::Context;
use super::ports::CsiDriver;
use crate::api::{Patch, Status};

/// What each driver calls the node, as an annotation of it.
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";

/// Says which drivers there are, where it is not said. A node that never had one has no CSINode.
pub(super) async fn tell(ctx: &Context, node: &Node, drivers: &[CsiDriver]) -> Result<(), Status> {
    let nodes = ctx.client.cluster::<CSINode>();
    let known = nodes.find(&ctx.name).await?;
    if drivers.is_empty() && known.is_none() {
        return Ok(());
    }
    // Labels first: a volume that goes by them may be bound as soon as the driver is known.
    if let Some(change) = metadata(node, drivers) {
        let patch = Patch::Merge(json!({"metadata": change}));
        ctx.client.cluster::<Node>().patch(&ctx.name, patch).await?;
    }
    let Some(known) = known else {
        let made = CSINode {
            metadata: ObjectMeta {
                name: Some(ctx.name.clone()),
                owner_references: owner(node).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: CSINodeSpec { drivers: drivers.iter().map(shown).collect() },
        };
        return nodes.create(&made).await.map(drop);
    };
    for drivers in writes(&known.spec.drivers, drivers) {
        nodes.patch(&ctx.name, Patch::Merge(json!({"spec": {"drivers": drivers}}))).await?;
    }
    Ok(())
}

fn owner(node: &Node) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

fn shown(driver: &CsiDriver) -> CSINodeDriver {
    CSINodeDriver {
        name: driver.name.clone(),
        node_id: driver.node_id.clone(),
        topology_keys: Some(driver.topology.keys().cloned().collect())
            .filter(|keys: &Vec<_>| !keys.is_empty()),
        allocatable: driver.most_volumes.map(|count| VolumeNodeResources { count: Some(count) }),
    }
}

/// The lists that have to be written, one after the other. Of a driver that is known nothing may change but how many volumes
/// it takes: one that comes back with another name for the machine goes first.
fn writes(known: &[CSINodeDriver], drivers: &[CsiDriver]) -> Vec<Vec<CSINodeDriver>> {
    let wanted: Vec<CSINodeDriver> = drivers.iter().map(shown).collect();
    let fixed = |driver: &CSINodeDriver| CSINodeDriver { allocatable: None, ..driver.clone() };
    let is_other = |driver: &&CSINodeDriver| {
        known.iter().any(|held| held.name == driver.name && fixed(held) != fixed(driver))
    };
    let mut writes = Vec::new();
    if wanted.iter().any(|driver| is_other(&driver)) {
        writes.push(wanted.iter().filter(|driver| !is_other(driver)).cloned().collect());
    }
    if wanted != known {
        writes.push(wanted);
    }
    writes
}

/// The labels by which drivers say where the machine is, and what they call it, if the node does not say so.
fn metadata(node: &Node, drivers: &[CsiDriver]) -> Option<Value> {
    let held = node.metadata.labels.as_ref();
    let places = drivers.iter().flat_map(|driver| &driver.topology);
    let missing = places.filter(|(key, value)| held.and_then(|held| held.get(*key)) != Some(value));
    let labels: BTreeMap<_, _> = missing.collect();
    let ids: BTreeMap<_, _> = drivers.iter().map(|driver| (&driver.name, &driver.node_id)).collect();
    let ids = (!ids.is_empty()).then(|| json!(ids).to_string());
    let said = node.metadata.annotations.as_ref().and_then(|annotations| annotations.get(NODE_IDS));
    let is_said = ids.as_ref() == said;
    match (labels.is_empty(), is_said) {
        (true, true) => None,
        (_, true) => Some(json!({"labels": labels})),
        (_, false) => Some(json!({"labels": labels, "annotations": {NODE_IDS: ids}})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(name: &str, node_id: &str, most: Option<i32>) -> CsiDriver {
        let topology = [("zone".to_owned(), "z".to_owned())].into();
        CsiDriver { name: name.into(), node_id: node_id.into(), topology, most_volumes: most }
    }

    #[test]
    fn a_driver_that_calls_the_machine_otherwise_goes_before_it_comes() {
        let names = |lists: Vec<Vec<CSINodeDriver>>| -> Vec<Vec<String>> {
            let names =
                |list: Vec<CSINodeDriver>| list.into_iter().map(|it| format!("{} {}", it.name, it.node_id));
            lists.into_iter().map(|list| names(list).collect()).collect()
        };
        let known = [shown(&driver("a", "1", None)), shown(&driver("b", "1", None))];
        for (drivers, expected) in [
            (vec![driver("a", "1", None), driver("b", "1", None)], vec![]),
            (vec![driver("a", "1", Some(3)), driver("b", "1", None)], vec![vec!["a 1", "b 1"]]),
            (vec![driver("a", "1", None)], vec![vec!["a 1"]]),
            (vec![], vec![vec![]]),
            (vec![driver("a", "2", None), driver("b", "1", None)], vec![vec!["b 1"], vec!["a 2", "b 1"]]),
        ] {
            assert_eq!(names(writes(&known, &drivers)), expected, "{drivers:?}");
        }
    }

    #[test]
    fn the_node_says_where_it_is_and_what_it_is_called_until_no_driver_is_left() {
        let mut node = Node::default();
        let said = metadata(&node, &[driver("a", "1", None)]).unwrap();
        assert_eq!(said, json!({"labels": {"zone": "z"}, "annotations": {NODE_IDS: "{\"a\":\"1\"}"}}));
        node.metadata.labels = serde_json::from_value(said["labels"].clone()).unwrap();
        node.metadata.annotations = serde_json::from_value(said["annotations"].clone()).unwrap();
        assert_eq!(metadata(&node, &[driver("a", "1", None)]), None);
        assert_eq!(metadata(&node, &[]), Some(json!({"labels": {}, "annotations": {NODE_IDS: null}})));
    }
}
