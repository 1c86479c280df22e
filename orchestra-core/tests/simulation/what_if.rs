//! What is foretold of a cluster is what would happen, and the cluster learns of none of it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use orchestra_core::api::{Client, Patch};
use orchestra_core::clock::run_virtual;
use orchestra_core::cluster::{Cluster, Fork};
use orchestra_core::explain::About;
use orchestra_core::scheduler::{Configuration, Filter, Profile};
use orchestra_core::simulation::{FaultPlan, Scenario, Simulation};
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::redb::RedbStore;
use orchestra_core::store::{KeyRange, Store};
use orchestra_core::what_if::{
    Answer, AskError, Intervention, NodePicture, Question, Remedy, ask_here, remedy_here,
};
use serde_json::{Value, json};

use super::scenarios::{create, of};

fn web(replicas: u32, cpu: &str) -> Value {
    let mut web = of("web", replicas);
    web["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
    web
}

/// Three nodes with four cores each, six pods of one core, a budget of five, and a pod of each node's own.
fn cluster() -> Fork {
    let alive = run_virtual(1, None, |clock| async move {
        let cluster = Cluster::builder().clock(clock.clone()).fake_nodes(3).start().await.unwrap();
        let client = cluster.client();
        // Pods that come before a node has joined are on the others.
        while !all_are_ready(&client).await {
            clock.sleep(Duration::from_millis(100)).await;
        }
        create::<Deployment>(&client, web(6, "1")).await.unwrap();
        let mut each = of("agent", 1);
        each["spec"].as_object_mut().unwrap().remove("replicas");
        create::<DaemonSet>(&client, each).await.unwrap();
        let selector = json!({"matchLabels": {"app": "web"}});
        let budget = json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 5, "selector": selector}});
        create::<PodDisruptionBudget>(&client, budget).await.unwrap();
        let quota = json!({"metadata": {"name": "all"}, "spec": {"hard": {"pods": "20"}}});
        create::<ResourceQuota>(&client, quota).await.unwrap();
        clock.sleep(Duration::from_secs(60)).await;
        let store = cluster.server().store().unwrap();
        let before = store.revision().await.unwrap();
        let fork = cluster.fork().await.unwrap();
        assert_eq!(fork.store().revision().await.unwrap(), before);
        drop(store);
        cluster.shutdown().await;
        fork
    });
    alive.unwrap()
}

/// Whether three nodes have joined and may be given pods.
async fn all_are_ready(client: &Client) -> bool {
    let nodes = client.cluster::<Node>().list().await.unwrap();
    let untainted = |node: &Node| node.spec.as_ref().is_none_or(|spec| spec.taints.is_none());
    nodes.len() == 3 && nodes.iter().all(|node| untainted(node) && is_ready(node))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn asked(changes: impl IntoIterator<Item = Intervention>) -> Answer {
    ask_here(&cluster(), &Question::new(changes)).unwrap()
}

fn counts(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect()
}

#[test]
fn nothing_done_changes_nothing() {
    let answer = asked([]);
    assert!(answer.difference.is_empty(), "{answer}");
    assert!(answer.at_rest);
}

#[test]
fn a_node_that_is_lost_sends_its_pods_elsewhere() {
    let answer = asked([Intervention::LoseNode("fake-1".into())]);
    let web =
        answer.difference.workloads.iter().find(|one| one.workload == "default/deployment/web").unwrap();
    assert_eq!(web.before, counts(&[("fake-0", 2), ("fake-1", 2), ("fake-2", 2)]), "{answer}");
    assert_eq!(web.after, counts(&[("fake-0", 3), ("fake-2", 3)]), "{answer}");
    assert_eq!((web.replaced, web.ready), (2, (6, 6)), "{answer}");
    assert_eq!(answer.fewest_ready.get("default/deployment/web"), Some(&4), "{answer}");
    let (before, after) = &answer.difference.nodes["fake-1"];
    assert!(before.as_ref().unwrap().ready && !after.as_ref().unwrap().ready, "{answer}");
    // Noticed after 40 seconds, given up 300 later.
    assert!((330..420).contains(&answer.seconds), "{answer}");
    let text = answer.to_string();
    assert!(text.starts_with("If you lose the node fake-1:\n\nWorkloads\n"), "{text}");
}

#[test]
fn a_drain_keeps_the_budget() {
    let answer = asked([Intervention::Drain("fake-2".into())]);
    let web = &answer.difference.workloads[0];
    assert_eq!(web.after, counts(&[("fake-0", 3), ("fake-1", 3)]), "{answer}");
    assert_eq!(answer.fewest_ready.get("default/deployment/web"), Some(&5), "one at a time: {answer}");
    assert!(answer.difference.nodes["fake-2"].1.as_ref().unwrap().cordoned);
    assert!(answer.undone.is_empty(), "{answer}");
}

#[test]
fn too_many_pods_wait_and_say_why() {
    let scale = |replicas| Intervention::Scale {
        kind: "deploy".into(),
        namespace: "default".into(),
        name: "web".into(),
        replicas,
    };
    let answer = asked([scale(12)]);
    assert_eq!(answer.difference.waiting.len(), 3, "{answer}");
    assert!(answer.difference.waiting.values().all(|why| why.contains("3 Insufficient cpu")), "{answer}");
    let quota = &answer.difference.quotas[0];
    assert_eq!((&*quota.before, &*quota.after, &*quota.hard), ("9", "15", "20"), "{answer}");
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["difference"]["workloads"][0]["workload"], "default/deployment/web");
}

#[test]
fn what_is_applied_is_rolled_out_and_what_is_wrong_is_refused() {
    let mut newer = web(6, "500m");
    newer["apiVersion"] = json!("apps/v1");
    newer["kind"] = json!("Deployment");
    let answer = asked([Intervention::Apply(newer.clone())]);
    let web = &answer.difference.workloads[0];
    assert_eq!((web.replaced, web.ready), (6, (6, 6)), "{answer}");
    newer["spec"]["replicas"] = json!(-1);
    for wrong in [
        Intervention::Apply(newer),
        Intervention::Cordon("nowhere".into()),
        Intervention::LoseNode("nowhere".into()),
    ] {
        let refused = ask_here(&cluster(), &Question::new([wrong])).unwrap_err();
        assert!(matches!(refused, AskError::Refused { .. }), "{refused}");
    }
}

/// What was foretold of a node's loss, and what comes of it with agents and machines.
#[test]
fn what_is_foretold_is_what_happens() {
    let answer = asked([Intervention::LoseNode("fake-1".into())]);
    let scenario = Scenario::new("the same").nodes(3).script(|world| async move {
        create::<Deployment>(&world.client(), web(6, "1")).await?;
        world.sleep(Duration::from_secs(500)).await;
        Ok(())
    });
    let plan: FaultPlan = "60s power-off fake-1 lasts=1000s".parse().unwrap();
    let life = Simulation::new(&scenario, 1).faults(plan).run();
    // When the node is back its pods are gone, and the others stay where they went.
    let mut places = BTreeMap::new();
    for pod in life.state.objects::<Pod>() {
        *places.entry(pod.spec.as_ref().unwrap().node_name.clone().unwrap()).or_default() += 1_usize;
    }
    assert_eq!(
        places,
        answer.difference.workloads.iter().find(|it| it.workload.ends_with("web")).unwrap().after
    );
}

#[tokio::test]
async fn a_store_on_disk_is_copied_and_one_in_memory_forked() {
    let directory = tempfile::tempdir().unwrap();
    let redb = RedbStore::open(directory.path()).unwrap();
    let cluster = Cluster::builder().store(redb.clone()).start().await.unwrap();
    create::<Deployment>(&cluster.client(), web(1, "1")).await.unwrap();
    cluster.stop(&orchestra_core::cluster::Component::ControllerManager).await;
    let fork = cluster.fork().await.unwrap();
    let all = |store: std::sync::Arc<dyn Store>| async move {
        let page = store.list(&KeyRange::all(), None, None, 0).await.unwrap();
        (page.revision, page.records)
    };
    let (copy, original) =
        (all(std::sync::Arc::new(fork.store().clone())).await, all(std::sync::Arc::new(redb)).await);
    assert_eq!(copy, original);
    let other = MemoryStore::copy_of(fork.store()).await.unwrap();
    assert_eq!(all(std::sync::Arc::new(other)).await, original);
    cluster.shutdown().await;
}

#[test]
fn an_upgrade_goes_from_node_to_node_and_keeps_the_budget() {
    let upgrade = |node: &str| Intervention::Upgrade(node.into());
    let answer = asked(["fake-0", "fake-1", "fake-2"].map(upgrade));
    assert!(answer.undone.is_empty() && answer.difference.broken_budgets.is_empty(), "{answer}");
    // One pod at a time, as the budget says.
    assert_eq!(answer.fewest_ready.get("default/deployment/web"), Some(&5), "{answer}");
    // All nodes take pods again.
    let cordoned =
        |pair: &(Option<NodePicture>, Option<NodePicture>)| pair.1.as_ref().is_some_and(|it| it.cordoned);
    assert!(!answer.difference.nodes.values().any(cordoned), "{answer}");
    assert!(answer.seconds > 2 * 120, "{answer}");
}

#[test]
fn what_is_not_written_any_more_is_gone() {
    let mut web = web(6, "1");
    web["apiVersion"] = json!("apps/v1");
    web["kind"] = json!("Deployment");
    web["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("resources");
    let answer = asked([Intervention::Replace(web)]);
    let web =
        answer.difference.workloads.iter().find(|one| one.workload == "default/deployment/web").unwrap();
    assert_eq!(web.replaced, 6, "{answer}");
    let missing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "none"}});
    let refused = ask_here(&cluster(), &Question::new([Intervention::Replace(missing)]));
    assert!(matches!(refused, Err(AskError::Refused { .. })), "{refused:?}");
}

/// What is found to help a Deployment of a cluster of two nodes with four cores each, made and left alone for two minutes.
fn helped(quota: Option<Value>, web: Value, cordoned: &'static [&'static str]) -> Option<Remedy> {
    let fork = run_virtual(1, None, move |clock| async move {
        let cluster = Cluster::builder().clock(clock.clone()).fake_nodes(2).start().await.unwrap();
        let client = cluster.client();
        clock.sleep(Duration::from_secs(5)).await;
        for node in cordoned {
            let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
            client.cluster::<Node>().patch(node, patch).await.unwrap();
        }
        if let Some(hard) = quota {
            let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": hard}});
            create::<ResourceQuota>(&client, quota).await.unwrap();
            clock.sleep(Duration::from_secs(2)).await;
        }
        create::<Deployment>(&client, web).await.unwrap();
        clock.sleep(Duration::from_secs(120)).await;
        let fork = cluster.fork().await.unwrap();
        cluster.shutdown().await;
        fork
    });
    remedy_here(&fork.unwrap(), &About::new("apps", "deployments", "default", "web")).unwrap()
}

#[test]
fn what_helps_was_tried() {
    let quota = json!({"pods": "2", "requests.cpu": "3"});
    let raised = helped(Some(quota), web(5, "500m"), &[]).unwrap();
    assert_eq!((&*raised.does, &raised.left), ("raise pods to 5 of the quota few", &None));
    assert!(raised.seconds < 60, "{raised}");
    let uncordoned = helped(None, web(2, "3"), &["fake-1"]).unwrap();
    assert_eq!(uncordoned.change, Intervention::Uncordon("fake-1".into()), "{uncordoned}");
    assert_eq!(uncordoned.left, None);
    let less = helped(None, web(1, "6"), &[]).unwrap();
    assert_eq!(less.does, "have the container main of Deployment web ask for 4 of cpu");
    assert!(less.to_string().contains("nothing is the matter any more"), "{less}");
    let mut paused = web(2, "1");
    paused["spec"]["paused"] = json!(true);
    let resumed = helped(None, paused, &[]);
    assert!(resumed.is_none_or(|resumed| resumed.does == "resume the roll-out of Deployment web"));
    assert_eq!(helped(None, web(2, "1"), &[]), None, "nothing is the matter");
}

#[test]
fn a_fork_places_pods_as_the_cluster_was_told_to() {
    let fork = |filters: bool| {
        let fork = run_virtual(1, None, move |clock| async move {
            let mut profile = Profile::default();
            if !filters {
                let of_cordons = [Filter::NodeUnschedulable, Filter::TaintToleration];
                profile.filters.retain(|filter| !of_cordons.contains(filter));
            }
            let file =
                br#"{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}"#;
            let mut configuration = Configuration::parse(file).unwrap();
            configuration.profiles = vec![profile];
            let cluster = Cluster::builder().clock(clock.clone()).fake_nodes(1).scheduler(configuration);
            let cluster = cluster.start().await.unwrap();
            clock.sleep(Duration::from_secs(5)).await;
            create::<Deployment>(&cluster.client(), web(1, "1")).await.unwrap();
            clock.sleep(Duration::from_secs(30)).await;
            let fork = cluster.fork().await.unwrap();
            cluster.shutdown().await;
            fork
        });
        fork.unwrap()
    };
    let scaled = Intervention::Scale {
        kind: "deploy".into(),
        namespace: "default".into(),
        name: "web".into(),
        replicas: 2,
    };
    let cordoned = [Intervention::Cordon("fake-0".into()), scaled];
    let waiting = |filters| {
        let answer = ask_here(&fork(filters), &Question::new(cordoned.clone())).unwrap();
        answer.difference.waiting.len()
    };
    assert_eq!((waiting(true), waiting(false)), (1, 0));
}
