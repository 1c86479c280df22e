//! The stories of the seeds that need containers with files of their own: on a Docker daemon of the test's.

use std::collections::BTreeMap;

#[path = "../../../../orchestra-runtime/tests/docker/daemon.rs"]
mod daemon;

use daemon::{Daemon, IMAGE};

use crate::support::{Kubectl, Place, Up};

/// A daemon, a cluster on it, and the newest `kubectl`; `None` where tests may go without.
async fn cluster() -> Option<(Daemon, Place, Up, Kubectl)> {
    let daemon = Daemon::start().await?;
    let place = Place { netns: Some(daemon.path("netns")), docker: Some(daemon.host()) };
    let up = Up::start_at(place.clone(), &["--runtime", "docker"]);
    let program = Kubectl::versions().pop().expect("kubectl");
    let kubectl = Kubectl::new(&program, &up);
    Some((daemon, place, up, kubectl))
}

/// A server that answers with the name of its pod.
fn greeter(replicas: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: k8s-for-beginners}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{tier: frontend}}}}
  template:
    metadata: {{labels: {{tier: frontend}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: k8s-for-beginners
        image: {IMAGE}
        command: [sh, -c, "hostname > /tmp/index.html; exec busybox httpd -f -p 8080 -h /tmp"]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: k8s-for-beginners}}
spec: {{type: NodePort, selector: {{tier: frontend}}, ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]}}
"#
    )
}

fn ready(kubectl: &Kubectl, count: usize) -> String {
    kubectl.until("get pods --no-headers", |pods| {
        pods.lines().count() == count && pods.matches("1/1").count() == count && !pods.contains("Terminating")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn exercise_2_04_thirty_requests_are_spread_over_the_pods() {
    let Some((_daemon, place, _up, kubectl)) = cluster().await else { return };
    kubectl.apply(&greeter(3));
    ready(&kubectl, 3);
    kubectl.ok("scale deploy k8s-for-beginners --replicas=5");
    ready(&kubectl, 5);
    kubectl.ok("scale deploy k8s-for-beginners --replicas=2");
    let two = ready(&kubectl, 2);
    let victim = two.split_whitespace().next().unwrap().to_owned();
    kubectl.ok(&format!("delete pod {victim}"));
    assert!(!ready(&kubectl, 2).contains(&victim));
    kubectl.ok("scale deploy k8s-for-beginners --replicas=3");
    let pods = ready(&kubectl, 3);
    let addresses = "get endpoints k8s-for-beginners -o jsonpath={.subsets[*].addresses[*].ip}";
    kubectl.until(addresses, |addresses| addresses.split_whitespace().count() == 3);
    let get = || {
        let mut curl = place.command("curl");
        curl.args([
            "-sS",
            "--retry-all-errors",
            "--retry",
            "5",
            "--max-time",
            "10",
            "http://127.0.0.1:30080/",
        ]);
        let output = curl.output().expect("curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    // The proxy hears of the third pod when the endpoints do; until it has, requests go to the others.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut known = std::collections::BTreeSet::new();
    while known.len() < 3 {
        known.insert(get());
        assert!(std::time::Instant::now() < deadline, "only {known:?} of\n{pods}");
    }
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..30 {
        *answers.entry(get()).or_default() += 1;
    }
    assert!(answers.len() == 3 && answers.values().all(|count| *count == 10), "{answers:?}\n{pods}");
    kubectl.ok("delete deployment,service k8s-for-beginners");
    kubectl.until("get pods -o name", str::is_empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exits_is_started_again_with_patience_and_what_is_not_there_is_named() {
    let Some((_daemon, _place, _up, kubectl)) = cluster().await else { return };
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: crash}}\nspec:\n  containers:\n  - name: c\n    image: {IMAGE}\n    \
         command: [sh, -c, \"echo dying; exit 3\"]\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: nowhere}}\nspec:\n  \
         containers: [{{name: c, image: \"127.0.0.1:1/none:1\"}}]\n"
    ));
    kubectl.until("get pod crash", |pod| pod.contains("CrashLoopBackOff"));
    assert_eq!(kubectl.ok("logs crash --previous"), "dying\n");
    let state = "get pod crash -o jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(kubectl.ok(state), "3");
    kubectl
        .until("describe pod crash", |said| said.contains("Back-off restarting failed container c in pod"));
    kubectl.until("get pod nowhere", |pod| pod.contains("ImagePullBackOff"));
    kubectl
        .until("describe pod nowhere", |said| said.contains("Failed to pull image \"127.0.0.1:1/none:1\""));
    kubectl.ok("delete pods --all --grace-period=0 --force");
    kubectl.until("get pods -o name", str::is_empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_goes_away_and_comes_back_costs_no_pod() {
    let Some((mut daemon, _place, _up, kubectl)) = cluster().await else { return };
    kubectl.apply(&greeter(2));
    ready(&kubectl, 2);
    let containers = "get pods -o jsonpath={.items[*].status.containerStatuses[0].containerID}";
    let before = kubectl.ok(containers);
    daemon.kill();
    // The node says that its runtime is gone, and then that it is back.
    kubectl.until("get nodes", |nodes| nodes.contains("NotReady"));
    daemon.restart().await;
    kubectl.until("get nodes", |nodes| !nodes.contains("NotReady"));
    ready(&kubectl, 2);
    assert_eq!(kubectl.ok(containers), before, "the same containers");
    let restarts = "get pods -o jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    assert_eq!(kubectl.ok(restarts), "0 0");
    kubectl.ok("delete deployment k8s-for-beginners");
    kubectl.until("get pods -o name", str::is_empty);
}
