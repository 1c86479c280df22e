//! The table of kinds while the cluster runs: kinds that come, change and go.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::api::discovery::Discovery;
use orchestra_core::api::{
    DeleteOptions, Kind, KindRules, ListOptions, Objects, Reason, Resource, Server, WatchEvent, WatchOptions,
    WriteOptions,
};
use orchestra_core::control::{Action, Context, Controller, Error, EveryKind, Key, Seen as Told};
use orchestra_core::controllers::{self, Config};
use orchestra_core::meta::{GroupResource, Scope};
use orchestra_core::testing::TestServer;
use orchestra_core::watch::{IndexedField, IndexedFields};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// A kind that was not known when this was compiled.
struct Anything;

impl KindRules for Anything {}

fn widget() -> Kind {
    Kind {
        id: GroupResource::new("example.org", "widgets"),
        version: "v1".into(),
        kind: "Widget".into(),
        scope: Scope::Namespaced,
    }
}

fn row(fields: &[IndexedField]) -> Resource {
    let mut row = Resource::new(widget(), Arc::new(Anything));
    row.short_names = Arc::new(["wd".into()]);
    row.fields = IndexedFields::from(fields);
    row
}

fn widgets(server: &TestServer) -> Objects {
    server.client().objects(&widget(), Some("default"))
}

fn listed(server: &Server) -> bool {
    Discovery::new(&server.kinds()).resources("example.org", "v1").is_some()
}

/// Who asks for all kinds is told of another one at once, and need not look for it.
#[tokio::test(start_paused = true)]
async fn a_controller_of_every_kind_follows_one_that_comes() {
    let server = TestServer::start().await;
    let (seen, mut names) = tokio::sync::mpsc::unbounded_channel();
    let itself =
        |_: &EveryKind, kind: &Arc<Kind>, told: Told<'_>| vec![Key::of(kind, told.object().name().clone())];
    let is_meant = |kind: &Kind| *kind.kind == *"Widget";
    let controller = Controller::every_kind(server.client(), is_meant, itself);
    let reconcile = move |context: Context| {
        let _ = seen.send(context.name().to_string());
        std::future::ready(Ok::<_, Error>(Action::Done))
    };
    let running = tokio::spawn(controller.run(reconcile, std::future::pending()));
    // Long enough for it to have found out that there is no such kind yet.
    tokio::time::sleep(Duration::from_secs(5)).await;

    server.server().put_kind(row(&[])).await.unwrap();
    let object = json!({"metadata": {"name": "a"}, "spec": {"size": 1}});
    widgets(&server).create(object, WriteOptions::default()).await.unwrap();
    let name = tokio::time::timeout(Duration::from_secs(1), names.recv()).await;
    assert_eq!(name.expect("it is seen within a second").as_deref(), Some("default/a"));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_kind_comes_to_a_running_cluster_is_used_and_goes() {
    let server = TestServer::start().await;
    let stop = CancellationToken::new();
    let running = stop.clone().cancelled_owned();
    let controllers = tokio::spawn(controllers::run_all(server.client(), Config::default(), running));
    let things = widgets(&server);
    assert_eq!(things.list(ListOptions::default()).await.unwrap_err().reason(), Reason::NotFound);
    assert!(!listed(server.server()));

    let before = server.server().kinds().generation();
    server.server().put_kind(row(&[])).await.unwrap();
    assert!(server.server().kinds().generation() > before && listed(server.server()));
    assert_eq!(*server.server().kinds().named("wd").unwrap().kind, *"Widget");
    #[cfg(feature = "openapi")]
    openapi_follows(server.server());

    let mut watch = things.watch(WatchOptions::default()).await.unwrap();
    let owner = things
        .create(json!({"metadata": {"name": "a"}, "spec": {"size": 3}}), WriteOptions::default())
        .await
        .unwrap();
    let Some(Ok(WatchEvent::Added(seen))) = watch.next().await else { panic!("the object is not seen") };
    assert_eq!(seen.uid(), owner.uid());
    collect_with_owner(&server, &things, owner.uid().as_str()).await;
    let Some(Ok(WatchEvent::Deleted(_))) = watch.next().await else { panic!("the end is not seen") };

    assert!(server.server().remove_kind(&widget().id).await.unwrap());
    assert!(watch.next().await.is_none(), "a watch of a kind that went ends, without an error");
    let gone = things.get("a").await.unwrap_err();
    assert_eq!((gone.code(), gone.reason()), (404, Reason::NotFound));
    assert!(things.watch(WatchOptions::default()).await.is_err() && !listed(server.server()));
    assert!(!server.server().remove_kind(&widget().id).await.unwrap());
    stop.cancel();
    controllers.await.unwrap();
}

/// What such an object owns goes with it.
async fn collect_with_owner(server: &TestServer, things: &Objects, uid: &str) {
    let reference = json!({"apiVersion": "example.org/v1", "kind": "Widget", "name": "a", "uid": uid});
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}});
    server.create::<ConfigMap>(owned).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(server.api::<ConfigMap>().find("owned").await.unwrap().is_some());
    things.delete("a", DeleteOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(server.api::<ConfigMap>().find("owned").await.unwrap().is_none());
}

#[cfg(feature = "openapi")]
fn openapi_follows(server: &Server) {
    use orchestra_core::api::openapi::Documents;
    let mut kinds = orchestra_core::objects::builtin();
    let documents = Documents::new(Arc::new(kinds.clone()));
    assert!(documents.of(&Arc::new(kinds.clone())).group_version("apis/example.org/v1").is_none());
    kinds.add(row(&[]));
    assert!(documents.of(&Arc::new(kinds)).group_version("apis/example.org/v1").is_some());
    assert!(documents.of(&server.kinds()).group_version("apis/example.org/v1").is_some());
}

#[tokio::test(start_paused = true)]
async fn objects_outlive_their_kind_and_a_changed_index_is_filled_with_them() {
    let server = TestServer::start().await;
    let things = widgets(&server);
    server.server().put_kind(row(&[])).await.unwrap();
    things
        .create(json!({"metadata": {"name": "a"}, "spec": {"size": 3}}), WriteOptions::default())
        .await
        .unwrap();
    server.server().remove_kind(&widget().id).await.unwrap();
    server.create::<ConfigMap>(json!({"metadata": {"name": "meanwhile"}})).await;
    server.server().put_kind(row(&[])).await.unwrap();
    assert_eq!(things.get("a").await.unwrap().name().name(), "a");

    let sized = ListOptions { fields: Some("spec.size=3".parse().unwrap()), ..ListOptions::default() };
    assert_eq!(things.list(sized.clone()).await.unwrap_err().reason(), Reason::BadRequest);
    let same = things.watch(WatchOptions::default()).await.unwrap();
    server.server().put_kind(row(&[IndexedField::new("spec.size").lookup()])).await.unwrap();
    assert_eq!(things.list(sized).await.unwrap().objects.len(), 1);
    assert_eq!(same.count().await, 1, "a watch of the older cache ends after what it had to tell");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_kinds_that_came_and_went_leave_nothing() {
    let server = TestServer::start().await;
    let stop = CancellationToken::new();
    let running = stop.clone().cancelled_owned();
    let controllers = tokio::spawn(controllers::run_all(server.client(), Config::default(), running));
    let handle = tokio::runtime::Handle::current();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let tasks = handle.metrics().num_alive_tasks();
    let (mut objects, kinds) = (Vec::new(), server.server().kinds().iter().count());
    for round in 0..1_000 {
        server.server().put_kind(row(&[])).await.unwrap();
        let things = widgets(&server);
        let made = things.create(json!({"metadata": {"name": "a"}}), WriteOptions::default()).await.unwrap();
        objects.push(Arc::downgrade(&made));
        drop(made);
        let mut watch = things.watch(WatchOptions::default()).await.unwrap();
        assert!(watch.next().await.is_some());
        if round % 50 == 0 {
            // Long enough for the collector to have found the kind.
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        things.delete("a", DeleteOptions::default()).await.unwrap();
        server.server().remove_kind(&widget().id).await.unwrap();
        while watch.next().await.is_some() {}
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(handle.metrics().num_alive_tasks(), tasks);
    assert_eq!(server.server().kinds().iter().count(), kinds);
    let held = objects.iter().filter(|object| object.strong_count() > 0).count();
    assert_eq!(held, 0, "a closed cache is freed, with its log");
    stop.cancel();
    controllers.await.unwrap();
}
