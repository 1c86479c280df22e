//! What Kubernetes asks of a request beside its body, and what it says of it: by the version that is served, of what is
//! not there, and of what stands twice.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret, Service};
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

#[tokio::test(start_paused = true)]
async fn a_binding_by_itself_binds_the_pod_that_it_is_named_after() {
    let server = server().await;
    let pods = server.api::<Pod>();
    for name in ["a", "b"] {
        pods.create(&super::pod(name)).await.unwrap();
    }
    let bindings = || Target::collection(("", "v1", "bindings"), Some("default"));
    let to = |name: &str| json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    let bound = create(&server, bindings(), to("a")).await.unwrap();
    let Reply::Value(status) = bound.reply else { panic!("{:?}", bound.reply) };
    assert_eq!((&status["status"], bound.created), (&json!("Success"), true));
    let node = async |name: &str| pods.get(name).await.unwrap().spec.unwrap().node_name;
    assert_eq!((node("a").await.as_deref(), node("b").await), (Some("n"), None));
    let refused = async |body: serde_json::Value| {
        let status = create(&server, bindings(), body).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let again =
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n\"";
    assert_eq!(refused(to("a")).await, (409, again.to_owned()));
    assert_eq!(refused(to("c")).await, (404, "pods \"c\" not found".to_owned()));
    assert_eq!(refused(to("")).await.0, 400);
    let list = Operation::List(ListOptions::default());
    assert_eq!(server.client().call(bindings(), list).await.unwrap_err().code(), 405);
}

#[tokio::test(start_paused = true)]
async fn a_condition_without_a_time_is_kept_without_one() {
    let server = server().await;
    let ports = json!({"ports": [{"port": 80}]});
    server.api::<Service>().create(&super::service("s", ports)).await.unwrap();
    let target = Target::of::<Service>(Some("default")).named("s");
    let read = async || {
        let get = Operation::Get { revision: None, revision_match: None };
        match server.client().call(target.clone(), get).await.unwrap().reply {
            Reply::Object(entry) => entry.to_value().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let mut object = read().await;
    // As a program in Go writes a time that was never set.
    let condition =
        json!({"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": null});
    object["status"]["conditions"] = json!([condition]);
    let update = Operation::Update { body: Body::Value(object), options: WriteOptions::default() };
    server.client().call(target.clone().sub("status"), update).await.unwrap();
    assert_eq!(read().await["status"]["conditions"], json!([condition]));
}
