//! What is empty, null or spelled otherwise is no change: objects have one form, by the types of their fields.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use orchestra_core::api::{Body, Client, Operation, Patch, PatchKind, Reply, Status, Target, WriteOptions};
use orchestra_core::meta::Object;
use serde_json::{Value, json};

use super::server;

/// What is stored of an object that is created.
async fn create<K: Object>(client: &Client, object: &Value) -> Result<Value, Status> {
    let body = Body::Json(object.to_string().into_bytes().into());
    stored::<K>(client, None, Operation::Create { body, options: WriteOptions::default() }).await
}

async fn patch<K: Object>(client: &Client, kind: PatchKind, patch: &Value) -> Result<Value, Status> {
    let patch = patch.to_string().into_bytes().into();
    stored::<K>(
        client,
        Some("a"),
        Operation::Patch { kind, patch, force: false, options: WriteOptions::default() },
    )
    .await
}

async fn stored<K: Object>(
    client: &Client,
    name: Option<&str>,
    operation: Operation,
) -> Result<Value, Status> {
    let target = Target { name: name.map(Into::into), ..Target::of::<K>(Some("default")) };
    match client.call(target, operation).await?.reply {
        Reply::Object(entry) => Ok(entry.to_value().unwrap()),
        other => panic!("not an object: {other:?}"),
    }
}

fn deployment(template: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
    spec.as_object_mut().unwrap().extend(template.as_object().unwrap().clone());
    json!({"metadata": {"name": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": spec},
    }})
}

#[tokio::test(start_paused = true)]
async fn what_is_empty_is_no_change() {
    let server = server().await;
    let client = server.client();
    let first = create::<Deployment>(&client, &deployment(json!({}))).await.unwrap();
    for change in [
        json!({"spec": {"template": {"spec": {"tolerations": [], "nodeSelector": {}}}}}),
        json!({"spec": {"template": {"metadata": {"annotations": {}}}}}),
        json!({"spec": {"template": {"spec": {"volumes": [], "hostNetwork": false, "serviceAccountName": ""}}}}),
        json!({"spec": {"selector": {"matchExpressions": []}}}),
        json!({"spec": {"minReadySeconds": 0, "paused": false}}),
        json!({"metadata": {"labels": {}, "finalizers": [], "ownerReferences": []}}),
        json!({"metadata": {"creationTimestamp": first["metadata"]["creationTimestamp"]}, "status": null}),
    ] {
        for kind in [PatchKind::Merge, PatchKind::Strategic] {
            let patched = patch::<Deployment>(&client, kind, &change).await.unwrap();
            assert_eq!(patched, first, "{change}");
        }
    }
    let not_empty = json!({"spec": {"template": {"spec": {"affinity": {}}}}});
    let patched = patch::<Deployment>(&client, PatchKind::Merge, &not_empty).await.unwrap();
    assert_eq!(patched["metadata"]["generation"], 2, "what a pointer leads to is there, though empty");
}

/// Typed clients leave out what is empty when they write an object back.
#[tokio::test(start_paused = true)]
async fn what_a_typed_client_writes_back_is_no_change() {
    let server = server().await;
    let client = server.client();
    let mut manifest = deployment(json!({
        "tolerations": [], "initContainers": null, "dnsPolicy": "",
        "containers": [{"name": "c", "image": "i", "env": [], "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}],
    }));
    manifest["metadata"]["annotations"] = json!({});
    manifest["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    create::<Deployment>(&client, &manifest).await.unwrap();
    let deployments = server.api::<Deployment>();
    let mut typed = deployments.get("a").await.unwrap();
    let spec = typed.spec.clone();
    typed.metadata.annotations = Some([("seen".to_owned(), "1".to_owned())].into());
    let written = deployments.update(&typed).await.unwrap();
    assert_eq!(written.metadata.generation, Some(2), "an annotation of a Deployment counts");
    assert_eq!(written.spec, spec);
    typed.metadata.resource_version = None;
    // Who owns what would be as it was when the object was read.
    typed.metadata.managed_fields = None;
    assert_eq!(deployments.update(&typed).await.unwrap().metadata, written.metadata);
}

#[tokio::test(start_paused = true)]
async fn null_and_line_breaks_are_what_go_makes_of_them() {
    let server = server().await;
    let client = server.client();
    let map = json!({"metadata": {"name": "a", "annotations": {"foo": "x", "bar": null}, "labels": {"l": null}},
        "data": {"empty": null}, "binaryData": {"n": null}});
    let map = create::<ConfigMap>(&client, &map).await.unwrap();
    assert_eq!(map["metadata"]["annotations"], json!({"foo": "x", "bar": ""}));
    assert_eq!((&map["data"], &map["binaryData"]), (&json!({"empty": ""}), &json!({"n": ""})));
    let secret = json!({"metadata": {"name": "a"}, "data": {"a": null, "b": "aGVs\nbG8=\n"}});
    let secret = create::<Secret>(&client, &secret).await.unwrap();
    assert_eq!(secret["data"], json!({"a": "", "b": "aGVsbG8="}));
}

#[tokio::test(start_paused = true)]
async fn times_that_go_clients_cannot_read_are_refused() {
    let server = server().await;
    let client = server.client();
    let lease = |time: &str| json!({"metadata": {"name": "a"}, "spec": {"renewTime": time}});
    for time in ["2022-06-23T18:10:50.278Z", "2022-06-23T18:10:50.123456789Z", "2022-06-23T18:10:50Z"] {
        let refused = create::<Lease>(&client, &lease(time)).await.unwrap_err();
        assert_eq!(refused.code(), 400);
        let prefix =
            format!("Lease in version \"v1\" cannot be handled as a Lease: parsing time {time:?} as ");
        assert!(refused.message().starts_with(&prefix), "{refused:?}");
    }
    let kept = create::<Lease>(&client, &lease("2022-06-23T20:10:50.278000+02:00")).await.unwrap();
    assert_eq!(kept["spec"]["renewTime"], "2022-06-23T18:10:50.278000Z");
}

#[tokio::test(start_paused = true)]
async fn a_strategic_patch_of_a_wrong_type_is_refused_in_gos_words() {
    let server = server().await;
    let client = server.client();
    create::<Deployment>(&client, &deployment(json!({}))).await.unwrap();
    let change = json!({"spec": {"template": {"spec": {"nodeName": 5}}}});
    let refused = patch::<Deployment>(&client, PatchKind::Strategic, &change).await.unwrap_err();
    assert_eq!(refused.code(), 422);
    assert_eq!(
        refused.message(),
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[template:map[spec:map[nodeName:5]]]]\": cannot convert \
         int64 to string"
    );
    let nameless = patch::<Deployment>(&client, PatchKind::Merge, &json!({"metadata": {"name": null}})).await;
    assert_eq!(
        nameless.unwrap_err().message(),
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
}

/// What the system adds to a pod has the form of the rest, so that a write of the same pod is no change.
#[tokio::test(start_paused = true)]
async fn what_is_added_to_an_object_has_the_form_of_the_rest() {
    let server = server().await;
    let pods = server.api::<Pod>();
    let made = create::<Pod>(&server.client(), &json!({"metadata": {"name": "a"}, "spec": {"containers": [
        {"name": "c", "image": "i", "env": [{"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]},
    ]}}))
    .await
    .unwrap();
    let container = &made["spec"]["containers"][0];
    assert_eq!(container["resources"], json!({}));
    assert_eq!(container["env"][0]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    let typed = pods.get("a").await.unwrap();
    assert_eq!(pods.update(&typed).await.unwrap(), typed);
    assert_eq!(pods.patch("a", Patch::Merge(json!({}))).await.unwrap(), typed);
}
