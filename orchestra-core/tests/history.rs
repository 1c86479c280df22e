//! The past of objects through the API: reads and watches at a kept revision, what an object has been, and going back.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::api::history::{Effect, Version};
use orchestra_core::api::{
    Api, Body, Client, ListOptions, Operation, Patch, Reason, Reply, RevisionMatch, Target, User,
    WatchOptions, Watched, WriteOptions,
};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::Cluster;
use orchestra_core::meta::{Object, Revision};
use orchestra_core::store::Store;
use orchestra_core::store::memory::MemoryStore;
use serde_json::{Value, json};

async fn cluster(store: impl Store) -> Cluster {
    Cluster::builder().store(store).clock(TokioClock::simulated(1)).start().await.unwrap()
}

fn map(name: &str, data: Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": "a"}}, "data": data})).unwrap()
}

fn target(name: &str) -> Target {
    Target::of::<ConfigMap>(Some("kube-public")).named(name)
}

fn revision(object: &impl Object) -> Revision {
    object.meta().resource_version.as_deref().unwrap().parse().unwrap()
}

fn told(version: &Version) -> (Revision, Option<&str>, Effect, Vec<&str>) {
    let fields = version.fields.iter().map(String::as_str).collect();
    (version.revision, version.manager.as_deref(), version.change, fields)
}

/// A cluster whose ConfigMap `a` was made by one user, changed by another, removed and made anew; and when that was.
async fn lived(client: &Client) -> [Revision; 4] {
    let (anna, ben) = (client.as_user(User::named("anna")), client.as_user(User::named("ben")));
    let (annas, bens): (Api<ConfigMap>, Api<ConfigMap>) = (anna.api("kube-public"), ben.api("kube-public"));
    let made = revision(&annas.create(&map("a", json!({"x": "1"}))).await.unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let patch = Patch::Merge(json!({"data": {"x": "2", "y": "new"}, "metadata": {"labels": null}}));
    let changed = revision(&bens.patch("a", patch).await.unwrap());
    // What changes nothing leaves no trace, whoever asks for it.
    let same = annas.patch("a", Patch::Merge(json!({"data": {"x": "2"}}))).await.unwrap();
    assert_eq!(revision(&same), changed);
    bens.create(&map("b", json!({}))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    bens.delete("a").await.unwrap();
    let removed = client.history(target("a")).await.unwrap().versions.last().unwrap().revision;
    let options = WriteOptions { field_manager: Some("tool".into()), ..WriteOptions::default() };
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "3"}});
    let create = Operation::Create { body: Body::Value(object), options };
    let reply = anna.call(Target::of::<ConfigMap>(Some("kube-public")), create).await.unwrap().reply;
    let Reply::Object(anew) = reply else { panic!("no object") };
    [made, changed, removed, anew.revision()]
}

async fn check_history(store: impl Store) {
    let cluster = cluster(store).await;
    let client = cluster.client();
    let [made, changed, removed, anew] = lived(&client).await;
    let history = client.history(target("a")).await.unwrap();
    let expected = [
        (made, Some("anna"), Effect::Created, vec![]),
        (changed, Some("ben"), Effect::Changed, vec!["data.x", "+data.y", "-metadata.labels"]),
        (removed, None, Effect::Deleted, vec![]),
        (anew, Some("tool"), Effect::Created, vec![]),
    ];
    let mut seen: Vec<_> = history.versions.iter().map(told).collect();
    seen[1].3.sort_by_key(|field| field.trim_start_matches(['+', '-']).to_owned());
    assert_eq!(seen, expected);
    let times: Vec<_> = history.versions.iter().filter_map(|version| version.time.clone()).collect();
    assert!(times[0].0 < times[1].0 && times[1].0 < times[2].0, "{times:?}");

    // As it was, and as the collection was.
    let data = |object: &Value| object["data"].clone();
    assert_eq!(data(&client.at(target("a"), made).await.unwrap()), json!({"x": "1"}));
    assert_eq!(data(&client.at(target("a"), changed).await.unwrap()), json!({"x": "2", "y": "new"}));
    assert!(client.at(target("a"), removed).await.unwrap_err().is_not_found());
    assert!(client.at(target("b"), changed).await.unwrap_err().is_not_found());
    let maps: Api<ConfigMap> = client.api("kube-public");
    let names = async |at| {
        let revision_match = Some(RevisionMatch::Exact);
        let options = ListOptions { revision: Some(at), revision_match, ..ListOptions::default() };
        let maps = maps.list_with(options).await.unwrap();
        maps.items.into_iter().map(|map| map.metadata.name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(changed).await, ["a"]);
    assert_eq!(names(removed).await, ["b"]);
    assert_eq!(names(anew).await, ["a", "b"]);

    // A watch from then on sees all that followed.
    let options = WatchOptions { after: Some(made), ..WatchOptions::default() };
    let events: Vec<_> = maps.watch(options).await.unwrap().take(4).collect().await;
    let shown = events.iter().map(|event| match event.as_ref().unwrap() {
        Watched::Added(map) => ("added", map.metadata.name.as_deref().unwrap()),
        Watched::Modified(map) => ("modified", map.metadata.name.as_deref().unwrap()),
        Watched::Deleted(map) => ("deleted", map.metadata.name.as_deref().unwrap()),
        Watched::Bookmark(_) => ("bookmark", ""),
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [("modified", "a"), ("added", "b"), ("deleted", "a"), ("added", "a")]
    );

    // Back to what it was, as the object that it is now.
    let uid = maps.get("a").await.unwrap().metadata.uid;
    client.restore(target("a"), changed).await.unwrap();
    let back = maps.get("a").await.unwrap();
    assert_eq!((back.data.unwrap().len(), back.metadata.uid), (2, uid));
    maps.delete("a").await.unwrap();
    client.restore(target("a"), made).await.unwrap();
    let back = maps.get("a").await.unwrap();
    assert_eq!(back.metadata.labels.unwrap()["app"], "a");

    // What is forgotten is gone, and said to be.
    cluster.server().store().unwrap().compact(removed).await.unwrap();
    let history = client.history(target("a")).await.unwrap();
    assert_eq!(history.versions.first().map(|version| version.revision), Some(anew));
    assert!(client.at(target("a"), made).await.unwrap_err().is_expired());
    assert_eq!(client.history(target("never")).await.unwrap_err().reason(), Reason::NotFound);
}

#[tokio::test(start_paused = true)]
async fn the_past_in_memory() {
    check_history(MemoryStore::new()).await;
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn the_past_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    tokio::time::pause();
    check_history(orchestra_core::store::redb::RedbStore::open(directory.path()).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn managers_are_noted_once_each_with_what_is_theirs_still() {
    let cluster = cluster(MemoryStore::new()).await;
    let deployments: Api<Deployment> = cluster.client_as(User::named("anna")).api("default");
    let spec = json!({
        "replicas": 0, "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
    });
    let object = json!({"metadata": {"name": "web", "managedFields": [{"manager": "forged"}]}, "spec": spec});
    deployments.create(&serde_json::from_value(object).unwrap()).await.unwrap();
    deployments.scale("web", 1).await.unwrap();
    deployments.patch_status("web", Patch::Merge(json!({"status": {"replicas": 1}}))).await.unwrap();
    for number in 0..12 {
        let ben: Api<Deployment> = cluster.client_as(User::named(format!("ben{number}"))).api("default");
        ben.patch("web", Patch::Merge(json!({"metadata": {"labels": {"by": number.to_string()}}})))
            .await
            .unwrap();
    }
    let web = deployments.get("web").await.unwrap();
    let entries = web.metadata.managed_fields.unwrap();
    let managers: Vec<_> = entries.iter().map(|entry| entry.manager.as_deref().unwrap()).collect();
    let bens: Vec<_> = managers.iter().filter(|manager| manager.starts_with("ben")).collect();
    assert_eq!(
        bens,
        [&"ben0", &"ben11"],
        "each took the label from the one before; the first made the map of labels"
    );
    let parts: Vec<_> = entries
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some("anna"))
        .map(|entry| entry.subresource.as_deref().unwrap_or_default())
        .collect();
    // The status is hers until the controller writes another.
    assert!(parts.starts_with(&["scale", ""]), "{parts:?}");
    assert!(!managers.contains(&"forged"));
}
