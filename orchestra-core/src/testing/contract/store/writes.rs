use futures::FutureExt;

use super::{Area, put};
use crate::meta::Revision;
use crate::store::{Change, Durability, Expect, Record, Store, StoreError, Txn};

pub(super) async fn check(store: &dyn Store) {
    single(store).await;
    guards(store).await;
    several(store).await;
    nothing(store).await;
    sizes(store).await;
    cancelled(store).await;
    skipped(store).await;
}

async fn single(store: &dyn Store) {
    let area = Area::clear("single", store).await;
    let key = area.key("a");
    assert_eq!(store.get(&key, None).await.expect("get"), None);
    let before = store.revision().await.expect("revision");
    let first = put(store, &key, "1").await;
    assert!(first > before, "every commit has a greater revision");
    let record = Record { key: key.clone(), value: "1".into(), created: first, modified: first };
    assert_eq!(store.get(&key, None).await.expect("get"), Some(record));
    let second = store
        .commit(Txn::new().put_with(key.clone(), "2", Durability::Volatile))
        .await
        .expect("put")
        .revision;
    assert!(second > first);
    assert!(store.revision().await.expect("revision") >= second);
    let record = Record { key: key.clone(), value: "2".into(), created: first, modified: second };
    assert_eq!(
        store.get(&key, None).await.expect("get"),
        Some(record),
        "a volatile write is read like any other"
    );
    store.commit(Txn::new().delete(key.clone())).await.expect("delete");
    assert_eq!(store.get(&key, None).await.expect("get"), None);
    let third = put(store, &key, "3").await;
    let created = store.get(&key, None).await.expect("get").expect("it is there").created;
    assert_eq!(created, third, "what is made again is new");
}

async fn guards(store: &dyn Store) {
    let area = Area::clear("guards", store).await;
    let (a, b, c) = (area.key("a"), area.key("b"), area.key("c"));
    let at = put(store, &a, "1").await;
    let other = put(store, &c, "1").await;
    let cases = [
        (Txn::new().create(a.clone(), "x"), &a, Some(at)),
        (Txn::new().expect(a.clone(), Expect::At(Revision(at.0 + 1))).put(a.clone(), "x"), &a, Some(at)),
        (Txn::new().expect(b.clone(), Expect::At(at)).put(a.clone(), "x"), &b, None),
        (
            Txn::new()
                .expect(a.clone(), Expect::At(at))
                .create(b.clone(), "x")
                .expect(a.clone(), Expect::Absent),
            &a,
            Some(at),
        ),
        // Neither the first nor the last guard, and not a key that is written.
        (
            Txn::new()
                .expect(a.clone(), Expect::At(at))
                .expect(c.clone(), Expect::At(at))
                .create(b.clone(), "x"),
            &c,
            Some(other),
        ),
        // Of two that fail the first, whatever the order of their keys.
        (Txn::new().expect(c.clone(), Expect::Absent).create(a.clone(), "x"), &c, Some(other)),
        (Txn::new().expect(b.clone(), Expect::At(at)).create(a.clone(), "x"), &b, None),
    ];
    for (txn, failed, holds) in cases {
        match store.commit(txn.clone()).await {
            Err(StoreError::Conflict { key, current }) => {
                assert_eq!((&key, current), (failed, holds), "the guard that failed, of {txn:?}");
            }
            other => panic!("{other:?} for {txn:?}"),
        }
        let records = area.all(store).await;
        let held: Vec<_> = records.iter().map(|record| (&record.key, record.modified)).collect();
        assert_eq!(held, [(&a, at), (&c, other)], "a conflict writes nothing");
    }
    let txn = Txn::new()
        .expect(a.clone(), Expect::At(at))
        .expect(b.clone(), Expect::Absent)
        .delete(a.clone())
        .delete(c);
    store.commit(txn).await.expect("guards that hold");
    assert_eq!(area.all(store).await, []);
}

async fn several(store: &dyn Store) {
    let area = Area::clear("several", store).await;
    put(store, &area.key("b"), "old").await;
    let gone = put(store, &area.key("c"), "old").await;
    let txn = Txn::new()
        .put(area.key("z"), "1")
        .put(area.key("b"), "2")
        .delete(area.key("c"))
        .delete(area.key("never"))
        .create(area.key("a"), "3");
    let revision = store.commit(txn).await.expect("commit").revision;
    let records = area.all(store).await;
    let seen: Vec<_> =
        records.iter().map(|record| (record.key.clone(), &*record.value, record.modified)).collect();
    let expected: [(_, &[u8], _); 3] =
        [(area.key("a"), b"3", revision), (area.key("b"), b"2", revision), (area.key("z"), b"1", revision)];
    assert_eq!(seen, expected, "all writes of a transaction, under one revision");
    let mut watch = store.watch(&area.range(), gone).await.expect("watch");
    let batches = super::until(&mut watch, revision).await.expect("watch");
    assert_eq!(batches.len(), 1, "one commit, one batch");
    let keys: Vec<_> = batches[0].changes.iter().map(Change::key).cloned().collect();
    assert_eq!(keys, [area.key("z"), area.key("b"), area.key("c"), area.key("a")], "in the order of writing");
}

async fn nothing(store: &dyn Store) {
    let area = Area::clear("nothing", store).await;
    let at = put(store, &area.key("a"), "1").await;
    let committed = store.commit(Txn::new().expect(area.key("a"), Expect::At(at))).await.expect("a check");
    assert!(committed.revision >= at);
    let deleted =
        store.commit(Txn::new().delete(area.key("never"))).await.expect("a deletion of nothing").revision;
    assert_eq!(deleted, committed.revision, "a transaction that changes nothing takes no revision");
    let next = put(store, &area.key("a"), "2").await;
    assert!(next > committed.revision, "a transaction without writes takes no revision of its own");
    let conflict = store.commit(Txn::new().expect(area.key("a"), Expect::At(at))).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { .. })), "{conflict:?}");
}

async fn sizes(store: &dyn Store) {
    let area = Area::clear("sizes", store).await;
    let large = vec![7; 1 << 20];
    store.commit(Txn::new().put(area.key("large"), large.clone())).await.expect("a megabyte");
    let read = store.get(&area.key("large"), None).await.expect("get").expect("it is there");
    assert!(read.value == large);
    store.commit(Txn::new().put(area.key("empty"), "")).await.expect("no bytes");
    assert_eq!(store.get(&area.key("empty"), None).await.expect("get").expect("it is there").value, "");
    let many = (0..50).fold(Txn::new(), |txn, number| txn.create(area.key(&format!("many/{number}")), "x"));
    store.commit(many).await.expect("fifty writes at once");
    assert_eq!(area.all(store).await.len(), 52);
}

/// Commits that nobody waits for happen wholly or not at all.
async fn cancelled(store: &dyn Store) {
    let area = Area::clear("cancelled", store).await;
    for number in 0..50 {
        let (left, right) = (area.key(&format!("left/{number}")), area.key(&format!("right/{number}")));
        let commit = store.commit(Txn::new().create(left, "x").create(right, "x"));
        if number % 2 == 0 {
            let _ = commit.now_or_never();
        } else {
            let _ = tokio::time::timeout(std::time::Duration::from_micros(number * 20), commit).await;
        }
    }
    put(store, &area.key("last"), "x").await;
    let records = area.all(store).await;
    for record in records.iter().filter(|record| record.key.as_str().contains("/left/")) {
        let other = record.key.as_str().replace("/left/", "/right/");
        let other = records.iter().find(|record| record.key.as_str() == other);
        assert_eq!(other.map(|other| other.modified), Some(record.modified), "half of a transaction");
    }
    let lefts = records.iter().filter(|record| record.key.as_str().contains("/left/")).count();
    assert_eq!(records.len(), 2 * lefts + 1, "half of a transaction");
}

/// A store that goes on from a backup gives greater revisions from then on.
async fn skipped(store: &dyn Store) {
    let area = Area::clear("skipped", store).await;
    let wanted = Revision(put(store, &area.key("a"), "1").await.0 + 100);
    let mut watch =
        store.watch(&area.range(), store.revision().await.expect("revision")).await.expect("watch");
    for _ in 0..2 {
        store.skip_to(wanted).await.expect("skip");
    }
    let next = put(store, &area.key("a"), "2").await;
    assert!(next > wanted, "{next} after skipping to {wanted}");
    let batches = super::until(&mut watch, next).await.expect("watch");
    assert_eq!(batches.len(), 1, "nothing is changed by it");
}
