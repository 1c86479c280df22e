//! The kinds of `storage.k8s.io`.

use serde_json::{Value, json};

use super::{change, complete, printed, refused, refused_changes, row, status_faults, stored};
use crate::api::field::Errors;

fn object(kind: &str, fields: Value) -> Value {
    let mut object = json!({ "apiVersion": "storage.k8s.io/v1", "kind": kind, "metadata": { "name": "x" } });
    super::merge(&mut object, fields);
    object
}

fn driver(spec: Value) -> Value {
    object("CSIDriver", json!({ "spec": spec }))
}

fn class(fields: Value) -> Value {
    let mut class = object("StorageClass", json!({ "provisioner": "example.com/p" }));
    super::merge(&mut class, fields);
    class
}

fn attachment(source: Value) -> Value {
    object(
        "VolumeAttachment",
        json!({ "spec": { "attacher": "d.example.com", "nodeName": "n", "source": source } }),
    )
}

#[test]
fn defaults() {
    let spec = stored(&driver(json!({ "preventPodSchedulingIfMissing": true })))["spec"].clone();
    assert_eq!(
        spec,
        json!({ "attachRequired": true, "podInfoOnMount": false, "volumeLifecycleModes": ["Persistent"],
            "storageCapacity": false, "fsGroupPolicy": "ReadWriteOnceWithFSType", "requiresRepublish": false,
            "seLinuxMount": false })
    );
    let class = stored(&class(json!({})));
    assert_eq!(
        (&class["reclaimPolicy"], &class["volumeBindingMode"]),
        (&json!("Delete"), &json!("Immediate"))
    );
    assert_eq!(
        stored(&attachment(json!({ "persistentVolumeName": "v" })))["status"],
        json!({ "attached": false })
    );
}

#[test]
fn a_driver_counts_its_changes_but_not_its_first_state() {
    let old = stored(&driver(json!({})));
    assert!(old["metadata"].get("generation").is_none());
    let mut new = old.clone();
    new["spec"]["podInfoOnMount"] = json!(true);
    let (new, faults) = change(&new, &old);
    assert_eq!((&new["metadata"]["generation"], faults), (&json!(1), vec![]));
    let mut labelled = new.clone();
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    assert_eq!(change(&labelled, &new).0["metadata"]["generation"], 1);
}

#[test]
fn classes_are_refused() {
    let zone = json!({ "matchLabelExpressions": [{ "key": "zone", "values": ["a", "b"] }] });
    refused([
        (class(json!({ "allowedTopologies": [zone.clone()] })), vec![]),
        (
            class(json!({ "provisioner": "", "reclaimPolicy": "Recycle", "volumeBindingMode": "" })),
            vec![
                "provisioner: Required value",
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                "volumeBindingMode: Unsupported value: \"\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            ],
        ),
        (
            class(json!({ "allowedTopologies": [zone.clone(), zone, {}] })),
            vec![
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
                "allowedTopologies[2].matchLabelExpressions: Duplicate value: \"\"",
            ],
        ),
        (
            object("VolumeAttributesClass", json!({ "driverName": "" })),
            vec![
                "driverName: Required value",
                "parameters: Required value: must contain at least one key/value pair",
            ],
        ),
    ]);
    let old = stored(&class(json!({ "parameters": { "a": "b" } })));
    refused_changes(
        &old,
        [
            (
                "/provisioner",
                json!("other"),
                vec!["provisioner: Invalid value: \"other\": field is immutable"],
            ),
            (
                "/parameters",
                json!({ "a": "c" }),
                vec!["parameters: Invalid value: {\"a\":\"c\"}: field is immutable"],
            ),
        ],
    );
    let old = stored(&object(
        "VolumeAttributesClass",
        json!({ "driverName": "d.example.com", "parameters": { "iops": "1" } }),
    ));
    refused_changes(
        &old,
        [
            (
                "/driverName",
                json!("e.example.com"),
                vec!["driverName: Forbidden: updates to driverName are forbidden."],
            ),
            (
                "/parameters/iops",
                json!("2"),
                vec!["parameters: Forbidden: updates to parameters are forbidden."],
            ),
        ],
    );
}

#[test]
fn drivers_and_their_nodes_are_refused() {
    refused([
        (
            driver(
                json!({ "fsGroupPolicy": "x", "volumeLifecycleModes": ["x"], "nodeAllocatableUpdatePeriodSeconds": 9,
                "tokenRequests": [{ "audience": "a", "expirationSeconds": 1 }, { "audience": "a" }] }),
            ),
            vec![
                "spec.fsGroupPolicy: Unsupported value: \"x\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.volumeLifecycleModes: Unsupported value: \"x\": supported values: \"Persistent\", \"Ephemeral\"",
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ],
        ),
        (
            driver(json!({ "serviceAccountTokenInSecrets": true })),
            vec![
                "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no \
                 tokenRequests are specified",
            ],
        ),
        (
            object(
                "CSINode",
                json!({ "spec": { "drivers": [
                { "name": "d", "nodeID": "", "allocatable": { "count": -1 }, "topologyKeys": ["a", "a"] },
                { "name": "d", "nodeID": "n" }] } }),
            ),
            vec![
                "spec.drivers[0].nodeID: Required value",
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                "spec.drivers[0]: Duplicate value: \"a\"",
                "spec.drivers[1].name: Duplicate value: \"d\"",
            ],
        ),
    ]);
    let node =
        json!({ "spec": { "drivers": [{ "name": "d", "nodeID": "n", "allocatable": { "count": 1 } }] } });
    let old = stored(&object("CSINode", node));
    refused_changes(
        &old,
        [
            ("/spec/drivers/0/allocatable/count", json!(2), vec![]),
            (
                "/spec/drivers/0/nodeID",
                json!("m"),
                vec![
                    "spec.drivers: Invalid value: {\"Name\":\"d\",\"NodeID\":\"m\",\"TopologyKeys\":null,\"Allocatable\":null}: \
                     field is immutable",
                ],
            ),
        ],
    );
    let old = stored(&driver(json!({ "attachRequired": true })));
    let fixed = "spec.attachedRequired: Invalid value: false: field is immutable";
    refused_changes(&old, [("/spec/attachRequired", json!(false), vec![fixed])]);
}

#[test]
fn capacities_and_attachments_are_refused() {
    let inline = json!({ "capacity": { "storage": "1Gi" }, "nfs": { "server": "s", "path": "/p" } });
    refused([
        (
            object("CSIStorageCapacity", json!({ "storageClassName": "sc", "capacity": "-1" })),
            vec!["capacity: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (attachment(json!({ "persistentVolumeName": "v" })), vec![]),
        (
            attachment(json!({})),
            vec![
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ],
        ),
        (
            attachment(json!({ "inlineVolumeSpec": inline })),
            vec![
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.accessModes: Required value",
            ],
        ),
    ]);
    let old = stored(&object("CSIStorageCapacity", json!({ "storageClassName": "sc", "nodeTopology": {} })));
    let fixed = "storageClassName: Invalid value: \"other\": field is immutable";
    refused_changes(&old, [("/storageClassName", json!("other"), vec![fixed])]);
    let old = stored(&attachment(json!({ "persistentVolumeName": "v" })));
    let fixed = "spec: Invalid value: {\"Attacher\":\"d.example.com\",\"Source\":{\"PersistentVolumeName\":\"v\",\
                 \"InlineVolumeSpec\":null},\"NodeName\":\"m\"}: field is immutable";
    refused_changes(&old, [("/spec/nodeName", json!("m"), vec![fixed])]);
    assert_eq!(
        status_faults(
            &old,
            json!({ "attached": false }),
            json!({ "attached": true, "attachError": { "errorCode": -1 } })
        ),
        ["status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"]
    );
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    row(&old).rules.prepare_status(&mut labelled, &old);
    assert!(labelled["metadata"].get("labels").is_none(), "a status brings no labels");
}

#[test]
fn a_driver_that_asks_for_tokens_is_told_where_to_have_them() {
    let object = driver(json!({ "tokenRequests": [{ "audience": "a" }] }));
    let rules = &row(&object).rules;
    let mut errors = Errors::new();
    let warnings = rules.validate(&complete(stored(&object)), &mut errors).unwrap();
    assert!(warnings[0].starts_with("spec.serviceAccountTokenInSecrets is unset;"), "{warnings:?}");
    let other = driver(json!({ "tokenRequests": [{ "audience": "b" }] }));
    assert!(rules.warns_of_change(&other, &object) && !rules.warns_of_change(&object, &object));
}

#[test]
fn rows() {
    let mut default = class(json!({ "allowVolumeExpansion": true }));
    default["metadata"]["annotations"] = json!({ "storageclass.kubernetes.io/is-default-class": "true" });
    let cases = [
        (stored(&default), json!(["x (default)", "example.com/p", "Delete", "Immediate", true, "60s"])),
        (
            stored(&driver(json!({ "tokenRequests": [{ "audience": "a" }, { "audience": "b" }] }))),
            json!(["x", true, false, false, "a,b", false, "Persistent", "60s"]),
        ),
        (
            stored(&object("CSINode", json!({ "spec": { "drivers": [{ "name": "d", "nodeID": "n" }] } }))),
            json!(["x", 1, "60s"]),
        ),
        (
            stored(&object("CSIStorageCapacity", json!({ "storageClassName": "sc" }))),
            json!(["x", "2024-01-01T00:00:00Z"]),
        ),
        (
            stored(&attachment(json!({ "persistentVolumeName": "v" }))),
            json!(["x", "d.example.com", "v", "n", false, "60s"]),
        ),
        (
            stored(&object(
                "VolumeAttributesClass",
                json!({ "driverName": "d", "parameters": { "a": "b" } }),
            )),
            json!(["x", "d", "60s"]),
        ),
    ];
    for (object, wanted) in cases {
        assert_eq!(printed(&object), wanted);
    }
}
