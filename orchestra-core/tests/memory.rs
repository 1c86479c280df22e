//! What a server holds in memory is bounded, whatever is written and whoever does not read. A program of its own, since it
//! looks at the memory of its process.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::api::WatchOptions;
use orchestra_core::cluster::Cluster;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{KeyRange, Store as _, Txn};
use serde_json::json;

/// How often an object of a megabyte is written. Three thousand times come to the same, and take minutes.
const UPDATES: usize = 600;

/// What may come of it: 32 MiB in the log of the kind, 64 in the history of the store, and as much again for what the
/// allocator does not give back.
const BOUND: u64 = 192 << 20;

/// The memory of this process that is in RAM.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn any_number_of_versions_of_a_large_object_take_a_bounded_room() {
    let store = MemoryStore::new();
    let cluster = Cluster::builder().store(store.clone()).start().await.unwrap();
    let maps = cluster.client().api::<ConfigMap>("kube-public");
    let map = serde_json::from_value(json!({"metadata": {"name": "large"}})).unwrap();
    maps.create(&map).await.unwrap();
    let cache = cluster.client().cache::<ConfigMap>().await.unwrap();
    // Two that never read, one inside and one outside.
    let mut cursor = cache.watch(cache.revision()).unwrap();
    let watch = maps.watch(WatchOptions::default()).await.unwrap();

    let records = store.list(&KeyRange::all(), None, None, 0).await.unwrap().records;
    let record = records.into_iter().find(|record| record.key.as_str().ends_with("/large")).unwrap();
    let before = resident();
    let start = std::str::from_utf8(&record.value).unwrap().strip_suffix('}').unwrap();
    let large = "x".repeat(1 << 20);
    for number in 0..UPDATES {
        // Into the store, as another master would: what is measured is not how the API reads a request.
        let object = format!(r#"{start},"data":{{"number":"{number}","large":"{large}"}}}}"#);
        let txn = Txn::new().put(record.key.clone(), object);
        let revision = store.commit(txn).await.unwrap().revision;
        cache.reached(revision).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < BOUND, "{} MiB more than before", grown >> 20);
    assert!(cursor.try_next().is_err(), "it is gone, and lists again");
    let ends = watch.filter_map(async |event| event.err()).collect::<Vec<_>>().await;
    assert!(matches!(&ends[..], [status] if status.is_expired()), "{ends:?}");
}
