//! A kind of one's own, and the controller that makes it real: each `Website` gets a Deployment and a Service.
//!
//! `cargo run -p orchestra-examples --bin website_controller`
//!
//! A controller runs in the process that has the cluster, as here, or anywhere else with a client of it.

use orchestra_core::api::{Client, Patch, Resource, Status};
use orchestra_core::cluster::{Builder, Cluster};
use orchestra_core::control::write::{ensure_child, patch_status};
use orchestra_core::control::{Action, Context, Controller, Error};
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::Service;
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orchestra_core::meta::Object;
use orchestra_examples::wait::patiently;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The kind: a serde struct. `kubectl get websites` works on it as on any other.
#[derive(Clone, Debug, Serialize, Deserialize, Object)]
#[object(group = "example.org", version = "v1")]
struct Website {
    metadata: ObjectMeta,
    spec: WebsiteSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<WebsiteStatus>,
}

/// What its owner wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebsiteSpec {
    image: String,
    replicas: i32,
}

/// What the controller says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebsiteStatus {
    /// Which generation of the spec this is about, so that a reader can tell old news.
    observed_generation: Option<i64>,
    ready_replicas: i32,
    address: String,
}

/// Runs for a website whenever it, or a Deployment or Service that it owns, changes. It is told the name only and looks
/// at what there is, so it does not matter what happened, or how much of it while it was away.
async fn reconcile(context: Context) -> Result<Action, Error> {
    // Reading is free: the framework keeps a cache of each kind, which has seen all that this controller wrote.
    let Some(entry) = context.entry::<Website>().await? else { return Ok(Action::Done) };
    if entry.is_deleting() {
        // What it owns is removed by the garbage collector, because of the ownerReferences.
        return Ok(Action::Done);
    }
    let (site, name) = (entry.decode::<Website>()?, context.name().name());
    let deployment = ensure_child::<Website, Deployment>(&context, &entry, name, deployment(&site)).await?;
    let service = ensure_child::<Website, Service>(&context, &entry, name, service(&site)).await?;
    let (deployment, service): (Deployment, Service) = (deployment.decode()?, service.decode()?);
    let status = WebsiteStatus {
        observed_generation: site.metadata.generation,
        ready_replicas: deployment.status.and_then(|status| status.ready_replicas).unwrap_or(0),
        address: service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default(),
    };
    if site.status.as_ref() != Some(&status) {
        patch_status::<Website>(context.client(), &entry, serde_json::to_value(&status)?).await?;
    }
    Ok(Action::Done)
}

/// What the Deployment must say. All that is not said here is left to the defaults, and to others.
fn deployment(site: &Website) -> Value {
    let labels = json!({"website": site.metadata.name});
    json!({"spec": {
        "replicas": site.spec.replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": site.spec.image, "ports": [{"containerPort": 80}]}]},
        },
    }})
}

/// What the Service must say.
fn service(site: &Website) -> Value {
    json!({"spec": {"selector": {"website": site.metadata.name}, "ports": [{"port": 80}]}})
}

fn cluster() -> Builder {
    Cluster::builder().kind(Resource::plain::<Website>()).fake_nodes(1)
}

async fn run_controller(client: Client, stop: CancellationToken) -> Result<(), Status> {
    let controller = Controller::new::<Website>(client).owns::<Deployment>().owns::<Service>();
    controller.run(reconcile, stop.cancelled_owned()).await
}

fn website(name: &str, image: &str, replicas: i32) -> Website {
    Website {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: WebsiteSpec { image: image.to_owned(), replicas },
        status: None,
    }
}

/// Waits until the controller says that so many replicas are ready for what the website asks for now.
async fn until_ready(client: &Client, name: &str, replicas: i32) -> anyhow::Result<Option<Website>> {
    let is_ready = |site: &Website| {
        let status = site.status.as_ref()?;
        Some(status.observed_generation == site.metadata.generation && status.ready_replicas == replicas)
    };
    let sites = client.api::<Website>("default");
    patiently(sites.until(name, |site| site.and_then(is_ready).unwrap_or(false))).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cluster = cluster().start().await?;
    let client = cluster.client();
    let stop = CancellationToken::new();
    let controller = tokio::spawn(run_controller(client.clone(), stop.clone()));

    let sites = client.api::<Website>("default");
    sites.create(&website("blog", "nginx:1.27", 2)).await?;
    let ready = until_ready(&client, "blog", 2).await?;
    println!("ready    {:?}", ready.and_then(|site| site.status));

    sites.patch("blog", Patch::Merge(json!({"spec": {"image": "nginx:1.28", "replicas": 3}}))).await?;
    let ready = until_ready(&client, "blog", 3).await?;
    println!("changed  {:?}", ready.and_then(|site| site.status));

    sites.delete("blog").await?;
    patiently(client.api::<Deployment>("default").until("blog", |held| held.is_none())).await?;
    patiently(client.api::<Service>("default").until("blog", |held| held.is_none())).await?;
    println!("deleted  and with it its deployment and its service");

    stop.cancel();
    controller.await??;
    cluster.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use orchestra_core::clock::TokioClock;
    use orchestra_core::meta::controller_of;

    use super::*;

    /// A cluster and the controller. Both stop when this is dropped.
    struct World {
        cluster: Cluster,
        _stop: tokio_util::sync::DropGuard,
    }

    impl World {
        async fn start() -> anyhow::Result<Self> {
            let cluster = cluster().clock(TokioClock::simulated(1)).start().await?;
            let stop = CancellationToken::new();
            tokio::spawn(run_controller(cluster.client(), stop.clone()));
            Ok(Self { cluster, _stop: stop.drop_guard() })
        }

        /// Waits until the owned object of that name is as it should be.
        async fn until<K: Object>(&self, is: impl Fn(Option<&K>) -> bool) -> anyhow::Result<Option<K>> {
            patiently(self.cluster.client().api::<K>("default").until("blog", is)).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_website_owns_a_deployment_and_a_service_from_beginning_to_end() -> anyhow::Result<()> {
        let world = World::start().await?;
        let sites = world.cluster.client().api::<Website>("default");
        let site = sites.create(&website("blog", "nginx:1.27", 2)).await?;

        let deployment = world.until::<Deployment>(|held| held.is_some()).await?;
        let service = world.until::<Service>(|held| held.is_some()).await?;
        let owner = Some(vec![controller_of(&site)]);
        assert_eq!(deployment.and_then(|held| held.metadata.owner_references), owner);
        assert_eq!(service.and_then(|held| held.metadata.owner_references), owner);
        until_ready(&world.cluster.client(), "blog", 2).await?;

        sites.patch("blog", Patch::Merge(json!({"spec": {"image": "nginx:1.28", "replicas": 3}}))).await?;
        let follows = |held: Option<&Deployment>| {
            let spec = held.and_then(|held| held.spec.as_ref());
            let pod = spec.and_then(|spec| spec.template.spec.as_ref());
            let image = pod.and_then(|pod| pod.containers[0].image.as_deref());
            image == Some("nginx:1.28") && spec.and_then(|spec| spec.replicas) == Some(3)
        };
        world.until(follows).await?;
        until_ready(&world.cluster.client(), "blog", 3).await?;

        sites.delete("blog").await?;
        world.until::<Deployment>(|held| held.is_none()).await?;
        world.until::<Service>(|held| held.is_none()).await?;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tampered_with_is_put_right() -> anyhow::Result<()> {
        let world = World::start().await?;
        let client = world.cluster.client();
        client.api::<Website>("default").create(&website("blog", "nginx", 2)).await?;
        until_ready(&client, "blog", 2).await?;

        let deployments = client.api::<Deployment>("default");
        deployments.scale("blog", 7).await?;
        let replicas = |held: Option<&Deployment>| held?.spec.as_ref()?.replicas;
        world.until::<Deployment>(|held| replicas(held) == Some(2)).await?;

        let services = client.api::<Service>("default");
        let first = services.get("blog").await?.metadata.uid;
        services.delete("blog").await?;
        world.until::<Service>(|held| held.is_some_and(|held| held.metadata.uid != first)).await?;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_somebody_else_is_left_alone() -> anyhow::Result<()> {
        let world = World::start().await?;
        let client = world.cluster.client();
        let services = client.api::<Service>("default");
        let theirs = json!({"metadata": {"name": "blog"}, "spec": {"ports": [{"port": 8080}]}});
        services.create(&serde_json::from_value(theirs)?).await?;
        client.api::<Website>("default").create(&website("blog", "nginx", 1)).await?;
        assert!(
            until_ready(&client, "blog", 1).await.is_err(),
            "not without its service, however long it takes"
        );
        assert_eq!(services.get("blog").await?.metadata.owner_references, None);
        // With their service out of the way, the next try succeeds.
        services.delete("blog").await?;
        until_ready(&client, "blog", 1).await?;
        Ok(())
    }
}
