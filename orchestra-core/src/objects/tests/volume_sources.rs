//! Where volumes are, in pods and in PersistentVolumes: what is wrong with each source.

use serde_json::{Value, json};

use super::{deployment, faults, pod};

/// What is wrong with the source of a pod's volume.
fn of_pod(source: &Value) -> Vec<String> {
    let mut volume = json!({ "name": "v" });
    super::merge(&mut volume, source.clone());
    faults(&pod(json!({ "volumes": [volume] })))
}

/// What is wrong with the source of a PersistentVolume.
fn of_volume(source: &Value) -> Vec<String> {
    let mut volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"] } });
    super::merge(&mut volume["spec"], source.clone());
    faults(&volume)
}

/// For each source what is wrong with it: the same in both, but for what only a PersistentVolume must say.
fn both<'w>(cases: impl IntoIterator<Item = (Value, Vec<&'w str>, Vec<&'w str>)>) {
    for (source, wanted, further) in cases {
        let at = |path: &str, faults: &[&str]| -> Vec<String> {
            faults.iter().map(|fault| format!("{path}.{fault}")).collect()
        };
        assert_eq!(of_pod(&source), at("spec.volumes[0]", &wanted), "{source}");
        let all: Vec<&str> = wanted.iter().chain(&further).copied().collect();
        assert_eq!(of_volume(&source), at("spec", &all), "{source}");
    }
}

#[test]
fn sources_must_say_where_a_volume_is() {
    both([
        (json!({ "gcePersistentDisk": {} }), vec!["persistentDisk.pdName: Required value"], vec![]),
        (
            json!({ "awsElasticBlockStore": { "partition": 256 } }),
            vec![
                "awsElasticBlockStore.volumeID: Required value",
                "awsElasticBlockStore.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ],
            vec![],
        ),
        (
            json!({ "glusterfs": {} }),
            vec!["glusterfs.endpoints: Required value", "glusterfs.path: Required value"],
            vec![],
        ),
        (
            json!({ "nfs": {} }),
            vec![
                "nfs.server: Required value",
                "nfs.path: Required value",
                "nfs.path: Invalid value: \"\": must be an absolute path",
            ],
            vec![],
        ),
        (
            json!({ "rbd": { "monitors": [] } }),
            vec!["rbd.monitors: Required value", "rbd.image: Required value"],
            vec![],
        ),
        (json!({ "cephfs": {} }), vec!["cephfs.monitors: Required value"], vec![]),
        (json!({ "vsphereVolume": {} }), vec!["vsphereVolume.volumePath: Required value"], vec![]),
        (json!({ "photonPersistentDisk": {} }), vec!["photonPersistentDisk.pdID: Required value"], vec![]),
        (json!({ "portworxVolume": {} }), vec!["portworxVolume.volumeID: Required value"], vec![]),
        (
            json!({ "azureFile": {} }),
            vec!["azureFile.secretName: Required value", "azureFile.shareName: Required value"],
            vec![],
        ),
        (
            json!({ "scaleIO": { "secretRef": {} } }),
            vec![
                "scaleIO.gateway: Required value",
                "scaleIO.system: Required value",
                "scaleIO.volumeName: Required value",
            ],
            vec![],
        ),
    ]);
}

#[test]
fn what_sources_say_must_make_sense() {
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
                 with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    let named = format!("storageos.volumeName: Invalid value: \"A\": {label}");
    let reserved = "flexVolume.options[K8s.io/a]: Invalid value: \"K8s.io/a\": kubernetes.io and k8s.io namespaces are reserved";
    let pairs = "must be a host:port pair or multiple pairs separated by commas";
    let registry = format!("quobyte.registry: Invalid value: \"a:1,b\": {pairs}");
    let no_registry = format!("quobyte.registry: Required value: {pairs}");
    both([
        (
            json!({ "flocker": {} }),
            vec!["flocker: Required value: one of datasetName and datasetUUID is required"],
            vec![],
        ),
        (
            json!({ "flocker": { "datasetName": "a/b", "datasetUUID": "u" } }),
            vec![
                "flocker: Invalid value: \"resource\": datasetName and datasetUUID can not be specified simultaneously",
                "flocker.datasetName: Invalid value: \"a/b\": must not contain '/'",
            ],
            vec![],
        ),
        (json!({ "quobyte": { "registry": "a:1,b", "volume": "v" } }), vec![&registry], vec![]),
        (json!({ "quobyte": {} }), vec![&no_registry, "quobyte.volume: Required value"], vec![]),
        (
            json!({ "cinder": { "volumeID": "v", "secretRef": {} } }),
            vec!["cinder.secretRef.name: Required value"],
            vec!["cinder.secretRef.namespace: Required value"],
        ),
        (
            json!({ "storageos": { "volumeName": "A", "secretRef": {} } }),
            vec![&named, "storageos.secretRef.name: Required value"],
            vec!["storageos.secretRef.namespace: Required value"],
        ),
        (json!({ "flexVolume": { "driver": "d", "options": { "K8s.io/a": "b" } } }), vec![reserved], vec![]),
        (
            json!({ "fc": { "targetWWNs": ["w"], "wwids": ["i"] } }),
            vec![
                "fc.targetWWNs: Invalid value: [\"w\"]: targetWWNs and wwids can not be specified simultaneously",
                "fc.lun: Required value: lun is required if targetWWNs is specified",
            ],
            vec![],
        ),
        (
            json!({ "azureDisk": { "diskName": "d", "diskURI": "u", "cachingMode": "x", "kind": "Managed" } }),
            vec![
                "azureDisk.cachingMode: Unsupported value: \"x\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                "azureDisk.diskURI: Unsupported value: \"u\": supported values: \
                 \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
            ],
            vec![],
        ),
        (
            json!({ "azureDisk": { "diskName": "d", "diskURI": "u" } }),
            vec![
                "azureDisk.diskURI: Unsupported value: \"u\": supported values: \
                 \"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd\"",
            ],
            vec![],
        ),
        (
            json!({ "iscsi": { "targetPortal": "", "iqn": "iqn.1", "lun": -1, "chapAuthSession": true } }),
            vec![
                "iscsi.targetPortal: Required value",
                "iscsi.iqn: Invalid value: \"iqn.1\": must be valid format",
                "iscsi.lun: Invalid value: -1: must be between 0 and 255, inclusive",
                "iscsi.secretRef: Required value",
            ],
            vec![],
        ),
    ]);
    let file = json!({ "azureFile": { "secretName": "s", "shareName": "s", "secretNamespace": "" } });
    assert_eq!(of_volume(&file), ["spec.azureFile.secretNamespace: Required value"]);
    let gluster = json!({ "glusterfs": { "endpoints": "e", "path": "p", "endpointsNamespace": "" } });
    assert_eq!(
        of_volume(&gluster),
        [
            "spec.glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid \
             namespace name"
        ]
    );
    let other = json!({ "iscsi": { "targetPortal": "p", "iqn": "x" } });
    let wanted = "iscsi.iqn: Invalid value: \"x\": must be valid format";
    assert_eq!(of_volume(&other), [format!("spec.{wanted}")]);
    assert_eq!(of_pod(&other), [format!("spec.volumes[0].{wanted} starting with iqn, eui, or naa")]);
}

#[test]
fn a_volume_has_one_source() {
    let two =
        json!({ "nfs": { "server": "s" }, "cephfs": { "monitors": [] }, "flexVolume": { "driver": "" } });
    let path = ["nfs.path: Required value", "nfs.path: Invalid value: \"\": must be an absolute path"];
    let second = "cephFS: Forbidden: may not specify more than 1 volume type";
    let in_pod = [path[0], path[1], second, "flexVolume: Forbidden: may not specify more than 1 volume type"];
    assert_eq!(of_pod(&two), in_pod.map(|fault| format!("spec.volumes[0].{fault}")));
    // A driver of the node may stand beside others there.
    let in_volume = [path[0], path[1], second, "flexVolume.driver: Required value"];
    assert_eq!(of_volume(&two), in_volume.map(|fault| format!("spec.{fault}")));
}

#[test]
fn volumes_that_only_pods_have_are_looked_into() {
    let domain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
                  and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                  '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let driver = format!("csi.driver: Invalid value: \"_\": {domain}");
    let secret = format!("csi.name: Invalid value: \"_\": {domain}");
    let template = "ephemeral.volumeClaimTemplate";
    let no_modes = format!("{template}.spec.accessModes: Required value: at least 1 access mode is required");
    let no_size = format!("{template}.spec.resources[storage]: Required value");
    let named = format!("{template}.metadata.name: Forbidden: cannot be set");
    let no_template = format!("{template}: Required value");
    for (source, wanted) in [
        (
            json!({ "csi": { "driver": "_", "nodePublishSecretRef": { "name": "_" } } }),
            vec![&*driver, &*secret],
        ),
        (
            json!({ "csi": { "driver": "d.x", "nodePublishSecretRef": {} } }),
            vec!["csi.nodePublishSecretRef.name: Required value"],
        ),
        (json!({ "ephemeral": {} }), vec![&*no_template]),
        (
            json!({ "ephemeral": { "volumeClaimTemplate": { "metadata": { "name": "n" } } } }),
            vec![&*named, &*no_modes, &*no_size],
        ),
        (
            json!({ "image": { "pullPolicy": "x" } }),
            vec![
                "image.reference: Required value",
                "image.pullPolicy: Unsupported value: \"x\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            json!({ "gitRepo": { "repository": "r", "directory": "/a/.." } }),
            vec![
                "gitRepo.directory: Invalid value: \"/a/..\": must be a relative path",
                "gitRepo.directory: Invalid value: \"/a/..\": must not contain '..'",
            ],
        ),
        // A source of a projected volume may be empty, which is warned of.
        (json!({ "projected": { "sources": [{}] } }), vec![]),
        (
            json!({ "projected": { "sources": [{ "configMap": { "name": "a" }, "secret": { "name": "b" } }] } }),
            vec!["projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"],
        ),
        (
            json!({ "projected": { "sources": [
                { "configMap": { "name": "a", "items": [{ "key": "k", "path": "p" }, { "key": "l", "path": "p" }] } }] } }),
            vec!["projected: Invalid value: \"a\": conflicting duplicate paths"],
        ),
    ] {
        let wanted: Vec<String> = wanted.iter().map(|fault| format!("spec.volumes[0].{fault}")).collect();
        assert_eq!(of_pod(&source), wanted, "{source}");
    }
    // A template need not name the image.
    let mut template = deployment(json!({}));
    template["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "v", "image": {} }]);
    assert_eq!(faults(&template), Vec::<String>::new());
}

#[test]
fn a_token_is_put_where_the_volume_is_said_to_be_wrong() {
    let token = |path: &str| {
        json!({ "serviceAccountName": "s", "volumes": [
            { "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": path } }] } }] })
    };
    assert_eq!(faults(&pod(token(""))), ["spec.volumes[0].projected.path: Required value"]);
    assert_eq!(
        faults(&pod(token("/a"))),
        ["spec.volumes[0].projected.path: Invalid value: \"/a\": must be a relative path"]
    );
}

#[test]
fn claims_of_a_pod_are_named_after_it() {
    let claim = json!({ "spec": { "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "1Gi" } } } });
    let own = json!({ "name": "own", "ephemeral": { "volumeClaimTemplate": claim } });
    let other = json!({ "name": "other", "persistentVolumeClaim": { "claimName": "p-own" } });
    let mut object = pod(json!({ "volumes": [own, other] }));
    assert_eq!(
        faults(&object),
        [
            "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-own\": must not reference a PVC that gets \
             created for an ephemeral volume"
        ]
    );
    object["metadata"]["name"] = json!("P");
    let told = faults(&object);
    assert!(
        told[0].starts_with("spec.volumes[0].name: Invalid value: \"own\": PVC name \"P-own\": a lowercase"),
        "{told:?}"
    );
}
