use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use etcd_client::{Client, Compare, CompareOp, Txn as EtcdTxn, TxnOp};
use futures::FutureExt;
use futures::future::BoxFuture;
use orchestra_core::store::etcd::{EtcdOptions, EtcdStore};
use orchestra_core::store::{Key, Store, Txn};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::disk::{scatter, write};
use crate::runtime;

const WRITERS: u64 = 64;
/// How long etcd may take to answer for the first time.
const START: Duration = Duration::from_secs(30);

/// One member on loopback with a disk of its own, killed when dropped.
struct Etcd {
    process: Child,
    url: String,
    _directory: TempDir,
}

impl Etcd {
    /// None if it is not installed.
    fn start() -> Option<Self> {
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let urls =
            held.map(|held| format!("http://127.0.0.1:{}", held.local_addr().expect("an address").port()));
        let [url, peer] = urls;
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("etcd");
        command.args(["--name", "bench", "--initial-cluster", &format!("bench={peer}")]);
        command.arg("--data-dir").arg(directory.path());
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--log-level", "fatal", "--logger", "zap"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        Some(Self { process, url, _directory: directory })
    }

    fn store(&self, runtime: &Runtime) -> EtcdStore {
        let deadline = Instant::now() + START;
        loop {
            match runtime.block_on(EtcdStore::connect(&[&self.url], EtcdOptions::default())) {
                Ok(store) => return store,
                Err(error) => assert!(Instant::now() < deadline, "etcd does not answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Creations of a kilobyte by 64 writers, beside the same transaction and a plain put by the same client with nothing
/// around it. etcd itself takes longer over a transaction than over a put.
pub(crate) fn durable(c: &mut Criterion) {
    let Some(etcd) = Etcd::start() else {
        return println!("etcd/durable_{WRITERS}: left out, there is no etcd on the path");
    };
    let runtime = runtime();
    let store = etcd.store(&runtime);
    let client = runtime.block_on(Client::connect([&etcd.url], None)).expect("a connection");
    let mut first = 0;
    let mut measure = |id: String, put: Put| {
        c.bench_function(&id, |b| {
            b.iter_custom(|total| {
                first += 1 << 20;
                let put = Arc::clone(&put);
                write(&runtime, WRITERS, total, first, move |number| put(number))
            });
        });
    };
    measure(
        format!("etcd/durable_{WRITERS}"),
        Arc::new(move |number| {
            let store = store.clone();
            async move {
                let txn = Txn::new().create(place("ours", number), vec![b'x'; 1024]);
                store.commit(txn).await.expect("a commit");
            }
            .boxed()
        }),
    );
    let kv = client.kv_client();
    measure(
        format!("baseline/etcd_raw_txn_{WRITERS}"),
        Arc::new(move |number| {
            let mut kv = kv.clone();
            async move {
                let key = place("txn", number).to_string();
                let absent = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
                let put = TxnOp::put(key, vec![b'x'; 1024], None);
                kv.txn(EtcdTxn::new().when([absent]).and_then([put])).await.expect("a transaction");
            }
            .boxed()
        }),
    );
    let kv = client.kv_client();
    measure(
        format!("baseline/etcd_raw_put_{WRITERS}"),
        Arc::new(move |number| {
            let mut kv = kv.clone();
            async move {
                let key = place("put", number).to_string();
                kv.put(key, vec![b'x'; 1024], None).await.expect("a put");
            }
            .boxed()
        }),
    );
}

type Put = Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// A key that no other number has, among others at random.
fn place(who: &str, number: u64) -> Key {
    Key::new(format!("/{who}/pods/{:06x}/{number}", scatter(number)))
}
