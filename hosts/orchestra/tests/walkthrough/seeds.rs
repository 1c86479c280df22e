//! The stories of the seeds, as they stand there, with containers that really run: processes of this machine.

use crate::support::{Kubectl, Up};

/// The container of the workshop text.
const IMAGE: &str = r#"
      containers:
      - name: k8s-for-beginners
        image: packtworkshops/the-kubernetes-workshop:k8s-for-beginners
"#;

/// The same as a process of this machine, which needs a command and no image.
const PROCESS: &str = r#"
      containers:
      - name: k8s-for-beginners
        image: none
        command: [/bin/sh, -c, "echo started; trap 'exit 0' TERM; while :; do sleep 0.2; done"]
"#;

fn controller(kind: &str, api: &str, replicas: u32, containers: &str) -> String {
    let selector =
        if kind == "ReplicationController" { "{tier: frontend}" } else { "{matchLabels: {tier: frontend}}" };
    format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: k8s-for-beginners}}\nspec:\n  replicas: {replicas}\n  \
         selector: {selector}\n  template:\n    metadata: {{labels: {{tier: frontend}}}}\n    spec:\n      \
         terminationGracePeriodSeconds: 1{containers}"
    )
}

#[test]
fn exercise_2_04_scaling_and_healing_and_a_restart_that_restarts_nothing() {
    let mut up = Up::start(&["--runtime", "process"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    let running = |count: usize| {
        kubectl.until("get pods --no-headers", |pods| {
            pods.lines().count() == count
                && pods.matches("1/1").count() == count
                && !pods.contains("Terminating")
        })
    };
    kubectl.apply(&controller("Deployment", "apps/v1", 3, PROCESS));
    running(3);
    kubectl.ok("scale deploy k8s-for-beginners --replicas=5");
    running(5);
    kubectl.ok("scale deploy k8s-for-beginners --replicas=2");
    let two = running(2);
    let victim = two.split_whitespace().next().unwrap().to_owned();
    kubectl.ok(&format!("delete pod {victim} --grace-period=1"));
    assert!(!running(2).contains(&victim));
    assert!(kubectl.ok("logs deployment/k8s-for-beginners").contains("started"));

    let before = kubectl.ok("get pods -o jsonpath={.items[*].status.containerStatuses[0].containerID}");
    up.restart();
    running(2);
    let containers = "get pods -o jsonpath={.items[*].status.containerStatuses[0].containerID}";
    assert_eq!(kubectl.ok(containers), before, "a restart adopts what runs");
    up.kill_and_restart();
    running(2);
    assert_eq!(kubectl.ok(containers), before, "a crash too");

    kubectl.ok("delete deployment k8s-for-beginners");
    kubectl.until("get pods -o name", str::is_empty);
}

#[test]
fn a_replication_controllers_deleted_pod_comes_back() {
    let up = Up::start(&["--runtime", "fake", "--nodes", "3"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    kubectl.apply(&controller("ReplicationController", "v1", 3, IMAGE));
    let pods = kubectl.until("get pods --no-headers", |pods| pods.matches("Running").count() == 3);
    let victim = pods.split_whitespace().next().unwrap().to_owned();
    kubectl.ok(&format!("delete pod {victim}"));
    let healed = kubectl.until("get pods --no-headers", |pods| pods.matches("Running").count() == 3);
    assert!(!healed.contains(&victim));
    assert!(kubectl.ok("describe rc").contains("3 current / 3 desired"));
    kubectl.ok("delete replicationcontroller k8s-for-beginners");
    kubectl.until("get pods -o name", str::is_empty);
}

#[test]
fn manifests_of_old_api_groups_apply() {
    let up = Up::start(&["--runtime", "fake"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    let manifest = |image: &str| {
        format!(
            "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {{name: nginx-deployment-dev}}\nspec:\n  \
             replicas: 1\n  template:\n    metadata: {{labels: {{app: nginx-deployment-dev}}}}\n    spec:\n      \
             containers: [{{name: nginx-deployment-dev, image: \"{image}\", ports: [{{containerPort: 80}}]}}]\n"
        )
    };
    let said = kubectl.with_input("create --validate -f -", &manifest("nginx:1.7.9"));
    assert!(said.success, "{}", said.err);
    kubectl.ok("rollout status deployment/nginx-deployment-dev --timeout=60s");
    kubectl.apply(&manifest("nginx:1.8"));
    kubectl.ok("rollout status deployment/nginx-deployment-dev --timeout=60s");
    let images =
        kubectl.ok("get pods -l app=nginx-deployment-dev -o jsonpath={.items[*].spec.containers[0].image}");
    assert!(images.contains("nginx:1.8"), "{images}");
}

#[test]
fn exercise_2_05_each_part_stopped_and_started_by_itself() {
    let up = Up::start(&["--runtime", "fake"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    for part in ["kube-scheduler", "kube-controller-manager", "kube-apiserver"] {
        up.part("stop", part);
    }
    let refused = kubectl.fails("get node");
    assert!(refused.contains("refused"), "{refused}");
    up.part("start", "kube-apiserver");
    kubectl.until("get node", |nodes| nodes.contains("fake-0"));
    kubectl.apply(&controller("Deployment", "apps/v1", 1, IMAGE));
    assert!(kubectl.ok("get deploy").contains("0/1"));
    assert_eq!(kubectl.ok("get pods -o name"), "", "nobody makes pods");
    up.part("start", "kube-controller-manager");
    kubectl.until("get pods", |pods| pods.contains("Pending"));
    assert_eq!(kubectl.ok("get pods -o jsonpath={.items[*].spec.nodeName}"), "", "nobody gives them a node");
    up.part("start", "kube-scheduler");
    kubectl.until("get pods", |pods| pods.contains("1/1"));
    up.part("stop", "kubelet/fake-0");
    kubectl.until("get node", |nodes| nodes.contains("NotReady"));
    up.part("start", "kubelet");
    kubectl.until("get node", |nodes| !nodes.contains("NotReady"));
}

#[test]
fn pods_of_manifests_run_and_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |word: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
             - name: main\n    image: none\n    command: [/bin/sh, -c, 'echo {word}; exec sleep 100000']\n"
        )
    };
    std::fs::write(folder.path().join("web.yaml"), manifest("one")).unwrap();
    let up =
        Up::start(&["--runtime", "process", "--pod-manifest-path", &folder.path().display().to_string()]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    kubectl.until("get pod web-local --no-headers", |pod| pod.contains("1/1"));
    assert_eq!(kubectl.until("logs web-local", |log| !log.is_empty()), "one\n");
    assert_eq!(kubectl.ok("exec web-local -- echo here"), "here\n");
    // What shows it is nothing that could be stopped.
    kubectl.ok("delete pod web-local --grace-period=0 --force");
    kubectl.until("get pod web-local --no-headers", |pod| pod.contains("1/1"));
    assert_eq!(kubectl.ok("logs web-local"), "one\n", "it is the same container");
    std::fs::write(folder.path().join("web.yaml"), manifest("two")).unwrap();
    kubectl.until("logs web-local", |log| log == "two\n");
    std::fs::remove_file(folder.path().join("web.yaml")).unwrap();
    kubectl.until("get pods -o name", str::is_empty);
}
