//! A cluster that an embedder adds to and takes from.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use orchestra_core::api::access::{AccessRequest, Authorizer, Decision};
use orchestra_core::api::admission::Attributes;
use orchestra_core::api::{Admission, Caches, Status, Target, User, WatchEvent, WatchOptions};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use orchestra_core::testing::TestServer;
use serde_json::{Value, json};

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

/// Refuses what is called so.
#[derive(Debug)]
struct Refuses(&'static str);

#[async_trait]
impl Admission for Refuses {
    async fn mutate(&self, attributes: &Attributes<'_>, _: &mut Value) -> Result<Vec<String>, Status> {
        if attributes.name.name() == self.0 {
            return Err(Status::forbidden(&attributes.resource.id, self.0, "not that one"));
        }
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn an_admission_of_ones_own_is_asked_for_every_write() {
    let cluster = Cluster::builder().admission(|_| Refuses("bad")).start().await.unwrap();
    let maps = cluster.client().api::<ConfigMap>("default");
    maps.create(&map("good")).await.unwrap();
    assert_eq!(maps.create(&map("bad")).await.unwrap_err().code(), 403);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_ones_own_runs_and_stops_as_the_others() {
    let builder =
        Cluster::builder().without(Component::Scheduler).part("greeter", |client, stop| async move {
            let data = Some([("to".to_owned(), "all".to_owned())].into());
            client.api("default").create(&ConfigMap { data, ..map("hello") }).await.unwrap();
            stop.cancelled().await;
        });
    let cluster = builder.start().await.unwrap();
    let maps = cluster.client().api::<ConfigMap>("default");
    let hello = maps.until("hello", |map| map.is_some()).await.unwrap().unwrap();
    let managers = hello.metadata.managed_fields.unwrap();
    assert_eq!(managers[0].manager.as_deref(), Some("system:serviceaccount:kube-system:greeter"));
    let greeter = Component::Own("greeter".into());
    assert_eq!(Component::parse(&greeter.to_string()), Some(greeter.clone()));
    assert!(cluster.is_running(&greeter));
    assert!(cluster.stop(&greeter).await);
    assert!(!cluster.is_running(&greeter));
    assert!(!cluster.start(&Component::Scheduler), "it was left out");
}

/// Lets a user read what a ConfigMap of the same name allows: it reads the caches.
#[derive(Debug)]
struct ByConfigMap(orchestra_core::watch::Cache);

#[async_trait]
impl Authorizer for ByConfigMap {
    async fn authorize(&self, user: &User, _: &AccessRequest<'_>) -> Decision {
        let name = orchestra_core::meta::ObjectName::new(Some("default"), &user.name);
        match self.0.get(&name) {
            Some(_) => Decision::allow(),
            None => Decision::no_opinion().because("there is no such ConfigMap"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_reads_the_caches() {
    let maps = orchestra_core::meta::GroupResource::new("", "configmaps");
    let make = move |caches: &Caches| ByConfigMap(caches.get(&maps).unwrap());
    let cluster = Cluster::builder().authorizer(make).start().await.unwrap();
    let secrets = cluster.client_as(User::named("anna")).api::<Secret>("default");
    let refused = secrets.list().await.unwrap_err();
    assert_eq!(
        refused.message(),
        "secrets is forbidden: User \"anna\" cannot list resource \"secrets\" in API group \"\" in the namespace \
         \"default\": there is no such ConfigMap"
    );
    cluster.client().api("default").create(&map("anna")).await.unwrap();
    secrets.list().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_to_end_gets_a_bookmark_before() {
    let server = TestServer::start().await;
    let clock = server.clock();
    let options = WatchOptions {
        bookmarks: true,
        initial_events: Some(false),
        timeout: Some(Duration::from_secs(10)),
        ..WatchOptions::default()
    };
    server.create::<ConfigMap>(json!({"metadata": {"name": "before"}})).await;
    let began = clock.now();
    let mut watch = server.client().watch(Target::of::<ConfigMap>(Some("default")), options).await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Bookmark { initial_events_end: false, .. }), "{event:?}");
    assert_eq!(clock.now().duration_since(began).as_secs(), 8);
}
