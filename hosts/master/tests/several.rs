//! Several masters as programs over a real etcd on loopback: all serve the same cluster, one leads, and when it is
//! killed another goes on with its work.
//!
//! Needs `etcd` on the path (Debian: `etcd-server`). Without it this does nothing, unless `CI` or
//! `ORCHESTRA_TEST_DAEMONS` is set: then it fails.

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use orchestra_core::api::{Client, User};
use orchestra_core::meta::Revision;
use orchestra_core::store::etcd::{EtcdOptions, EtcdStore};
use orchestra_core::store::redb::RedbStore;
use orchestra_core::store::{Change, KeyRange, Store as _};
use orchestra_core::testing::until;
use orchestra_http::{Kubeconfig, Remote};
use serde_json::json;
use tokio::process::{Child, Command};

/// The term of these masters.
const TERM: Duration = Duration::from_secs(3);

/// Whether to run: there is an etcd, or its absence is a failure.
fn etcd_is_there() -> bool {
    let found = std::process::Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok();
    let needed = ["CI", "ORCHESTRA_TEST_DAEMONS"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(found || !needed, "etcd is not on the path; install etcd-server");
    found
}

/// An etcd of one member, killed when dropped.
struct Etcd {
    url: String,
    process: Child,
}

impl Etcd {
    /// Starts one and waits until it answers. Somebody else may take a port between its choice and its use: then it ends
    /// at once, and another is started on other ports.
    async fn start(directory: &Path) -> Self {
        for attempt in 0..5 {
            let mut etcd = Self::spawn(&directory.join(format!("etcd-{attempt}")));
            let ended = in_time("etcd answers, or ends", async || match etcd.process.try_wait() {
                Ok(Some(_)) => Some(true),
                _ => etcd.connect().await.map(|_| false),
            });
            if !ended.await {
                return etcd;
            }
        }
        panic!("etcd ended at once, five times");
    }

    fn spawn(directory: &Path) -> Self {
        let held: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let urls: Vec<_> = held.iter().map(|port| format!("http://{}", port.local_addr().unwrap())).collect();
        drop(held);
        let (client, peer) = (&urls[0], &urls[1]);
        let process = Command::new("etcd")
            .args(["--name", "m0", "--initial-cluster", &format!("m0={peer}"), "--log-level", "fatal"])
            .args(["--logger", "zap", "--listen-client-urls", client, "--advertise-client-urls", client])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--data-dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { url: urls[0].clone(), process }
    }

    async fn connect(&self) -> Option<EtcdStore> {
        EtcdStore::connect(&[&self.url], EtcdOptions::default()).await.ok()
    }

    async fn store(&self) -> EtcdStore {
        in_time("etcd answers", async || self.connect().await).await
    }
}

/// A master as a program, killed when dropped.
struct Master {
    process: Child,
    client: Client,
}

impl Master {
    /// Starts one and waits until its API answers. All share a directory for the authority.
    async fn start(directory: &Path, name: &str, etcd: &Etcd) -> Self {
        let data = directory.join(name);
        let process = Command::new(env!("CARGO_BIN_EXE_orchestra-master"))
            .args([
                "--listen=127.0.0.1:0",
                "--etcd",
                &etcd.url,
                "--leader-term=3s",
                "--leader-identity",
                name,
            ])
            .arg("--data-dir")
            .arg(&data)
            .arg("--pki-dir")
            .arg(directory.join("pki"))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = in_time("the API answers", async || client(data.join("kubeconfig")).await).await;
        Self { process, client }
    }
}

async fn client(kubeconfig: PathBuf) -> Option<Client> {
    let remote = Remote::connect(Kubeconfig::read(&kubeconfig).ok()?).ok()?;
    let client = Client::new(remote, User::admin());
    client.api::<ConfigMap>("default").list().await.ok()?;
    Some(client)
}

/// Asks until there is an answer, for a minute.
async fn in_time<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until(what, Duration::from_secs(60), ask).await
}

/// Who leads, of the controllers and of the scheduler, if it is the same.
async fn leader(client: &Client) -> Option<String> {
    let leases = client.api::<Lease>("kube-system");
    let mut holders = HashSet::new();
    for name in ["kube-controller-manager", "kube-scheduler"] {
        holders.insert(leases.get(name).await.ok()?.spec?.holder_identity?);
    }
    (holders.len() == 1).then(|| holders.into_iter().next()).flatten()
}

fn deployment(name: &str, replicas: usize) -> Deployment {
    let labels = json!({"app": name});
    let pod =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// How many pods there are, each counted once.
async fn pods(client: &Client) -> usize {
    client.api::<Pod>("default").list().await.map_or(0, |pods| pods.len())
}

/// How many pods were ever made, as etcd remembers it.
async fn ever_made(store: &EtcdStore) -> usize {
    let latest = store.revision().await.unwrap();
    let mut changes = store.watch(&KeyRange::all(), Revision::ZERO).await.unwrap();
    let mut made = 0;
    while let Some(batch) = changes.next().await {
        let batch = batch.unwrap();
        let is_new = |change: &&Change| {
            change.key().as_str().starts_with("/core/pods/")
                && matches!(change, Change::Put { previous: None, .. })
        };
        made += batch.changes.iter().filter(is_new).count();
        if batch.revision >= latest {
            break;
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_two_masters_is_killed_and_the_other_goes_on() {
    if !etcd_is_there() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(directory.path()).await;
    let store = etcd.store().await;
    let mut first = Master::start(directory.path(), "first", &etcd).await;
    in_time("the first leads", || async { leader(&first.client).await.filter(|name| name == "first") }).await;
    let second = Master::start(directory.path(), "second", &etcd).await;

    // What one has acknowledged the other shows, at once and every time.
    let map = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    for number in 0..50 {
        let (writer, reader) = if number % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let name = format!("m{number}");
        let made = writer.client.api::<ConfigMap>("default").create(&map(&name)).await.unwrap();
        let read = reader.client.api::<ConfigMap>("default").get(&name).await.unwrap();
        assert_eq!(made, read);
    }

    // Killed in the midst of the work.
    second.client.api("default").create(&deployment("before", 60)).await.unwrap();
    in_time("pods are made", || async { (pods(&second.client).await >= 5).then_some(()) }).await;
    first.process.kill().await.unwrap();
    let killed = Instant::now();
    in_time("the second leads", || async { leader(&second.client).await.filter(|name| name == "second") })
        .await;
    let took = killed.elapsed();
    assert!(took < TERM + Duration::from_secs(3), "it took {took:?}");
    second.client.api("default").create(&deployment("after", 7)).await.unwrap();
    in_time("all pods are there", || async { (pods(&second.client).await == 67).then_some(()) }).await;
    assert_eq!(ever_made(&store).await, 67);

    // A master that is killed comes back and waits its turn.
    let first = Master::start(directory.path(), "first", &etcd).await;
    assert_eq!(pods(&first.client).await, 67);
    assert_eq!(leader(&first.client).await.as_deref(), Some("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_from_etcd_to_a_file_and_back_to_etcd() {
    if !etcd_is_there() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(directory.path()).await;
    etcd.store().await;
    let master = Master::start(directory.path(), "first", &etcd).await;
    for number in 0..120 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"number": number.to_string()}});
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        master.client.api::<ConfigMap>("kube-public").create(&map).await.unwrap();
    }
    let file = directory.path().join("backup");
    let config = Kubeconfig::read(&directory.path().join("first/kubeconfig")).unwrap();
    let made = Remote::connect(config).unwrap().backup(&file).await.unwrap();
    drop(master);

    let restore = async |prefix: &str, data: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-master"));
        command.arg("--restore").arg(&file).arg("--data-dir").arg(directory.path().join(data));
        if !prefix.is_empty() {
            command.args(["--etcd", &etcd.url, "--etcd-prefix", prefix]);
        }
        let output = command.output().await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (content, said) = restore("/orchestra", "second").await;
    assert!(!content && said.contains("not empty"), "{said}");
    for (prefix, data) in [("/other", "second"), ("", "third")] {
        let (content, said) = restore(prefix, data).await;
        assert!(content, "{said}");
    }
    let other = EtcdOptions { prefix: "/other".into(), ..EtcdOptions::default() };
    let other = EtcdStore::connect(&[&etcd.url], other).await.unwrap();
    let records = other.list(&KeyRange::all(), None, None, 0).await.unwrap().records;
    assert_eq!(records.len() as u64, made.records);
    assert!(records.iter().all(|record| record.modified > made.revision));
    let file = RedbStore::open(directory.path().join("third")).unwrap();
    let same = file.list(&KeyRange::all(), None, None, 0).await.unwrap().records;
    assert!(
        records
            .iter()
            .map(|record| (&record.key, &record.value))
            .eq(same.iter().map(|record| (&record.key, &record.value)))
    );
}
