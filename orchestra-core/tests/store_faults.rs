//! The durable store on a disk that fails: wherever it does, the store opens again to a state it had acknowledged.

use std::io::ErrorKind;

use orchestra_core::meta::Revision;
use orchestra_core::store::redb::{Options, RedbStore, Retention};
use orchestra_core::store::{Durability, Key, KeyRange, Record, Store, StoreError, Txn};
use orchestra_core::testing::FaultyDisk;

fn durable() -> KeyRange {
    KeyRange::prefix("/pods/")
}

/// Options under which the past is trimmed often.
fn options() -> Options {
    Options { retention: Retention { bytes: 4_000, ..Retention::default() }, ..Options::default() }
}

fn txn(number: u64) -> Txn {
    let key = |name: &str, number: u64| Key::new(format!("/pods/{name}-{}", number % 7));
    let value = format!("{number:0>300}");
    let txn = Txn::new().put(key("left", number), value.clone()).put(key("right", number), value.clone());
    match number % 5 {
        1 => txn.delete(key("left", number + 1)).delete(key("right", number + 1)),
        2 => txn.put_with(Key::new("/leases/a"), value, Durability::Volatile),
        3 => Txn::new().put_with(Key::new("/leases/b"), value, Durability::Volatile),
        _ => txn,
    }
}

/// What a run of writes came to.
struct Run {
    /// The durable records and the revision after each acknowledged commit; the first is from before the run.
    states: Vec<(Revision, Vec<Record>)>,
    /// Whether there was a write whose outcome nobody knows.
    doubt: bool,
}

async fn records(store: &RedbStore) -> Vec<Record> {
    store.list(&durable(), None, None, 0).await.expect("reading goes on").records
}

/// Writes until something fails.
async fn write(store: &RedbStore, count: u64) -> Run {
    let first = store.revision().await.unwrap();
    let mut run = Run { states: vec![(first, records(store).await)], doubt: false };
    for number in 0..count {
        match store.commit(txn(first.0 + number)).await {
            Ok(committed) => run.states.push((committed.revision, records(store).await)),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                run.doubt = matches!(error, StoreError::Unavailable(_));
                break;
            }
        }
    }
    run
}

/// The store after a power cut is the last acknowledged state, or one commit on when that commit was in doubt.
async fn check_after(disk: &FaultyDisk, run: &Run, at: &str) -> RedbStore {
    let store = RedbStore::open_on(disk.clone(), options()).unwrap_or_else(|error| panic!("{at}: {error}"));
    let (last, acknowledged) = run.states.last().expect("there is a first");
    let found = records(&store).await;
    let revision = store.revision().await.unwrap();
    assert!(revision >= *last, "{at}: revision {revision} after {last} was acknowledged");
    if found != *acknowledged {
        assert!(run.doubt, "{at}: {found:?} instead of {acknowledged:?}");
        let next: Vec<_> = found.iter().filter(|record| record.modified > *last).collect();
        assert!(!next.is_empty() && next.iter().all(|record| record.modified == next[0].modified), "{at}");
        let kept = acknowledged.iter().filter(|old| found.contains(old)).count();
        assert!(kept + 4 >= acknowledged.len(), "{at}: more than one commit changed");
    }
    for record in found.iter().filter(|record| record.key.as_str().contains("left")) {
        let twin = record.key.as_str().replace("left", "right");
        let twin = found.iter().find(|other| other.key.as_str() == twin);
        assert_eq!(twin.map(|twin| twin.modified), Some(record.modified), "{at}: half of a transaction");
    }
    store
}

/// Fails at one call of a run, cuts the power, opens again, and goes on.
async fn fail_at(call: u64, kind: ErrorKind, seed: u64) -> bool {
    let disk = FaultyDisk::new(seed);
    let store = RedbStore::open_on(disk.clone(), options()).unwrap();
    write(&store, 8).await;
    disk.fail_at_call(disk.calls() + call, kind);
    let run = write(&store, 12).await;
    let failed = run.states.len() < 13;
    drop(store);
    disk.lose_power();
    let at = format!("{kind:?} at call {call}");
    let store = check_after(&disk, &run, &at).await;
    let run = write(&store, 3).await;
    assert_eq!(run.states.len(), 4, "{at}: it works again");
    drop(store);
    check_after(&disk, &run, &at).await;
    failed
}

#[tokio::test]
async fn wherever_the_disk_fails_what_was_acknowledged_is_there() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        let mut call = 1;
        while fail_at(call, kind, call).await {
            call += 1;
        }
        assert!(call > 100, "only {call} calls could fail");
    }
}

#[tokio::test]
async fn wherever_the_power_goes_what_was_acknowledged_is_there() {
    for seed in 0..150 {
        let disk = FaultyDisk::new(seed);
        let store = RedbStore::open_on(disk.clone(), options()).unwrap();
        let mut run = write(&store, seed % 23).await;
        // One more is on its way when the power goes.
        let commit = store.commit(txn(seed));
        match futures::FutureExt::now_or_never(commit) {
            Some(committed) => run.states.push((committed.unwrap().revision, records(&store).await)),
            None => run.doubt = true,
        }
        disk.fail_at_call(0, ErrorKind::Other);
        drop(store);
        disk.lose_power();
        check_after(&disk, &run, &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn a_full_disk_fails_writes_and_nothing_else() {
    let disk = FaultyDisk::new(1);
    let store = RedbStore::open_on(disk.clone(), Options::default()).unwrap();
    disk.set_capacity(disk.length() + 200_000);
    let key = |number: u64| Key::new(format!("/pods/{number}"));
    let mut written = 0;
    let error = loop {
        match store.commit(Txn::new().put(key(written), vec![7; 10_000])).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2_000, "the disk is full by now");
    };
    assert!(matches!(error, StoreError::OutOfSpace(_)), "{error}");
    for _ in 0..3 {
        let again = store.commit(Txn::new().put(key(written), vec![7; 500_000])).await;
        assert!(matches!(again, Err(StoreError::OutOfSpace(_))), "{again:?}");
        assert_eq!(
            records(&store).await.len() as u64,
            written,
            "reading goes on, and nothing half-made is seen"
        );
    }
    assert!(store.get(&key(written), None).await.unwrap().is_none());
    disk.set_capacity(u64::MAX);
    store.commit(Txn::new().put(key(written), "room")).await.expect("there is room again");
    drop(store);
    disk.lose_power();
    let store = RedbStore::open_on(disk, Options::default()).unwrap();
    assert_eq!(records(&store).await.len() as u64, written + 1);
}

#[tokio::test]
async fn a_disk_that_comes_back_is_written_again() {
    let disk = FaultyDisk::new(1);
    let store = RedbStore::open_on(disk.clone(), Options::default()).unwrap();
    let key = Key::new("/pods/a");
    let first = store.commit(Txn::new().put(key.clone(), "1")).await.unwrap().revision;
    disk.fail_at_call(0, ErrorKind::Other);
    for _ in 0..3 {
        let error = store.commit(Txn::new().put(key.clone(), "2")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert_eq!(store.get(&key, None).await.unwrap().unwrap().modified, first, "reading goes on");
    }
    disk.heal();
    let second = store.commit(Txn::new().put(key.clone(), "3")).await.expect("it is tried again").revision;
    assert!(second > first);
    assert_eq!(store.get(&key, None).await.unwrap().unwrap().value, "3");
}
