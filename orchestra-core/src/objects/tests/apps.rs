//! DaemonSets and StatefulSets.

use serde_json::{Value, json};

use super::{change, merge, printed, refused, refused_changes, row, status_faults, stored};

fn controller(kind: &str, fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": "x", "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "nginx:1.25" }] },
            },
        },
    });
    merge(&mut object["spec"], fields);
    object
}

fn daemon_set(fields: Value) -> Value {
    controller("DaemonSet", fields)
}

fn stateful_set(fields: Value) -> Value {
    controller("StatefulSet", fields)
}

fn claim(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    })
}

#[test]
fn a_daemon_set_counts_its_templates() {
    let object = stored(&daemon_set(json!({})));
    assert_eq!(
        object["spec"]["updateStrategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } })
    );
    assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
    let generation = |object: &Value| {
        object["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone()
    };
    assert_eq!(generation(&object), "1");
    // Who leaves the annotation out, as a manifest does, changes nothing.
    let (same, faults) = change(&daemon_set(json!({ "minReadySeconds": 3 })), &object);
    assert_eq!((generation(&same), faults), (json!("1"), vec![]));
    let mut new = object.clone();
    new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:1.26");
    assert_eq!(generation(&change(&new, &object).0), "2");
    let on_delete = stored(&daemon_set(json!({ "updateStrategy": { "type": "OnDelete" } })));
    assert_eq!(on_delete["spec"]["updateStrategy"], json!({ "type": "OnDelete" }));
}

/// What a template is warned of is said when it is carried out anew.
#[test]
fn a_change_is_warned_of_when_there_is_something_new_to_do() {
    let warns = |object: &Value, edit: fn(&mut Value)| {
        let mut new = object.clone();
        edit(&mut new);
        row(object).rules.warns_of_change(&new, object)
    };
    let noted = |object: &mut Value| object["metadata"]["annotations"] = json!({ "a": "b" });
    let paced = |object: &mut Value| object["spec"]["minReadySeconds"] = json!(5);
    let imaged = |object: &mut Value| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    };
    let deployment = stored(&controller("Deployment", json!({})));
    assert_eq!([noted, paced, imaged].map(|edit| warns(&deployment, edit)), [true, true, true]);
    let daemon_set = stored(&daemon_set(json!({})));
    assert_eq!([noted, paced, imaged].map(|edit| warns(&daemon_set, edit)), [false, false, true]);
}

#[test]
fn daemon_sets_are_refused() {
    let rolling = |fields: Value| daemon_set(json!({ "updateStrategy": { "rollingUpdate": fields } }));
    let mut without_selector = daemon_set(json!({}));
    without_selector["spec"].as_object_mut().unwrap().remove("selector");
    refused([
        (daemon_set(json!({})), vec![]),
        (
            without_selector,
            vec![
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            daemon_set(json!({ "selector": {} })),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
        ),
        (
            rolling(json!({ "maxUnavailable": "x" })),
            vec![
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"x\": a valid percent string must be a \
                 numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ],
        ),
        (
            rolling(json!({ "maxSurge": "101%" })),
            vec![
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": must not be greater than 100%",
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": may not be set when maxUnavailable is \
                 non-zero",
            ],
        ),
        (rolling(json!({ "maxSurge": 1, "maxUnavailable": 0 })), vec![]),
        (
            daemon_set(
                json!({ "updateStrategy": { "type": "x", "rollingUpdate": { "maxUnavailable": "50%" } } }),
            ),
            vec![
                "spec.updateStrategy: Unsupported value: \
                 {\"Type\":\"x\",\"RollingUpdate\":{\"MaxUnavailable\":\"50%\",\"MaxSurge\":0}}: supported values: \
                 \"RollingUpdate\", \"OnDelete\"",
            ],
        ),
    ]);
    let object = stored(&daemon_set(json!({})));
    let counted = json!({ "currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 1,
        "numberReady": 0, "collisionCount": 2 });
    let mut fewer = counted.clone();
    merge(&mut fewer, json!({ "collisionCount": 1, "numberReady": -1 }));
    assert_eq!(
        status_faults(&object, counted, fewer),
        [
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ]
    );
}

#[test]
fn a_stateful_set_gets_what_it_does_not_say() {
    let object = stored(&stateful_set(json!({ "volumeClaimTemplates": [claim("d")] })));
    let spec = &object["spec"];
    assert_eq!((&spec["replicas"], &spec["podManagementPolicy"]), (&json!(1), &json!("OrderedReady")));
    assert_eq!(
        spec["updateStrategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } })
    );
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
    );
    let template = &spec["volumeClaimTemplates"][0];
    assert_eq!((&template["kind"], &template["apiVersion"]), (&json!("PersistentVolumeClaim"), &json!("v1")));
    assert_eq!(template["spec"]["volumeMode"], "Filesystem");
    assert_eq!(template["status"], json!({ "phase": "Pending" }));
    assert_eq!(object["status"], json!({ "replicas": 0 }));
    // A strategy that is named is not filled in, and what Kubernetes has turned off is dropped.
    let named = stored(&stateful_set(json!({ "updateStrategy": { "type": "RollingUpdate" } })));
    assert_eq!(named["spec"]["updateStrategy"], json!({ "type": "RollingUpdate" }));
    let rolling = json!({ "rollingUpdate": { "maxUnavailable": 2 } });
    let dropped = stored(&stateful_set(json!({ "updateStrategy": rolling })));
    assert!(dropped.pointer("/spec/updateStrategy/rollingUpdate/maxUnavailable").is_none());
}

#[test]
fn stateful_sets_are_refused() {
    let templates = |templates: Value| stateful_set(json!({ "volumeClaimTemplates": templates }));
    let mut bad = claim("d");
    bad["spec"]["accessModes"] = json!(["ReadWriteOncePod", "Sometimes", "ReadOnlyMany"]);
    bad["spec"]["resources"] = json!({ "requests": { "storage": "0" } });
    refused([
        (stateful_set(json!({})), vec![]),
        // The claim's volume stands in for the one of the same name, which would be refused.
        (
            {
                let mut object = templates(json!([claim("d")]));
                object["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "d", "hostPath": {} }]);
                object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
                    json!([{ "name": "d", "mountPath": "/d" }]);
                object
            },
            vec![],
        ),
        (
            templates(json!([bad])),
            vec![
                "spec.volumeClaimTemplates[0].spec.accessModes: Unsupported value: \"Sometimes\": supported values: \
                 \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.volumeClaimTemplates[0].spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access \
                 modes",
                "spec.volumeClaimTemplates[0].spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            ],
        ),
        (
            stateful_set(json!({ "podManagementPolicy": "x", "ordinals": { "start": -1 },
                "persistentVolumeClaimRetentionPolicy": { "whenScaled": "x" } })),
            vec![
                "spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'",
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"x\": supported values: \"Retain\", \
                 \"Delete\"",
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            stateful_set(
                json!({ "updateStrategy": { "type": "OnDelete", "rollingUpdate": { "partition": 1 } } }),
            ),
            vec![
                "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":1,\"MaxUnavailable\":null}: only allowed for \
                 updateStrategy 'RollingUpdate'",
            ],
        ),
    ]);
    let old = stored(&stateful_set(json!({ "serviceName": "s", "volumeClaimTemplates": [claim("d")] })));
    let forbidden = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
                     are forbidden";
    refused_changes(
        &old,
        [
            ("/spec/replicas", json!(5), vec![]),
            ("/spec/template/spec/containers/0/image", json!("other"), vec![]),
            ("/spec/serviceName", json!("t"), vec![forbidden]),
            ("/spec/volumeClaimTemplates/0/metadata/name", json!("e"), vec![forbidden]),
        ],
    );
    assert_eq!(
        status_faults(
            &old,
            json!({ "replicas": 1 }),
            json!({ "replicas": 1, "readyReplicas": 2, "availableReplicas": 1 })
        ),
        ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
    );
}

#[test]
fn rows() {
    let mut daemons = stored(&daemon_set(json!({})));
    daemons["spec"]["template"]["spec"]["nodeSelector"] = json!({ "disk": "ssd" });
    daemons["status"] = json!({ "desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1,
        "numberMisscheduled": 0, "updatedNumberScheduled": 2, "numberAvailable": 1 });
    assert_eq!(
        printed(&daemons),
        json!(["x", 3, 2, 1, 2, 1, "disk=ssd", "60s", "c", "nginx:1.25", "app=web"])
    );
    let mut set = stored(&stateful_set(json!({ "replicas": 3 })));
    set["status"]["readyReplicas"] = json!(2);
    assert_eq!(printed(&set), json!(["x", "2/3", "60s", "c", "nginx:1.25"]));
}
