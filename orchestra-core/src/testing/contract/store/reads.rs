use super::{Area, put};
use crate::meta::Revision;
use crate::store::{Key, KeyRange, Record, Store, StoreError, Txn};

pub(super) async fn check(store: &dyn Store) {
    ranges(store).await;
    the_past(store).await;
    pages(store).await;
    out_of_reach(store).await;
}

async fn ranges(store: &dyn Store) {
    let area = Area::clear("ranges", store).await;
    for name in ["a", "a/b", "aa", "b", "é", "\u{10ffff}"] {
        put(store, &area.key(name), name).await;
    }
    let names = |records: Vec<Record>| -> Vec<String> {
        records.into_iter().map(|record| String::from_utf8(record.value.to_vec()).expect("text")).collect()
    };
    assert_eq!(names(area.all(store).await), ["a", "a/b", "aa", "b", "é", "\u{10ffff}"], "in bytewise order");
    let range = KeyRange { start: area.key("a/"), end: Some(area.key("b")) };
    let page = store.list(&range, None, None, 0).await.expect("list");
    assert_eq!(names(page.records), ["a/b", "aa"], "the end is not in the range");
    let open = KeyRange { start: area.key("b"), end: None };
    let page = store.list(&open, None, None, 2).await.expect("list");
    assert_eq!(names(page.records), ["b", "é"]);
    let nothing = KeyRange { start: area.key("b"), end: Some(area.key("a")) };
    let page = store.list(&nothing, None, None, 0).await.expect("an empty range");
    assert_eq!((page.records.len(), page.remaining), (0, 0));
    let before = store.list(&area.range(), None, Some(&Key::new("")), 1).await.expect("list");
    assert_eq!(names(before.records), ["a"], "after a key before the range is from its start");
}

async fn the_past(store: &dyn Store) {
    let area = Area::clear("past", store).await;
    let (a, b) = (area.key("a"), area.key("b"));
    let start = put(store, &a, "1").await;
    let mut states = vec![(start, area.all(store).await)];
    for txn in [
        Txn::new().put(b.clone(), "1"),
        Txn::new().put(a.clone(), "2"),
        Txn::new().delete(a.clone()),
        Txn::new().put(a.clone(), "3").put(b.clone(), "2"),
        Txn::new().delete(b.clone()),
        Txn::new().put(b.clone(), "3"),
    ] {
        let revision = store.commit(txn).await.expect("commit").revision;
        states.push((revision, area.all(store).await));
    }
    for (revision, records) in &states {
        let page = store.list(&area.range(), Some(*revision), None, 0).await.expect("list");
        assert_eq!((page.revision, &page.records), (*revision, records), "at {revision}");
        for key in [&a, &b] {
            let record = store.get(key, Some(*revision)).await.expect("get");
            assert_eq!(record.as_ref(), records.iter().find(|record| record.key == *key), "at {revision}");
        }
    }
}

/// A list in pages is the list as it was when it began, whatever happens meanwhile.
async fn pages(store: &dyn Store) {
    let area = Area::clear("pages", store).await;
    for number in 0..23 {
        put(store, &area.key(&format!("{number:03}")), "old").await;
    }
    let whole = area.all(store).await;
    let mut read: Vec<Record> = Vec::new();
    let mut at = None;
    loop {
        let after = read.last().map(|record| record.key.clone());
        let page = store.list(&area.range(), at, after.as_ref(), 5).await.expect("page");
        assert_eq!(page.revision, *at.get_or_insert(page.revision), "all pages are of one revision");
        assert!(page.records.len() <= 5);
        read.extend(page.records);
        assert_eq!(
            page.remaining as usize,
            whole.len() - read.len(),
            "what remains after {} records",
            read.len()
        );
        let txn = Txn::new()
            .put(area.key(&format!("{:03}", read.len())), "new")
            .delete(area.key("007"))
            .put(area.key(&format!("{:03}-between", read.len() + 2)), "new");
        store.commit(txn).await.expect("a write between pages");
        if page.remaining == 0 {
            break;
        }
    }
    assert_eq!(read, whole);
}

async fn out_of_reach(store: &dyn Store) {
    let area = Area::clear("reach", store).await;
    let key = area.key("a");
    let old = put(store, &key, "1").await;
    let kept = put(store, &key, "2").await;
    put(store, &key, "3").await;
    let latest = store.revision().await.expect("revision");
    let future = Revision(latest.0 + 1_000);
    for outcome in [
        store.get(&key, Some(future)).await.map(drop),
        store.list(&area.range(), Some(future), None, 0).await.map(drop),
    ] {
        assert!(
            matches!(outcome, Err(StoreError::Future { requested, .. }) if requested == future),
            "{outcome:?}"
        );
    }
    for _ in 0..2 {
        store.compact(kept).await.expect("compact, also twice");
        store.compact(old).await.expect("compacting what is compacted");
        let record = store.get(&key, Some(kept)).await.expect("what is compacted up to stays");
        assert_eq!(record.expect("it is there").value, "2");
        for outcome in [
            store.get(&key, Some(old)).await.map(drop),
            store.list(&area.range(), Some(old), None, 0).await.map(drop),
            store.watch(&area.range(), old).await.map(drop),
        ] {
            assert!(matches!(outcome, Err(StoreError::Compacted { .. })), "{outcome:?}");
        }
    }
    assert_eq!(area.all(store).await[0].value, "3");
}
