//! A copy of a kind's objects, kept up to date: a list, then a watch from the list's revision; a list again when the
//! server no longer knows what happened since.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orchestra_core::api::{ListOptions, Operation, Reply, Status, Target, WatchEvent, WatchOptions};
use orchestra_core::clock::SharedClock;
use orchestra_core::meta::Revision;
use orchestra_core::watch::{Cache, CacheWriter, Entry, IndexedField, Progress, Update};
use tracing::debug;

use super::Connection;

/// How many objects are asked for at a time.
const PAGE: usize = 500;
/// How long a server that is away is left in peace: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Feeds the cache of one kind.
pub(super) struct Reflector {
    connection: Connection,
    clock: SharedClock,
    target: Target,
    writer: CacheWriter,
    progress: Arc<Progress>,
    revision: Revision,
}

impl Reflector {
    /// One that has listed the objects. Waits for a server that is away.
    ///
    /// # Errors
    /// When the objects may not be listed, or there is no such kind.
    pub(super) async fn fill(
        connection: Connection,
        clock: SharedClock,
        target: Target,
        indexed: &[IndexedField],
    ) -> Result<Self, Status> {
        let progress = Progress::new();
        let writer = CacheWriter::new(indexed, Arc::clone(&progress));
        let mut reflector = Self { connection, clock, target, writer, progress, revision: Revision::ZERO };
        let mut pause = PAUSE.0;
        while let Err(status) = reflector.list().await {
            if !status.is_transient() && !status.is_expired() {
                return Err(status);
            }
            reflector.rest(&mut pause, &status).await;
        }
        Ok(reflector)
    }

    pub(super) fn cache(&self) -> &Cache {
        self.writer.cache()
    }

    /// Follows the server for ever.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let seen = self.revision;
            let ended = match self.watch().await {
                Err(status) if status.is_expired() => self.list().await,
                other => other,
            };
            if self.revision > seen {
                pause = PAUSE.0;
            }
            match ended {
                // Watches end now and then. One that ends at once is no reason to hurry.
                Ok(()) if self.revision > seen => {}
                Ok(()) => self.rest(&mut pause, &Status::expired("the watch ended")).await,
                Err(status) => self.rest(&mut pause, &status).await,
            }
        }
    }

    /// Waits longer each time, and not as long as the neighbour: a master that comes back is not to be overrun.
    async fn rest(&self, pause: &mut Duration, status: &Status) {
        debug!(resource = %self.target.resource, %status, "the server cannot be followed; trying again");
        let share = (self.clock.random() % 1000) as u32;
        self.clock.sleep(*pause / 2 + *pause * share / 2000).await;
        *pause = (*pause * 2).min(PAUSE.1);
    }

    async fn list(&mut self) -> Result<(), Status> {
        let mut objects: Vec<Arc<Entry>> = Vec::new();
        let mut options = ListOptions { limit: PAGE, ..ListOptions::default() };
        let revision = loop {
            let operation = Operation::List(options.clone());
            let Reply::List(page) = self.connection.call(&self.target, operation).await?.reply else {
                return Err(Status::internal(format!(
                    "{} is not answered with a list",
                    self.target.resource
                )));
            };
            objects.extend(page.objects);
            options.continue_token = page.continue_token;
            if options.continue_token.is_none() {
                break page.revision;
            }
        };
        self.writer.fill(objects, revision);
        self.advance(revision);
        Ok(())
    }

    async fn watch(&mut self) -> Result<(), Status> {
        let options = WatchOptions { after: Some(self.revision), bookmarks: true, ..WatchOptions::default() };
        let mut events = self.connection.watch(&self.target, &options).await?;
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(entry) | WatchEvent::Modified(entry) => {
                    let revision = entry.revision();
                    self.apply(revision, Update::Put(entry));
                }
                WatchEvent::Deleted(entry) => {
                    self.apply(entry.revision(), Update::Delete(entry.name().clone()))
                }
                WatchEvent::Bookmark { revision, .. } => self.advance(revision),
            }
        }
        Ok(())
    }

    fn apply(&mut self, revision: Revision, update: Update) {
        self.writer.apply(revision, [update]);
        self.advance(revision);
    }

    fn advance(&mut self, revision: Revision) {
        self.revision = revision;
        self.progress.advance(revision);
    }
}
