//! The same seed gives the same life to the byte, with nodes, scheduler, controllers and proxies at work.

use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use orchestra_core::api::{Client, Status};
use orchestra_core::simulation::{Explore, FaultPlan, Scenario, Simulation, Strategy};
use serde_json::json;

use super::scenarios::{create, image, of, template};
use super::seeds;

async fn work(client: &Client) -> Result<(), Status> {
    create::<Deployment>(client, of("web", 4)).await?;
    create::<Deployment>(client, of("api", 2)).await?;
    let mut set = of("db", 2);
    set["spec"]["serviceName"] = json!("db");
    create::<StatefulSet>(client, set).await?;
    let mut each = of("agent", 1);
    each["spec"].as_object_mut().map(|fields| fields.remove("replicas"));
    create::<DaemonSet>(client, each).await?;
    let mut once = template("once");
    once["spec"]["restartPolicy"] = json!("Never");
    once["spec"]["containers"][0]["command"] = json!(["sleep", "5"]);
    let job = json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed", "template": once});
    create::<Job>(client, json!({"metadata": {"name": "once"}, "spec": job})).await?;
    let minutely = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}});
    create::<CronJob>(client, json!({"metadata": {"name": "cron"}, "spec": minutely})).await?;
    for app in ["web", "api", "db"] {
        let spec = json!({"selector": {"app": app}, "ports": [{"port": 80}]});
        create::<Service>(client, json!({"metadata": {"name": app}, "spec": spec})).await?;
        let selector = json!({"matchLabels": {"app": app}});
        let budget = json!({"metadata": {"name": app}, "spec": {"minAvailable": 1, "selector": selector}});
        create::<PodDisruptionBudget>(client, budget).await?;
    }
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"});
    let scaler = json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4});
    create::<HorizontalPodAutoscaler>(client, json!({"metadata": {"name": "api"}, "spec": scaler})).await?;
    let quota = json!({"hard": {"pods": "30", "requests.cpu": "10"}});
    create::<ResourceQuota>(client, json!({"metadata": {"name": "all"}, "spec": quota})).await
}

/// Of nearly every kind that has a controller, and rollouts.
fn everything() -> Scenario {
    Scenario::new("everything")
        .nodes(4)
        .cluster(|builder| builder.rbac().figures_of_use())
        .never_rests()
        .script(|world| async move {
            let client = world.client();
            work(&client).await?;
            world.sleep(Duration::from_secs(20)).await;
            client.api::<Deployment>("default").patch("web", image("web:2")).await?;
            client.api::<StatefulSet>("default").patch("db", image("db:2")).await?;
            world.sleep(Duration::from_secs(60)).await;
            client.api::<StatefulSet>("default").delete("db").await
        })
}

#[test]
fn the_same_seed_gives_the_same_life_to_the_byte() {
    let quiet = Strategy::new("no faults", |_, _| FaultPlan::none());
    let explore =
        Explore::new(everything()).strategies([quiet, Strategy::chaos()]).seeds(seeds(4, 200)).twice();
    if let Err(found) = explore.run() {
        panic!("{found}");
    }
}

const ASKED: &str = "ORCHESTRA_TEST_DIGEST";

/// What one life comes to, of a process that was asked for it.
#[test]
fn a_life_as_another_process_lives_it() {
    if std::env::var_os(ASKED).is_some() {
        let plan = "15s power-off fake-1 lasts=20s; 22s crash replicaset-controller amount=3";
        let life = Simulation::new(&everything(), 3).faults(plan.parse().unwrap()).run();
        println!("digest {:x} of {} commits", life.digest, life.commits);
    }
}

/// Hashers, addresses and the like are other ones in each process; nothing may follow from them.
#[test]
fn the_same_seed_gives_the_same_life_in_every_process() {
    let digest = || {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "determinism::a_life_as_another_process_lives_it", "--nocapture"]);
        let output = process.env(ASKED, "1").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|line| line.starts_with("digest")).map(str::to_owned).expect(&text)
    };
    assert_eq!(digest(), digest());
}

#[test]
fn another_seed_gives_another_life() {
    let digest = |seed| Simulation::new(&super::scenarios::job(), seed).run().digest;
    assert_ne!(digest(1), digest(2));
}
