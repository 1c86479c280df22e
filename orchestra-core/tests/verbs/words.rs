//! What Kubernetes asks of a request beside its body, and what it says of it: by the version that is served, of what is
//! not there, and of what stands twice.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Secret, Service};
use k8s_openapi::api::resource::v1::ResourceSlice;
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
async fn kinds_say_in_words_of_their_own_by_which_fields_they_are_not_selected() {
    let server = server().await;
    for (target, field, told) in [
        (
            Target::of::<Deployment>(None),
            "a",
            "\"a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (
            Target::of::<ReplicaSet>(None),
            "status.replicas",
            "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (Target::of::<Job>(None), "a", "field label \"a\" not supported for Job"),
        (
            Target::of::<ResourceSlice>(None),
            "a",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: a",
        ),
        (Target::of::<Node>(None), "metadata.namespace", "field label not supported: metadata.namespace"),
    ] {
        let fields = Some(FieldSelector::parse(&format!("{field}=x")).unwrap());
        let list = Operation::List(ListOptions { fields, ..ListOptions::default() });
        let refused = server.client().call(target, list).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (400, told));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_empty_and_what_is_unknown_is_told_as_it_was_sent() {
    let server = server().await;
    let text = json!({"metadata": {"name": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    let body = Body::Json(text.to_string().into());
    let create_text = Operation::Create { body, options: WriteOptions::default() };
    let refused =
        server.client().call(Target::of::<Deployment>(Some("default")), create_text).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Deployment.apps \"a\" is invalid: spec.template.metadata.labels: Invalid value: {}: `selector` does not match \
         template `labels`"
    );
    // A field that there is in the stored version only is unknown in the other.
    let mut target = Target::of::<Event>(Some("default"));
    target.group = "events.k8s.io".into();
    let event = json!({"metadata": {"name": "e"}, "regarding": {"nosuch": 1}, "involvedObject": {},
        "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "a/b", "reportingInstance": "i",
        "action": "a", "reason": "r", "type": "Normal"});
    let made = create(&server, target, event).await;
    let warnings = match &made {
        Ok(made) => &made.warnings[..],
        Err(status) => status.warnings(),
    };
    assert_eq!(warnings, ["unknown field \"involvedObject\"", "unknown field \"regarding.nosuch\""]);
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
    // Whether it says where to is looked at first.
    let nowhere = json!({"metadata": {"name": "c"}, "target": {"kind": "Pod"}});
    let told = "[target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\", target.name: Required value]";
    assert_eq!(refused(nowhere).await, (500, told.to_owned()));
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

/// As of any object, the name in the body is that of the path.
#[tokio::test(start_paused = true)]
async fn a_scale_is_of_the_object_that_the_path_names() {
    let server = server().await;
    let labels = json!({"app": "web"});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    server.create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let scale = async |name: &str| {
        let body = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name}, "spec": {"replicas": 2},
        });
        let update = Operation::Update { body: Body::Value(body), options: WriteOptions::default() };
        let target = Target::of::<Deployment>(Some("default")).named("web").scale();
        server.client().call(target, update).await.map(drop).map_err(|status| status.message().to_owned())
    };
    let other = "the name of the object (api) does not match the name on the URL (web)";
    assert_eq!(scale("api").await, Err(other.to_owned()));
    let none = "the name of the object (web based on URL) was undeterminable: name must be provided";
    assert_eq!(scale("").await, Err(none.to_owned()));
    assert_eq!(scale("web").await, Ok(()));
}
