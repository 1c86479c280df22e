//! The log of one kind: a chain of segments that one writer fills and any number of cursors read without locks.
//!
//! The log alone keeps segments, as many as its bounds allow; a cursor keeps the one in which it stands and knows of the
//! next. So a watcher that never reads costs one segment, however much is written, and finds itself [`TooOld`].
//!
//! The bounds are a number of events, and a number of bytes that nobody would keep but for the log: those of objects that
//! were replaced or deleted. What is current is in the cache in any case. A segment ends when it is full by either.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use tokio::sync::Notify;

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
pub struct TooOld {
    /// The revision asked for.
    pub requested: Revision,
    /// The revision after which all events are kept.
    pub oldest: Revision,
}

const SEGMENT: usize = 256;

/// How much a log keeps; the tighter bound counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Events.
    pub(super) events: usize,
    /// Bytes of objects that are no longer current.
    pub(super) bytes: usize,
}

impl Bounds {
    /// A segment may hold no more than a small part of all, as it is kept or dropped as a whole, and a cursor may keep
    /// it.
    fn segment_bytes(self) -> usize {
        self.bytes / 16
    }
}

struct Segment {
    /// The number of its first event.
    first: u64,
    /// Every event of this segment is after this revision.
    after: Revision,
    events: [OnceLock<Event>; SEGMENT],
    /// Once there is a next one, nothing more comes into this one.
    next: OnceLock<Weak<Segment>>,
}

impl Segment {
    fn new(first: u64, after: Revision) -> Arc<Self> {
        Arc::new(Self { first, after, events: [const { OnceLock::new() }; SEGMENT], next: OnceLock::new() })
    }
}

/// A segment as the writer knows it.
struct Kept {
    segment: Arc<Segment>,
    events: usize,
    bytes: usize,
}

impl Kept {
    fn new(segment: Arc<Segment>) -> Self {
        Self { segment, events: 0, bytes: 0 }
    }

    fn last_revision(&self) -> Revision {
        let last = self.events.checked_sub(1).and_then(|last| self.segment.events[last].get());
        last.map_or(self.segment.after, Event::revision)
    }
}

/// The bytes that the log keeps for the sake of an event.
pub(super) fn weight(event: &Event) -> usize {
    match &event.kind {
        EventKind::Added => 0,
        EventKind::Modified(previous) => previous.bytes().len(),
        EventKind::Deleted => event.object.bytes().len(),
    }
}

/// The writing end, and what is shared of it.
pub(super) struct Log {
    kept: RwLock<VecDeque<Kept>>,
    /// The number of the first event that is kept, where a cursor sees it without the lock.
    first: AtomicU64,
    /// How many events have been written, ever. One writes them.
    written: AtomicU64,
    /// Wakes the cursors that wait, in the order in which they began to: by what a `watch` channel wakes first, chance
    /// would decide which of several controllers sees a change first.
    more: Notify,
    progress: Arc<Progress>,
    bounds: Bounds,
}

impl Log {
    /// An empty log.
    pub(super) fn new(progress: Arc<Progress>, bounds: Bounds) -> Self {
        Self {
            kept: RwLock::new(VecDeque::from([Kept::new(Segment::new(0, Revision::ZERO))])),
            first: AtomicU64::new(0),
            written: AtomicU64::new(0),
            more: Notify::new(),
            progress,
            bounds,
        }
    }

    /// Appends the events of one commit. Called by one writer only.
    pub(super) fn append(&self, events: impl IntoIterator<Item = Event>) {
        let mut written = self.written.load(Ordering::Acquire);
        let before = written;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let Some(last) = kept.back() else { return };
            if last.events == SEGMENT || last.bytes >= self.bounds.segment_bytes() {
                // Its first event is of this commit: everything before is in earlier segments.
                let next = Segment::new(written, last.last_revision());
                let _ = last.segment.next.set(Arc::downgrade(&next));
                kept.push_back(Kept::new(next));
            }
            let Some(last) = kept.back_mut() else { return };
            last.bytes += weight(&event);
            let _ = last.segment.events[last.events].set(event);
            last.events += 1;
            written += 1;
        }
        let surplus = self.take_surplus(&mut kept);
        self.note_first(&kept);
        drop(kept);
        // After it was noted what is the first: who finds a segment gone finds itself behind.
        drop(surplus);
        self.written.store(written, Ordering::Release);
        // A commit that brought nothing here is no reason to wake a watcher.
        if written != before {
            self.more.notify_waiters();
        }
    }

    /// The oldest segments without which the log still keeps as much as it may.
    fn take_surplus(&self, kept: &mut VecDeque<Kept>) -> Vec<Kept> {
        let (mut events, mut bytes) =
            kept.iter().fold((0, 0), |(events, bytes), one| (events + one.events, bytes + one.bytes));
        let mut surplus = Vec::new();
        // That in which it writes always stays.
        while kept.len() > 1
            && let Some(first) = kept.front()
            && (events - first.events >= self.bounds.events || bytes > self.bounds.bytes)
        {
            (events, bytes) = (events - first.events, bytes - first.bytes);
            surplus.extend(kept.pop_front());
        }
        surplus
    }

    /// Drops all events and starts again after a revision. Cursors find themselves [`TooOld`].
    pub(super) fn restart(&self, after: Revision) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // One number is skipped, so that even a cursor that had seen everything is behind the new start.
        let written = self.written.load(Ordering::Acquire) + 1;
        let all = std::mem::replace(&mut *kept, VecDeque::from([Kept::new(Segment::new(written, after))]));
        self.note_first(&kept);
        drop(kept);
        drop(all);
        self.written.store(written, Ordering::Release);
        self.more.notify_waiters();
    }

    /// A cursor that yields the events after a revision.
    pub(super) fn cursor(self: &Arc<Self>, after: Revision) -> Result<Cursor, TooOld> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = kept.front().map_or(Revision::ZERO, |kept| kept.segment.after);
        let gone = TooOld { requested: after, oldest };
        if after < oldest {
            return Err(gone);
        }
        let at = kept.partition_point(|kept| kept.segment.after <= after).saturating_sub(1);
        let segment = Arc::clone(&kept.get(at).ok_or(gone)?.segment);
        drop(kept);
        let mut cursor = Cursor { log: Arc::clone(self), segment, index: 0, after };
        while cursor.peek()?.is_some_and(|event| event.revision() <= after) {
            cursor.index += 1;
        }
        Ok(cursor)
    }

    fn note_first(&self, kept: &VecDeque<Kept>) {
        if let Some(first) = kept.front() {
            self.first.store(first.segment.first, Ordering::Release);
        }
    }

    fn oldest(&self) -> Revision {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.front().map_or(Revision::ZERO, |kept| kept.segment.after)
    }
}

/// A watcher's place in the log of a kind.
///
/// It yields every event after the revision it was made for, once and in order, until it is so slow that the log has
/// moved on without it.
pub struct Cursor {
    log: Arc<Log>,
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
        if matches!(self.peek(), Ok(None)) { revision.max(self.after) } else { self.after }
    }

    /// The event at which the cursor stands, if it is written.
    fn peek(&mut self) -> Result<Option<&Event>, TooOld> {
        while !self.is_written()
            && let Some(next) = self.segment.next.get()
            // Looked at again: it may have been written before there was a next segment.
            && !self.is_written()
        {
            let next = next.upgrade().ok_or_else(|| self.gone())?;
            (self.segment, self.index) = (next, 0);
        }
        Ok(self.segment.events.get(self.index).and_then(OnceLock::get))
    }

    fn is_written(&self) -> bool {
        self.segment.events.get(self.index).is_some_and(|event| event.get().is_some())
    }

    fn gone(&self) -> TooOld {
        TooOld { requested: self.after, oldest: self.log.oldest() }
    }

    /// The next event if there is one now.
    ///
    /// # Errors
    /// [`TooOld`] when the log no longer keeps what this cursor has not yet seen.
    pub fn try_next(&mut self) -> Result<Option<Event>, TooOld> {
        Ok(self.try_next_ref()?.cloned())
    }

    /// As [`Cursor::try_next`], without a copy of the event: for a watcher that passes most of them over. Counting
    /// the holders of an event is what watchers on several processors wait for.
    ///
    /// # Errors
    /// As [`Cursor::try_next`].
    pub fn try_next_ref(&mut self) -> Result<Option<&Event>, TooOld> {
        self.check()?;
        let Some(revision) = self.peek()?.map(Event::revision) else { return Ok(None) };
        self.after = revision;
        self.index += 1;
        Ok(self.segment.events[self.index - 1].get())
    }

    /// Waits for the next event. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`TooOld`], as [`Cursor::try_next`]. A cache whose writer has gone away yields nothing more and never returns.
    pub async fn next(&mut self) -> Result<Event, TooOld> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // What is written from here on wakes it; what was written until here is seen now.
            let log = Arc::clone(&self.log);
            let more = log.more.notified();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            more.await;
        }
    }

    fn check(&self) -> Result<(), TooOld> {
        if self.segment.first + (self.index as u64) < self.log.first.load(Ordering::Acquire) {
            return Err(self.gone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::IndexedFields;
    use super::*;

    /// The next version of an object of so many bytes.
    fn version(previous: &mut Option<Arc<Entry>>, revision: u64, bytes: usize) -> Event {
        let padding = "x".repeat(bytes);
        let json = format!(
            r#"{{"kind":"A","apiVersion":"v1","metadata":{{"name":"a","uid":"u"}},"data":"{padding}"}}"#
        );
        let object = Arc::new(Entry::read(json.into(), Revision(revision), &IndexedFields::none()).unwrap());
        let kind = previous.replace(Arc::clone(&object)).map_or(EventKind::Added, EventKind::Modified);
        Event { kind, object }
    }

    #[test]
    fn large_objects_are_bounded_by_bytes_and_a_cursor_that_never_moves_holds_next_to_none() {
        let bounds = Bounds { events: 10_000, bytes: 4 << 20 };
        let log = Arc::new(Log::new(Progress::new(), bounds));
        let mut idle = log.cursor(Revision::ZERO).unwrap();
        let (mut last, mut weak) = (None, Vec::new());
        for revision in 1..=500 {
            let event = version(&mut last, revision, 100_000);
            weak.push(Arc::downgrade(&event.object));
            log.append([event]);
        }
        let held =
            |weak: &[Weak<Entry>]| weak.iter().filter(|entry| entry.strong_count() > 0).count() * 100_000;
        let slack = 3 * (bounds.segment_bytes() + 100_000);
        assert!(held(&weak) < bounds.bytes + slack, "{} bytes", held(&weak));
        assert!(held(&weak) > bounds.bytes / 2, "{} bytes", held(&weak));
        assert!(held(&weak[..250]) < slack, "{} bytes for a cursor alone", held(&weak[..250]));
        assert_eq!(idle.seen(), Revision::ZERO, "it claims nothing that it has not seen");
        assert_eq!(idle.try_next().unwrap_err().requested, Revision::ZERO);
        let mut follower = log.cursor(Revision(480)).unwrap();
        let seen: Vec<_> =
            std::iter::from_fn(|| follower.try_next().unwrap()).map(|event| event.revision().0).collect();
        assert_eq!(seen, (481..=500).collect::<Vec<_>>(), "over the ends of segments that are not full");
    }

    #[test]
    fn small_objects_are_bounded_by_number() {
        let log = Arc::new(Log::new(Progress::new(), Bounds { events: 1000, bytes: 4 << 20 }));
        let mut last = None;
        for revision in 1..=5000 {
            log.append([version(&mut last, revision, 10)]);
        }
        assert!(log.cursor(Revision(4000)).is_ok());
        assert!(log.cursor(Revision(3000)).is_err());
    }
}
