//! The event log, cursors over it, and the cache: one writer, many readers.
//!
//! What a store commits is fed, in order of revision, to one [`CacheWriter`] per kind. It keeps the objects of the
//! kind as they are now, indexed by namespace, label, field and owner, and appends each change to the kind's log.
//! Readers hold a [`Cache`]: they get, list and page without waiting for anyone. A watcher is a [`Cursor`] into the
//! log, not a channel with a copy, so a thousand watchers share one allocation per event and a slow one slows nobody. Who
//! follows the objects of one value alone, as a node its pods, has a lane of its own ([`Following`]), and is not woken for
//! those of others.
//!
//! ```text
//! Store::watch ─► feeder ─► CacheWriter ─┬─► objects and indexes ─► Cache::get, list, page
//!                                        ├─► log ─► Cursor, Cursor, …
//!                                        └─► lanes ─► Following
//! ```
//!
//! An object at rest is an [`Entry`]: its encoded bytes, with what selection needs taken out beside them. Bytes are
//! sent as they are; a reader that wants values asks for a *view* ([`Entry::view`]), a small serde struct of the
//! fields it reads, decoded once per revision and shared.
//!
//! Objects and events are per kind, so that a watcher of one is not woken by another; revisions are the cluster's.

mod at_rest;
mod cache;
mod entry;
mod fields;
mod lane;
mod log;
mod progress;

pub use cache::{Cache, CacheWriter, Page, Query, Snapshot, Update};
#[cfg(test)]
pub(crate) use entry::counted;
pub use entry::{Entry, EntryError};
pub use fields::{FieldValues, IndexedField, IndexedFields, KnownFields, UnknownField};
pub use lane::Following;
pub use log::{Cursor, Event, EventKind, TooOld};
pub use progress::Progress;
