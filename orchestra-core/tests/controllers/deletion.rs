//! Garbage collection and namespaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, ServiceAccount};
use orchestra_core::api::{
    Client, DeleteOptions, Kind, Operation, Patch, Propagation, Response, Server, Service, Status, Target,
    User, WatchOptions, WatchStream,
};
use orchestra_core::clock::SharedClock;
use orchestra_core::controllers::Config;
use orchestra_core::meta::controller_of;
use orchestra_core::testing::TestServer;
use orchestra_core::watch::Cache;
use serde_json::json;

use crate::cluster::Cluster;
use crate::workloads::{deployment, replica_set};

/// A server that keeps ConfigMaps to itself until it is told not to.
#[derive(Debug)]
struct Hiding {
    server: Arc<Server>,
    hidden: AtomicBool,
}

#[async_trait]
impl Service for Hiding {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        self.server.call(user, target, operation).await
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        self.server.watch(user, target, options).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        self.server.cache(target).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        let mut kinds = self.server.kinds().iter().map(|row| row.info()).collect::<Vec<_>>();
        kinds.retain(|kind| &*kind.id.resource != "configmaps" || !self.hidden.load(Ordering::Relaxed));
        Ok(kinds)
    }

    fn clock(&self) -> &SharedClock {
        self.server.clock()
    }
}

#[tokio::test(start_paused = true)]
async fn objects_of_kinds_that_come_to_be_served_later_are_collected_too() {
    let server = TestServer::start().await;
    let hiding = Arc::new(Hiding { server: Arc::clone(server.server()), hidden: AtomicBool::new(true) });
    let client = Client::new(Arc::clone(&hiding) as Arc<dyn Service>, User::admin());
    let controllers =
        tokio::spawn(orchestra_core::controllers::run_all(client, Config::default(), std::future::pending()));
    let owner: ServiceAccount = server.create(json!({"metadata": {"name": "owner"}})).await;
    let reference = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "name": "owner", "uid": owner.metadata.uid,
    });
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}});
    server.create::<ConfigMap>(owned).await;
    server.api::<ServiceAccount>().delete("owner").await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(server.api::<ConfigMap>().find("owned").await.unwrap().is_some());
    hiding.hidden.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(server.api::<ConfigMap>().find("owned").await.unwrap().is_none());
    controllers.abort();
}

fn how(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn in_the_background_the_owner_goes_first() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("web", 3)).await;
    cluster.until_pods("app=web", 3).await;
    cluster.api::<Deployment>().delete_with("web", how(Propagation::Background)).await.unwrap();
    assert!(cluster.api::<Deployment>().find("web").await.unwrap().is_none());
    cluster
        .until("nothing is left", async || {
            let sets = cluster.api::<ReplicaSet>().list().await.unwrap();
            let pods = cluster.api::<Pod>().list().await.unwrap();
            (sets.is_empty() && pods.is_empty()).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_goes_last() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("web", 3)).await;
    cluster.until_pods("app=web", 3).await;
    cluster.api::<Deployment>().delete_with("web", how(Propagation::Foreground)).await.unwrap();
    cluster
        .until("the owner is gone", async || {
            let owner = cluster.api::<Deployment>().find("web").await.unwrap();
            let pods = cluster.api::<Pod>().list().await.unwrap();
            assert!(owner.is_some() || pods.is_empty(), "the owner went before its pods");
            owner.is_none().then_some(())
        })
        .await;
    assert!(cluster.api::<ReplicaSet>().list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn orphans_stay() {
    let cluster = Cluster::start().await;
    cluster.create::<ReplicaSet>(replica_set("web", 2)).await;
    cluster.until_pods("app=web", 2).await;
    cluster.api::<ReplicaSet>().delete_with("web", how(Propagation::Orphan)).await.unwrap();
    cluster.until_object::<ReplicaSet>("web", "is gone", |set| set.is_null()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let pods = cluster.pods("app=web").await;
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod.metadata.owner_references.as_deref().unwrap_or_default().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn one_owner_of_two_is_enough() {
    let cluster = Cluster::start().await;
    let map = |name: &str| json!({"metadata": {"name": name}});
    let (a, b) = (cluster.create::<ConfigMap>(map("a")).await, cluster.create::<ConfigMap>(map("b")).await);
    let mut owners = [controller_of(&a), controller_of(&b)];
    owners[1].controller = None;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "child", "ownerReferences": owners}})).await;
    cluster.api::<ConfigMap>().delete("a").await.unwrap();
    cluster
        .until_object::<ConfigMap>("child", "has one owner", |child| {
            child["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1)
        })
        .await;
    cluster.api::<ConfigMap>().delete("b").await.unwrap();
    cluster.until_object::<ConfigMap>("child", "is gone", |child| child.is_null()).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_in_another_namespace_is_none() {
    let cluster = Cluster::start().await;
    cluster.create::<Namespace>(json!({"metadata": {"name": "other"}})).await;
    let owner = cluster.create::<ConfigMap>(json!({"metadata": {"name": "a", "namespace": "other"}})).await;
    let child = json!({"metadata": {"name": "child", "ownerReferences": [controller_of(&owner)]}});
    cluster.create::<ConfigMap>(child).await;
    cluster.until_object::<ConfigMap>("child", "is gone", |child| child.is_null()).await;
    let events = cluster.events("child").await;
    assert_eq!(events[0].0, "OwnerRefInvalidNamespace");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_furnished_and_emptied_before_it_goes() {
    let config = Config { root_ca: Some("certificate".to_owned()), ..Config::default() };
    let cluster = Cluster::with(config).await;
    cluster.create::<Namespace>(json!({"metadata": {"name": "team"}})).await;
    let maps = cluster.client.api::<ConfigMap>("team");
    cluster
        .until("an account", async || {
            cluster.client.api::<ServiceAccount>("team").find("default").await.unwrap()
        })
        .await;
    cluster.until("a certificate", async || maps.find("kube-root-ca.crt").await.unwrap()).await;
    maps.delete("kube-root-ca.crt").await.unwrap();
    cluster.until("a certificate again", async || maps.find("kube-root-ca.crt").await.unwrap()).await;

    let mut web = deployment("web", 2);
    web["metadata"]["namespace"] = "team".into();
    cluster.create::<Deployment>(web).await;
    let pods = cluster.client.api::<Pod>("team");
    cluster.until("pods", async || (pods.list().await.unwrap().len() == 2).then_some(())).await;
    let kept = json!({"metadata": {"name": "kept", "namespace": "team", "finalizers": ["example.org/keep"]}});
    cluster.create::<ConfigMap>(kept).await;

    let namespaces = cluster.client.cluster::<Namespace>();
    namespaces.delete("team").await.unwrap();
    cluster
        .until("it says what keeps it", async || {
            let namespace = namespaces.get("team").await.unwrap();
            let status = namespace.status.unwrap();
            assert_eq!(status.phase.as_deref(), Some("Terminating"));
            let message = status
                .conditions
                .into_iter()
                .flatten()
                .find(|held| held.type_ == "NamespaceFinalizersRemaining")?
                .message?;
            message.contains("example.org/keep in 1 resource instances").then_some(())
        })
        .await;
    maps.patch("kept", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    cluster
        .until("it is gone", async || namespaces.find("team").await.unwrap().is_none().then_some(()))
        .await;
    assert!(pods.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_are_forgotten_after_an_hour() {
    let cluster = Cluster::start().await;
    cluster.create::<ReplicaSet>(replica_set("web", 1)).await;
    cluster.until_pods("app=web", 1).await;
    tokio::time::sleep(Duration::from_secs(3500)).await;
    assert_eq!(cluster.events("web").await.len(), 1);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(cluster.api::<Event>().list().await.unwrap().is_empty());
}
