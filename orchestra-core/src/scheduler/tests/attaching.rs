//! Disks, claims and volumes that a node, or the cluster, can have only so many times.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{cluster, node, pod, refusal, settle};
use crate::meta::{ObjectName, Revision};
use crate::scheduler::volumes::{
    AttachmentInfo, CapacityInfo, ClaimInfo, ClassInfo, DriversOfNode, VolumeInfo, keeps_account,
};
use crate::scheduler::{PodInfo, Preemption, Profile, Snapshot, plan, preempt};
use crate::watch::{Entry, IndexedFields};

fn entry(kind: &str, name: &str, mut object: Value) -> Entry {
    object["kind"] = kind.into();
    object["apiVersion"] = "v1".into();
    object["metadata"]["name"] = name.into();
    object["metadata"]["uid"] = format!("uid-{name}").into();
    Entry::read(object.to_string().into(), Revision(1), &IndexedFields::none()).unwrap()
}

/// A volume of a driver and a claim that is bound to it, both of one name.
fn bound(snapshot: &mut Snapshot, name: &str, driver: &str, volume: Value, mode: &str) {
    let mut object = json!({"spec": {
        "csi": {"driver": driver, "volumeHandle": name}, "accessModes": [mode],
        "claimRef": {"namespace": "default", "name": name, "uid": format!("uid-{name}")},
    }});
    super::lay_over(&mut object, volume);
    let info = VolumeInfo::read(&entry("PersistentVolume", name, object)).unwrap();
    snapshot.volumes.set_volume(name, Some(info));
    let object = json!({
        "metadata": {"namespace": "default", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": name, "accessModes": [mode]},
    });
    let info = ClaimInfo::read(&entry("PersistentVolumeClaim", name, object)).unwrap();
    snapshot.volumes.set_claim(&ObjectName::namespaced("default", name), Some(info));
}

fn claiming(name: &str, claims: &[&str], changes: Value) -> Arc<PodInfo> {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    let volumes: Vec<Value> = claims.iter().map(volume).collect();
    let mut spec = json!({"spec": {"volumes": volumes}});
    super::lay_over(&mut spec, changes);
    pod(name, spec)
}

fn with_disk(name: &str, volume: Value) -> Arc<PodInfo> {
    pod(name, json!({"spec": {"volumes": [volume]}}))
}

#[test]
fn a_disk_is_written_to_by_one_pod_of_a_node() {
    for (disk, shared) in [
        (json!({"gcePersistentDisk": {"pdName": "d"}}), false),
        (json!({"gcePersistentDisk": {"pdName": "d", "readOnly": true}}), true),
        (json!({"awsElasticBlockStore": {"volumeID": "d", "readOnly": true}}), false),
        (json!({"iscsi": {"iqn": "d", "readOnly": true}}), true),
        (json!({"iscsi": {"iqn": "d"}}), false),
        (json!({"rbd": {"monitors": ["a", "b"], "pool": "p", "image": "i"}}), false),
    ] {
        let mut snapshot = cluster([node("a", json!({}))]);
        settle(&mut snapshot, &with_disk("first", disk.clone()));
        let second = with_disk("second", disk.clone());
        match shared {
            true => assert_eq!(settle(&mut snapshot, &second), "a", "{disk}"),
            false => assert_eq!(
                refusal(&snapshot, &second),
                "0/1 nodes are available: 1 node(s) had no available disk.",
                "{disk}"
            ),
        }
    }
    let rbd =
        |monitor: &str, image: &str| json!({"rbd": {"monitors": [monitor], "pool": "p", "image": image}});
    let mut snapshot = cluster([node("a", json!({}))]);
    settle(&mut snapshot, &with_disk("first", rbd("a", "i")));
    assert_eq!(settle(&mut snapshot, &with_disk("elsewhere", rbd("b", "i"))), "a");
    assert_eq!(settle(&mut snapshot, &with_disk("other", rbd("a", "j"))), "a");
}

#[test]
fn a_claim_for_one_pod_is_had_by_one_pod_of_the_cluster_until_it_has_to_go() {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    bound(&mut snapshot, "c", "d", json!({}), "ReadWriteOncePod");
    let first = claiming("first", &["c"], json!({}));
    settle(&mut snapshot, &first);
    let second = claiming("second", &["c"], json!({"spec": {"priority": 0}}));
    let in_use =
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(refusal(&snapshot, &second), format!("0/2 nodes are available: 2 {in_use}."));
    let third = claiming("third", &["c"], json!({"spec": {"priority": 9}}));
    let super::Plan::Unschedulable(diagnosis) = plan(&snapshot, &third, &Profile::default(), 7) else {
        panic!("it has its claim twice");
    };
    match preempt(&snapshot, &third, &Profile::default(), &diagnosis, 7) {
        Preemption::Evict { victims, .. } => assert_eq!(victims[0].uid, first.uid),
        other => panic!("{other:?}"),
    }
    snapshot.remove_pod(&first.uid);
    settle(&mut snapshot, &second);
    let elsewhere = claiming("elsewhere", &["c"], json!({"metadata": {"namespace": "other"}}));
    assert!(refusal(&snapshot, &elsewhere).contains("persistentvolumeclaim \"c\" not found"));
}

/// Clients in Go send `null` for a list that is empty, and it is kept so.
#[test]
fn a_node_without_drivers_can_have_any_number_of_volumes() {
    for spec in [json!({}), json!({"drivers": null}), json!({"drivers": []})] {
        let drivers = DriversOfNode::read(&entry("CSINode", "a", json!({"spec": spec}))).unwrap();
        assert_eq!(drivers, DriversOfNode::default(), "{spec}");
    }
}

#[test]
fn a_node_has_as_many_volumes_of_a_driver_as_it_can() {
    let mut snapshot = cluster([node("a", json!({}))]);
    let drivers =
        json!({"spec": {"drivers": [{"name": "d", "allocatable": {"count": 2}}, {"name": "free"}]}});
    let drivers = DriversOfNode::read(&entry("CSINode", "a", drivers)).unwrap();
    snapshot.volumes.attached.set_node("a", Some(drivers));
    for name in ["one", "two", "three", "four"] {
        bound(&mut snapshot, name, "d", json!({}), "ReadWriteMany");
    }
    bound(&mut snapshot, "other", "free", json!({}), "ReadWriteMany");
    let full = "0/1 nodes are available: 1 node(s) exceed max volume count.";
    assert_eq!(refusal(&snapshot, &claiming("greedy", &["one", "two", "three"], json!({}))), full);
    settle(&mut snapshot, &claiming("first", &["one"], json!({})));
    settle(&mut snapshot, &claiming("same", &["one"], json!({})));
    settle(&mut snapshot, &claiming("second", &["two", "other"], json!({})));
    let third = claiming("third", &["three"], json!({}));
    assert_eq!(refusal(&snapshot, &third), full);
    snapshot.remove_pod(&claiming("second", &[], json!({})).uid);
    // What is attached counts, also when no pod that uses it is there any more.
    let attachment =
        json!({"spec": {"attacher": "d", "nodeName": "a", "source": {"persistentVolumeName": "four"}}});
    let attachment = AttachmentInfo::read(&entry("VolumeAttachment", "x", attachment)).unwrap();
    snapshot.volumes.attached.set_attachment("x", Some(attachment));
    assert_eq!(refusal(&snapshot, &third), full);
    snapshot.volumes.attached.set_attachment("x", None);
    settle(&mut snapshot, &third);
}

#[test]
fn a_volume_is_had_in_its_zone() {
    let zone = |name: &str, zone: &str| {
        node(name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}))
    };
    let nodes = [zone("a", "east"), zone("b", "west")];
    let mut snapshot = cluster(nodes.clone());
    let labels = |key: &str, value: &str| json!({"metadata": {"labels": {key: value}}});
    bound(
        &mut snapshot,
        "west",
        "d",
        labels("failure-domain.beta.kubernetes.io/zone", "west"),
        "ReadWriteOnce",
    );
    bound(&mut snapshot, "both", "d", labels("topology.kubernetes.io/zone", "west__east"), "ReadWriteMany");
    bound(&mut snapshot, "north", "d", labels("topology.kubernetes.io/zone", "north"), "ReadWriteOnce");
    assert_eq!(settle(&mut snapshot, &claiming("p", &["west", "both"], json!({}))), "b");
    let north = claiming("q", &["north"], json!({}));
    assert_eq!(
        refusal(&snapshot, &north),
        "0/2 nodes are available: 2 node(s) had no available volume zone."
    );
    snapshot.set_node(node("anywhere", json!({})));
    assert_eq!(settle(&mut snapshot, &north), "anywhere");
}

#[test]
fn a_volume_is_made_where_its_driver_has_room() {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    let class = json!({"provisioner": "d", "volumeBindingMode": "WaitForFirstConsumer"});
    let class = ClassInfo::read(&entry("StorageClass", "fast", class)).unwrap();
    snapshot.volumes.set_class("fast", Some(class));
    let claim = json!({
        "metadata": {"namespace": "default"},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
    });
    let claim = ClaimInfo::read(&entry("PersistentVolumeClaim", "c", claim)).unwrap();
    snapshot.volumes.set_claim(&ObjectName::namespaced("default", "c"), Some(claim));
    let driver = entry("CSIDriver", "d", json!({"spec": {"storageCapacity": true}}));
    snapshot.volumes.room.set_driver("d", keeps_account(&driver).unwrap());
    let pod = claiming("p", &["c"], json!({}));
    let short = "0/2 nodes are available: 2 node(s) did not have enough free storage.";
    assert_eq!(refusal(&snapshot, &pod), short);
    let mut room = |name: &str, node: &str, capacity: &str| {
        let capacity = json!({
            "metadata": {"namespace": "kube-system"}, "storageClassName": "fast", "capacity": capacity,
            "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": node}},
        });
        let capacity = CapacityInfo::read(&entry("CSIStorageCapacity", name, capacity)).unwrap();
        snapshot.volumes.room.set_capacity(&ObjectName::namespaced("kube-system", name), Some(capacity));
        snapshot.clone()
    };
    let snapshot = room("a", "a", "5Gi");
    assert_eq!(refusal(&snapshot, &pod), short);
    let mut snapshot = room("b", "b", "20Gi");
    assert_eq!(settle(&mut snapshot, &pod), "b");
}
