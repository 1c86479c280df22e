//! How soon simulated clusters live: a day, an hour of a large one, many of a small one, and a fork.
//!
//! `cargo bench -p orchestra-benches --bench simulation [-- NAME…]`, where NAME is `day`, `hour`, `explorations` or `fork`.
//! What is measured is what a life costs, so nothing is repeated but the fork: a life with the same seed is the same one. Time
//! is told as the clock on the wall went and as the processor spent it in this process, as machines have something else to
//! do too. Beside each life stands what its commits alone would take, in a bare memory store.

use std::time::{Duration, Instant};

use orchestra_benches::{bare_commits, processor_time};
use orchestra_core::api::{Patch, Status};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::{ConfigMap, Pod};
use orchestra_core::simulation::{Explore, Scenario, Simulation, Strategy, World};
use serde_json::{Value, json};

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALL: [(&str, fn()); 4] = [("day", day), ("hour", hour), ("explorations", explorations), ("fork", fork)];

const HOUR: Duration = Duration::from_secs(3600);
/// How often nodes say that they live in the day and the hour with rare signs of life: what such lives are not about.
const RARELY: Duration = Duration::from_secs(300);

fn main() {
    // Cargo adds flags of its own to what it is given.
    let asked: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    for (name, measure) in ALL {
        if asked.is_empty() || asked.iter().any(|it| it == name) {
            measure();
        }
    }
}

/// 20 nodes and 200 pods in ten Deployments for a day; every hour one of them, in turn, is rolled out anew.
fn day() {
    for (heartbeats, heartbeat) in [("every 10 s", None), ("every 300 s", Some(RARELY))] {
        let scenario = of_deployments("day", 20, 10, 20, heartbeat).script(|world| async move {
            deploy(&world, 10, 20).await?;
            for hour in 0..24 {
                world.sleep(HOUR).await;
                let name = deployment_name(hour % 10);
                world.client().api::<Deployment>("default").patch(&name, image(hour)).await?;
            }
            Ok(())
        });
        lived(&format!("day, heartbeats {heartbeats}"), &scenario, 200);
    }
}

/// 5,000 nodes and 50,000 pods in a hundred Deployments for an hour, in which one of them is rolled out.
fn hour() {
    for (heartbeats, heartbeat) in [("every 300 s", Some(RARELY)), ("every 10 s", None)] {
        let scenario = of_deployments("hour", 5_000, 100, 500, heartbeat).script(|world| async move {
            deploy(&world, 100, 500).await?;
            world.sleep(HOUR / 2).await;
            world.client().api::<Deployment>("default").patch(&deployment_name(7), image(1)).await?;
            world.sleep(HOUR / 2).await;
            Ok(())
        });
        lived(&format!("hour, heartbeats {heartbeats}"), &scenario, 50_000);
    }
}

/// Whole clusters of three nodes, on all cores and with faults: a Deployment is made, rolled out and scaled.
fn explorations() {
    let scenario = Scenario::new("small")
        .nodes(3)
        .script(|world| async move {
            deploy(&world, 1, 3).await?;
            let deployments = world.client().api::<Deployment>("default");
            world.sleep(Duration::from_secs(8)).await;
            deployments.patch(&deployment_name(0), image(1)).await?;
            world.sleep(Duration::from_secs(4)).await;
            deployments.scale(&deployment_name(0), 5).await.map(drop)
        })
        // A ReplicaSet that is made smaller while it makes its pods may have some more than a rollout is allowed.
        .always("never twice the pods that stay", |state| {
            let stay = state.objects::<Pod>().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            match stay.count() {
                0..=10 => Ok(()),
                count => Err(format!("{count} pods")),
            }
        })
        // Those that a node without room ended stay, so that one sees why.
        .eventually("five pods", |state| {
            let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
            match state.objects::<Pod>().filter(|pod| phase(pod).as_deref() != Some("Failed")).count() {
                5 => Ok(()),
                count => Err(format!("{count} pods")),
            }
        });
    let strategies = Strategy::sieve("deployment-controller").into_iter().chain([Strategy::chaos()]);
    let explore = Explore::new(scenario).strategies(strategies).seeds(400);
    let (began, processor) = (Instant::now(), processor_time());
    let explored = explore.run().unwrap_or_else(|found| panic!("{found}"));
    let (took, processor) = (began.elapsed().as_secs_f64(), (processor_time() - processor).as_secs_f64());
    let (lives, commits) = (explored.lives as f64, explored.commits as f64 / explored.lives as f64);
    println!(
        "explorations: {:.1} lives/s, {:.1} by a second of processor time; {commits:.0} commits a life",
        lives / took,
        lives / processor,
    );
}

/// What it takes to fork clusters of several sizes.
fn fork() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for objects in [0, 1_000, 30_000] {
        let took = runtime.block_on(async {
            let cluster = Cluster::builder().without(Component::ControllerManager).start().await;
            let cluster = cluster.expect("it starts");
            let maps = cluster.client().api::<ConfigMap>("default");
            for number in 0..objects {
                let map = json!({"metadata": {"name": format!("map-{number}")}, "data": {"key": "x".repeat(1_000)}});
                maps.create(&serde_json::from_value(map).expect("a map")).await.expect("it is made");
            }
            let mut took = Vec::new();
            for _ in 0..1_000 {
                let began = Instant::now();
                let fork = cluster.fork().await.expect("a fork");
                took.push(began.elapsed());
                drop(fork);
            }
            cluster.shutdown().await;
            took.sort();
            took
        });
        let (median, last) = (took[took.len() / 2], took[took.len() - 1]);
        println!("fork of {objects} objects of 1 KB: {median:?}, the longest of {} {last:?}", took.len());
    }
}

/// A cluster of Deployments, whose pods all run in the end.
fn of_deployments(
    name: &'static str,
    nodes: usize,
    deployments: usize,
    replicas: usize,
    heartbeat: Option<Duration>,
) -> Scenario {
    // The script itself is to end within it too.
    let scenario =
        Scenario::new(name).nodes(nodes).patience(30 * HOUR).eventually("all pods run", move |state| {
            let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
            let running =
                state.objects::<Pod>().filter(|pod| phase(pod).as_deref() == Some("Running")).count();
            let wanted = deployments * replicas;
            if running == wanted { Ok(()) } else { Err(format!("{running} of {wanted} pods run")) }
        });
    match heartbeat {
        Some(heartbeat) => scenario.heartbeat(heartbeat),
        None => scenario,
    }
}

/// Lives it once and says what that cost.
fn lived(what: &str, scenario: &Scenario, pods: usize) {
    let (began, processor) = (Instant::now(), processor_time());
    let outcome = Simulation::new(scenario, 1).run();
    let (took, processor) = (began.elapsed(), processor_time() - processor);
    if let Some(violation) = &outcome.violation {
        panic!("{what}: {violation}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let baseline = runtime.block_on(bare_commits(outcome.commits, 400));
    println!(
        "{what}: {:.2} s, {:.2} s of processor time; {pods} pods, {} commits, {:.1} µs each, which alone take {:.2} s",
        took.as_secs_f64(),
        processor.as_secs_f64(),
        outcome.commits,
        processor.as_secs_f64() * 1e6 / outcome.commits as f64,
        baseline.as_secs_f64(),
    );
}

async fn deploy(world: &World, deployments: usize, replicas: usize) -> Result<(), Status> {
    let api = world.client().api::<Deployment>("default");
    for number in 0..deployments {
        let name = deployment_name(number);
        let labels = json!({"app": name});
        let container = json!({
            "name": "main", "image": "web:0", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        });
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
        let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
        let deployment: Value = json!({"metadata": {"name": name}, "spec": spec});
        api.create(&serde_json::from_value(deployment).expect("a Deployment")).await?;
    }
    Ok(())
}

fn deployment_name(number: usize) -> String {
    format!("web-{number}")
}

fn image(version: usize) -> Patch {
    let container = json!({"name": "main", "image": format!("web:{}", version + 1)});
    Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [container]}}}}))
}
