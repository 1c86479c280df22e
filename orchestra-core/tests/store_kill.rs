//! Proof by killing: a process that writes is killed at random moments, and what it was told is stored must be there.
//!
//! `scripts/kill-test N [SEED]` runs it as often as wanted; an ordinary test run kills `ORCHESTRA_TEST_KILLS` times, or
//! else a few hundred.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::meta::Revision;
use orchestra_core::store::redb::{Options, RedbStore, Retention};
use orchestra_core::store::{Batch, Durability, Expect, Key, KeyRange, Record, Store, StoreError, Txn};
use orchestra_core::testing::contract::store::linear;

const TASKS: usize = 8;
const PAIRS: u64 = 40;

/// A past of a few thousand commits, so that it is trimmed all the time.
fn options() -> Options {
    Options { retention: Retention { bytes: 1 << 20, ..Retention::default() }, ..Options::default() }
}

fn pair(task: usize, number: u64) -> [Key; 2] {
    ["left", "right"].map(|side| Key::new(format!("/kill/{task}/{:02}/{side}", number % PAIRS)))
}

fn beat(task: usize) -> Key {
    Key::new(format!("/beats/{task}"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    if let Some(directory) = value("--child") {
        child(Path::new(&directory), number("--first").unwrap_or(0));
        return ExitCode::SUCCESS;
    }
    let seed = number("--seed").unwrap_or_else(|| std::process::id().into());
    let usual = std::env::var("ORCHESTRA_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    parent(number("--kills").or(usual).unwrap_or(300), seed)
}

/// Writes for ever: each task one pair of records after the other, both in one transaction, under a number that goes
/// up. Says `begin` before and `done` after each.
fn child(directory: &Path, first: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = RedbStore::open_with(directory, options()).unwrap();
    say(format_args!("ready"));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(write(store.clone(), task, first))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn say(line: std::fmt::Arguments<'_>) {
    // One write a line, so that a kill leaves whole lines.
    let line = format!("{line}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

async fn write(store: RedbStore, task: usize, first: u64) {
    for number in first.. {
        let [left, right] = pair(task, number);
        let value = format!("{number} {:x>200}", "");
        let txn = match store.get(&left, None).await.unwrap() {
            Some(old) if number % 7 == 3 => {
                Txn::new().expect(left.clone(), Expect::At(old.modified)).delete(left).delete(right)
            }
            Some(old) => {
                let guarded = Txn::new().expect(left.clone(), Expect::At(old.modified));
                guarded.put(left, value.clone()).put(right, value)
            }
            None => Txn::new().create(left, value.clone()).create(right, value),
        };
        say(format_args!("begin {task} {number}"));
        let revision = store.commit(txn).await.unwrap().revision;
        say(format_args!("done {task} {number} {revision}"));
        let txn = Txn::new().put_with(beat(task), number.to_string(), Durability::Volatile);
        let revision = store.commit(txn).await.unwrap().revision;
        say(format_args!("beat {task} {number} {revision}"));
    }
}

/// What a child said.
#[derive(Default)]
struct Heard {
    begun: BTreeMap<usize, u64>,
    done: BTreeMap<usize, u64>,
    acknowledged: u64,
    revision: Revision,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let (Some(task), Some(value)) = (number(1), number(2)) else { return };
        match (words[0], number(3)) {
            ("begin", None) => drop(self.begun.insert(task as usize, value)),
            ("done", Some(revision)) => {
                self.done.insert(task as usize, value);
                self.acknowledged += 1;
                self.revision = self.revision.max(Revision(revision));
            }
            ("beat", Some(revision)) => self.revision = self.revision.max(Revision(revision)),
            _ => {}
        }
    }
}

/// What the parent knows to be stored.
struct Known {
    /// The number of each pair's last acknowledged transaction.
    pairs: BTreeMap<(usize, u64), u64>,
    records: Vec<Record>,
    revision: Revision,
    next: u64,
    lost: u64,
}

fn parent(kills: u64, seed: u64) -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let chance = TokioClock::simulated(seed);
    let mut known =
        Known { pairs: BTreeMap::new(), records: Vec::new(), revision: Revision::ZERO, next: 0, lost: 0 };
    let (mut acknowledged, started) = (0, Instant::now());
    for kill in 1..=kills {
        let heard = run_and_kill(directory.path(), known.next, &chance);
        acknowledged += heard.acknowledged;
        let store = RedbStore::open_with(directory.path(), options()).expect("it opens after kill -9");
        runtime.block_on(check(&store, &heard, &mut known));
        if kill % 500 == 0 {
            eprintln!("{kill} kills, {acknowledged} acknowledged, {:.0?}", started.elapsed());
        }
    }
    println!("kills={kills} acknowledged={acknowledged} lost={} seed={seed}", known.lost);
    if known.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_and_kill(directory: &Path, first: u64, chance: &SharedClock) -> Heard {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--child".as_ref(), directory.as_os_str()])
        .args(["--first", &first.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn({
        let (ready, wait) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut heard = Heard::default();
            while let Some(Ok(line)) = lines.next() {
                if line == "ready" {
                    let _ = ready.send(());
                }
                heard.hear(&line);
            }
            heard
        });
        // One in eight is killed while it opens.
        let opens = chance.random().is_multiple_of(8);
        let pause = Duration::from_micros(chance.random() % if opens { 10_000 } else { 50_000 });
        move || {
            if !opens {
                let _ = wait.recv();
            }
            std::thread::sleep(pause);
            kill(&mut child);
            reader.join().unwrap()
        }
    });
    reader.join().unwrap()
}

/// SIGKILL, and the end of it.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn number_of(record: &Record) -> u64 {
    let text = std::str::from_utf8(&record.value).unwrap();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap()
}

async fn check(store: &RedbStore, heard: &Heard, known: &mut Known) {
    let latest = store.revision().await.unwrap();
    assert!(latest >= heard.revision, "revision {latest} after {} was given out", heard.revision);
    let range = KeyRange::prefix("/kill/");
    let records = store.list(&range, None, None, 0).await.unwrap().records;
    halves(&records);
    lost(&records, heard, known);
    match changes(store, &range, known.revision, latest).await {
        Ok(log) => {
            let before = std::mem::take(&mut known.records);
            linear::check(before.clone(), known.revision, &log, Vec::new()).expect("a watch that goes on");
            assert_eq!(replay(before, &log), records, "a watch that goes on leads to what is there");
        }
        Err(StoreError::Compacted { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let beat = Txn::new().put(Key::new("/kill-parent"), latest.to_string());
    let revision = store.commit(beat).await.unwrap().revision;
    assert!(revision > latest && revision > known.revision, "revisions go on");
    known.revision = revision;
    known.records = records;
    known.next = known.next.max(heard.begun.values().max().map_or(0, |begun| begun + 1));
}

fn halves(records: &[Record]) {
    assert_eq!(records.len() % 2, 0, "half of a transaction");
    for pair in records.chunks(2) {
        assert_eq!(pair[0].modified, pair[1].modified, "half of a transaction: {pair:?}");
        assert_eq!(pair[0].value, pair[1].value, "half of a transaction");
    }
}

/// Counts the acknowledged transactions whose pair is older than they, and takes note of what is there.
fn lost(records: &[Record], heard: &Heard, known: &mut Known) {
    let stored: BTreeMap<&Key, u64> = records.iter().map(|record| (&record.key, number_of(record))).collect();
    for task in 0..TASKS {
        let (done, begun) = (heard.done.get(&task), heard.begun.get(&task));
        for number in done.into_iter().flat_map(|done| known.next..=*done) {
            known.pairs.insert((task, number % PAIRS), number);
        }
        for pair_number in 0..PAIRS {
            let Some(&last) = known.pairs.get(&(task, pair_number)) else { continue };
            let [left, _] = pair(task, pair_number);
            let unanswered = begun.filter(|begun| *begun % PAIRS == pair_number && done < Some(*begun));
            let fine = match stored.get(&left) {
                Some(found) => *found == last || Some(found) == unanswered,
                None => last % 7 == 3 || unanswered.is_some_and(|begun| begun % 7 == 3),
            };
            if !fine {
                eprintln!("{left}: {last} was acknowledged, found {:?}", stored.get(&left));
                known.lost += 1;
            }
            if let Some(found) = stored.get(&left) {
                known.pairs.insert((task, pair_number), *found);
            } else {
                known.pairs.remove(&(task, pair_number));
            }
        }
    }
}

async fn changes(
    store: &RedbStore,
    range: &KeyRange,
    after: Revision,
    last: Revision,
) -> Result<Vec<Batch>, StoreError> {
    let mut log = Vec::new();
    let mut watch = store.watch(range, after).await?;
    let mut seen = after;
    while seen < last {
        let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
        let batch = next.expect("a watch that is not stuck").expect("a watch does not end")?;
        seen = batch.revision;
        log.push(batch);
    }
    Ok(log)
}

fn replay(records: Vec<Record>, log: &[Batch]) -> Vec<Record> {
    use orchestra_core::store::Change;
    let mut now: BTreeMap<Key, Record> =
        records.into_iter().map(|record| (record.key.clone(), record)).collect();
    for change in log.iter().flat_map(|batch| Arc::clone(&batch.changes).to_vec()) {
        match change {
            Change::Put { record, .. } => drop(now.insert(record.key.clone(), record)),
            Change::Delete { previous } => drop(now.remove(&previous.key)),
        }
    }
    now.into_values().collect()
}
