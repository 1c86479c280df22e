//! Claims get the default class, and who deletes what storage is of is answered with it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use orchestra_core::api::{Body, DeleteOptions, Operation, Patch, Reply, Target, WriteOptions};
use orchestra_core::meta::Object;
use orchestra_core::testing::TestServer;
use serde_json::{Value, json};

use super::server;

async fn create<K: Object>(server: &TestServer, object: Value) -> Value {
    let options = WriteOptions::default();
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let create = Operation::Create { body: Body::Value(object), options };
    let response = server.client().call(Target::of::<K>(namespace.as_deref()), create).await.unwrap();
    match response.reply {
        Reply::Object(entry) => entry.to_value().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn class(name: &str, is_default: &str) -> Value {
    let annotations = json!({ "storageclass.kubernetes.io/is-default-class": is_default });
    json!({ "metadata": { "name": name, "annotations": annotations }, "provisioner": "example.com/p" })
}

fn claim(name: &str, annotations: Value, class: Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default", "annotations": annotations },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
            "storageClassName": class,
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_names_no_class_gets_the_default_one_that_was_made_last() {
    let server = server().await;
    let class_of = |claim: Value| claim["spec"]["storageClassName"].clone();
    let before = create::<PersistentVolumeClaim>(&server, claim("before", json!({}), Value::Null)).await;
    assert_eq!(class_of(before), Value::Null, "there is no default yet");
    create::<StorageClass>(&server, class("old", "true")).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for (name, is_default) in [("b", "true"), ("a", "true"), ("0", "false")] {
        create::<StorageClass>(&server, class(name, is_default)).await;
    }
    let of_old = json!({ "volume.beta.kubernetes.io/storage-class": "slow" });
    for (name, annotations, given, wanted) in [
        ("none", json!({}), Value::Null, json!("a")),
        ("named", json!({}), json!("slow"), json!("slow")),
        ("without", json!({}), json!(""), json!("")),
        ("annotated", of_old, Value::Null, Value::Null),
    ] {
        let made = create::<PersistentVolumeClaim>(&server, claim(name, annotations, given)).await;
        assert_eq!(class_of(made), wanted, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_deletes_is_answered_with_what_was_there_or_with_a_status() {
    let server = server().await;
    create::<StorageClass>(&server, class("c", "false")).await;
    let budget =
        json!({ "metadata": { "name": "A", "namespace": "default" }, "spec": { "minAvailable": 1 } });
    create::<PodDisruptionBudget>(&server, budget).await;
    let delete = || Operation::Delete(DeleteOptions::default());
    let gone = server.client().call(Target::of::<StorageClass>(None).named("c"), delete()).await.unwrap();
    let Reply::Object(gone) = gone.reply else { panic!("{:?}", gone.reply) };
    let gone = gone.to_value().unwrap();
    assert_eq!(gone["provisioner"], "example.com/p");
    assert!(gone["metadata"].get("deletionTimestamp").is_none(), "{gone}");
    let target = Target::of::<PodDisruptionBudget>(Some("default")).named("A");
    let gone = server.client().call(target, delete()).await.unwrap();
    assert!(matches!(gone.reply, Reply::Value(status) if status["status"] == "Success"));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_must_name_its_version_says_so_of_the_plural() {
    let server = server().await;
    create::<CSINode>(&server, json!({ "metadata": { "name": "n" }, "spec": { "drivers": [] } })).await;
    let body = Body::Value(json!({ "metadata": { "name": "n" }, "spec": { "drivers": [] } }));
    let update = Operation::Update { body, options: WriteOptions::default() };
    let refused = server.client().call(Target::of::<CSINode>(None).named("n"), update).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "csinodes.storage.k8s.io \"n\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an \
         update"
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_asks_for_more_only_where_its_volume_may_grow() {
    let server = server().await;
    let mut growing = class("growing", "false");
    growing["allowVolumeExpansion"] = json!(true);
    create::<StorageClass>(&server, growing).await;
    create::<StorageClass>(&server, class("fixed", "false")).await;
    let claims = server.client().api::<PersistentVolumeClaim>("default");
    for (name, of, phase, why) in [
        ("grows", "growing", "Bound", None),
        ("waits", "growing", "Pending", Some("spec is immutable after creation")),
        ("lost", "growing", "Lost", Some("spec is immutable after creation")),
        ("fixed", "fixed", "Bound", Some("the storageclass that provisions the pvc must support resize")),
        ("unknown", "away", "Bound", Some("the storageclass that provisions the pvc must support resize")),
    ] {
        create::<PersistentVolumeClaim>(&server, claim(name, json!({}), json!(of))).await;
        let status = json!({"status": {"phase": phase, "capacity": {"storage": "1Gi"}}});
        claims.patch_status(name, Patch::Merge(status)).await.unwrap();
        let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let grown = claims.patch(name, Patch::Merge(more)).await;
        match (grown, why) {
            (Ok(_), None) => {}
            (Err(status), Some(why)) => assert!(status.message().contains(why), "{name}: {status}"),
            (grown, _) => panic!("{name}: {grown:?}"),
        }
        // What is no more than it was is nobody's business.
        claims.patch(name, Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).await.unwrap();
    }
}
