//! Kinds that are defined by manifests, in virtual time: from the definition to the last object, over restarts and on
//! several masters.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use orchestra_core::api::{
    Body, Client, DeleteOptions, ListOptions, Operation, Patch, PatchKind, Reply, Response, Status, Target,
    WatchEvent, WatchOptions, WriteOptions,
};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::Cluster;
use orchestra_core::control::leader::TERM;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::testing;
use serde_json::{Value, json};

fn definition() -> Value {
    let spec = json!({
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "default": 1, "minimum": 0},
            "color": {"type": "string", "maxLength": 20},
        },
        "x-kubernetes-validations": [{"rule": "!has(self.color) || self.color != 'ugly'", "message": "not that one"}],
    });
    let schema = json!({"type": "object", "properties": {
        "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                }},
                "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
            }],
        },
    })
}

fn target(name: Option<&str>) -> Target {
    let all = Target {
        group: "example.com".into(),
        version: "v1".into(),
        resource: "widgets".into(),
        namespace: Some("default".into()),
        name: None,
        subresource: None,
    };
    name.map_or(all.clone(), |name| all.named(name))
}

async fn define(client: &Client, definition: Value) {
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let definitions = client.cluster::<CustomResourceDefinition>();
    definitions.create(&definition).await.unwrap();
    let name = definition.metadata.name.unwrap();
    definitions
        .until(&name, |held| held.is_some_and(|held| condition(held, "Established") == "True"))
        .await
        .unwrap();
}

fn condition(definition: &CustomResourceDefinition, kind: &str) -> String {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    let held = conditions.into_iter().flatten().find(|held| held.type_ == kind);
    held.map(|held| held.status.clone()).unwrap_or_default()
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn create(client: &Client, object: Value) -> Result<Value, Status> {
    let body = Body::Value(object);
    let made =
        client.call(target(None), Operation::Create { body, options: WriteOptions::default() }).await?;
    Ok(value(made))
}

fn value(response: Response) -> Value {
    match response.reply {
        Reply::Object(entry) => entry.to_value().unwrap(),
        Reply::Value(value) => value,
        Reply::List(list) => list.objects.iter().map(|entry| entry.to_value().unwrap()).collect(),
    }
}

async fn get(client: &Client, name: &str) -> Result<Value, Status> {
    client.call(target(Some(name)), Operation::GET).await.map(value)
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_served_as_soon_as_it_is_established() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    assert!(get(&client, "a").await.unwrap_err().is_not_found());
    define(&client, definition()).await;
    let made = create(&client, widget("a", json!({"color": "red", "unknown": 1}))).await.unwrap();
    assert_eq!(made["spec"], json!({"color": "red", "replicas": 1}));
    assert_eq!(made["metadata"]["generation"], 1);
    let refused = create(&client, widget("b", json!({"color": "ugly"}))).await.unwrap_err();
    assert_eq!(refused.message(), "Widget.example.com \"b\" is invalid: spec: Invalid value: not that one");
    let refused = create(&client, widget("b", json!({"replicas": -1}))).await.unwrap_err();
    assert!(refused.message().contains("spec.replicas in body should be greater than or equal to 0"));
    // The scale of it, and its status.
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    let scaled = value(client.call(target(Some("a")).scale(), scale.operation()).await.unwrap());
    assert_eq!(scaled["spec"]["replicas"], 4);
    let status = Patch::Merge(json!({"status": {"replicas": 3}, "spec": {"color": "blue"}}));
    let kept = value(client.call(target(Some("a")).status(), status.operation()).await.unwrap());
    assert_eq!((&kept["spec"]["color"], &kept["status"]["replicas"]), (&json!("red"), &json!(3)));
    assert_eq!(kept["metadata"]["generation"], 2);
    // A strategic patch is one of built-in kinds.
    let strategic = Operation::Patch {
        kind: PatchKind::Strategic,
        patch: b"{}".as_slice().into(),
        options: WriteOptions::default(),
        force: false,
    };
    assert_eq!(client.call(target(Some("a")), strategic).await.unwrap_err().code(), 415);
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_registered_as_soon_as_it_is_served_and_no_longer() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let registered = client.cluster::<APIService>();
    registered.until("v1.apps", |held| held.is_some()).await.unwrap();
    assert!(registered.find("v1.example.com").await.unwrap().is_none());
    define(&client, definition()).await;
    let defined = client.service().clock().elapsed();
    registered.until("v1.example.com", |held| held.is_some()).await.unwrap();
    let definitions = client.cluster::<CustomResourceDefinition>();
    definitions.delete("widgets.example.com").await.unwrap();
    definitions.until("widgets.example.com", |held| held.is_none()).await.unwrap();
    registered.until("v1.example.com", |held| held.is_none()).await.unwrap();
    // Nobody waits until the table of kinds is looked at again.
    let passed = client.service().clock().elapsed() - defined;
    assert!(passed < Duration::from_secs(5), "{passed:?}");
    // What somebody takes away is there again.
    registered.delete("v1.apps").await.unwrap();
    registered.until("v1.apps", |held| held.is_some()).await.unwrap();
    cluster.shutdown().await;
}

/// As kube-apiserver 1.36 takes and refuses them.
#[tokio::test(start_paused = true)]
async fn custom_objects_are_taken_and_refused_in_words_of_their_own() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    define(&client, definition()).await;
    let mut finalized = widget("a", json!({"replicas": 2}));
    finalized["metadata"]["finalizers"] = json!(["mine"]);
    let creation = Operation::Create { body: Body::Value(finalized), options: WriteOptions::default() };
    let made = client.call(target(None), creation).await.unwrap();
    assert_eq!(
        made.warnings,
        [
            "metadata.finalizers: \"mine\": prefer a domain-qualified finalizer name to avoid accidental conflicts with \
          other finalizer writers"
        ]
    );
    let nameless = br#"{"apiVersion": "example.com/v1", "metadata": {"name": "b"}}"#;
    let creation =
        Operation::Create { body: Body::Json(nameless.to_vec().into()), options: WriteOptions::default() };
    let refused = client.call(target(None), creation).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in '{\"apiVersion\": \
         \"example.com/v1\", \"metadata\": {\"name\": \"b\"}}' ({\"apiVersion\": \"example.com/v1 ...)"
    );
    let (kind, patch) = (PatchKind::Merge, br#"{"kind": "Other"}"#.to_vec().into());
    let patch = Operation::Patch { kind, patch, force: false, options: WriteOptions::default() };
    let refused = client.call(target(Some("a")), patch).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Other.example.com \"a\" is invalid: kind: Invalid value: \"Other\": must be Widget"
    );
}

#[tokio::test(start_paused = true)]
async fn objects_are_found_by_their_fields_and_watched() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    define(&client, definition()).await;
    let mut watch = client.watch(target(None), WatchOptions::default()).await.unwrap();
    for (name, color) in [("a", "red"), ("b", "blue")] {
        create(&client, widget(name, json!({"color": color}))).await.unwrap();
    }
    let fields = orchestra_core::selector::FieldSelector::parse("spec.color=blue").unwrap();
    let options = ListOptions { fields: Some(fields), ..ListOptions::default() };
    let found = value(client.call(target(None), Operation::List(options)).await.unwrap());
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["metadata"]["name"], "b");
    for name in ["a", "b"] {
        let event = watch.next().await.unwrap().unwrap();
        assert!(matches!(&event, WatchEvent::Added(entry) if entry.name().name() == name), "{event:?}");
    }
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_goes_when_its_last_object_has_gone() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    define(&client, definition()).await;
    let mut held = widget("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&client, held).await.unwrap();
    create(&client, widget("free", json!({}))).await.unwrap();
    let definitions = client.cluster::<CustomResourceDefinition>();
    definitions.delete("widgets.example.com").await.unwrap();
    testing::until("the free one is gone", Duration::from_secs(60), async || {
        get(&client, "free").await.is_err().then_some(())
    })
    .await;
    assert_eq!(create(&client, widget("late", json!({}))).await.unwrap_err().code(), 405);
    let going = definitions.get("widgets.example.com").await.unwrap();
    assert_eq!(condition(&going, "Terminating"), "True");
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    client.call(target(Some("held")), release.operation()).await.unwrap();
    definitions.until("widgets.example.com", |held| held.is_none()).await.unwrap();
    testing::until("the kind is gone", Duration::from_secs(60), async || {
        let listed = client.call(target(None), Operation::List(ListOptions::default())).await;
        listed.is_err().then_some(())
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn kinds_and_objects_are_there_after_a_restart() {
    let store = MemoryStore::new();
    let cluster = Cluster::builder().store(store.clone()).start().await.unwrap();
    define(&cluster.client(), definition()).await;
    create(&cluster.client(), widget("a", json!({"color": "red"}))).await.unwrap();
    cluster.shutdown().await;
    let cluster = Cluster::builder().store(store).start().await.unwrap();
    // At once: a client need not wait for a kind that was served before.
    let found = get(&cluster.client(), "a").await.unwrap();
    assert_eq!(found["spec"], json!({"color": "red", "replicas": 1}));
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn stored_objects_follow_a_changed_schema() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    define(&client, definition()).await;
    create(&client, widget("a", json!({"color": "red"}))).await.unwrap();
    let added = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size";
    let patch =
        Patch::Json(json!([{"op": "add", "path": added, "value": {"type": "string", "default": "m"}}]));
    client.cluster::<CustomResourceDefinition>().patch("widgets.example.com", patch).await.unwrap();
    testing::until("the new default is there", Duration::from_secs(60), async || {
        (get(&client, "a").await.ok()?["spec"]["size"] == "m").then_some(())
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn versions_differ_by_their_schemas() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let mut two = definition();
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"color": {"type": "string"}},
    }}}});
    let second =
        json!({"name": "v2", "served": true, "storage": false, "deprecated": true, "schema": schema});
    two["spec"]["versions"].as_array_mut().unwrap().push(second);
    define(&client, two).await;
    create(&client, widget("a", json!({"color": "red"}))).await.unwrap();
    let v2 = Target { version: "v2".into(), ..target(Some("a")) };
    let response =
        client.call(v2.clone(), Patch::Merge(json!({"spec": {"color": "blue", "replicas": 7}})).operation());
    let response = response.await.unwrap();
    assert_eq!(response.warnings, ["unknown field \"spec.replicas\""]);
    let stored = get(&client, "a").await.unwrap();
    assert_eq!(stored["spec"], json!({"color": "blue", "replicas": 1}), "v2 has no replicas");
    // The one has a scale, the other has not.
    assert!(client.call(target(Some("a")).scale(), Operation::GET).await.is_ok());
    assert!(client.call(v2.scale(), Operation::GET).await.unwrap_err().is_not_found());
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn objects_go_with_their_namespace_and_their_owner() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    define(&client, definition()).await;
    let owner = create(&client, widget("owner", json!({}))).await.unwrap();
    let owned: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "owned", "ownerReferences": [{
        "apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": owner["metadata"]["uid"],
    }]}}))
    .unwrap();
    let maps = client.api::<ConfigMap>("default");
    maps.create(&owned).await.unwrap();
    client.call(target(Some("owner")), Operation::Delete(DeleteOptions::default())).await.unwrap();
    maps.until("owned", |held| held.is_none()).await.unwrap();
    let space: Namespace = serde_json::from_value(json!({"metadata": {"name": "space"}})).unwrap();
    client.cluster::<Namespace>().create(&space).await.unwrap();
    let there = Target { namespace: Some("space".into()), ..target(None) };
    let body = Body::Value(widget("w", json!({})));
    client.call(there, Operation::Create { body, options: WriteOptions::default() }).await.unwrap();
    client.cluster::<Namespace>().delete("space").await.unwrap();
    client.cluster::<Namespace>().until("space", |held| held.is_none()).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn names_that_are_taken_are_not_given_again() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    define(&client, definition()).await;
    let mut second = definition();
    second["metadata"]["name"] = "others.example.com".into();
    second["spec"]["names"] = json!({"plural": "others", "kind": "Other", "shortNames": ["wd"]});
    let second: CustomResourceDefinition = serde_json::from_value(second).unwrap();
    let definitions = client.cluster::<CustomResourceDefinition>();
    definitions.create(&second).await.unwrap();
    let refused = |held: Option<&CustomResourceDefinition>| {
        held.is_some_and(|held| condition(held, "NamesAccepted") == "False")
    };
    definitions.until("others.example.com", refused).await.unwrap();
    // When the first goes, the second gets its name.
    definitions.delete("widgets.example.com").await.unwrap();
    let established = |held: Option<&CustomResourceDefinition>| {
        held.is_some_and(|held| condition(held, "Established") == "True")
    };
    definitions.until("others.example.com", established).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn every_master_serves_the_kind() {
    let store = MemoryStore::new();
    let mut masters = Vec::new();
    for (seed, identity) in [(1, "one"), (2, "two")] {
        let builder =
            Cluster::builder().store(store.clone()).clock(TokioClock::simulated(seed)).elect(identity, TERM);
        masters.push(Arc::new(builder.start().await.unwrap()));
    }
    define(&masters[0].client(), definition()).await;
    create(&masters[0].client(), widget("a", json!({}))).await.unwrap();
    let other = masters[1].client();
    testing::until("the other serves it too", Duration::from_secs(60), async || {
        get(&other, "a").await.is_ok().then_some(())
    })
    .await;
    for master in masters {
        master.stop_all().await;
    }
}
