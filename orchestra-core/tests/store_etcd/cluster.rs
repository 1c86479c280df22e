//! Members of an etcd cluster on this machine.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use orchestra_core::store::etcd::{EtcdOptions, EtcdStore};
use orchestra_core::testing::until;

/// How long is waited for what takes no time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Some members of one cluster on loopback, killed when dropped.
pub struct Cluster {
    pub members: Vec<Member>,
    address: Ipv4Addr,
    directory: tempfile::TempDir,
    scheme: &'static str,
    extra: Vec<String>,
}

pub struct Member {
    pub process: Option<Child>,
}

/// Whether to run: there is an etcd, or its absence is a failure.
pub fn etcd() -> bool {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok();
    let needed = ["CI", "ORCHESTRA_TEST_DAEMONS"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(found || !needed, "etcd is not on the path; install etcd-server");
    found
}

/// An address of the loopback at which nobody else listens: of this process, and of one cluster in it.
fn own_address() -> Ipv4Addr {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id() << 4) | MADE.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::from(0x7f80_0000 | number & 0x007f_ffff)
}

impl Cluster {
    pub fn start(count: usize) -> Self {
        Self::start_with(count, "http", Vec::new())
    }

    pub fn start_with(count: usize, scheme: &'static str, extra: Vec<String>) -> Self {
        let members = (0..count).map(|_| Member { process: None }).collect();
        let (address, directory) = (own_address(), tempfile::tempdir().unwrap());
        let mut cluster = Self { members, address, directory, scheme, extra };
        for number in 0..count {
            cluster.run(number);
        }
        cluster
    }

    pub fn run(&mut self, number: usize) {
        let peers: Vec<_> = (0..self.members.len()).map(|n| format!("m{n}={}", self.peer(n))).collect();
        let (client, peer) = (self.client(number), self.peer(number));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--initial-cluster", &peers.join(",")]);
        command.arg("--data-dir").arg(self.directory.path().join(format!("m{number}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--log-level", "fatal", "--logger", "zap"]).args(&self.extra);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.members[number].process = Some(process);
    }

    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn signal(&self, number: usize, signal: &str) {
        let id = self.members[number].process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|number| self.client(number)).collect()
    }

    fn client(&self, number: usize) -> String {
        format!("{}://{}:{}", self.scheme, self.address, 2379 + 2 * number)
    }

    fn peer(&self, number: usize) -> String {
        format!("http://{}:{}", self.address, 2380 + 2 * number)
    }

    pub async fn store(&self, options: EtcdOptions) -> EtcdStore {
        until("etcd answers", PATIENCE, async || {
            EtcdStore::connect(&self.endpoints(), options.clone()).await.ok()
        })
        .await
    }

    /// The member that leads.
    pub async fn leader(&self) -> usize {
        until("there is a leader", PATIENCE, async || {
            for (number, url) in self.endpoints().iter().enumerate() {
                let mut client = etcd_client::Client::connect([url], None).await.ok()?;
                let status =
                    tokio::time::timeout(Duration::from_secs(1), client.status()).await.ok()?.ok()?;
                if status.header()?.member_id() == status.leader() {
                    return Some(number);
                }
            }
            None
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }
}
