//! What grows with its use, and what is not disturbed more than it bears.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use orchestra_core::api::{Body, Client, Operation, Patch, Status, Target};
use orchestra_core::runtime::fake::{Behaviour, On};
use orchestra_core::simulation::Scenario;
use serde_json::json;

use super::scenarios::{create, image, of, serves};

/// A Deployment that uses twice what each pod is to use, and after a new image next to nothing.
pub fn autoscaler() -> Scenario {
    Scenario::new("autoscaler")
        .nodes(2)
        .cluster(|builder| builder.figures_of_use())
        .script(|world| async move {
            for machine in world.machines() {
                machine.runtime.on(On::image("web:1"), Behaviour::new().uses(200, 1 << 20));
                machine.runtime.on(On::image("web:2"), Behaviour::new().uses(10, 1 << 20));
            }
            let client = world.client();
            create::<Deployment>(&client, of("web", 2)).await?;
            let target = json!({"type": "AverageValue", "averageValue": "100m"});
            let spec = json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
            });
            create::<HorizontalPodAutoscaler>(&client, json!({"metadata": {"name": "web"}, "spec": spec}))
                .await?;
            let deployments = client.api::<Deployment>("default");
            // However long it takes: it has grown as far as it may before it has less to do.
            while deployments.get("web").await?.spec.and_then(|spec| spec.replicas) != Some(5) {
                world.sleep(Duration::from_secs(10)).await;
            }
            deployments.patch("web", image("web:2")).await.map(drop)
        })
        .always("it has as many as it may", |state| {
            let Some(web) = state.object::<Deployment>("default", "web") else { return Ok(()) };
            match web.spec.as_ref().and_then(|spec| spec.replicas) {
                Some(2..=5) => Ok(()),
                other => Err(format!("{other:?} are wanted")),
            }
        })
        .eventually("as few as may be serve", serves("web", 2, "web:2"))
        .eventually("the status says so", |state| {
            let scaler = state.object::<HorizontalPodAutoscaler>("default", "web").ok_or("it is gone")?;
            let status = scaler.status.clone().unwrap_or_default();
            let said = (status.current_replicas, status.desired_replicas);
            if said == (Some(2), 2) { Ok(()) } else { Err(format!("{said:?}")) }
        })
}

async fn evict(client: &Client, pod: &str) -> Result<(), Status> {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let target = Target::of::<Pod>(Some("default")).named(pod).sub("eviction");
    let create = Operation::Create { body: Body::Value(body), options: Default::default() };
    client.call(target, create).await.map(drop)
}

/// A node is drained of pods that a budget is for.
pub fn budget() -> Scenario {
    Scenario::new("budget")
        .nodes(3)
        .script(|world| async move {
            let client = world.client();
            create::<Deployment>(&client, of("web", 4)).await?;
            let spec = json!({"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}});
            create::<PodDisruptionBudget>(&client, json!({"metadata": {"name": "web"}, "spec": spec}))
                .await?;
            world.sleep(Duration::from_secs(8)).await;
            let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
            client.cluster::<Node>().patch("fake-0", cordon).await?;
            loop {
                let pods = client.api::<Pod>("default").list().await?;
                let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
                let leaves = |pod: &&Pod| {
                    node(pod).as_deref() == Some("fake-0") && pod.metadata.deletion_timestamp.is_none()
                };
                let Some(pod) = pods.iter().find(leaves) else {
                    // One that was placed before the node was cordoned may be bound to it yet.
                    if pods.iter().all(|pod| node(pod).is_some()) {
                        return Ok(());
                    }
                    world.sleep(Duration::from_secs(2)).await;
                    continue;
                };
                match evict(&client, pod.metadata.name.as_deref().unwrap_or_default()).await {
                    Err(status) if !status.is_not_found() && status.code() != 429 => return Err(status),
                    _ => world.sleep(Duration::from_secs(2)).await,
                }
            }
        })
        .always("no more disruptions are allowed than there are pods to spare", |state| {
            let Some(budget) = state.object::<PodDisruptionBudget>("default", "web") else { return Ok(()) };
            let status = budget.status.clone().unwrap_or_default();
            let of = |count: Option<i32>| count.unwrap_or(0);
            let spare = (of(status.current_healthy) - of(status.desired_healthy)).max(0);
            match of(status.disruptions_allowed) <= spare {
                true => Ok(()),
                false => Err(format!("{:?} of {spare} to spare", status.disruptions_allowed)),
            }
        })
        .eventually("four pods serve", serves("web", 4, "web:1"))
        .eventually("none of them is on the node", |state| {
            let on =
                |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("fake-0");
            let left: Vec<_> = state
                .objects::<Pod>()
                .filter(|pod| on(pod))
                .filter_map(|pod| pod.metadata.name.clone())
                .collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .eventually("the budget says what there is", |state| {
            let budget = state.object::<PodDisruptionBudget>("default", "web").ok_or("it is gone")?;
            let status = budget.status.clone().unwrap_or_default();
            // As many pods are expected as are selected, also those that ended for want of room and stay to be seen.
            let said = (status.current_healthy, status.desired_healthy, status.disruptions_allowed);
            let noted = status.disrupted_pods.map_or(0, |pods| pods.len());
            if (said, noted) == ((Some(4), Some(3), Some(1)), 0) {
                Ok(())
            } else {
                Err(format!("{said:?}, and {noted} are on their way"))
            }
        })
}
