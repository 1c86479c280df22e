//! The scheduler and the controllers as a program of their own, for an API server that has none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use orchestra_core::api::Client;
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::testing::until;
use orchestra_http::{Kubeconfig, Serving, TokenKeys};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(60);
const PARTS: [Component; 2] = [Component::Scheduler, Component::ControllerManager];

/// An API server with two nodes and nobody who acts, and a kubeconfig for it.
struct Bare {
    folder: tempfile::TempDir,
    cluster: Cluster,
    serving: Serving,
}

impl Bare {
    async fn start() -> Self {
        let builder = Cluster::builder().rbac().tokens(TokenKeys::new().unwrap()).fake_nodes(2);
        let builder = PARTS.into_iter().fold(builder, |builder, part| builder.without(part));
        let cluster = builder.start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = orchestra_http::serve(&cluster, listener).unwrap();
        let folder = tempfile::tempdir().unwrap();
        serving.kubeconfig().write(&kubeconfig(folder.path())).unwrap();
        Self { folder, cluster, serving }
    }

    fn client(&self) -> Client {
        self.cluster.client()
    }

    fn command(&self, name: &str) -> Command {
        self.command_by(&kubeconfig(self.folder.path()), name)
    }

    fn command_by(&self, kubeconfig: &Path, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-master"));
        command.args(["--server", &self.serving.kubeconfig().server, "--leader-identity", name]);
        command.arg("--leader-term=3s").arg("--kubeconfig").arg(kubeconfig);
        command.kill_on_drop(true);
        command
    }

    fn attach(&self, name: &str) -> Child {
        self.command(name).spawn().unwrap()
    }

    /// Who holds the Leases of both parts; none while they differ.
    async fn leader(&self) -> Option<String> {
        let leases = self.client().api::<Lease>("kube-system");
        let mut holders = Vec::new();
        for part in PARTS {
            let lease = leases.find(&part.to_string()).await.unwrap()?;
            holders.push(lease.spec?.holder_identity.unwrap_or_default());
        }
        holders.dedup();
        holders.pop().filter(|_| holders.is_empty())
    }

    /// How many pods run, of how many.
    async fn running(&self) -> (usize, usize) {
        let pods = self.client().api::<Pod>("default").list().await.unwrap();
        let runs = |pod: &&Pod| {
            let status = pod.status.as_ref();
            status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
        };
        (pods.iter().filter(runs).count(), pods.len())
    }

    async fn has_pods(&self, count: usize) {
        let all = async || (self.running().await == (count, count)).then_some(());
        until(format_args!("{count} pods run, and no others"), PATIENCE, all).await;
    }

    async fn is_led_by(&self, name: &str) {
        let led = async || (self.leader().await.as_deref() == Some(name)).then_some(());
        until(format_args!("{name:?} leads"), PATIENCE, led).await;
    }
}

fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

fn deployment(name: &str, replicas: usize) -> Deployment {
    let labels = json!({"app": name});
    let pod =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_comes_about_and_goes_on_when_the_program_is_killed() {
    let bare = Bare::start().await;
    let deployments = bare.client().api::<Deployment>("default");
    let mut first = bare.attach("first");
    bare.is_led_by("first").await;
    deployments.create(&deployment("one", 5)).await.unwrap();
    bare.has_pods(5).await;

    // In the midst of the work.
    deployments.create(&deployment("two", 40)).await.unwrap();
    let begun = async || (bare.running().await.1 > 5).then_some(());
    until("pods of the second are made", PATIENCE, begun).await;
    first.kill().await.unwrap();
    let mut second = bare.attach("second");
    bare.is_led_by("second").await;
    bare.has_pods(45).await;

    deployments.delete("two").await.unwrap();
    bare.has_pods(5).await;

    let pid = rustix::process::Pid::from_raw(second.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(second.wait().await.unwrap().success());
    assert_eq!(bare.leader().await.as_deref(), Some(""), "the lead is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_part_alone() {
    let bare = Bare::start().await;
    let _scheduler = bare.command("s").arg("--without=kube-controller-manager").spawn().unwrap();
    // That new nodes are ready is for the controllers to say.
    let spec =
        json!({"containers": [{"name": "c", "image": "nginx"}], "tolerations": [{"operator": "Exists"}]});
    let pod = json!({"metadata": {"name": "p"}, "spec": spec});
    let pods = bare.client().api::<Pod>("default");
    pods.create(&serde_json::from_value(pod).unwrap()).await.unwrap();
    bare.has_pods(1).await;
    let leases = bare.client().api::<Lease>("kube-system");
    assert!(leases.find("kube-controller-manager").await.unwrap().is_none());

    let output =
        bare.command("n").arg("--without=kube-scheduler,kube-controller-manager").output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("there is nothing to run"), "{said}");
}

/// By the kubeconfig that `kubeadm` makes for Kubernetes' own, whose user may write next to nothing itself.
#[tokio::test(flavor = "multi_thread")]
async fn controllers_are_their_service_accounts() {
    let bare = Bare::start().await;
    let identity = bare.serving.authority().issue_client("system:kube-controller-manager", &[]).unwrap();
    let path = bare.folder.path().join("kube-controller-manager.kubeconfig");
    Kubeconfig { identity, ..bare.serving.kubeconfig().clone() }.write(&path).unwrap();
    let _scheduler = bare.command("s").arg("--without=kube-controller-manager").spawn().unwrap();
    let mut controllers = bare.command_by(&path, "c");
    controllers.args(["--without=kube-scheduler", "--use-service-account-credentials"]);
    let _controllers = controllers.spawn().unwrap();
    bare.client().api::<Deployment>("default").create(&deployment("web", 3)).await.unwrap();
    bare.has_pods(3).await;
    // An account that somebody deletes is made anew: the token that is held counts no more, and another one is asked for.
    let accounts = bare.client().api::<ServiceAccount>("kube-system");
    let before = accounts.get("replicaset-controller").await.unwrap().metadata.uid;
    accounts.delete("replicaset-controller").await.unwrap();
    bare.client().api::<Deployment>("default").scale("web", 5).await.unwrap();
    bare.has_pods(5).await;
    assert_ne!(accounts.get("replicaset-controller").await.unwrap().metadata.uid, before);
}
