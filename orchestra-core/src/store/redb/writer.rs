//! The one thread that writes.
//!
//! It takes all commits that wait, works out what they make of the records, writes what must be durable with one fsync,
//! and only then changes the records that readers see, and answers. While it waits for the disk, the next group
//! gathers. A group that could not be written is dropped, and nobody has seen it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use imbl::OrdSet;
use tokio::sync::oneshot;

use super::Retention;
use super::format::State;
use super::group::{Group, Limits, write_last};
use super::past::Past;
use crate::meta::Revision;
use crate::store::ledger::Ledger;
use crate::store::{Committed, Key, StoreError, Txn};

/// The most commits in a group.
const GROUP: usize = 1024;

/// What the thread is asked to do.
pub(super) enum Job {
    /// A transaction, when it was asked for in milliseconds since 1970, and where the answer goes.
    Commit(Txn, i64, oneshot::Sender<Result<Committed, StoreError>>),
    /// Forgetting the past before a revision.
    Compact(Revision, oneshot::Sender<Result<(), StoreError>>),
    /// Going on after a revision.
    Skip(Revision, oneshot::Sender<Result<(), StoreError>>),
}

/// The thread's state.
pub(super) struct Writer {
    past: Arc<Past>,
    jobs: Receiver<Job>,
    retention: Retention,
    /// The counters as the file has them.
    state: State,
    /// The keys whose records are in memory only.
    unsaved: OrdSet<Key>,
    /// A group of which nobody knows whether the file has it, with the counters if it has.
    doubt: Option<(Group, State)>,
    /// Whether there is past over its limits to be dropped when there is nothing else to do.
    surplus: bool,
    pace: Pace,
}

/// How the last group went, to tell how long to wait for the next to gather.
#[derive(Default)]
struct Pace {
    group: usize,
    took: Duration,
}

impl Writer {
    pub(super) fn new(past: Arc<Past>, jobs: Receiver<Job>, retention: Retention, state: State) -> Self {
        Self {
            past,
            jobs,
            retention,
            state,
            unsaved: OrdSet::new(),
            doubt: None,
            surplus: false,
            pace: Pace::default(),
        }
    }

    /// Works until every handle of the store is gone.
    pub(super) fn run(mut self) {
        loop {
            let next = match self.jobs.try_recv() {
                Err(TryRecvError::Empty) if self.surplus => {
                    self.surplus = false;
                    self.work(Vec::new());
                    continue;
                }
                Err(TryRecvError::Empty) => self.jobs.recv().ok(),
                next => next.ok(),
            };
            let Some(first) = next else { break };
            let jobs = self.gather(first);
            let started = Instant::now();
            self.pace.group = jobs.len();
            self.work(jobs);
            self.pace.took = started.elapsed();
        }
        self.settle();
        self.past.shared.close();
    }

    /// The first job and those that wait behind it. Tasks that the last group answered are about to ask again;
    /// going ahead with the fastest alone would make every other group a small one.
    fn gather(&self, first: Job) -> Vec<Job> {
        let patience = Instant::now() + (self.pace.took / 8).min(Duration::from_millis(1));
        let mut jobs = vec![first];
        while jobs.len() < GROUP {
            let next = match self.jobs.try_recv() {
                Err(_) if jobs.len() < self.pace.group => {
                    self.jobs.recv_timeout(patience.saturating_duration_since(Instant::now()))
                }
                next => next.map_err(|_| RecvTimeoutError::Timeout),
            };
            match next {
                Ok(job) => jobs.push(job),
                Err(_) => break,
            }
        }
        jobs
    }

    fn work(&mut self, jobs: Vec<Job>) {
        let resolved = self.resolve();
        // Without jobs the file is written for the sake of trimming it.
        let trim = jobs.is_empty();
        let mut group = self.group();
        let mut now = self.state.time;
        let (mut answers, mut others) = (Vec::with_capacity(jobs.len()), Vec::new());
        let mut before = None;
        let past = Arc::clone(&self.past);
        past.shared.read(|ledger| {
            for job in jobs {
                match job {
                    Job::Commit(txn, time, answer) => {
                        now = now.max(time);
                        answers.push((answer, group.add(txn, now, ledger.records(), &past)));
                    }
                    Job::Compact(wanted, answer) => {
                        before = before.max(Some(wanted));
                        others.push(answer);
                    }
                    Job::Skip(revision, answer) => {
                        group.skip_to(revision);
                        others.push(answer);
                    }
                }
            }
        });
        let outcome = resolved.and_then(|()| self.write(group, before, now, trim));
        // Nobody waits for the answer to a call that was cancelled.
        for (answer, verdict) in answers {
            let verdict = match &outcome {
                Ok(()) => verdict.map(|revision| Committed { revision }),
                Err(error) => Err(again(error)),
            };
            let _ = answer.send(verdict);
        }
        for answer in others {
            let _ = answer.send(outcome.as_ref().copied().map_err(again));
        }
    }

    /// A group that begins with what readers see.
    fn group(&self) -> Group {
        let revision = self.past.shared.read(Ledger::revision);
        Group::new(revision, self.unsaved.clone())
    }

    /// Makes a group durable if it must be, and shows it.
    fn write(
        &mut self,
        mut group: Group,
        compact: Option<Revision>,
        now: i64,
        trim: bool,
    ) -> Result<(), StoreError> {
        let mut state = self.state;
        if let Some(before) = compact {
            state.oldest = state.oldest.max(before.min(group.revision));
        }
        if trim || state.oldest > self.state.oldest || group.needs_disk(&state) {
            let age = i64::try_from(self.retention.age.as_millis()).unwrap_or(i64::MAX);
            let limits = Limits { since: now.saturating_sub(age), bytes: self.retention.bytes };
            let (after, written) = group.write(&self.past.disk, &state, limits);
            self.past.disk.note_room(&written);
            match written {
                Ok(more) => self.surplus = more,
                Err(error) => {
                    self.doubt = Some((group, after));
                    self.resolve().map_err(|error| StoreError::Unavailable(Box::new(error)))?;
                    // Of a group that the file has after all, nothing failed.
                    return if self.state == after { Ok(()) } else { Err(error) };
                }
            }
            self.state = after;
        }
        self.show(group);
        if let Some(before) = compact {
            self.past.shared.write(|ledger| ledger.forget_before(before));
        }
        Ok(())
    }

    /// After an error: opens the file again and finds out whether the last group is in it.
    fn resolve(&mut self) -> Result<(), StoreError> {
        if self.doubt.is_none() {
            return Ok(());
        }
        self.state = self.past.disk.reopen()?;
        if let Some((group, after)) = self.doubt.take()
            && self.state == after
        {
            self.show(group);
        }
        Ok(())
    }

    /// Lets readers and watchers see a group.
    fn show(&mut self, group: Group) {
        self.past.add_volatile(group.volatile);
        self.unsaved = group.unsaved;
        self.past.shared.write(|ledger| ledger.advance(group.batches));
    }

    /// Keeps what is in memory only for the next start, and gives back the revisions that were set aside and not used.
    fn settle(&mut self) {
        let past = Arc::clone(&self.past);
        let (used, fleeting) =
            past.shared.read(|ledger| (ledger.revision(), past.fleeting(ledger.records())));
        let nothing_new = self.state.reserved <= used && self.unsaved.is_empty();
        if nothing_new || self.resolve().is_err() {
            return;
        }
        let state = State { reserved: used, writes: self.state.writes + 1, ..self.state };
        // Without it revisions skip some numbers and events are forgotten, as after a crash.
        let _ = write_last(&past.disk, &state, &fleeting);
    }
}

/// The same error for another of those it happened to.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::OutOfSpace(source) => StoreError::OutOfSpace(source.to_string().into()),
        StoreError::Damaged(detail) => StoreError::Damaged(detail.clone()),
        StoreError::Closed => StoreError::Closed,
        other => StoreError::Unavailable(other.to_string().into()),
    }
}
