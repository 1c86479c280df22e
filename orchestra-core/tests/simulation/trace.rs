//! What happened to a cluster is recorded and lived again, with other nodes and another scheduler.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use orchestra_core::clock::run_virtual;
use orchestra_core::cluster::Cluster;
use orchestra_core::scheduler::Profile;
use orchestra_core::simulation::{Replay, Trace, record};
use serde_json::{Value, json};

use super::scenarios::{create, of};

/// Three nodes of four cores, six pods of a core that become twelve, a job that takes a minute, and a node that goes.
fn recorded() -> Trace {
    let bytes = run_virtual(1, None, |clock| async move {
        let cluster = Cluster::builder().clock(clock.clone()).fake_nodes(3).start().await.unwrap();
        let client = cluster.client();
        let mut web = of("web", 6);
        web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("1");
        web["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "PASSWORD", "value": "swordfish"}]);
        create::<Deployment>(&client, web).await.unwrap();
        clock.sleep(Duration::from_secs(30)).await;
        let mut bytes = Vec::new();
        let script = async {
            clock.sleep(Duration::from_secs(10)).await;
            let deployments = client.api::<Deployment>("default");
            let patch = orchestra_core::api::Patch::Merge(json!({"spec": {"replicas": 13}}));
            deployments.patch("web", patch).await.unwrap();
            let template =
                json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
            let job = json!({"metadata": {"name": "once"}, "spec": {"template": template}});
            create::<Job>(&client, job).await.unwrap();
            clock.sleep(Duration::from_secs(60)).await;
        };
        let count = record(&client, &mut bytes, script, |_| {}).await.unwrap();
        assert!(count > 20, "{count}");
        cluster.shutdown().await;
        bytes
    });
    let bytes = bytes.unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("swordfish"));
    Trace::read(&*bytes).unwrap()
}

fn nodes(count: usize, cpu: &str) -> Vec<Value> {
    vec![json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "large", "annotations": {"orchestra.dev/count": count.to_string()}},
        "status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"}},
    })]
}

#[test]
fn what_was_recorded_is_lived_again() {
    let trace = recorded();
    let was = trace.figures();
    let again = Replay::new().run(&trace).unwrap();
    assert_eq!(again.refused, Vec::<String>::new());
    // Twelve of thirteen fit, in both lives.
    assert_eq!((was.pods, was.pods_pending), (14, 1), "{was:?}");
    assert_eq!((again.figures.pods, again.figures.pods_pending), (14, 1), "{:?}", again.figures);
    assert_eq!(again.figures.nodes, (3, 3));
    let why = again.figures.pending.values().next().unwrap();
    assert!(why.contains("Insufficient cpu"), "{why}");
    // The same trace has the same outcome.
    assert_eq!(Replay::new().run(&trace).unwrap(), again);
}

#[test]
fn other_nodes_and_another_scheduler_are_compared() {
    let trace = Arc::new(recorded());
    let large = Replay::new().nodes(nodes(4, "32")).unwrap();
    let spread = large.run(&trace).unwrap().figures;
    assert_eq!((spread.pods_placed, spread.pods_pending, spread.nodes), (14, 0, (4, 4)), "{spread:?}");
    let packed = Profile::packing();
    let packed = large.scheduler(packed).run(&trace).unwrap().figures;
    assert_eq!((packed.pods_placed, packed.nodes), (14, (4, 1)), "{packed:?}");
    for wrong in [json!({"kind": "Pod"}), json!({"kind": "Node", "metadata": {"name": "a"}})] {
        assert!(Replay::new().nodes(vec![wrong]).is_err());
    }
}

/// A trace of eleven minutes, in which a CronJob makes a Job each minute, ends after that: the jobs of later minutes are not
/// those of the trace.
#[test]
fn what_only_the_time_asks_for_ends_with_the_trace() {
    let node = json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}});
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}});
    let template = json!({"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [container]}});
    let spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}});
    let cron = json!({"metadata": {"namespace": "default", "name": "cron"}, "spec": spec});
    let lines = [
        json!({"trace": "orchestra", "version": 1, "at": "2026-01-01T00:00:30Z"}),
        json!({"ms": 0, "kind": "nodes", "put": node}),
        json!({"ms": 1000, "kind": "cronjobs.batch", "put": cron}),
        json!({"ms": 660_000, "kind": "end"}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let trace = Trace::read(text.as_bytes()).unwrap();
    let again = Replay::new().run(&trace).unwrap();
    assert_eq!(again.figures.pods, 11, "{again:?}");
    assert!(again.seconds < 660 + 300, "{again:?}");
    // What is asked for is measured over the trace, not over the calm after it.
    assert!(again.figures.cpu.mean > 40.0, "they run for ever: {again:?}");
}

#[test]
fn a_job_takes_as_long_as_it_took() {
    let at = "{\"trace\":\"orchestra\",\"version\":1,\"at\":\"2026-01-01T00:00:00Z\"}";
    let node = json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}});
    let template = json!({"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = json!({"metadata": {"namespace": "default", "name": "once"}, "spec": {"template": template}});
    let owner =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "once", "uid": "j", "controller": true}]);
    let pod = |node: Option<&str>, phase: &str| {
        let ready = if phase == "Running" { "True" } else { "False" };
        json!({
            "metadata": {"namespace": "default", "name": "once-x", "uid": "x", "ownerReferences": owner}, "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let lines = [
        json!({"ms": 0, "kind": "nodes", "put": node}),
        json!({"ms": 1000, "kind": "jobs.batch", "put": job}),
        json!({"ms": 1000, "kind": "pods", "put": pod(None, "Pending")}),
        json!({"ms": 2000, "kind": "pods", "put": pod(Some("a"), "Pending")}),
        json!({"ms": 12_000, "kind": "pods", "put": pod(Some("a"), "Running")}),
        json!({"ms": 312_000, "kind": "pods", "put": pod(Some("a"), "Succeeded")}),
    ];
    let text: String = std::iter::once(at.to_owned())
        .chain(lines.iter().map(Value::to_string))
        .map(|line| line + "\n")
        .collect();
    let trace = Trace::read(text.as_bytes()).unwrap();
    let again = Replay::new().run(&trace).unwrap();
    assert_eq!((again.figures.pods_run, again.figures.pods_ended), (1, 1), "{again:?}");
    assert!((8.0..14.0).contains(&again.figures.to_running.most), "{again:?}");
    assert!((310..420).contains(&again.seconds), "{again:?}");
}

fn trace(lines: &[Value]) -> Trace {
    let at = json!({"trace": "orchestra", "version": 1, "at": "2026-01-01T00:00:00Z"});
    let text: String = std::iter::once(&at).chain(lines).map(|line| format!("{line}\n")).collect();
    Trace::read(text.as_bytes()).unwrap()
}

fn web(replicas: u32, cpu: &str) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec})
}

/// Six pods of two cores come to nodes of four, and five go again after half an hour.
#[test]
fn groups_of_nodes_grow_and_shrink_as_pods_need_them() {
    let trace = trace(&[
        json!({"ms": 60_000, "kind": "deployments.apps", "put": web(6, "2")}),
        json!({"ms": 1_800_000, "kind": "deployments.apps", "put": web(1, "2")}),
        json!({"ms": 7_200_000, "kind": "end"}),
    ]);
    let of = |count: &str| {
        let mut group = nodes(1, "4");
        group[0]["metadata"]["annotations"] = json!({"orchestra.dev/count": count, "orchestra.dev/boot-seconds": "90", "orchestra.dev/idle-seconds": "600"});
        let lived = Replay::new().nodes(group).unwrap().run(&trace).unwrap();
        assert_eq!(lived.refused, Vec::<String>::new());
        lived.figures
    };
    let fixed = of("3");
    assert_eq!((fixed.pods_pending, fixed.nodes), (0, (3, 3)), "{fixed:?}");
    assert!((5.9..6.1).contains(&fixed.node_hours), "{fixed:?}");
    let grown = of("1-5");
    assert_eq!((grown.pods_pending, grown.nodes), (0, (3, 3)), "no more than are needed: {grown:?}");
    assert!((90.0..130.0).contains(&grown.to_node.most), "four pods wait for their nodes: {grown:?}");
    // One for two hours, and two for half an hour and what it takes to see that they are not needed.
    assert!((3.0..3.8).contains(&grown.node_hours), "{grown:?}");
    let bounded = of("1-2");
    assert_eq!((bounded.nodes.0, bounded.pods_placed), (2, 4), "{bounded:?}");
    for wrong in ["5-1", "many", "0"] {
        let mut group = nodes(1, "4");
        group[0]["metadata"]["annotations"]["orchestra.dev/count"] = json!(wrong);
        let error = Replay::new().nodes(group).unwrap_err().to_string();
        assert!(error.contains("orchestra.dev/count of the node large"), "{error}");
    }
}

/// Four pods that were half busy, and then busy altogether, share what they had to do with as many as another autoscaler
/// wants.
#[test]
fn another_autoscaler_is_compared() {
    let scaler = |target: u32| {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}});
        let of = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {"scaleTargetRef": of, "minReplicas": 1, "maxReplicas": 20, "metrics": [metric]},
        })
    };
    let recorded = |ms: u64, each: &str| {
        let mut put = scaler(80);
        let metric =
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": each}}});
        put["status"] = json!({"currentReplicas": 4, "currentMetrics": [metric]});
        json!({"ms": ms, "kind": "horizontalpodautoscalers.autoscaling", "put": put})
    };
    let trace = trace(&[
        json!({"ms": 0, "kind": "deployments.apps", "put": web(4, "1")}),
        recorded(0, "500m"),
        recorded(1_200_000, "1"),
        // What the recorded one wrote is not lived again beside another.
        json!({"ms": 1_260_000, "kind": "deployments.apps", "put": web(5, "1")}),
        json!({"ms": 2_400_000, "kind": "end"}),
    ]);
    let replay = || Replay::new().nodes(nodes(1, "20")).unwrap();
    let as_it_was = replay().run(&trace).unwrap().figures;
    assert_eq!((as_it_was.pods, as_it_was.cpu.most), (5, 25.0), "{as_it_was:?}");
    let with = |target: u32| {
        let lived = replay().autoscalers(vec![scaler(target)]).unwrap().run(&trace).unwrap();
        assert_eq!(lived.refused, Vec::<String>::new());
        lived.figures
    };
    // Two cores and then four, of pods that ask for one each.
    let half = with(50);
    assert_eq!(half.cpu.most, 40.0, "eight pods: {half:?}");
    let full = with(100);
    assert!(full.cpu.most <= 20.0 && full.cpu.mean < 17.0, "two, and then four pods: {full:?}");
    let mut other = scaler(50);
    other["spec"]["scaleTargetRef"]["name"] = json!("api");
    let error = replay().autoscalers(vec![other]).unwrap().run(&trace).unwrap_err().to_string();
    assert!(error.contains("how much default/deployment/api had to do"), "{error}");
    assert!(replay().autoscalers(vec![json!({"kind": "Node"})]).is_err());
}
