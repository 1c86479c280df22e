//! The verbs of the API over an embedded server: what each does, refuses and leaves untouched.

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, PodSchedulingGate, Service};
use orchestra_core::api::{
    Api, Body, Client, DeleteOptions, FieldValidation, ListOptions, Operation, Patch, Reason, Reply, Target,
    WatchOptions, Watched, WriteOptions,
};
use orchestra_core::meta::{Object, Revision};
use orchestra_core::selector::Selector;
use orchestra_core::testing::TestServer;
use serde_json::json;

#[path = "verbs/canonical.rs"]
mod canonical;
#[path = "verbs/client.rs"]
mod client;
#[path = "verbs/quotas.rs"]
mod quotas;
#[path = "verbs/services.rs"]
mod services;
#[path = "verbs/storage.rs"]
mod storage;
#[path = "verbs/words.rs"]
mod words;

async fn server() -> TestServer {
    TestServer::builder().service_ranges("10.96.0.0/28".parse().unwrap()).start().await
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}}, "data": {"key": value}
    }))
    .unwrap()
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.7.9"}]}
    }))
    .unwrap()
}

fn service(name: &str, spec: serde_json::Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_collection_of_all_namespaces_is_read_and_never_written_to() {
    let server = server().await;
    server.api::<ConfigMap>().create(&config_map("a", "1")).await.unwrap();
    let everywhere = [
        Target::of::<ConfigMap>(None),
        Target::of::<Deployment>(None),
        Target::of::<Service>(None),
        // Namespaces go one by one.
        Target::of::<Namespace>(None),
    ];
    for target in everywhere {
        let delete = Operation::DeleteCollection(ListOptions::default(), DeleteOptions::default());
        let refused = server.client().call(target.clone(), delete).await.unwrap_err();
        assert_eq!((refused.code(), refused.reason()), (405, Reason::MethodNotAllowed), "{target:?}");
        assert!(server.client().call(target, Operation::List(ListOptions::default())).await.is_ok());
    }
    let body = Body::Value(json!({"metadata": {"name": "b"}}));
    let create = Operation::Create { body, options: WriteOptions::default() };
    let refused = server.client().call(Target::of::<ConfigMap>(None), create).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::MethodNotAllowed);
    server.api::<ConfigMap>().get("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_is_created_read_changed_and_removed() {
    let server = server().await;
    let maps: Api<ConfigMap> = server.api();
    let created = maps.create(&config_map("a", "1")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(maps.get("a").await.unwrap(), created);
    assert!(maps.create(&config_map("a", "2")).await.unwrap_err().is_already_exists());

    let mut changed = created.clone();
    changed.data.as_mut().unwrap().insert("key".into(), "2".into());
    let updated = maps.update(&changed).await.unwrap();
    assert_ne!(updated.metadata.resource_version, created.metadata.resource_version);
    assert!(maps.update(&changed).await.unwrap_err().is_conflict(), "a stale version may not overwrite");
    assert_eq!(
        maps.update(&updated).await.unwrap(),
        updated,
        "an update that changes nothing writes nothing"
    );

    maps.delete("a").await.unwrap();
    assert!(maps.get("a").await.unwrap_err().is_not_found());
    assert_eq!(maps.delete("a").await.unwrap_err().message(), "configmaps \"a\" not found");
}

#[tokio::test(start_paused = true)]
async fn names_are_generated_and_namespaces_must_be_there() {
    let server = server().await;
    let client = server.client();
    let mut map = config_map("", "1");
    map.metadata.name = None;
    map.metadata.generate_name = Some("web-".into());
    let created = client.api::<ConfigMap>("default").create(&map).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let missing = client.api::<ConfigMap>("nowhere").create(&config_map("a", "1")).await.unwrap_err();
    assert_eq!(missing.message(), "namespaces \"nowhere\" not found");
}

#[tokio::test(start_paused = true)]
async fn strict_decoding_names_what_is_wrong() {
    let server = server().await;
    let client = server.client();
    let body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dta":{"k":"v"},"data":{},"data":{}}"#;
    let create = |field_validation| {
        let options = WriteOptions { field_validation, dry_run: true, ..Default::default() };
        client.call(
            Target::of::<ConfigMap>(Some("default")),
            Operation::Create { body: Body::Json(body.to_vec().into()), options },
        )
    };
    let refused = create(FieldValidation::Strict).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::BadRequest);
    assert_eq!(
        refused.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\", \
         duplicate field \"data\""
    );
    let warned = create(FieldValidation::Warn).await.unwrap();
    assert_eq!(warned.warnings, ["unknown field \"dta\"", "duplicate field \"data\""]);
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_read_in_parts_of_one_revision() {
    let server = server().await;
    let client = server.client();
    let maps = client.api::<ConfigMap>("default");
    for index in 0..10 {
        maps.create(&config_map(&format!("m{index}"), "1")).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut options = ListOptions { limit: 4, ..Default::default() };
    for last in ["m9", "m8", "m7"] {
        let target = Target::of::<ConfigMap>(Some("default"));
        let reply = client.call(target, Operation::List(options.clone())).await.unwrap().reply;
        let Reply::List(list) = reply else { panic!("not a list") };
        seen.extend(list.objects.iter().map(|entry| entry.name().name().to_owned()));
        // What happens between the parts is not seen.
        maps.delete(last).await.unwrap();
        maps.create(&config_map(&format!("n{}", seen.len()), "1")).await.unwrap();
        match list.continue_token {
            Some(token) => options.continue_token = Some(token),
            None => break,
        }
    }
    let expected: Vec<String> = (0..10).map(|index| format!("m{index}")).collect();
    assert_eq!(seen, expected);
    let made_up = ListOptions { continue_token: Some("bm9uc2Vuc2U".into()), ..Default::default() };
    assert_eq!(maps.list_with(made_up).await.unwrap_err().code(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_revision_is_forgotten_goes_on_as_of_now() {
    let server = server().await;
    let client = server.client();
    let maps = client.api::<ConfigMap>("default");
    for index in 0..5 {
        maps.create(&config_map(&format!("m{index}"), "1")).await.unwrap();
    }
    let list = async |token: Option<String>| {
        let options = ListOptions { limit: 2, continue_token: token, ..Default::default() };
        match client.call(Target::of::<ConfigMap>(Some("default")), Operation::List(options)).await?.reply {
            Reply::List(list) => Ok(list),
            other => panic!("not a list: {other:?}"),
        }
    };
    let first = list(None).await.unwrap();
    maps.delete("m3").await.unwrap();
    let store = server.server().store().unwrap();
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let expired: orchestra_core::api::Status = list(first.continue_token).await.unwrap_err();
    assert_eq!((expired.code(), expired.reason()), (410, Reason::Expired));
    let wire: serde_json::Value = serde_json::from_slice(&expired.to_json()).unwrap();
    let token = wire["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = list(Some(token)).await.unwrap();
    let names: Vec<_> = rest.objects.iter().map(|entry| entry.name().name()).collect();
    assert_eq!((names, rest.continue_token), (vec!["m2", "m4"], None));
    assert!(rest.revision > first.revision);
}

#[tokio::test(start_paused = true)]
async fn a_watch_follows_a_selector() {
    let server = server().await;
    let client = server.client();
    let maps = client.api::<ConfigMap>("default");
    maps.create(&config_map("web", "1")).await.unwrap();
    let options = WatchOptions { labels: Some(Selector::parse("app=web").unwrap()), ..Default::default() };
    let mut events = maps.watch(options).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(Watched::Added(_)))));
    maps.create(&config_map("db", "1")).await.unwrap();
    maps.patch("db", Patch::Merge(json!({"metadata": {"labels": {"app": "web"}}}))).await.unwrap();
    match events.next().await {
        Some(Ok(Watched::Added(map))) => assert_eq!(map.metadata.name.as_deref(), Some("db")),
        other => panic!("{other:?}"),
    }
    maps.patch("db", Patch::Merge(json!({"metadata": {"labels": null}}))).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(Watched::Deleted(_)))));
    let future = WatchOptions { after: Some(Revision(1 << 40)), ..Default::default() };
    assert_eq!(maps.watch(future).await.err().unwrap().reason(), Reason::Timeout);
}

#[tokio::test(start_paused = true)]
async fn finalizers_and_grace_hold_an_object() {
    let server = server().await;
    let client = server.client();
    let maps = client.api::<ConfigMap>("default");
    let mut held = config_map("held", "1");
    held.metadata.finalizers = Some(vec!["example.org/wait".into()]);
    maps.create(&held).await.unwrap();
    maps.delete("held").await.unwrap();
    assert!(maps.get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    maps.patch("held", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert!(maps.get("held").await.unwrap_err().is_not_found());

    let wrong = DeleteOptions { uid: Some("other".into()), ..Default::default() };
    maps.create(&config_map("a", "1")).await.unwrap();
    assert!(maps.delete_with("a", wrong).await.unwrap_err().is_conflict());
    assert!(maps.find("a").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart() {
    let server = server().await;
    let pods = server.api::<Pod>();
    let created = pods.create(&pod("a")).await.unwrap();
    let mut change = created.clone();
    change.status.get_or_insert_default().phase = Some("Running".into());
    change.spec.as_mut().unwrap().containers[0].image = Some("other".into());
    let updated = pods.update_status(&change).await.unwrap();
    assert_eq!(updated.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(updated.spec.unwrap().containers[0].image.as_deref(), Some("nginx:1.7.9"));
}

#[tokio::test(start_paused = true)]
async fn every_cluster_ip_and_node_port_is_given_once_and_freed() {
    let server = server().await;
    let client = server.client();
    let services = client.api::<Service>("default");
    let mut addresses = std::collections::BTreeSet::new();
    // A /28 has 16 addresses: the network's, the broadcast, the API server's own, and 13 to give.
    for index in 0..13 {
        let made = services
            .create(&service(&format!("s{index}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
            .await
            .unwrap();
        let spec = made.spec.unwrap();
        assert!((30_000..=32_767).contains(&spec.ports.unwrap()[0].node_port.unwrap()));
        assert!(addresses.insert(spec.cluster_ip.unwrap()));
    }
    let full = services.create(&service("more", json!({"ports": [{"port": 80}]}))).await.unwrap_err();
    assert_eq!(full.reason(), Reason::Invalid);
    services.delete("s3").await.unwrap();
    let freed = services.create(&service("more", json!({"ports": [{"port": 80}]}))).await.unwrap();
    assert!(addresses.contains(&freed.spec.unwrap().cluster_ip.unwrap()));
    let outside = service("x", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}));
    let message = services.create(&outside).await.unwrap_err().message().to_owned();
    assert!(
        message.contains("provided port is not in the valid range. The range of valid ports is 30000-32767"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_selects_nothing_is_told_what_was_meant() {
    let server = server().await;
    let client = server.client();
    let pods = client.api::<Pod>("default");
    for index in 0..3 {
        let mut pod = pod(&format!("web-{index}"));
        pod.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        pods.create(&pod).await.unwrap();
    }
    let list = |labels: &str, namespace| {
        let options = ListOptions { labels: Some(labels.parse().unwrap()), ..Default::default() };
        client.call(Target::of::<Pod>(Some(namespace)), Operation::List(options))
    };
    let meant = "nothing is labelled app=wbe; did you mean app=web, which selects 3 objects?";
    assert_eq!(list("app=wbe", "default").await.unwrap().warnings, [meant]);
    assert!(list("app=web", "default").await.unwrap().warnings.is_empty());
    assert!(list("app=wbe", "kube-system").await.unwrap().warnings.is_empty(), "no such pods there");

    let spec = json!({"selector": {"app": "wbe"}, "ports": [{"port": 80}]});
    let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec});
    // The Deployment that makes its pods may come after it.
    assert!(create::<Service>(&client, &body).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_overlaps_another_is_told_of_it() {
    let server = server().await;
    let client = server.client();
    let deployment = |name: &str, app: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "template": {
                    "metadata": {"labels": {"app": app, "tier": "front"}},
                    "spec": {"containers": [{"name": "c", "image": "nginx:1.7.9"}]}
                }
            }
        })
    };
    assert!(create::<Deployment>(&client, &deployment("web", "web")).await.is_empty());
    assert!(create::<Deployment>(&client, &deployment("api", "api")).await.is_empty());
    assert_eq!(
        create::<Deployment>(&client, &deployment("web-2", "web")).await,
        [
            "the selector overlaps with that of deployments.apps \"web\" (app=web): both select an object labelled app=web"
        ]
    );
    // An object with both labels could be, but there is none.
    let mut apart = deployment("apart", "other");
    for field in ["selector", "template"] {
        let labels = json!({ "k8s-app": "b" });
        let at =
            if field == "selector" { "/spec/selector/matchLabels" } else { "/spec/template/metadata/labels" };
        *apart.pointer_mut(at).unwrap() = labels;
    }
    assert!(create::<Deployment>(&client, &apart).await.is_empty());
    let mut replicas = deployment("front", "web");
    replicas["kind"] = "ReplicaSet".into();
    replicas["spec"]["selector"] =
        json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]});
    let warnings = create::<ReplicaSet>(&client, &replicas).await;
    assert!(warnings.iter().any(|warning| warning.contains("\"api\" (app=api)")), "{warnings:?}");
}

/// Creates an object, and says what the answer warns of.
async fn create<K: Object>(client: &Client, object: &serde_json::Value) -> Vec<String> {
    let body = Body::Json(serde_json::to_vec(object).unwrap().into());
    let operation = Operation::Create { body, options: WriteOptions::default() };
    client.call(Target::of::<K>(Some("default")), operation).await.unwrap().warnings
}

#[tokio::test(start_paused = true)]
async fn only_what_is_asked_of_a_pod_counts_as_its_generation() {
    let server = server().await;
    let pods = server.api::<Pod>();
    let made = pods.create(&pod("a")).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    pods.create_sub("a", "binding", binding).await.unwrap();
    let bound = pods.get("a").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n"));
    assert_eq!(bound.metadata.generation, Some(1), "a binding fulfils the spec and does not change it");
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:1.9.1"}]}});
    let changed = pods.patch("a", Patch::Strategic(image)).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
    pods.patch_status("a", Patch::Merge(json!({"status": {"phase": "Running"}}))).await.unwrap();
    pods.delete("a").await.unwrap();
    let deleting = pods.get("a").await.unwrap();
    assert!(deleting.metadata.deletion_timestamp.is_some());
    assert_eq!(deleting.metadata.generation, Some(3), "a deletion is asked for too");
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_gates_says_from_the_start_that_it_waits_for_them() {
    let server = server().await;
    let mut gated = pod("a");
    gated.spec.as_mut().unwrap().scheduling_gates = Some(vec![PodSchedulingGate { name: "g".into() }]);
    let made = server.api::<Pod>().create(&gated).await.unwrap();
    let conditions = made.status.unwrap().conditions.unwrap();
    let [condition] = &conditions[..] else { panic!("{conditions:?}") };
    assert_eq!((&*condition.type_, &*condition.status), ("PodScheduled", "False"));
    assert_eq!(condition.reason.as_deref(), Some("SchedulingGated"));
    let message = "Scheduling is blocked due to non-empty scheduling gates";
    assert_eq!(condition.message.as_deref(), Some(message));
}
