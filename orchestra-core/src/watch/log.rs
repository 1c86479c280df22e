//! The log of one kind: a chain of fixed segments that one writer fills and any number of cursors read without locks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tokio::sync::watch;

use super::{Entry, Progress};
use crate::meta::Revision;

/// What happened to an object.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// It was created.
    Added,
    /// It changed; what it was before tells a watcher with a selector whether it came in or went out.
    Modified(Arc<Entry>),
    /// It was deleted; the event's object is as it was last, under the revision of its deletion.
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object as it is now, or as it was last.
    pub object: Arc<Entry>,
}

impl Event {
    /// The revision of the commit.
    pub fn revision(&self) -> Revision {
        self.object.revision()
    }
}

/// The events after some revision are no longer kept. List again, and watch from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events after revision {requested} are gone; kept are those after {oldest}")]
pub struct Gone {
    /// The revision asked for.
    pub requested: Revision,
    /// The revision after which all events are kept.
    pub oldest: Revision,
}

const SEGMENT: usize = 256;

struct Segment {
    /// The number of its first event.
    first: u64,
    /// Every event of this segment is after this revision.
    after: Revision,
    events: [OnceLock<Event>; SEGMENT],
    next: OnceLock<Arc<Segment>>,
}

impl Segment {
    fn new(first: u64, after: Revision) -> Arc<Self> {
        Arc::new(Self { first, after, events: [const { OnceLock::new() }; SEGMENT], next: OnceLock::new() })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // A chain that only a slow cursor held is freed one by one, not by recursion.
        let mut next = self.next.take();
        while let Some(mut segment) = next.and_then(Arc::into_inner) {
            next = segment.next.take();
        }
    }
}

/// The writing end, and what is shared of it.
pub(super) struct Log {
    kept: RwLock<VecDeque<Arc<Segment>>>,
    /// The number of the first event that is kept, where a cursor sees it without the lock.
    first: AtomicU64,
    /// How many events have been written, ever.
    written: watch::Sender<u64>,
    progress: Arc<Progress>,
    segments: usize,
}

impl Log {
    /// An empty log that keeps at least `keep` events.
    pub(super) fn new(progress: Arc<Progress>, keep: usize) -> Self {
        Self {
            kept: RwLock::new(VecDeque::from([Segment::new(0, Revision::ZERO)])),
            first: AtomicU64::new(0),
            written: watch::Sender::new(0),
            progress,
            segments: keep.div_ceil(SEGMENT) + 1,
        }
    }

    /// Appends the events of one commit. Called by one writer only.
    pub(super) fn append(&self, events: impl IntoIterator<Item = Event>) {
        let mut written = *self.written.borrow();
        let before = written;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let Some(last) = kept.back() else { return };
            let mut index = (written - last.first) as usize;
            let mut segment = Arc::clone(last);
            if index == SEGMENT {
                // Its first event is of this commit: everything before is in earlier segments.
                let after = segment.events[SEGMENT - 1].get().map_or(segment.after, Event::revision);
                let next = Segment::new(written, after);
                let _ = segment.next.set(Arc::clone(&next));
                kept.push_back(Arc::clone(&next));
                segment = next;
                index = 0;
            }
            let _ = segment.events[index].set(event);
            written += 1;
        }
        while kept.len() > self.segments {
            kept.pop_front();
        }
        self.note_first(&kept);
        drop(kept);
        self.written.send_if_modified(|held| {
            *held = written;
            // A commit that brought nothing here is no reason to wake a watcher.
            written != before
        });
    }

    /// Drops all events and starts again after a revision. Cursors find themselves [`Gone`].
    pub(super) fn restart(&self, after: Revision) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // One number is skipped, so that even a cursor that had seen everything is behind the new start.
        let written = *self.written.borrow() + 1;
        kept.clear();
        kept.push_back(Segment::new(written, after));
        self.note_first(&kept);
        drop(kept);
        self.written.send_replace(written);
    }

    /// A cursor that yields the events after a revision.
    pub(super) fn cursor(self: &Arc<Self>, after: Revision) -> Result<Cursor, Gone> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = kept.front().map_or(Revision::ZERO, |segment| segment.after);
        if after < oldest {
            return Err(Gone { requested: after, oldest });
        }
        let at = kept.partition_point(|segment| segment.after <= after).saturating_sub(1);
        let Some(segment) = kept.get(at).cloned() else { return Err(Gone { requested: after, oldest }) };
        drop(kept);
        let mut cursor =
            Cursor { log: Arc::clone(self), written: self.written.subscribe(), segment, index: 0, after };
        while cursor.peek().is_some_and(|event| event.revision() <= after) {
            cursor.index += 1;
        }
        Ok(cursor)
    }

    fn note_first(&self, kept: &VecDeque<Arc<Segment>>) {
        if let Some(segment) = kept.front() {
            self.first.store(segment.first, Ordering::Release);
        }
    }

    fn oldest(&self) -> Revision {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.front().map_or(Revision::ZERO, |segment| segment.after)
    }
}

/// A watcher's place in the log of a kind.
///
/// It yields every event after the revision it was made for, once and in order, until it is so slow that the log has
/// moved on without it.
pub struct Cursor {
    log: Arc<Log>,
    written: watch::Receiver<u64>,
    segment: Arc<Segment>,
    index: usize,
    after: Revision,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Cursor {
    /// The revision of the last event that was taken, or the one the cursor was made for.
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The revision up to which this cursor has seen everything: that of the whole cache when nothing is waiting.
    pub fn seen(&mut self) -> Revision {
        // Read before looking: what is then not in the log is not of this revision or an earlier one.
        let revision = self.log.progress.revision();
        if self.peek().is_none() { revision.max(self.after) } else { self.after }
    }

    fn peek(&mut self) -> Option<&Event> {
        if self.index == SEGMENT {
            let next = Arc::clone(self.segment.next.get()?);
            self.segment = next;
            self.index = 0;
        }
        self.segment.events[self.index].get()
    }

    /// The next event if there is one now.
    ///
    /// # Errors
    /// [`Gone`] when the log no longer keeps what this cursor has not yet seen.
    pub fn try_next(&mut self) -> Result<Option<Event>, Gone> {
        Ok(self.try_next_ref()?.cloned())
    }

    /// As [`Cursor::try_next`], without a copy of the event: for a watcher that passes most of them over. Counting
    /// the holders of an event is what watchers on several processors wait for.
    ///
    /// # Errors
    /// As [`Cursor::try_next`].
    pub fn try_next_ref(&mut self) -> Result<Option<&Event>, Gone> {
        self.check()?;
        let Some(revision) = self.peek().map(Event::revision) else { return Ok(None) };
        self.after = revision;
        self.index += 1;
        Ok(self.segment.events[self.index - 1].get())
    }

    /// Waits for the next event. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Gone`], as [`Cursor::try_next`]. A cache whose writer has gone away yields nothing more and never returns.
    pub async fn next(&mut self) -> Result<Event, Gone> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // What is written from here on wakes it; what was written until here is seen now.
            self.written.borrow_and_update();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.written.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn check(&self) -> Result<(), Gone> {
        if self.segment.first + (self.index as u64) < self.log.first.load(Ordering::Acquire) {
            return Err(Gone { requested: self.after, oldest: self.log.oldest() });
        }
        Ok(())
    }
}
