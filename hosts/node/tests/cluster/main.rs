//! A master in this process and nodes that are programs of their own, over the loopback interface: they join with a
//! token, run a Deployment, are asked for logs, and are killed.

mod ingress;
mod machines;

use std::fmt::Debug;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use clap::Parser as _;
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::api::LogQuery;
use orchestra_core::api::{Api, Client};
use orchestra_core::meta::Object;
use orchestra_core::runtime::{AttachOptions, ExecOptions, PodRef};
use orchestra_core::testing;
use orchestra_core::watch::Query;
use orchestra_master::{Master, Options};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

async fn master(directory: &Path) -> Master {
    let mut options = Options::parse_from([
        "orchestra-master",
        "--listen=127.0.0.1:0",
        "--node-monitor-grace-period=2s",
        "--node-startup-grace-period=10s",
    ]);
    options.data_dir = directory.to_owned();
    Master::start(&options).await.unwrap()
}

fn node(master: &Master, directory: &Path, name: &str, token: &str) -> Child {
    node_with(master, directory, (name, token), &[])
}

fn node_with(master: &Master, directory: &Path, (name, token): (&str, &str), more: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_orchestra-node"))
        .args(["--join", master.url(), "--token", token, "--name", name, "--runtime=fake"])
        .args(more)
        .args(["--listen=127.0.0.1:0", "--heartbeat=300ms", "--data-dir"])
        .arg(directory.join(name))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until the objects of a kind are as they should be.
async fn until<K: Object + Debug>(client: &Client, what: &str, done: impl Fn(&[K]) -> bool) -> Vec<K> {
    let cache = client.cache::<K>().await.unwrap();
    let mut seen = Vec::new();
    let waiting = async {
        loop {
            let (entries, mut events) = cache.list_and_watch(&Query::all());
            seen = entries.iter().map(|entry| entry.decode().unwrap()).collect();
            if done(&seen) {
                return;
            }
            let _ = events.next().await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "never: {what}; but {seen:#?}");
    seen
}

fn name<K: Object>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

fn condition(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == "Ready").map_or("", |ready| &ready.status)
}

fn host(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The pods that are not on their way out and are ready.
fn ready(pods: &[Pod]) -> Vec<&Pod> {
    let ready = |pod: &&Pod| {
        let conditions =
            pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none()
            && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    pods.iter().filter(ready).collect()
}

fn spread(pods: &[Pod], nodes: &[&str]) -> bool {
    let ready = ready(pods);
    ready.len() == 3 && nodes.iter().all(|node| ready.iter().any(|pod| host(pod) == *node))
}

async fn deploy(client: &Client) {
    let gone =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "initContainers": [{"name": "greet", "image": "busybox", "command": ["echo", "hello"]}],
                "containers": [{"name": "main", "image": "nginx"}],
                "tolerations": [gone("node.kubernetes.io/unreachable"), gone("node.kubernetes.io/not-ready")],
            }},
        },
    }))
    .unwrap();
    let api: Api<Deployment> = client.api("default");
    api.create(&deployment).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_run_pods_and_are_lost_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let master = master(&directory.path().join("master")).await;
    let (client, token) = (master.client(), master.token().to_string());
    let start = |name: &str| node(&master, directory.path(), name, &token);
    let _a = start("a");
    let mut b = start("b");
    let _c = start("c");
    let all_ready = |nodes: &[Node]| nodes.len() == 3 && nodes.iter().all(|node| condition(node) == "True");
    until(&client, "three nodes are ready", all_ready).await;

    deploy(&client).await;
    let pods = until::<Pod>(&client, "a pod on each node", |pods| spread(pods, &["a", "b", "c"])).await;
    for pod in &pods {
        let query = LogQuery { container: Some("greet".into()), ..LogQuery::default() };
        let logs = master.cluster().directory().logs(&client, "default", name(pod), query).await.unwrap();
        let text: Vec<_> = logs.try_collect().await.unwrap();
        assert_eq!(text.concat(), b"hello\n", "logs from {}", host(pod));

        let place =
            master.cluster().directory().container(&client, "default", name(pod), None).await.unwrap();
        let streams = AttachOptions { stdin: true, stdout: true, ..AttachOptions::default() };
        let options = ExecOptions { command: vec!["true".into()], streams };
        let session = place.node.exec(&place.pod, &place.container, &options).await.unwrap();
        assert_eq!(timeout(DEADLINE, session.exit).await.unwrap(), Ok(0), "a command on {}", host(pod));
        let another = PodRef { uid: "of-another-pod".into(), ..place.pod.clone() };
        let refused = place.node.exec(&another, &place.container, &options).await.err().unwrap();
        assert_eq!((refused.code(), refused.message().contains("not running")), (400, true), "{refused}");
    }

    b.kill().await.unwrap();
    let lost = |nodes: &[Node]| nodes.iter().any(|node| name(node) == "b" && condition(node) == "Unknown");
    until(&client, "the killed node is not ready", lost).await;
    let moved = |pods: &[Pod]| spread(pods, &["a", "c"]) && ready(pods).iter().all(|pod| host(pod) != "b");
    until(&client, "its pod came back elsewhere", moved).await;

    // The certificate that it was given is enough to come back.
    let _b = start("b");
    until(&client, "the node is back", all_ready).await;
    until::<Pod>(&client, "what it had is cleared away", |pods| pods.len() == 3).await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_told_and_the_program_ends() {
    let directory = tempfile::tempdir().unwrap();
    let master = master(&directory.path().join("master")).await;
    let token = master.token().to_string();
    let (front, secret) = token.rsplit_once('.').unwrap();
    let other_cluster = format!("orc1.{}.{secret}", "0".repeat(32));
    for (token, told) in [
        (format!("{front}.0123456789abcdef"), "the join token is not the one of this cluster"),
        (other_cluster, "is not the master that this token is for"),
        ("secret".to_owned(), "this is not a join token"),
    ] {
        let program = node(&master, directory.path(), "a", &token);
        let output = timeout(DEADLINE, program.wait_with_output()).await.expect("the program ends").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(told), "{token}: {said}");
        assert!(!directory.path().join("a/pki/node.key").exists());
    }
    assert!(master.client().cluster::<Node>().list().await.unwrap().is_empty());
    master.stop().await;
}

/// The program of a node that has no master.
fn standalone<'a>(data: &Path, more: impl IntoIterator<Item = &'a str>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_orchestra-node"))
        .args(["--standalone", "--name=alone", "--eviction-hard="])
        .args(more)
        .arg("--data-dir")
        .arg(data)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A manifest is submitted by who may, kept over a restart, and taken back.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_submitted_to_a_node() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // An address of its own has the port free, also when the program is started again.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.9.{high}.{low}");
    let start = || standalone(&data, ["--runtime=fake", &format!("--listen={address}:10250")]);
    let ask = async |args: &[&str], path: &str, certificate: bool| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "10", "--cacert"]).arg(data.join("pki/ca.crt"));
        if certificate {
            curl.arg("--cert").arg(data.join("pki/admin.crt")).arg("--key").arg(data.join("pki/admin.key"));
        }
        curl.args(["--resolve", &format!("localhost:10250:{address}")]);
        let url = format!("https://localhost:10250{path}");
        let output = curl.args(args).args(["--write-out", " %{http_code}"]).arg(url).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let until = async |path: &str, holds: &dyn Fn(&str) -> bool| {
        testing::until(path, DEADLINE, async || Some(ask(&[], path, true).await).filter(|said| holds(said)))
            .await
    };
    let manifest =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: main, image: web}]}\n";
    let mut program = start();
    until("/manifests", &|said| said == "[]\n 200").await;
    let put = ["--request", "PUT", "--data-binary", manifest];
    let stranger = ask(&put, "/manifests/web", false).await;
    assert!(stranger.ends_with(" 401"), "{stranger}");
    let refused = ask(&["--request", "PUT", "--data-binary", "kind: Pod"], "/manifests/web", true).await;
    assert!(refused.contains("manifest") && refused.ends_with(" 422"), "{refused}");
    let said = ask(&put, "/manifests/web", true).await;
    assert_eq!(said, "the node runs default/web-alone\n 201");
    // As a kubelet is asked, who knows no pod by its uid.
    let logs = "/containerLogs/default/web-alone/main";
    until(logs, &|said| said.ends_with(" 200")).await;
    assert!(ask(&[], "/containerLogs/default/other/main", true).await.ends_with(" 400"));
    assert!(ask(&[], logs, false).await.ends_with(" 401"));
    program.kill().await.unwrap();
    let mut program = start();
    until("/manifests", &|said| said == "[\"web\"]\n 200").await;
    let taken = ask(&["--request", "DELETE"], "/manifests/web", true).await;
    assert!(taken.ends_with(" 200"), "{taken}");
    until("/manifests", &|said| said == "[]\n 200").await;
    program.kill().await.unwrap();
}

/// Pods of manifests and nothing else: there is no master whom anybody could ask, so the files that a pod writes tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_master_runs_the_pods_of_its_manifests() {
    let directory = tempfile::tempdir().unwrap();
    let (manifests, data, said) =
        (directory.path().join("manifests"), directory.path().join("data"), directory.path().join("said"));
    std::fs::create_dir(&manifests).unwrap();
    let mark = format!("7{}", std::process::id());
    let start = || {
        let folder = manifests.to_str().unwrap();
        standalone(&data, ["--runtime=process", "--network=userspace", "--pod-manifest-path", folder])
    };
    let manifest = |word: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "none", "command": ["/bin/sh", "-c",
                format!("echo {word} >>{}; exec sleep {mark}", said.display())]}],
        }})
        .to_string()
    };
    let until_said = async |words: &str| {
        let now = || std::fs::read_to_string(&said).unwrap_or_default();
        let what = std::fmt::from_fn(|f| write!(f, "{words:?}, but {:?}", now()));
        testing::until(&what, DEADLINE, async || (now() == words).then_some(())).await;
    };
    let mut program = start();
    std::fs::write(manifests.join("web.yaml"), manifest("one")).unwrap();
    until_said("one\n").await;
    // It is found again by whoever comes next, and not started a second time.
    program.kill().await.unwrap();
    let mut program = start();
    std::fs::write(manifests.join("web.yaml"), manifest("two")).unwrap();
    until_said("one\ntwo\n").await;
    std::fs::remove_file(manifests.join("web.yaml")).unwrap();
    let running = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok())
            .any(|line| line == format!("sleep\0{mark}\0"))
    };
    let ended = async || (!running()).then_some(());
    testing::until("a pod without a manifest ends", DEADLINE, ended).await;
    program.kill().await.unwrap();
}
