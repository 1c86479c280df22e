//! A copy of a kind's objects, kept up to date: a list, then a watch from the list's revision; a list again when the
//! server no longer knows what happened since.
//!
//! One revision may have several events, and nothing on the wire says which is its last. A watch that broke is taken up
//! again before the last revision it told of, and what the cache has seen already is left out.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orchestra_core::api::{ListOptions, Operation, Reply, Status, Target, WatchEvent, WatchOptions};
use orchestra_core::clock::SharedClock;
use orchestra_core::meta::{ObjectName, Revision};
use orchestra_core::watch::{Cache, CacheWriter, Entry, IndexedFields, Progress, Update};
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
    /// The last revision of which there was an event.
    revision: Revision,
    /// The last revision of which there can be no more events.
    complete: Revision,
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
        indexed: &IndexedFields,
    ) -> Result<Self, Status> {
        let progress = Progress::new();
        let writer = CacheWriter::new(indexed, Arc::clone(&progress));
        let (revision, complete) = (Revision::ZERO, Revision::ZERO);
        let mut reflector = Self { connection, clock, target, writer, progress, revision, complete };
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
        // Perhaps an earlier one than before: of a master that lost its state, or was given another.
        (self.revision, self.complete) = (revision, revision);
        self.progress.advance(revision);
        Ok(())
    }

    async fn watch(&mut self) -> Result<(), Status> {
        let options = WatchOptions { after: Some(self.complete), bookmarks: true, ..WatchOptions::default() };
        let mut events = self.connection.watch(&self.target, &options).await?;
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(entry) | WatchEvent::Modified(entry) => {
                    let revision = entry.revision();
                    self.apply(revision, &entry.name().clone(), Update::Put(entry));
                }
                WatchEvent::Deleted(entry) => {
                    let name = entry.name().clone();
                    self.apply(entry.revision(), &name, Update::Delete(name.clone()));
                }
                WatchEvent::Bookmark { revision, .. } => self.completed(revision),
            }
        }
        Ok(())
    }

    fn apply(&mut self, revision: Revision, name: &ObjectName, update: Update) {
        if revision > self.revision {
            self.complete = self.revision;
        }
        let held = self.writer.cache().get(name).is_some_and(|held| held.revision() >= revision);
        if revision > self.revision || !held {
            self.writer.apply(revision, [update]);
        }
        self.advance(revision);
    }

    /// Everything up to a revision has been seen.
    fn completed(&mut self, revision: Revision) {
        self.advance(revision);
        self.complete = self.revision;
    }

    fn advance(&mut self, revision: Revision) {
        if revision > self.revision {
            self.revision = revision;
            self.progress.advance(revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::stream;
    use http::{Request, Response};
    use hyper::body::Incoming;
    use orchestra_core::clock::TokioClock;
    use orchestra_core::k8s_openapi::api::core::v1::ConfigMap;
    use orchestra_core::watch::Query;
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::pki::{Authority, ServerTls};
    use crate::query::QueryString;
    use crate::remote::{Credential, Remote, RemoteConfig};
    use crate::reply::{self, Body};
    use crate::serve::{Answer, Limits, Origin, accept};

    /// A master whose revision 7 made two objects, and whose first watch breaks between them.
    #[derive(Default)]
    struct Breaking {
        broken: AtomicBool,
    }

    #[async_trait]
    impl Answer for Breaking {
        async fn answer(&self, request: Request<Incoming>, _: &Origin) -> Response<Body> {
            let event = |name: &str| {
                let meta = json!({"name": name, "namespace": "d", "uid": name, "resourceVersion": "7"});
                let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta});
                format!("{}\n", json!({"type": "ADDED", "object": object}))
            };
            let query = QueryString::parse(request.uri().query()).unwrap();
            if !query.is_set("watch") {
                let list = json!({
                    "kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": [],
                });
                return reply::pretty(&list);
            }
            let first = !self.broken.swap(true, Ordering::Relaxed);
            let after: u64 = query.get("resourceVersion").unwrap().parse().unwrap();
            let events = match (first, after < 7) {
                (true, _) => event("a"),
                (false, true) => event("a") + &event("b"),
                (false, false) => String::new(),
            };
            let events = stream::iter([Bytes::from(events)]);
            match first {
                true => reply::streamed("application/json", events),
                false => reply::streamed("application/json", events.chain(stream::pending())),
            }
        }
    }

    #[tokio::test]
    async fn a_watch_that_breaks_within_a_revision_misses_nothing() {
        let authority = Authority::new().unwrap();
        let identity = authority.issue_server(&[], &[Ipv4Addr::LOCALHOST.into()]).unwrap();
        let tls = ServerTls::new(&identity, authority.certificate()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(accept(
            listener,
            tls,
            Arc::new(Breaking::default()),
            Limits::default(),
            CancellationToken::new(),
        ));
        let credential = Credential::Token("t".into());
        let config = RemoteConfig { url, authority: authority.certificate().to_owned(), credential };
        let remote = Remote::connect(config).unwrap();
        let target = Target::of::<ConfigMap>(None);
        let filled =
            Reflector::fill(remote.connection.clone(), TokioClock::system(), target, &IndexedFields::none())
                .await
                .unwrap();
        let cache = filled.cache().clone();
        let (_, mut events) = cache.list_and_watch(&Query::all());
        tokio::spawn(filled.run());
        for name in ["a", "b"] {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
            assert_eq!(event.expect("an event").unwrap().object.name().name(), name);
        }
    }
}
