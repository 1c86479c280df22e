//! Kinds whose versions only a webhook knows, in virtual time: what is read, written and watched in one version while it
//! is kept in another, and what becomes of requests when the webhook fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use orchestra_core::api::{
    Body, Client, DeleteOptions, ListOptions, Operation, Patch, PatchKind, Reply, Response, Status, Target,
    WatchEvent, WatchOptions, WriteOptions,
};
use orchestra_core::cluster::Cluster;
use orchestra_core::selector::FieldSelector;
use orchestra_core::testing::FakeWebhooks;
use serde_json::{Value, json};

fn definition(storage: &str) -> Value {
    let text = json!({"type": "string"});
    let version = |name: &str, spec: Value| {
        let selectable = match name {
            "v1" => json!([{"jsonPath": ".spec.hostPort"}]),
            _ => json!([{"jsonPath": ".spec.host"}, {"jsonPath": ".spec.port"}]),
        };
        json!({"name": name, "served": true, "storage": name == storage, "subresources": {"status": {}},
        "selectableFields": selectable,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "properties": {"seen": text}},
        }}}})
    };
    json!({
        "metadata": {"name": "ends.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "ends", "kind": "End"},
            "scope": "Namespaced",
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://converter.example.com/convert"},
            }},
            "versions": [
                version("v1", json!({"hostPort": text})),
                version("v2", json!({"host": text, "port": {"type": "integer", "maximum": 65535}, "color": {"type": "string", "default": "red"}})),
            ],
        },
    })
}

/// What the webhook answers: `hostPort` in v1 is `host` and `port` in v2.
fn converted(sent: &Value) -> Value {
    let wanted = &sent["request"]["desiredAPIVersion"];
    let objects = sent["request"]["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        object["spec"] = match wanted.as_str() {
            Some("example.com/v2") => {
                let text = object["spec"]["hostPort"].as_str().unwrap_or(":0");
                let (host, port) = text.rsplit_once(':').unwrap();
                json!({"host": host, "port": port.parse::<u32>().unwrap()})
            }
            _ => {
                let spec = &object["spec"];
                json!({"hostPort": format!("{}:{}", spec["host"].as_str().unwrap_or(""), spec["port"].as_u64().unwrap_or(0))})
            }
        };
        object
    });
    let objects: Vec<Value> = objects.collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {
        "uid": sent["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

fn target(version: &str, name: Option<&str>) -> Target {
    let all = Target {
        group: "example.com".into(),
        version: version.into(),
        resource: "ends".into(),
        namespace: Some("default".into()),
        name: None,
        subresource: None,
    };
    name.map_or(all.clone(), |name| all.named(name))
}

async fn started(webhooks: &Arc<FakeWebhooks>, storage: &str) -> Cluster {
    let cluster = Cluster::builder().webhooks(Arc::clone(webhooks)).start().await.unwrap();
    let definition: CustomResourceDefinition = serde_json::from_value(definition(storage)).unwrap();
    let definitions = cluster.client().cluster::<CustomResourceDefinition>();
    definitions.create(&definition).await.unwrap();
    established(&cluster.client()).await;
    cluster
}

async fn established(client: &Client) {
    let is = |held: Option<&CustomResourceDefinition>| {
        let status = held.and_then(|held| held.status.as_ref());
        let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.any(|condition| condition.type_ == "Established" && condition.status == "True")
    };
    client.cluster::<CustomResourceDefinition>().until("ends.example.com", is).await.unwrap();
}

fn value(response: Response) -> Value {
    match response.reply {
        Reply::Object(entry) => entry.to_value().unwrap(),
        Reply::Value(value) => value,
        Reply::List(list) => list.objects.iter().map(|entry| entry.to_value().unwrap()).collect(),
    }
}

fn end(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "End", "metadata": {"name": name}, "spec": spec})
}

async fn create(client: &Client, version: &str, name: &str, spec: Value) -> Result<Value, Status> {
    let body = Body::Value(end(version, name, spec));
    let create = Operation::Create { body, options: WriteOptions::default() };
    client.call(target(version, None), create).await.map(value)
}

async fn get(client: &Client, version: &str, name: &str) -> Result<Value, Status> {
    client.call(target(version, Some(name)), Operation::GET).await.map(value)
}

/// The objects of each question.
fn asked(webhooks: &FakeWebhooks) -> Vec<usize> {
    let objects = |body: &Bytes| {
        let sent: Value = serde_json::from_slice(body).unwrap();
        sent["request"]["objects"].as_array().unwrap().len()
    };
    webhooks.calls().iter().map(|call| objects(&call.body)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_version_reads_what_the_other_wrote() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    let made = create(&client, "v2", "a", json!({"host": "h", "port": 80})).await.unwrap();
    assert_eq!(made["apiVersion"], "example.com/v2");
    assert_eq!(
        made["spec"],
        json!({"host": "h", "port": 80, "color": "red"}),
        "what is read again is defaulted again"
    );
    let before = asked(&webhooks).len();
    let stored = get(&client, "v1", "a").await.unwrap();
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]),
        (&json!("example.com/v1"), &json!({"hostPort": "h:80"}))
    );
    assert_eq!(asked(&webhooks).len(), before, "what is kept in the version is not converted");
    create(&client, "v1", "b", json!({"hostPort": "g:81"})).await.unwrap();
    let read = get(&client, "v2", "b").await.unwrap();
    assert_eq!(read["spec"], json!({"host": "g", "port": 81, "color": "red"}));
    // A change in the other version, and one that its schema refuses.
    let patch = Patch::Merge(json!({"spec": {"port": 82}}));
    let patched = value(client.call(target("v2", Some("b")), patch.operation()).await.unwrap());
    assert_eq!((&patched["spec"]["port"], &patched["metadata"]["generation"]), (&json!(82), &json!(2)));
    assert_eq!(get(&client, "v1", "b").await.unwrap()["spec"]["hostPort"], "g:82");
    let wrong = Patch::Merge(json!({"spec": {"port": 65536}}));
    let refused = client.call(target("v2", Some("b")), wrong.operation()).await.unwrap_err();
    assert!(
        refused.message().contains("spec.port in body should be less than or equal to 65535"),
        "{refused}"
    );
    let gone = value(
        client.call(target("v2", Some("b")), Operation::Delete(DeleteOptions::default())).await.unwrap(),
    );
    assert_eq!(gone["status"], "Success");
    assert!(get(&client, "v1", "b").await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_one_question_and_a_watch_goes_on() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    for name in ["a", "b", "c"] {
        create(&client, "v1", name, json!({"hostPort": format!("{name}:1")})).await.unwrap();
    }
    let before = asked(&webhooks).len();
    let list = value(client.call(target("v2", None), Operation::List(ListOptions::default())).await.unwrap());
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(list[2]["spec"], json!({"host": "c", "port": 1, "color": "red"}));
    assert_eq!(asked(&webhooks)[before..], [3]);
    let mut watch = client.watch(target("v2", None), WatchOptions::default()).await.unwrap();
    for _ in 0..3 {
        let Some(Ok(WatchEvent::Added(entry))) = watch.next().await else { panic!("an object") };
        assert_eq!(entry.to_value().unwrap()["apiVersion"], "example.com/v2");
    }
    let patch = Patch::Merge(json!({"spec": {"hostPort": "a:2"}}));
    let changed = value(client.call(target("v1", Some("a")), patch.operation()).await.unwrap());
    let Some(Ok(WatchEvent::Modified(entry))) = watch.next().await else { panic!("a change") };
    let seen = entry.to_value().unwrap();
    assert_eq!(seen["spec"], json!({"host": "a", "port": 2, "color": "red"}));
    assert_eq!(seen["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]);
    client.call(target("v1", Some("a")), Operation::Delete(DeleteOptions::default())).await.unwrap();
    let Some(Ok(WatchEvent::Deleted(entry))) = watch.next().await else { panic!("an end") };
    assert_eq!(entry.to_value().unwrap()["spec"]["host"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_is_applied_in_its_version() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    let apply = |spec: Value| {
        let options = WriteOptions { field_manager: Some("me".into()), ..WriteOptions::default() };
        let patch = end("v2", "a", spec).to_string().into();
        Operation::Patch { kind: PatchKind::Apply, patch, force: false, options }
    };
    client.call(target("v2", Some("a")), apply(json!({"host": "h", "port": 80}))).await.unwrap();
    let applied = value(client.call(target("v2", Some("a")), apply(json!({"host": "h"}))).await.unwrap());
    let managers = applied["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), 1, "{managers:?}");
    assert_eq!(managers[0]["apiVersion"], "example.com/v2");
    assert_eq!(managers[0]["fieldsV1"], json!({"f:spec": {"f:host": {}}}));
    // The status is of the version too.
    let status = Patch::Merge(json!({"status": {"seen": "yes"}}));
    let target_of = Target { subresource: Some("status".into()), ..target("v2", Some("a")) };
    let seen = value(client.call(target_of, status.operation()).await.unwrap());
    assert_eq!((&seen["status"]["seen"], &seen["spec"]["host"]), (&json!("yes"), &json!("h")));
    assert_eq!(get(&client, "v1", "a").await.unwrap()["status"]["seen"], "yes");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_hangs_harms_only_who_needs_it() {
    let hangs = Arc::new(AtomicBool::new(false));
    let webhooks = {
        let hangs = Arc::clone(&hangs);
        FakeWebhooks::with(move |call| {
            let hangs = hangs.load(Ordering::Relaxed);
            Box::pin(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                let sent: Value = serde_json::from_slice(&call.body).unwrap();
                Ok(Bytes::from(converted(&sent).to_string()))
            })
        })
    };
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    create(&client, "v1", "a", json!({"hostPort": "h:1"})).await.unwrap();
    hangs.store(true, Ordering::Relaxed);
    let started = tokio::time::Instant::now();
    let (read, other) = tokio::join!(get(&client, "v2", "a"), async {
        let other = get(&client, "v1", "a").await.unwrap();
        create(&client, "v1", "b", json!({"hostPort": "h:2"})).await.unwrap();
        (other, started.elapsed())
    });
    assert!(other.1 < Duration::from_secs(1), "{:?}", other.1);
    let refused = read.unwrap_err();
    assert_eq!(refused.code(), 500);
    let expected = "conversion webhook for example.com/v1, Kind=End failed: Post \
                    \"https://converter.example.com/convert?timeout=30s\": context deadline exceeded";
    assert_eq!(refused.message(), expected);
    assert!(started.elapsed() < Duration::from_secs(40));
    let written = create(&client, "v2", "c", json!({"host": "h", "port": 3})).await;
    assert_eq!(written.unwrap_err().code(), 500);
    assert!(
        get(&client, "v1", "c").await.unwrap_err().is_not_found(),
        "nothing is stored that is not converted"
    );
    let mut watch = client.watch(target("v2", None), WatchOptions::default()).await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(_))), "a watch that cannot go on ends");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_lies_is_not_believed() {
    let webhooks = FakeWebhooks::new(|_, sent| {
        let mut answer = converted(&sent);
        answer["response"]["convertedObjects"][0]["metadata"]["name"] = "other".into();
        answer
    });
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    create(&client, "v1", "a", json!({"hostPort": "h:1"})).await.unwrap();
    let refused = get(&client, "v2", "a").await.unwrap_err();
    let expected = "conversion webhook for example.com/v1, Kind=End returned invalid object: must have the same name: a \
                    != other";
    assert_eq!((refused.code(), refused.message()), (500, expected));
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_in_an_older_version_is_read_and_written_in_the_new_one() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    create(&client, "v1", "old", json!({"hostPort": "h:1"})).await.unwrap();
    let definitions = client.cluster::<CustomResourceDefinition>();
    let patch = Patch::Merge(json!({"spec": {"versions": definition("v2")["spec"]["versions"]}}));
    let changed = definitions.patch("ends.example.com", patch).await.unwrap();
    assert_eq!(changed.status.unwrap().stored_versions, Some(vec!["v1".to_owned(), "v2".to_owned()]));
    // The kind follows its definition a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = asked(&webhooks).len();
    let old = get(&client, "v2", "old").await.unwrap();
    assert_eq!((&old["apiVersion"], &old["spec"]["host"]), (&json!("example.com/v2"), &json!("h")));
    assert_eq!(asked(&webhooks).len(), before + 1, "it is still kept as it was");
    let patch = Patch::Merge(json!({"spec": {"port": 2}}));
    client.call(target("v2", Some("old")), patch.operation()).await.unwrap();
    let before = asked(&webhooks).len();
    assert_eq!(get(&client, "v2", "old").await.unwrap()["spec"]["port"], 2);
    assert_eq!(asked(&webhooks).len(), before, "what is written is kept in the new version");
    assert_eq!(get(&client, "v1", "old").await.unwrap()["spec"]["hostPort"], "h:2");
}

#[tokio::test(start_paused = true)]
async fn who_owns_fields_in_one_version_loses_them_to_who_changes_them_in_another() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    let apply = |version: &str, manager: &str, spec: Value, force: bool| {
        let options = WriteOptions { field_manager: Some(manager.into()), ..WriteOptions::default() };
        let patch = end(version, "a", spec).to_string().into();
        let operation = Operation::Patch { kind: PatchKind::Apply, patch, force, options };
        let (client, target) = (client.clone(), target(version, Some("a")));
        async move { client.call(target, operation).await.map(value) }
    };
    let owners = |object: &Value| -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
        let mut names: Vec<_> = entries.map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    apply("v1", "one", json!({"hostPort": "h:80"}), false).await.unwrap();
    // The same in other fields is no conflict, and takes nothing.
    let same = apply("v2", "two", json!({"host": "h", "port": 80}), false).await.unwrap();
    assert_eq!(owners(&same), ["one", "two"]);
    // Another port is another value of the field that the first owns.
    let refused = apply("v2", "two", json!({"host": "h", "port": 81}), false).await.unwrap_err();
    assert_eq!(refused.message(), "Apply failed with 1 conflict: conflict with \"one\": .spec.hostPort");
    let forced = apply("v2", "two", json!({"host": "h", "port": 81}), true).await.unwrap();
    assert_eq!(owners(&forced), ["two"]);
    assert_eq!(get(&client, "v1", "a").await.unwrap()["spec"]["hostPort"], "h:81");
}

fn selecting(fields: &str) -> Option<FieldSelector> {
    Some(FieldSelector::parse(fields).unwrap())
}

async fn listed(client: &Client, version: &str, fields: &str) -> Result<Vec<String>, Status> {
    let (mut names, mut continue_token) = (Vec::new(), None);
    loop {
        let options =
            ListOptions { fields: selecting(fields), limit: 2, continue_token, ..ListOptions::default() };
        let Reply::List(list) = client.call(target(version, None), Operation::List(options)).await?.reply
        else {
            panic!("a list")
        };
        assert!(list.objects.len() <= 2 && list.remaining.is_none());
        names.extend(list.objects.iter().map(|entry| entry.name().name().to_owned()));
        match list.continue_token {
            Some(token) => continue_token = Some(token),
            None => return Ok(names),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_version_is_selected_by_its_own_fields() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    for (name, at) in [("a", "h:1"), ("b", "h:2"), ("c", "g:1"), ("d", "h:1"), ("e", "h:3")] {
        create(&client, "v1", name, json!({"hostPort": at})).await.unwrap();
    }
    assert_eq!(listed(&client, "v1", "spec.hostPort=h:1").await.unwrap(), ["a", "d"]);
    assert_eq!(listed(&client, "v2", "spec.host=h").await.unwrap(), ["a", "b", "d", "e"]);
    assert_eq!(listed(&client, "v2", "spec.host=h,spec.port!=1").await.unwrap(), ["b", "e"]);
    assert_eq!(listed(&client, "v2", "spec.host=h,metadata.name=d").await.unwrap(), ["d"]);
    assert_eq!(listed(&client, "v2", "spec.host=none").await.unwrap(), [""; 0]);
    for (version, others) in [("v1", "spec.host=h"), ("v2", "spec.hostPort=h:1")] {
        assert_eq!(listed(&client, version, others).await.unwrap_err().code(), 400, "{others} of {version}");
    }
    // After another version is kept, what was kept before is still found by the fields of either.
    let definitions = client.cluster::<CustomResourceDefinition>();
    let patch = Patch::Merge(json!({"spec": {"versions": definition("v2")["spec"]["versions"]}}));
    definitions.patch("ends.example.com", patch).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    create(&client, "v2", "f", json!({"host": "h", "port": 1})).await.unwrap();
    assert_eq!(listed(&client, "v1", "spec.hostPort=h:1").await.unwrap(), ["a", "d", "f"]);
    assert_eq!(listed(&client, "v2", "spec.host=h,spec.port=1").await.unwrap(), ["a", "d", "f"]);
    let list = ListOptions { fields: selecting("spec.host=h"), ..ListOptions::default() };
    let delete = Operation::DeleteCollection(list, DeleteOptions::default());
    client.call(target("v2", None), delete).await.unwrap();
    assert_eq!(listed(&client, "v1", "").await.unwrap(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_by_fields_of_a_converted_version_sees_objects_come_to_match_and_cease_to() {
    let webhooks = FakeWebhooks::new(|_, sent| converted(&sent));
    let cluster = started(&webhooks, "v1").await;
    let client = cluster.client();
    create(&client, "v1", "a", json!({"hostPort": "h:1"})).await.unwrap();
    create(&client, "v1", "b", json!({"hostPort": "g:1"})).await.unwrap();
    let options = WatchOptions { fields: selecting("spec.host=h"), ..WatchOptions::default() };
    let mut watch = client.watch(target("v2", None), options).await.unwrap();
    for (name, at) in [("a", "h:2"), ("b", "g:2"), ("b", "h:3"), ("a", "g:3")] {
        let patch = Patch::Merge(json!({"spec": {"hostPort": at}}));
        client.call(target("v1", Some(name)), patch.operation()).await.unwrap();
    }
    for name in ["a", "b"] {
        client.call(target("v1", Some(name)), Operation::Delete(DeleteOptions::default())).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&"deleted b h:3".to_owned()) {
        let (what, entry) = match watch.next().await.unwrap().unwrap() {
            WatchEvent::Added(entry) => ("added", entry),
            WatchEvent::Modified(entry) => ("modified", entry),
            WatchEvent::Deleted(entry) => ("deleted", entry),
            WatchEvent::Bookmark { .. } => continue,
        };
        let object = entry.to_value().unwrap();
        let (name, spec) = (object["metadata"]["name"].as_str().unwrap(), &object["spec"]);
        seen.push(format!("{what} {name} {}:{}", spec["host"].as_str().unwrap(), spec["port"]));
    }
    assert_eq!(seen, ["added a h:1", "modified a h:2", "added b h:3", "deleted a h:2", "deleted b h:3"]);
}
