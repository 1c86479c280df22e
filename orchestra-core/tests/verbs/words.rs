//! What Kubernetes asks of a request beside its body, and what it says of it: by the version that is served, of what is
//! not there, and of what stands twice.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use orchestra_core::api::{
    Body, ListOptions, Operation, Reason, Reply, Response, Status, Target, WriteOptions,
};
use orchestra_core::selector::FieldSelector;
use serde_json::{Value, json};

use super::{config_map, server};

async fn create(
    server: &orchestra_core::testing::TestServer,
    target: Target,
    object: Value,
) -> Result<Response, Status> {
    let create = Operation::Create { body: Body::Value(object), options: WriteOptions::default() };
    server.client().call(target, create).await
}

#[tokio::test(start_paused = true)]
async fn events_are_selected_by_the_fields_of_the_version_that_is_asked() {
    let server = server().await;
    let event = json!({
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reportingComponent": "kubelet",
        "reason": "Started",
    });
    create(&server, Target::of::<Event>(Some("default")), event).await.unwrap();
    let found = async |group: &str, fields: &str| {
        let mut target = Target::of::<Event>(Some("default"));
        target.group = group.into();
        let fields = Some(FieldSelector::parse(fields).unwrap());
        let list = Operation::List(ListOptions { fields, ..ListOptions::default() });
        match server.client().call(target, list).await?.reply {
            Reply::List(list) => Ok::<_, Status>(list.objects.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found("events.k8s.io", "regarding.name=p").await, Ok(1));
    assert_eq!(found("events.k8s.io", "reportingController=kubelet").await, Ok(1));
    assert_eq!(found("", "involvedObject.name=p").await, Ok(1));
    // Who reports counts as the source of an event that has none.
    assert_eq!(found("", "source=kubelet").await, Ok(1));
    for (group, fields) in [("events.k8s.io", "involvedObject.name=p"), ("", "regarding.name=p")] {
        let refused = found(group, fields).await.unwrap_err();
        let (field, _) = fields.split_once('=').unwrap();
        assert_eq!(refused.message(), format!("field label not supported: {field}"));
    }
}

#[tokio::test(start_paused = true)]
async fn some_kinds_are_made_by_an_update_and_others_must_be_there() {
    let server = server().await;
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {}})).unwrap();
    let made = server.api::<Lease>().update(&lease).await.unwrap();
    assert!(made.metadata.uid.is_some());
    let another = json!({"metadata": {"name": "b", "resourceVersion": "7"}, "spec": {}});
    let another: Lease = serde_json::from_value(another).unwrap();
    server.api::<Lease>().update(&another).await.unwrap();
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    assert_eq!(server.api::<Secret>().update(&secret).await.unwrap_err().reason(), Reason::NotFound);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stands_twice_counts_once_and_is_told() {
    let server = server().await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"});
    let other = json!({"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "1"});
    let object = json!({"metadata": {"name": "a", "ownerReferences": [owner, owner, other]}});
    let made = create(&server, Target::of::<ConfigMap>(Some("default")), object).await.unwrap();
    assert_eq!(
        made.warnings,
        [
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
          reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: 1"
        ]
    );
    let held = server.api::<ConfigMap>().get("a").await.unwrap();
    assert_eq!(held.metadata.owner_references.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_fields_is_told_also_when_the_object_is_refused() {
    let server = server().await;
    let maps = Target::of::<ConfigMap>(Some("default"));
    server.api::<ConfigMap>().create(&config_map("a", "1")).await.unwrap();
    let object = json!({"metadata": {"name": "A"}, "made": "up"});
    let refused = create(&server, maps, object).await.unwrap_err();
    assert_eq!((refused.code(), refused.warnings()), (422, &["unknown field \"made\"".to_owned()][..]));
}
