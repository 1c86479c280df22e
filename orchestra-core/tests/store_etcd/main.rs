//! The store of several masters against real etcd, alone and as a cluster whose members fail.
//!
//! Needs `etcd` on the path (Debian: `etcd-server`). Without it these tests do nothing, unless `CI` or
//! `ORCHESTRA_TEST_DAEMONS` is set: then they fail.

mod cluster;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use orchestra_core::meta::Revision;
use orchestra_core::store::etcd::{EtcdOptions, EtcdStore};
use orchestra_core::store::{Batch, Change, Expect, Key, KeyRange, Store, StoreError, Txn};
use orchestra_core::testing::contract::store as contract;
use orchestra_core::testing::contract::store::linear::{self, Recorder};
use orchestra_core::testing::until;

use cluster::{Cluster, PATIENCE, etcd};

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_beside_it_holds_up_no_reader() {
    if !etcd() {
        return;
    }
    let cluster = Cluster::start(1);
    let store = cluster.store(EtcdOptions::default()).await;
    let made = store.commit(Txn::new().put(Key::new("/a"), "1")).await.unwrap().revision;
    let mut changes = store.watch(&KeyRange::all(), made).await.unwrap();
    let mut other = etcd_client::Client::connect(cluster.endpoints(), None).await.unwrap();
    for number in 0..3 {
        other.put(format!("/elsewhere/{number}"), "", None).await.unwrap();
        let latest = store.revision().await.unwrap();
        let reached = async { while changes.next().await.unwrap().unwrap().revision < latest {} };
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the watch gets there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract() {
    if !etcd() {
        return;
    }
    let cluster = Cluster::start(1);
    let store = cluster.store(EtcdOptions::default()).await;
    contract::check(Arc::new(store.clone())).await;
    contract::check(Arc::new(store)).await;
    contract::check_durable(|| cluster.store(EtcdOptions::default())).await;
}

#[tokio::test]
async fn others_in_the_same_etcd_are_not_seen() {
    if !etcd() {
        return;
    }
    let cluster = Cluster::start(1);
    let ours = cluster.store(EtcdOptions::default()).await;
    let options = EtcdOptions { prefix: "/orchestra-other".into(), ..EtcdOptions::default() };
    let theirs = cluster.store(options).await;
    let key = Key::new("/pods/a");
    let start = ours.revision().await.unwrap();
    let mut watch = ours.watch(&KeyRange::all(), start).await.unwrap();
    theirs.commit(Txn::new().put(key.clone(), "theirs")).await.unwrap();
    assert_eq!(ours.get(&key, None).await.unwrap(), None);
    let revision = ours.commit(Txn::new().create(key.clone(), "ours")).await.unwrap().revision;
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!((batch.revision, batch.changes.len()), (revision, 1));
    let page = theirs.list(&KeyRange::all(), None, None, 0).await.unwrap();
    assert_eq!(page.records.iter().map(|record| &*record.value).collect::<Vec<_>>(), [b"theirs"]);
}

#[tokio::test]
async fn a_user_and_tls() {
    if !etcd() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=etcd"])
        .args(["-addext", "subjectAltName=DNS:etcd.test,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let extra = vec!["--cert-file".into(), path("cert.pem"), "--key-file".into(), path("key.pem")];
    let cluster = Cluster::start_with(1, "https", extra);
    let authority = Some(std::fs::read(path("cert.pem")).unwrap());
    let mut options =
        EtcdOptions { authority, server_name: Some("etcd.test".into()), ..EtcdOptions::default() };
    let store = cluster.store(options.clone()).await;
    store.commit(Txn::new().put(Key::new("/a"), "1")).await.unwrap();

    let tls = etcd_client::TlsOptions::new()
        .ca_certificate(etcd_client::Certificate::from_pem(options.authority.as_ref().unwrap()))
        .domain_name("etcd.test");
    let admin = etcd_client::ConnectOptions::new().with_tls(tls);
    let mut admin = etcd_client::Client::connect(cluster.endpoints(), Some(admin)).await.unwrap();
    admin.user_add("root", "secret", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();
    let endpoints = cluster.endpoints();
    for user in [None, Some(("root".to_owned(), "wrong".to_owned()))] {
        options.user = user;
        let refused = EtcdStore::connect(&endpoints, options.clone()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    options.user = Some(("root".into(), "secret".into()));
    let store = EtcdStore::connect(&endpoints, options.clone()).await.unwrap();
    assert!(store.get(&Key::new("/a"), None).await.unwrap().is_some());
    assert!(!format!("{options:?}").contains("secret"));
}

/// Writers that go on whatever happens.
struct Writers {
    recorder: Arc<Recorder>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(store: &EtcdStore) -> Self {
        let recorder = Arc::new(Recorder::new(Arc::new(store.clone())));
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks = (0..6).map(|task| {
            let (recorder, acknowledged, stop) = (recorder.clone(), acknowledged.clone(), stop.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let own = Key::new(format!("/w/{task}"));
                    let shared = Key::new(format!("/w/shared-{}", number % 3));
                    let txn = Txn::new()
                        .put(own.clone(), format!("{number}"))
                        .put(shared, format!("{task}.{number}"));
                    match recorder.commit(txn).await {
                        Ok(_) => drop(acknowledged.fetch_add(1, Ordering::SeqCst)),
                        Err(StoreError::Unavailable(_)) => {
                            tokio::time::sleep(Duration::from_millis(20)).await
                        }
                        Err(error) => panic!("{error}"),
                    }
                    if number % 5 == 0 {
                        let _ = recorder.get(&own).await;
                    }
                }
            })
        });
        let tasks = tasks.collect();
        Self { recorder, acknowledged, stop, tasks }
    }

    async fn more(&self, count: u64, what: &str) {
        let wanted = self.acknowledged.load(Ordering::SeqCst) + count;
        until(what, PATIENCE, async || (self.acknowledged.load(Ordering::SeqCst) >= wanted).then_some(()))
            .await;
    }

    async fn finish(self) -> Arc<Recorder> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.recorder
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_fail_and_nothing_is_lost() {
    if !etcd() {
        return;
    }
    let mut cluster = Cluster::start(3);
    let store =
        cluster.store(EtcdOptions { timeout: Duration::from_secs(2), ..EtcdOptions::default() }).await;
    let start = store.commit(Txn::new().put(Key::new("/start"), "x")).await.unwrap().revision;
    let range = KeyRange::prefix("/w/");
    let watch = store.watch(&range, start).await.unwrap();
    let live = tokio::spawn(watched(watch));

    let writers = Writers::start(&store);
    writers.more(100, "writes with all members").await;
    let killed = (cluster.leader().await + 1) % 3;
    cluster.kill(killed);
    writers.more(100, "writes with a member killed").await;
    cluster.run(killed);
    writers.more(100, "writes with the member back").await;
    let leader = cluster.leader().await;
    cluster.signal(leader, "-STOP");
    writers.more(100, "writes with the leader paused").await;
    cluster.signal(leader, "-CONT");
    writers.more(100, "writes with the old leader back").await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    writers.more(100, "writes with the leader killed").await;
    let recorder = writers.finish().await;
    until("the end is written", PATIENCE, async || {
        store.commit(Txn::new().put(Key::new("/w/end"), "x")).await.ok()
    })
    .await;

    let live = tokio::time::timeout(Duration::from_secs(30), live).await.expect("the watch goes on").unwrap();
    linear::check(Vec::new(), start, &live, recorder.calls())
        .expect("no write lost, no event missed or repeated");
}

/// Tasks that create, change and delete records of their own, as the API does: each write guarded by what was read.
/// Stops at the first answer that is not the one expected.
struct Lives {
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Result<(), String>>>,
}

impl Lives {
    fn start(store: &EtcdStore) -> Self {
        let (made, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks = (0..6).map(|task| {
            let (store, made, stop) = (store.clone(), made.clone(), stop.clone());
            tokio::spawn(async move {
                for number in 0u64.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    live(&store, &Key::new(format!("/w/{task}")), &format!("{task}.{number}"), &made).await?;
                }
                Ok(())
            })
        });
        let tasks = tasks.collect();
        Self { made, stop, tasks }
    }

    /// How long it takes until so many more writes were made.
    async fn more(&self, count: u64, what: &str) -> Duration {
        let began = std::time::Instant::now();
        let wanted = self.made.load(Ordering::SeqCst) + count;
        let failed = || self.tasks.iter().any(tokio::task::JoinHandle::is_finished);
        until(what, PATIENCE, async || {
            (self.made.load(Ordering::SeqCst) >= wanted || failed()).then_some(())
        })
        .await;
        began.elapsed()
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
    }
}

/// One record from its creation to its deletion. Of a deletion alone it may be that nobody knows whether it was made.
async fn live(store: &EtcdStore, key: &Key, name: &str, made: &AtomicU64) -> Result<(), String> {
    let failed = |what: &str, error: StoreError| format!("{what} of {name}: {error}");
    let created = Txn::new().create(key.clone(), format!("{name}.created"));
    let mut at = store.commit(created).await.map_err(|error| failed("the creation", error))?.revision;
    for change in 0..3 {
        let txn = Txn::new().expect(key.clone(), Expect::At(at)).put(key.clone(), format!("{name}.{change}"));
        at = store.commit(txn).await.map_err(|error| failed("a change", error))?.revision;
        made.fetch_add(1, Ordering::SeqCst);
    }
    match store.commit(Txn::new().expect(key.clone(), Expect::At(at)).delete(key.clone())).await {
        Ok(_) => {}
        Err(StoreError::Unavailable(_)) if store.get(key, None).await.is_ok_and(|found| found.is_none()) => {}
        Err(error) => return Err(failed("the deletion", error)),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_killed_or_frozen_fails_no_write_and_soon_slows_none() {
    if !etcd() {
        return;
    }
    let mut cluster = Cluster::start(3);
    let store = cluster.store(EtcdOptions::default()).await;
    let start = store.commit(Txn::new().put(Key::new("/start"), "x")).await.unwrap().revision;
    let watch = store.watch(&KeyRange::prefix("/w/"), start).await.unwrap();
    let live = tokio::spawn(watched(watch));
    let lives = Lives::start(&store);
    lives.more(100, "writes with all members").await;
    let usual = lives.more(300, "writes with all members").await;
    // Each of them, so that it is once the leader and once the one that is asked.
    for number in 0..3 {
        cluster.kill(number);
        lives.more(20, "the first writes with a member killed").await;
        let took = lives.more(300, "writes with a member killed").await;
        assert!(took < 8 * usual + Duration::from_secs(1), "{took:?} with a member killed, {usual:?} before");
        cluster.run(number);
        lives.more(100, "writes with the member back").await;
        cluster.leader().await;
        cluster.signal(number, "-STOP");
        lives.more(20, "the first writes with a member frozen").await;
        let took = lives.more(300, "writes with a member frozen").await;
        assert!(took < 8 * usual + Duration::from_secs(1), "{took:?} with a member frozen, {usual:?} before");
        cluster.signal(number, "-CONT");
        lives.more(100, "writes with the member awake").await;
    }
    lives.finish().await;
    store.commit(Txn::new().put(Key::new("/w/end"), "x")).await.unwrap();
    let batches =
        tokio::time::timeout(Duration::from_secs(30), live).await.expect("the watch goes on").unwrap();
    let mut seen = std::collections::HashSet::new();
    for change in batches.iter().flat_map(|batch| batch.changes.iter()) {
        if let Change::Put { record, .. } = change {
            assert!(seen.insert(record.value.clone()), "{:?} was made twice", record.value);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_room_says_so_and_lets_delete() {
    if !etcd() {
        return;
    }
    let cluster = Cluster::start_with(1, "http", vec!["--quota-backend-bytes".into(), "4194304".into()]);
    let store = cluster.store(EtcdOptions::default()).await;
    store.ready().await.unwrap();
    let full = until("etcd is full", PATIENCE, async || {
        let txn = Txn::new().put(Key::new("/large"), vec![7; 1 << 20]);
        store.commit(txn).await.err()
    });
    assert!(matches!(full.await, StoreError::OutOfSpace(_)));
    assert!(matches!(store.ready().await, Err(StoreError::OutOfSpace(_))));
    let large = store.get(&Key::new("/large"), None).await.unwrap().expect("reads go on");
    let delete = Txn::new().expect(large.key.clone(), Expect::At(large.modified)).delete(large.key);
    store.commit(delete).await.expect("what makes room is done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_left_behind_of_its_writes_is_removed_with_the_past() {
    if !etcd() {
        return;
    }
    let cluster = Cluster::start(1);
    let other = cluster.store(EtcdOptions::default()).await;
    other.commit(Txn::new().put(Key::new("/a"), "1")).await.unwrap();
    let store = cluster.store(EtcdOptions::default()).await;
    let before = store.commit(Txn::new().put(Key::new("/a"), "2")).await.unwrap().revision;
    let latest = store.commit(Txn::new().put(Key::new("/a"), "3")).await.unwrap().revision;
    store.compact(before).await.unwrap();
    let all = etcd_client::GetOptions::new().with_prefix().with_keys_only();
    let mut client = etcd_client::Client::connect(cluster.endpoints(), None).await.unwrap();
    let found = client.get("/orchestra/", Some(all)).await.unwrap();
    assert_eq!(found.count(), 2, "the record, and what the last write left");
    // A process that was only idle goes on.
    let on =
        other.commit(Txn::new().expect(Key::new("/a"), Expect::At(latest)).put(Key::new("/a"), "4")).await;
    assert!(on.unwrap().revision > latest);
}

async fn watched(mut watch: orchestra_core::store::Changes) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    loop {
        let batch = watch.next().await.unwrap().unwrap();
        assert!(batch.revision > batches.last().map_or(Revision::ZERO, |last| last.revision));
        let ends = batch.changes.iter().any(|change| change.key().as_str() == "/w/end");
        batches.extend((!batch.changes.is_empty()).then_some(batch));
        if ends {
            return batches;
        }
    }
}
