//! What nodes and pods use: the node's own word, and the API made of it.

use std::time::Duration;

use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Cluster, Node};
use orchestra_core::k8s_openapi::api::core::v1::{Namespace, Pod};
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::node::NodeService;
use orchestra_core::node::figures::{cadvisor_metrics, resource_metrics};
use orchestra_core::objects::metrics::{NodeMetrics, PodMetrics};
use orchestra_core::runtime::RuntimeError;
use orchestra_core::runtime::fake::{Behaviour, Call, FakeRuntime, On};
use serde_json::{Value, json};

use crate::world::{NODE, World};

const MEBIBYTE: u64 = 1 << 20;

fn busy(containers: &[&str]) -> Value {
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({"name": name, "image": format!("{name}:1")})).collect();
    json!({ "containers": containers })
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_what_its_pods_use() {
    let world = World::start().await;
    world.runtime.on(On::image("app:1"), Behaviour::new().uses(250, 64 * MEBIBYTE));
    world.runtime.on(On::image("side:1"), Behaviour::new().uses(50, 16 * MEBIBYTE));
    let pod = world.create("web", busy(&["app", "side"])).await;
    world.until_ready("web").await;
    world.sleep(30.0).await;
    let service = world.service();
    let summary = service.summary().await.unwrap();
    assert_eq!(summary.node.node_name, NODE);
    let figures = &summary.pods[0];
    assert_eq!(Some(&figures.pod_ref.uid), pod.metadata.uid.as_ref());
    let names: Vec<_> = figures.containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["app", "side"]);
    let of = |index: usize| {
        let one = &figures.containers[index];
        (one.cpu.usage_nano_cores.unwrap() / 1_000_000, one.memory.working_set_bytes / MEBIBYTE)
    };
    assert_eq!((of(0), of(1)), ((250, 64), (50, 16)));
    let cpu = figures.cpu.as_ref().unwrap();
    assert_eq!(cpu.usage_nano_cores.unwrap() / 1_000_000, 300);
    let node = summary.node.memory.as_ref().unwrap();
    assert_eq!(node.working_set_bytes, 80 * MEBIBYTE);
    let text = resource_metrics(&summary);
    for line in [
        "# TYPE container_memory_working_set_bytes gauge\n",
        "container_memory_working_set_bytes{container=\"app\",namespace=\"default\",pod=\"web\"} 67108864 ",
        "pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 83886080 ",
        "node_memory_working_set_bytes 83886080 ",
        "resource_scrape_error 0\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let text = cadvisor_metrics(&summary);
    for line in [
        "# TYPE container_cpu_usage_seconds_total counter\n",
        "container_memory_working_set_bytes{container=\"\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} 83886080 ",
        "/app\",image=\"\",name=\"\",namespace=\"default\",pod=\"web\"} 67108864 ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let written = serde_json::to_value(&summary).unwrap();
    assert_eq!(written["pods"][0]["podRef"]["name"], "web");
    assert_eq!(serde_json::from_value::<orchestra_core::node::figures::Summary>(written).unwrap(), summary);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_looked_at_before_somebody_asks_and_all_who_ask_at_once_are_answered_by_one_look() {
    let world = World::start().await;
    world.create("web", busy(&["app"])).await;
    world.until_ready("web").await;
    world.sleep(600.0).await;
    let looks = || world.runtime.calls(Call::Stats);
    assert_eq!(looks(), 0);
    let service = world.service();
    let (one, two) = tokio::join!(service.summary(), service.summary());
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(looks(), 2);
    world.sleep(15.0).await;
    let later = service.summary().await.unwrap();
    assert_eq!(looks(), 3, "the look from before is good enough to count from");
    assert_eq!(later.node.cpu.unwrap().window_millis, Some(15_000));
    world.runtime.fail_next(Call::Stats, RuntimeError::Failed { message: "away".into() });
    world.sleep(15.0).await;
    assert_eq!(service.summary().await.unwrap_err().code(), 500);
    service.summary().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_figures_are_an_api() {
    let clock = TokioClock::simulated(3);
    let runtime = FakeRuntime::new(clock.clone());
    runtime.on(On::image("app:1"), Behaviour::new().uses(250, 64 * MEBIBYTE));
    let builder = Cluster::builder().clock(clock.clone()).figures_of_use();
    let cluster = builder.node(Node::new("n1"), runtime.clone(), FakeNetwork::new()).start().await.unwrap();
    let client = cluster.client();
    client.cluster::<Namespace>().create(&object(json!({"metadata": {"name": "shop"}}))).await.unwrap();
    for (namespace, name) in [("default", "web"), ("default", "db"), ("shop", "web")] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": busy(&["app"])});
        client.api::<Pod>(namespace).create(&object(pod)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let all = client.cluster::<PodMetrics>().list().await.unwrap();
    let names: Vec<_> = all
        .iter()
        .map(|one| (one.metadata.namespace.clone().unwrap(), one.metadata.name.clone().unwrap()))
        .collect();
    let expected = [("default", "db"), ("default", "web"), ("shop", "web")];
    assert_eq!(names, expected.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())));
    let web = client.api::<PodMetrics>("shop").get("web").await.unwrap();
    assert_eq!((web.containers[0].usage["cpu"].0.as_str(), web.window.as_str()), ("250000000n", "1s"));
    assert_eq!(web.containers[0].usage["memory"].0, "65536Ki");
    assert_eq!(web.metadata.labels.unwrap()["app"], "web");
    let node = client.cluster::<NodeMetrics>().get("n1").await.unwrap();
    assert_eq!(node.usage["cpu"].0, "750000000n");
    let missing = client.api::<PodMetrics>("shop").get("db").await.unwrap_err();
    assert_eq!((missing.code(), missing.is_not_found()), (404, true));
    let refused = client.api::<PodMetrics>("shop").delete("web").await.unwrap_err();
    assert_eq!(refused.code(), 405, "what is worked out is only read");
    cluster.shutdown().await;
}

fn object<K: orchestra_core::meta::Object>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}
