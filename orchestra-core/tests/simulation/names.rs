//! What a program in a pod meets when it asks for names and connects.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use orchestra_core::api::Status;
use orchestra_core::simulation::{FaultPlan, Outcome, Scenario, Simulation, Unreached, World};
use serde_json::{Value, json};

use super::scenarios::{create, image, of};

async fn service(world: &World, name: &str, spec: Value) -> Result<(), Status> {
    create::<Service>(&world.client(), json!({"metadata": {"name": name}, "spec": spec})).await
}

/// Three pods behind a Service, a headless one and another name.
async fn shop(world: &World, web: Value) -> Result<(), Status> {
    let ports = json!([{"port": 80}]);
    service(world, "web", json!({"selector": {"app": "web"}, "ports": ports})).await?;
    service(world, "peers", json!({"selector": {"app": "web"}, "ports": ports, "clusterIP": "None"})).await?;
    service(world, "old", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}))
        .await?;
    create::<Deployment>(&world.client(), web).await
}

fn lived(scenario: Scenario, plan: &str) -> Outcome {
    let plan: FaultPlan = plan.parse().unwrap();
    let life = Simulation::new(&scenario.nodes(2), 1).faults(plan).run();
    assert_eq!(life.violation, None, "{}", life.story);
    life
}

#[test]
fn names_stand_for_what_they_stand_for_in_a_pod() {
    let scenario = Scenario::new("names").script(|world| async move {
        shop(&world, of("web", 3)).await?;
        let at_once = world.connect("fake-1", "default", "web", 80).await;
        assert!(matches!(at_once, Err(Unreached::NoRoute { .. } | Unreached::Refused { .. })), "{at_once:?}");
        let early = world.resolve("fake-1", "default", "peers").await;
        assert_eq!(early, Err(Unreached::NoAddress("peers.default.svc.cluster.local".into())));
        world.sleep(Duration::from_secs(10)).await;
        let resolve = async |namespace: &str, name: &str| world.resolve("fake-1", namespace, name).await;
        let web = world.client().api::<Service>("default").get("web").await?;
        let address: IpAddr = web.spec.and_then(|spec| spec.cluster_ip).unwrap().parse().unwrap();
        for (namespace, name) in [
            ("default", "web"),
            ("kube-system", "web.default"),
            ("kube-system", "web.default.svc"),
            ("default", "old"),
            ("kube-system", "old.default.svc.cluster.local."),
        ] {
            assert_eq!(resolve(namespace, name).await, Ok(vec![address]), "{name} in {namespace}");
        }
        let mut pods = Vec::new();
        for pod in world.client().api::<Pod>("default").list().await? {
            pods.push(pod.status.and_then(|status| status.pod_ip).unwrap().parse::<IpAddr>().unwrap());
        }
        pods.sort();
        assert_eq!(resolve("default", "peers").await, Ok(pods.clone()));
        let dashes = pods[0].to_string().replace('.', "-");
        for name in [format!("{dashes}.peers"), format!("{dashes}.default.pod")] {
            assert_eq!(resolve("default", &name).await, Ok(vec![pods[0]]), "{name}");
        }
        for name in ["web.other", "nothing", "example.com", "1-2-3-4.peers"] {
            assert_eq!(resolve("default", name).await, Err(Unreached::NoName(name.into())));
        }
        let mut taken = std::collections::BTreeSet::new();
        for _ in 0..40 {
            taken.insert(world.connect("fake-0", "default", "web", 80).await.unwrap().pod);
        }
        assert_eq!(taken.len(), 3, "all of them are reached");
        assert!(world.connect("fake-0", "default", &pods[0].to_string(), 80).await.is_ok());
        let other_port = world.connect("fake-0", "default", "web", 81).await;
        assert_eq!(other_port, Err(Unreached::Refused { address, port: 81 }));
        Ok(())
    });
    lived(scenario, "");
}

/// Calls a Service ten times a second while it is rolled out; the calls that failed, in the story.
fn rollout(stops_after: Option<u32>) -> Scenario {
    Scenario::new("rollout").script(move |world| async move {
        let mut web = of("web", 3);
        if let Some(seconds) = stops_after {
            let sleep = json!({"preStop": {"sleep": {"seconds": seconds}}});
            web["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = sleep;
        }
        shop(&world, web).await?;
        world.sleep(Duration::from_secs(10)).await;
        world.client().api::<Deployment>("default").patch("web", image("web:2")).await?;
        for _ in 0..400 {
            world.sleep(Duration::from_millis(100)).await;
            if let Err(why) = world.connect("fake-1", "default", "web", 80).await {
                world.tell("caller", "is not answered", why.to_string());
            }
        }
        Ok(())
    })
}

fn unanswered(life: &Outcome) -> usize {
    life.story.lines.iter().filter(|line| line.what == "is not answered").count()
}

/// What a rollout costs its callers: nothing, if pods end a little later than proxies learn of it. A proxy that learns late
/// goes on sending callers to pods that are gone.
#[test]
fn a_rollout_is_seen_as_its_callers_see_it() {
    assert_eq!(unanswered(&lived(rollout(Some(5)), "")), 0);
    let late = lived(rollout(Some(5)), "0s delay-events kube-proxy amount=20000 lasts=60s");
    assert!(unanswered(&late) > 20, "{}", unanswered(&late));
    // One that sees late does not know the name yet.
    let blind = lived(rollout(Some(5)), "0s delay-events node/fake-1 amount=20000 lasts=60s");
    assert!(unanswered(&blind) > 50, "{}", unanswered(&blind));
    let lines = blind.story.lines.iter().filter(|line| line.what == "is not answered");
    assert!(lines.clone().all(|line| line.why == "there is no name web"), "{}", blind.story);
}
