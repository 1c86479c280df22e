use std::fs;

use futures::{StreamExt, TryStreamExt};
use proptest::prelude::*;

use super::*;
use crate::store::{Batch, Change, Durability};

fn key(text: &str) -> Key {
    Key::new(text)
}

async fn put(store: &RedbStore, name: &str, value: &str) -> Revision {
    store.commit(Txn::new().put(key(name), value.to_owned())).await.unwrap().revision
}

async fn beat(store: &RedbStore, name: &str, value: &str) -> Revision {
    let txn = Txn::new().put_with(key(name), value.to_owned(), Durability::Volatile);
    store.commit(txn).await.unwrap().revision
}

async fn value(store: &RedbStore, name: &str, at: Option<Revision>) -> Option<String> {
    let record = store.get(&key(name), at).await.unwrap();
    record.map(|record| String::from_utf8(record.value.to_vec()).unwrap())
}

fn summary(batch: &Batch) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Put { record, previous } => format!(
            "{} {} {:?} was {:?}",
            batch.revision,
            record.key,
            record.value,
            previous.as_ref().map(|p| p.value.clone())
        ),
        Change::Delete { previous } => {
            format!("{} {} deleted {:?}", batch.revision, previous.key, previous.value)
        }
    };
    batch.changes.iter().map(line).collect()
}

/// What a watch says from a revision up to the latest.
async fn changes(store: &RedbStore, range: KeyRange, after: Revision) -> Result<Vec<String>, StoreError> {
    let latest = store.revision().await?;
    let mut lines = Vec::new();
    let mut watch = store.watch(&range, after).await?;
    let mut seen = after;
    while seen < latest {
        let batch = watch.try_next().await?.expect("a watch does not end");
        assert!(batch.revision > seen);
        seen = batch.revision;
        lines.extend(summary(&batch));
    }
    Ok(lines)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    let first = put(&store, "/pods/a", "1").await;
    put(&store, "/pods/a", "2").await;
    let last =
        store.commit(Txn::new().create(key("/pods/b"), "1").delete(key("/pods/a"))).await.unwrap().revision;
    drop(store);

    let store = RedbStore::open(dir.path()).unwrap();
    assert_eq!(store.revision().await.unwrap(), last);
    assert_eq!(value(&store, "/pods/a", None).await, None);
    assert_eq!(value(&store, "/pods/a", Some(first)).await.as_deref(), Some("1"));
    assert_eq!(value(&store, "/pods/b", Some(first)).await, None);
    assert_eq!(put(&store, "/pods/b", "2").await, last.next());
    let lines = changes(&store, KeyRange::all(), Revision::ZERO).await.unwrap();
    let expected = [
        "1 /pods/a b\"1\" was None",
        "2 /pods/a b\"2\" was Some(b\"1\")",
        "3 /pods/b b\"1\" was None",
        "3 /pods/a deleted b\"2\"",
        "4 /pods/b b\"2\" was Some(b\"1\")",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_second_holder_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    match RedbStore::open(dir.path()) {
        Err(OpenError::Locked { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    let watch = store.watch(&KeyRange::all(), Revision::ZERO).await.unwrap();
    drop(store);
    let store = RedbStore::open(dir.path()).expect("an old watch does not hold the lock");
    assert!(matches!(watch.collect::<Vec<_>>().await[..], [Err(StoreError::Closed)]));
    drop(store);
}

#[tokio::test]
async fn a_file_of_another_version_or_damaged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.redb");
    fs::write(&file, "this is not a database, whatever it is").unwrap();
    assert!(matches!(RedbStore::open(dir.path()), Err(OpenError::Damaged { .. })));
    fs::write(&file, "").unwrap();
    assert!(matches!(RedbStore::open(dir.path()), Err(OpenError::Damaged { .. })));

    fs::remove_file(&file).unwrap();
    drop(RedbStore::open(dir.path()).unwrap());
    let database = redb::Database::open(&file).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(format::META).unwrap().insert("format", &7u64.to_le_bytes()[..]).unwrap();
    txn.commit().unwrap();
    drop(database);
    match RedbStore::open(dir.path()) {
        Err(OpenError::OtherVersion { found: 7, supported: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// What a process that is killed leaves in a directory.
fn as_killed(from: &std::path::Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in ["store.redb", "store.lock"] {
        fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    to
}

#[tokio::test]
async fn after_a_kill_every_page_is_checked() {
    const PAGE: usize = 4096;
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    for number in 0..300 {
        put(&store, &format!("/pods/{number:03}"), &"x".repeat(200 + number)).await;
    }
    let whole = store.list(&KeyRange::all(), None, None, 0).await.unwrap().records;
    let bytes = fs::read(dir.path().join("store.redb")).unwrap();
    let used: Vec<_> =
        (1..bytes.len() / PAGE).filter(|page| bytes[page * PAGE..][..PAGE] != [0; PAGE]).collect();
    let mut refused = 0;
    for round in 0..40 {
        let killed = as_killed(dir.path());
        let (a, b) = (used[round * 7 % used.len()], used[(round * 13 + 5) % used.len()]);
        let mut damaged = bytes.clone();
        damaged[a * PAGE..][..PAGE].copy_from_slice(&bytes[b * PAGE..][..PAGE]);
        damaged[b * PAGE..][..PAGE].copy_from_slice(&bytes[a * PAGE..][..PAGE]);
        fs::write(killed.path().join("store.redb"), damaged).unwrap();
        match RedbStore::open(killed.path()) {
            Ok(store) => {
                let found = store.list(&KeyRange::all(), None, None, 0).await.unwrap().records;
                assert_eq!(found, whole, "pages {a} and {b} swapped: a start with less than all");
            }
            Err(error @ OpenError::Damaged { .. }) => {
                refused += 1;
                let says = error.to_string();
                assert!(says.contains("its parts do not fit together") || says.contains("/pods/"), "{says}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > 0);
    let killed = RedbStore::open(as_killed(dir.path()).path()).expect("a kill alone damages nothing");
    assert_eq!(killed.list(&KeyRange::all(), None, None, 0).await.unwrap().records, whole);
}

#[tokio::test]
async fn nobody_else_reads_what_it_writes() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    drop(RedbStore::open(&dir).unwrap());
    let file = dir.join("store.redb");
    assert_eq!((mode(&dir), mode(&file), mode(&dir.join("store.lock"))), (0o700, 0o600, 0o600));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    drop(RedbStore::open(&dir).unwrap());
    assert_eq!(mode(&file), 0o600, "as one is that was made under another umask");
}

#[tokio::test]
async fn a_damaged_record_is_found_when_the_file_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    put(&store, "/pods/a", "a value that is easily found in the file").await;
    drop(store);
    let file = dir.path().join("store.redb");
    let mut bytes = fs::read(&file).unwrap();
    let needle = b"easily found";
    let found: Vec<_> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at] ^= 0x10;
    }
    fs::write(&file, bytes).unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("/pods/a"), "{error}");
}

#[tokio::test]
async fn volatile_writes_cost_no_write_and_their_revisions_never_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.redb");
    let store = RedbStore::open(dir.path()).unwrap();
    put(&store, "/leases/node-1", "made").await;
    beat(&store, "/leases/node-1", "0").await;
    let before = fs::read(&file).unwrap();
    let mut last = Revision::ZERO;
    for beat_number in 1..100 {
        last = beat(&store, "/leases/node-1", &beat_number.to_string()).await;
    }
    assert!(fs::read(&file).unwrap() == before, "an idle cluster writes nothing");
    assert_eq!(value(&store, "/leases/node-1", None).await.as_deref(), Some("99"));
    let lines = changes(&store, KeyRange::prefix("/leases/"), Revision(100)).await.unwrap();
    assert_eq!(lines, ["101 /leases/node-1 b\"99\" was Some(b\"98\")"]);

    // As after kill -9: the file as it is now, under another name.
    let other = tempfile::tempdir().unwrap();
    fs::copy(&file, other.path().join("store.redb")).unwrap();
    let killed = RedbStore::open(other.path()).unwrap();
    assert_eq!(value(&killed, "/leases/node-1", None).await.as_deref(), Some("made"));
    assert!(put(&killed, "/pods/a", "1").await > last);
    let pods = changes(&killed, KeyRange::prefix("/pods/"), Revision(2)).await.unwrap();
    assert_eq!(pods.len(), 1, "what is stored is watched across the crash: {pods:?}");
    let leases = changes(&killed, KeyRange::prefix("/leases/"), Revision(50)).await;
    assert!(matches!(leases, Err(StoreError::Compacted { .. })), "{leases:?}");

    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    assert_eq!(store.revision().await.unwrap(), last, "a clean end wastes no revisions");
    assert_eq!(value(&store, "/leases/node-1", None).await.as_deref(), Some("99"), "nor what was in memory");
}

#[tokio::test]
async fn what_a_clean_end_kept_can_be_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    for name in ["/events/a", "/events/b", "/events/deep/a"] {
        beat(&store, name, "1").await;
    }
    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    beat(&store, "/events/a", "2").await;
    store.commit(Txn::new().delete(key("/events/b"))).await.unwrap();
    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    assert_eq!(value(&store, "/events/a", None).await.as_deref(), Some("2"));
    assert_eq!(value(&store, "/events/b", None).await, None);
    assert_eq!(value(&store, "/events/deep/a", None).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn the_past_beyond_memory_is_read_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    let mut writes = Vec::new();
    for number in 0..MEMORY.commits + 600 {
        let (store, key) = (store.clone(), format!("/pods/{}", number % 50));
        writes.push(async move { put(&store, &key, &number.to_string()).await });
    }
    let mut revisions: Vec<_> = futures::future::join_all(writes).await;
    assert!(store.inner.shared.read(Ledger::oldest) > Revision(500));
    revisions.sort_unstable();
    let at = revisions[120];
    let page = store.list(&KeyRange::prefix("/pods/"), Some(at), None, 10).await.unwrap();
    assert_eq!((page.records.len(), page.remaining, page.revision), (10, 40, at));
    for record in page.records {
        assert!(record.modified <= at && record.modified.0 + 50 > at.0, "{record:?} at {at}");
        assert_eq!(store.get(&record.key, Some(at)).await.unwrap(), Some(record));
    }
    let lines = changes(&store, KeyRange::all(), Revision::ZERO).await.unwrap();
    assert_eq!(lines.len(), revisions.len());
    store.compact(at).await.unwrap();
    assert!(store.get(&key("/pods/1"), Some(at)).await.unwrap().is_some());
    let older = store.get(&key("/pods/1"), Some(Revision(at.0 - 1))).await;
    assert!(matches!(older, Err(StoreError::Compacted { .. })));
    let watch = store.watch(&KeyRange::all(), Revision(3)).await;
    assert!(matches!(watch, Err(StoreError::Compacted { .. })));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, bool),
    Delete(u8),
    Both(u8, u8),
    Reopen,
    Compact(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6u8, any::<bool>()).prop_map(|(key, volatile)| Step::Put(key, volatile)),
        3 => (0..6u8).prop_map(Step::Delete),
        2 => (0..6u8, 6..9u8).prop_map(|(a, b)| Step::Both(a, b)),
        2 => Just(Step::Reopen),
        1 => any::<u8>().prop_map(Step::Compact),
    ]
}

/// The keys below 3 may be volatile, in a directory of their own; the others are always durable.
fn name(number: u8) -> Key {
    key(&if number < 3 { format!("/leases/{number}") } else { format!("/pods/{number}") })
}

/// Does the steps on a file and notes all durable records after each; then every past that the store offers must be
/// one that was noted.
async fn never_tells_a_past_that_was_not(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    let pods = KeyRange::prefix("/pods/");
    let mut noted = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let text = number.to_string();
        let txn = match step {
            Step::Put(key, volatile) if volatile && key < 3 => {
                Txn::new().put_with(name(key), text, Durability::Volatile)
            }
            Step::Put(key, _) => Txn::new().put(name(key), text),
            Step::Delete(key) => Txn::new().delete(name(key)),
            Step::Both(a, b) => Txn::new().delete(name(a)).put(name(b), text),
            Step::Reopen => {
                drop(store);
                store = RedbStore::open(dir.path()).unwrap();
                continue;
            }
            Step::Compact(part) => {
                let latest = store.revision().await.unwrap();
                store.compact(Revision(latest.0 * u64::from(part) / 255)).await.unwrap();
                continue;
            }
        };
        let revision = store.commit(txn).await.unwrap().revision;
        noted.push((revision, store.list(&pods, None, None, 0).await.unwrap().records));
    }
    for (revision, records) in noted {
        match store.list(&pods, Some(revision), None, 0).await {
            Ok(page) => assert_eq!(page.records, records, "at {revision}"),
            Err(StoreError::Compacted { requested, oldest }) => assert!(requested < oldest),
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_past_is_as_it_was(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(never_tells_a_past_that_was_not(steps));
    }
}
