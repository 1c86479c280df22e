//! Whether what concurrent callers saw of a store could have come from one caller after another.
//!
//! A store gives every commit a revision, and its watch tells what each did; together they claim an order. The
//! checker takes that claim and every call with the moments at which it began and ended, and looks for a place in
//! the order for each call: one at which its answer is right, not before a call that had ended when it began. If
//! each finds one, the order is a witness that the history is linearizable.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use imbl::OrdMap;

use crate::meta::Revision;
use crate::store::{
    Batch, Change, Committed, Expect, Key, KeyRange, Page, Record, Store, StoreError, Txn, Write,
};

type Records = OrdMap<Key, Record>;

/// One call and its answer.
#[derive(Clone, Debug)]
pub struct Call {
    began: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Committed(Txn, Revision),
    Conflict(Txn, Key, Option<Revision>),
    Got(Key, Option<Record>),
    Listed(KeyRange, Revision, Vec<Record>),
}

/// A store whose calls are noted.
#[derive(Debug)]
pub struct Recorder {
    store: Arc<dyn Store>,
    moments: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    /// Notes the calls to a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, moments: AtomicU64::new(0), calls: Mutex::default() }
    }

    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, began: u64, what: What) {
        let call = Call { began, ended: self.moment(), what };
        self.calls.lock().expect("no caller panicked").push(call);
    }

    /// Commits. An error other than a conflict says nothing that could be checked, and is not noted.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let began = self.moment();
        let answer = self.store.commit(txn.clone()).await;
        match &answer {
            Ok(committed) => self.note(began, What::Committed(txn, committed.revision)),
            Err(StoreError::Conflict { key, current }) => {
                self.note(began, What::Conflict(txn, key.clone(), *current));
            }
            Err(_) => {}
        }
        answer
    }

    /// Reads the latest of one record.
    pub async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let began = self.moment();
        let record = self.store.get(key, None).await?;
        self.note(began, What::Got(key.clone(), record.clone()));
        Ok(record)
    }

    /// Reads the latest of a range.
    pub async fn list(&self, range: &KeyRange) -> Result<Page, StoreError> {
        let began = self.moment();
        let page = self.store.list(range, None, None, 0).await?;
        self.note(began, What::Listed(range.clone(), page.revision, page.records.clone()));
        Ok(page)
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no caller panicked").clone()
    }
}

/// Says what is wrong with a history, if anything is.
///
/// `log` is what a watch of every key that the calls touch told after revision `start`, at which the records of those
/// keys were `records`.
///
/// # Errors
/// A description of the first call that has no place in the order.
pub fn check(records: Vec<Record>, start: Revision, log: &[Batch], calls: Vec<Call>) -> Result<(), String> {
    let states = replay(records, start, log)?;
    let mut calls = calls;
    calls.sort_by_key(|call| call.began);
    // Those that have ended, with their places, soonest ended first.
    let mut ended: BinaryHeap<std::cmp::Reverse<(u64, Revision)>> = BinaryHeap::new();
    let mut floor = start;
    for call in calls {
        while let Some(std::cmp::Reverse((end, place))) = ended.peek().copied()
            && end < call.began
        {
            floor = floor.max(place);
            ended.pop();
        }
        let place = place(&states, floor, log, &call.what)?;
        ended.push(std::cmp::Reverse((call.ended, place)));
    }
    Ok(())
}

/// The records after each commit, by revision. Every change must be of the record that was there.
fn replay(records: Vec<Record>, start: Revision, log: &[Batch]) -> Result<Vec<(Revision, Records)>, String> {
    let mut now: Records = records.into_iter().map(|record| (record.key.clone(), record)).collect();
    let mut states = vec![(start, now.clone())];
    for batch in log {
        let last = states.last().map_or(start, |(revision, _)| *revision);
        if batch.revision <= last {
            return Err(format!("the watch tells of revision {} after {last}", batch.revision));
        }
        for change in batch.changes.iter() {
            let (replaced, claimed) = match change {
                Change::Put { record, previous } => {
                    let created = previous.as_ref().map_or(batch.revision, |previous| previous.created);
                    if (record.created, record.modified) != (created, batch.revision) {
                        return Err(format!(
                            "{record:?} was written at {} and created at {created}",
                            batch.revision
                        ));
                    }
                    (now.insert(record.key.clone(), record.clone()), previous.clone())
                }
                Change::Delete { previous } => (now.remove(&previous.key), Some(previous.clone())),
            };
            if replaced != claimed {
                return Err(format!("{change:?} at {}, but it replaced {replaced:?}", batch.revision));
            }
        }
        states.push((batch.revision, now.clone()));
    }
    Ok(states)
}

/// The earliest place for a call that is not before `floor`.
fn place(
    states: &[(Revision, Records)],
    floor: Revision,
    log: &[Batch],
    what: &What,
) -> Result<Revision, String> {
    let from = states.partition_point(|(revision, _)| *revision <= floor).saturating_sub(1);
    let fits = |records: &Records| match what {
        What::Got(key, record) => records.get(key) == record.as_ref(),
        What::Conflict(txn, key, current) => failing(records, txn) == Some((key.clone(), *current)),
        What::Committed(txn, _) => failing(records, txn).is_none() && changes_nothing(records, txn),
        What::Listed(range, _, listed) => {
            records.values().filter(|record| range.contains(&record.key)).eq(listed)
        }
    };
    let lost = || format!("{what:?} is not true at any time after {floor}");
    match what {
        What::Committed(txn, revision)
            if txn.writes.iter().any(|write| matches!(write, Write::Put { .. })) =>
        {
            turn(states, floor, log, txn, *revision)
        }
        What::Committed(txn, revision) => {
            let found = states[from..].iter().find(|(_, records)| fits(records));
            let read = found.map(|(revision, _)| floor.max(*revision)).ok_or_else(lost);
            read.or_else(|_| turn(states, floor, log, txn, *revision))
        }
        What::Listed(_, revision, _) => {
            let at = states.partition_point(|(at, _)| at <= revision).saturating_sub(1);
            if *revision < floor || !fits(&states[at].1) { Err(lost()) } else { Ok(*revision) }
        }
        _ => {
            let found = states[from..].iter().find(|(_, records)| fits(records));
            found.map(|(revision, _)| floor.max(*revision)).ok_or_else(lost)
        }
    }
}

/// The place that a commit itself claims.
fn turn(
    states: &[(Revision, Records)],
    floor: Revision,
    log: &[Batch],
    txn: &Txn,
    revision: Revision,
) -> Result<Revision, String> {
    let index = states.binary_search_by_key(&revision, |(revision, _)| *revision);
    let index = index
        .map_err(|_| format!("{txn:?} was acknowledged at {revision}, of which the watch knows nothing"))?;
    if revision <= floor || index == 0 || failing(&states[index - 1].1, txn).is_some() {
        return Err(format!("{txn:?} at {revision} was out of turn; {floor} was known when it began"));
    }
    did(txn, &log[index - 1]).map(|()| revision)
}

fn changes_nothing(records: &Records, txn: &Txn) -> bool {
    txn.writes.iter().all(|write| matches!(write, Write::Delete { key } if !records.contains_key(key)))
}

/// The first guard that does not hold, with what the key is at.
fn failing(records: &Records, txn: &Txn) -> Option<(Key, Option<Revision>)> {
    txn.guards.iter().find_map(|guard| {
        let current = records.get(&guard.key).map(|record| record.modified);
        let expected = match guard.expect {
            Expect::Absent => None,
            Expect::At(revision) => Some(revision),
        };
        (current != expected).then(|| (guard.key.clone(), current))
    })
}

/// Whether a batch is what a transaction asked for, and all of it.
fn did(txn: &Txn, batch: &Batch) -> Result<(), String> {
    let mut changes = batch.changes.iter();
    let wrong = || format!("the transaction {txn:?} came out as {batch:?}");
    for write in &txn.writes {
        match write {
            Write::Put { key, value, .. } => match changes.next() {
                Some(Change::Put { record, .. }) if record.key == *key && record.value == *value => {}
                _ => return Err(wrong()),
            },
            Write::Delete { key } => {
                // There may have been nothing to delete.
                if changes.as_slice().first().is_some_and(|change| change.key() == key) {
                    changes.next();
                }
            }
        }
    }
    changes.next().map_or(Ok(()), |_| Err(wrong()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(created: u64, modified: u64, value: &'static str) -> Record {
        let (created, modified) = (Revision(created), Revision(modified));
        Record { key: Key::new("k"), value: value.into(), created, modified }
    }

    fn written(revision: u64, record: Record, previous: Option<Record>) -> Batch {
        Batch { revision: Revision(revision), changes: [Change::Put { record, previous }].into() }
    }

    fn log() -> Vec<Batch> {
        let (a, b) = (record(1, 1, "a"), record(1, 2, "b"));
        vec![written(1, a.clone(), None), written(2, b, Some(a))]
    }

    fn call(began: u64, ended: u64, what: What) -> Call {
        Call { began, ended, what }
    }

    fn commit(value: &'static str, revision: u64) -> What {
        What::Committed(Txn::new().put(Key::new("k"), value), Revision(revision))
    }

    fn got(record: Option<Record>) -> What {
        What::Got(Key::new("k"), record)
    }

    #[test]
    fn what_can_be_put_in_order_passes_and_what_cannot_does_not() {
        let (first, second) = (record(1, 1, "a"), record(1, 2, "b"));
        let both = [call(0, 3, commit("a", 1)), call(4, 9, commit("b", 2))];
        let cases = [
            ("a read while both are possible", call(5, 8, got(Some(first.clone()))), true),
            ("the later value while it is written", call(5, 8, got(Some(second.clone()))), true),
            ("nothing, after a write was acknowledged", call(5, 8, got(None)), false),
            ("an old value, after a newer was acknowledged", call(10, 11, got(Some(first.clone()))), false),
            ("a value nobody wrote", call(5, 8, got(Some(record(1, 1, "x")))), false),
            (
                "a conflict that was none",
                call(
                    10,
                    11,
                    What::Conflict(
                        Txn::new().expect(Key::new("k"), Expect::At(Revision(2))),
                        Key::new("k"),
                        Some(Revision(1)),
                    ),
                ),
                false,
            ),
        ];
        for (name, read, fine) in cases {
            let mut calls = both.to_vec();
            calls.push(read);
            assert_eq!(check(Vec::new(), Revision::ZERO, &log(), calls).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn reads_never_go_back() {
        let (first, second) = (record(1, 1, "a"), record(1, 2, "b"));
        let calls = |one: &Record, two: &Record| {
            vec![
                call(0, 1, commit("a", 1)),
                call(2, 20, commit("b", 2)),
                call(3, 4, got(Some(one.clone()))),
                call(5, 6, got(Some(two.clone()))),
            ]
        };
        assert_eq!(check(Vec::new(), Revision::ZERO, &log(), calls(&first, &second)), Ok(()));
        assert!(check(Vec::new(), Revision::ZERO, &log(), calls(&second, &first)).is_err());
    }

    #[test]
    fn a_log_that_lies_is_found_out() {
        let lost = vec![call(0, 1, commit("a", 1)), call(2, 3, commit("b", 2)), call(4, 5, commit("c", 3))];
        assert!(check(Vec::new(), Revision::ZERO, &log(), lost).is_err());
        let mut repeated = log();
        repeated.push(repeated[1].clone());
        assert!(check(Vec::new(), Revision::ZERO, &repeated, Vec::new()).is_err());
        let gap = vec![log()[1].clone()];
        assert!(check(Vec::new(), Revision::ZERO, &gap, Vec::new()).is_err());
    }
}
