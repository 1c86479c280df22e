//! PersistentVolumes and the claims of them.

use serde_json::{Value, json};

use super::{change, merge, printed, refused, refused_changes, row, status_faults, stored};

fn volume(fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": "v" },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"] },
    });
    merge(&mut object["spec"], fields);
    object
}

fn csi() -> Value {
    json!({ "csi": { "driver": "d.example.com", "volumeHandle": "h" } })
}

fn claim(fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": "c", "namespace": "default" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    merge(&mut object["spec"], fields);
    object
}

#[test]
fn volumes_and_claims_get_what_they_do_not_say() {
    let mut manifest = volume(json!({ "hostPath": { "path": "/tmp" }, "capacity": { "storage": "1024Mi" } }));
    manifest["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
    let object = stored(&manifest);
    let spec = &object["spec"];
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!((&spec["volumeMode"], &spec["capacity"]["storage"]), (&json!("Filesystem"), &json!("1Gi")));
    assert_eq!(spec["hostPath"], json!({ "path": "/tmp", "type": "" }));
    assert_eq!(
        object["status"],
        json!({ "phase": "Pending", "lastPhaseTransitionTime": "2024-01-01T00:00:00Z" })
    );
    let snapshot = json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s" });
    let object = stored(&claim(json!({ "dataSource": snapshot })));
    assert_eq!(object["spec"]["dataSourceRef"], snapshot, "both fields say the same");
    assert_eq!(object["status"], json!({ "phase": "Pending" }));
    let other = json!({ "apiGroup": "example.com", "kind": "Tape", "name": "t" });
    let object = stored(&claim(json!({ "dataSource": other })));
    assert!(object["spec"].get("dataSource").is_none(), "the older field could never say that");
    let object = stored(&claim(json!({ "dataSourceRef": other })));
    assert_eq!(object["spec"]["dataSource"], other);
    let mut elsewhere = other;
    elsewhere["namespace"] = json!("n");
    assert!(stored(&claim(json!({ "dataSourceRef": elsewhere })))["spec"].get("dataSourceRef").is_none());
}

#[test]
fn volumes_are_refused() {
    let zone = |operator: &str| {
        json!({ "required": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "zone", "operator": operator, "values": ["a"] }] }] } })
    };
    let mut none = volume(csi());
    none["spec"] = json!({});
    let mut annotated = volume(csi());
    annotated["metadata"]["annotations"] = json!({ "volume.beta.kubernetes.io/mount-options": "ro" });
    refused([
        (volume(csi()), vec![]),
        (
            none,
            vec![
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value: null: supported values: \"storage\"",
                "spec: Required value: must specify a volume type",
            ],
        ),
        (
            volume(
                json!({ "csi": { "driver": "", "volumeHandle": "" }, "nfs": { "server": "", "path": "p" },
                "nodeAffinity": {} }),
            ),
            vec![
                "spec.nodeAffinity.required: Required value: must specify required node constraints",
                "spec.nfs.server: Required value",
                "spec.nfs.path: Invalid value: \"p\": must be an absolute path",
                "spec.csi: Forbidden: may not specify more than 1 volume type",
            ],
        ),
        (
            volume(
                json!({ "local": { "path": "/a/../b" }, "volumeMode": "x", "persistentVolumeReclaimPolicy": "x" }),
            ),
            vec![
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"x\": supported values: \"Delete\", \"Recycle\", \
                 \"Retain\"",
                "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
                "spec.volumeMode: Unsupported value: \"x\": supported values: \"Block\", \"Filesystem\"",
            ],
        ),
        (
            volume(
                json!({ "iscsi": { "targetPortal": "1.2.3.4", "iqn": "x", "lun": 256 }, "capacity": { "storage": "0" } }),
            ),
            vec![
                "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
                "spec.iscsi.iqn: Invalid value: \"x\": must be valid format",
                "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ],
        ),
        (
            volume(json!({ "hostPath": { "path": "/" }, "persistentVolumeReclaimPolicy": "Recycle" })),
            vec![
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ],
        ),
        (
            annotated,
            vec![
                "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for \
                 this volume type",
            ],
        ),
    ]);
    let mut placed = csi();
    placed["nodeAffinity"] = zone("In");
    let old = stored(&volume(placed));
    let elsewhere =
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation";
    let nodes = "nodeAffinity: Invalid value: {\"Required\":{\"NodeSelectorTerms\":[{\"MatchExpressions\":[{\"Key\":\"zone\",\
                 \"Operator\":\"NotIn\",\"Values\":[\"a\"]}],\"MatchFields\":null}]}}: field is immutable, except for updating \
                 from beta label to GA";
    refused_changes(
        &old,
        [
            ("/spec/csi/volumeHandle", json!("other"), vec![elsewhere]),
            ("/spec/nodeAffinity", zone("NotIn"), vec![nodes]),
            ("/spec/capacity/storage", json!("2Gi"), vec![]),
            (
                "/spec/volumeMode",
                json!("Block"),
                vec!["volumeMode: Invalid value: \"Block\": field is immutable"],
            ),
        ],
    );
    let mut secret = old.clone();
    secret["spec"]["csi"]["controllerExpandSecretRef"] = json!({ "name": "s", "namespace": "n" });
    assert_eq!(change(&secret, &old).1, Vec::<String>::new(), "it may come later");
}

#[test]
fn claims_are_refused() {
    refused([
        (
            claim(json!({ "accessModes": [], "resources": {}, "storageClassName": "A", "volumeMode": "x" })),
            vec![
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
                "spec.storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
                 alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.volumeMode: Unsupported value: \"x\": supported values: \"Block\", \"Filesystem\"",
            ],
        ),
        (
            claim(json!({ "dataSource": { "kind": "PersistentVolumeClaim", "name": "a" },
                "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "b" } })),
            vec!["spec: Invalid value: {}: must match dataSourceRef"],
        ),
        (
            claim(json!({ "dataSourceRef": { "kind": "", "name": "" } })),
            vec![
                "spec.dataSource.name: Required value",
                "spec.dataSource.kind: Required value",
                "spec.dataSource: Invalid value: \"\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                "spec.dataSourceRef.name: Required value",
                "spec.dataSourceRef.kind: Required value",
                "spec.dataSourceRef: Invalid value: \"\": must be 'PersistentVolumeClaim' when referencing the default \
                 apiGroup",
            ],
        ),
    ]);
}

#[test]
fn a_claim_that_is_bound_may_grow_and_no_other_may_change() {
    let immutable = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                     volumeAttributesClassName for bound claims";
    let old = stored(&claim(json!({ "storageClassName": "fast" })));
    let mut named = old.clone();
    named["spec"]["volumeName"] = json!("v");
    assert_eq!(change(&named, &old).1, Vec::<String>::new(), "a volume is given once");
    refused_changes(
        &named,
        [
            ("/spec/volumeName", json!("w"), vec![immutable]),
            ("/spec/storageClassName", json!("slow"), vec![immutable]),
            ("/spec/resources/requests/storage", json!("2Gi"), vec![immutable]),
        ],
    );
    let mut bound = named;
    bound["status"] = json!({ "phase": "Bound", "capacity": { "storage": "1Gi" } });
    let smaller = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
    refused_changes(
        &bound,
        [
            ("/spec/resources/requests/storage", json!("2Gi"), vec![]),
            ("/spec/resources/requests/storage", json!("512Mi"), vec![smaller]),
        ],
    );
    // The class moves from the annotation of old into the field.
    let mut annotated = claim(json!({}));
    annotated["metadata"]["annotations"] = json!({ "volume.beta.kubernetes.io/storage-class": "fast" });
    let old = stored(&annotated);
    let mut new = claim(json!({ "storageClassName": "fast" }));
    assert_eq!(change(&new, &old).1, Vec::<String>::new());
    new["spec"]["storageClassName"] = json!("slow");
    assert_eq!(change(&new, &old).1.len(), 2, "neither the annotation may go, nor the class change");
    assert_eq!(
        status_faults(
            &old,
            json!({}),
            json!({ "allocatedResourceStatuses": { "storage": "x" },
            "allocatedResources": { "cpu": "1" }, "capacity": { "storage": "-1" } })
        ),
        [
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \
             \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \
             \"NodeResizeInfeasible\", \"NodeResizePending\"",
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ]
    );
}

#[test]
fn what_is_of_old_is_warned_of() {
    let warnings = |object: &Value| {
        let mut errors = crate::api::field::Errors::new();
        row(object).rules.validate(&super::complete(stored(object)), &mut errors).unwrap()
    };
    let mut old = volume(
        json!({ "rbd": { "monitors": ["m"], "image": "i" }, "persistentVolumeReclaimPolicy": "Recycle" }),
    );
    old["metadata"]["annotations"] = json!({ "volume.beta.kubernetes.io/storage-class": "fast" });
    old["spec"]["nodeAffinity"] = json!({ "required": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "beta.kubernetes.io/os", "operator": "Exists" }] }] } });
    assert_eq!(
        warnings(&old),
        [
            "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" \
             attribute instead",
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is \
             to use dynamic provisioning.",
            "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since \
             v1.14; use \"kubernetes.io/os\" instead",
            "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
        ]
    );
    let fraction = claim(json!({ "resources": { "requests": { "storage": "1500m" } } }));
    assert_eq!(
        warnings(&fraction),
        ["spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer"]
    );
}

#[test]
fn rows() {
    let mut held = stored(&volume(csi()));
    held["spec"]["claimRef"] = json!({ "namespace": "n", "name": "c" });
    held["spec"]["accessModes"] = json!(["ReadOnlyMany", "ReadWriteOnce"]);
    held["status"]["phase"] = json!("Bound");
    assert_eq!(
        printed(&held),
        json!(["v", "1Gi", "RWO,ROX", "Retain", "Bound", "n/c", "", "<unset>", "", "60s", "Filesystem"])
    );
    let mut bound = stored(&claim(json!({ "storageClassName": "fast", "volumeName": "v" })));
    bound["status"] =
        json!({ "phase": "Bound", "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"] });
    assert_eq!(
        printed(&bound),
        json!(["c", "Bound", "v", "1Gi", "RWO", "fast", "<unset>", "60s", "Filesystem"])
    );
    let waiting = stored(&claim(json!({})));
    assert_eq!(printed(&waiting), json!(["c", "Pending", "", "", "", "", "<unset>", "60s", "Filesystem"]));
}
