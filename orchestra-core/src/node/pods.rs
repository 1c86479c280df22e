//! The pods of the node: one loop for each that the API has, or of which something is left here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::leftovers::{self, Leftover};
use super::mailbox::Mailbox;
use super::pod_loop::PodLoop;
use crate::api::{Client, Status, Target, WatchEvent, WatchOptions, WatchStream};
use crate::runtime::{EventKind, EventStream, RuntimeEvent};
use crate::selector::FieldSelector;
use crate::supervise::Supervisor;
use crate::watch::Entry;

/// How soon the pods are watched again after a watch ended, and a runtime is asked for its events again.
const WATCH_RETRY: Duration = Duration::from_secs(1);
/// How long after a pod ended it is looked whether something of it came up meanwhile.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// The pods of the node, by uid. All that is decided about them is decided here, in one task.
pub(super) struct Pods {
    ctx: Arc<Context>,
    loops: FxHashMap<String, Arc<Mailbox>>,
    tasks: Supervisor<String>,
    events: Option<EventStream>,
    /// The API has told of every pod at least once: whatever else is on the node is left over.
    listed: bool,
    /// Looks for what is left over.
    looking: Option<BoxFuture<'static, Vec<Leftover>>>,
    freed_addresses: bool,
}

impl Pods {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        let tasks = Supervisor::new(format!("node/{}/pod", ctx.name), ctx.clock().clone());
        let loops = FxHashMap::default();
        Self { ctx, loops, tasks, events: None, listed: false, looking: None, freed_addresses: false }
    }

    /// Follows the API and the runtime until it is told to stop, and ends the loops then. What they have made stays.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
        self.tasks.stop_all().await;
    }

    async fn follow(&mut self) {
        loop {
            if let Err(error) = self.watch().await {
                tracing::debug!(node = self.ctx.name, %error, "the watch of the node's pods ended");
            }
            self.ctx.clock().sleep(WATCH_RETRY).await;
        }
    }

    /// One watch, from the list of what is there to its end.
    async fn watch(&mut self) -> Result<(), Status> {
        let mut watch = watch(&self.ctx.client, &self.ctx.name).await?;
        let mut listed = Some(BTreeSet::new());
        loop {
            tokio::select! {
                biased;
                event = watch.next() => {
                    let Some(event) = event else { return Ok(()) };
                    self.changed(event?, &mut listed);
                }
                event = next_event(&self.ctx, &mut self.events) => self.happened(event),
                Some((uid, _)) = self.tasks.next() => self.ended(&uid),
                found = found(&mut self.looking) => self.adopt(found),
            }
        }
    }

    fn changed(&mut self, event: WatchEvent, listed: &mut Option<BTreeSet<String>>) {
        match event {
            WatchEvent::Added(entry) | WatchEvent::Modified(entry) => {
                if let Some(listed) = listed {
                    listed.insert(entry.uid().to_string());
                }
                self.put(entry);
            }
            WatchEvent::Deleted(entry) => {
                if let Some(mailbox) = self.loops.get(entry.uid().as_str()) {
                    mailbox.put_gone(Some(entry));
                }
            }
            WatchEvent::Bookmark { initial_events_end: true, .. } => {
                if let Some(listed) = listed.take() {
                    self.drop_others(&listed);
                }
            }
            WatchEvent::Bookmark { .. } => {}
        }
    }

    fn put(&mut self, entry: Arc<Entry>) {
        match self.loops.get(entry.uid().as_str()) {
            Some(mailbox) => mailbox.put(entry),
            None => self.start(entry.uid().to_string(), Mailbox::new(entry)),
        }
    }

    fn start(&mut self, uid: String, mailbox: Mailbox) {
        let mailbox = Arc::new(mailbox);
        self.loops.insert(uid.clone(), mailbox.clone());
        self.run_loop(uid, mailbox);
    }

    fn run_loop(&mut self, uid: String, mailbox: Arc<Mailbox>) {
        let ctx = self.ctx.clone();
        self.tasks.start(uid, move || PodLoop::new(ctx.clone(), mailbox.clone()).run());
    }

    /// The API has just these pods: ends the loops of others, and looks for what is left of pods that nobody knows.
    fn drop_others(&mut self, listed: &BTreeSet<String>) {
        for (uid, mailbox) in &self.loops {
            if !listed.contains(uid) {
                mailbox.put_gone(None);
            }
        }
        self.listed = true;
        self.look_for_leftovers(Duration::ZERO);
    }

    fn look_for_leftovers(&mut self, after: Duration) {
        if !self.listed || self.looking.is_some() {
            return;
        }
        let (ctx, free_addresses) = (self.ctx.clone(), !self.freed_addresses);
        self.looking = Some(
            async move {
                ctx.clock().sleep(after).await;
                leftovers::find(&ctx, free_addresses).await
            }
            .boxed(),
        );
    }

    /// Starts loops for pods of which something is here and that are not known, which end what they find.
    fn adopt(&mut self, found: Vec<Leftover>) {
        self.looking = None;
        self.freed_addresses = true;
        for leftover in found {
            if self.loops.contains_key(&leftover.uid) {
                continue;
            }
            match leftover.entry() {
                Ok(entry) => {
                    tracing::info!(pod = %entry.name(), uid = leftover.uid, "removing a pod that the API does not know");
                    self.start(leftover.uid, Mailbox::orphan(Arc::new(entry)));
                }
                Err(error) => {
                    tracing::error!(uid = leftover.uid, %error, "cannot remove what is left of a pod")
                }
            }
        }
    }

    /// The runtime says that something happened; `None` when it may have happened to any pod.
    fn happened(&mut self, event: Option<RuntimeEvent>) {
        let Some(event) = event else {
            return self.loops.values().for_each(|mailbox| mailbox.poke());
        };
        match self.loops.get(&event.pod.uid) {
            Some(mailbox) => mailbox.poke(),
            None if matches!(event.kind, EventKind::Started(_)) => self.look_for_leftovers(WATCH_RETRY),
            None => {}
        }
    }

    fn ended(&mut self, uid: &str) {
        let Some(mailbox) = self.loops.remove(uid) else { return };
        if mailbox.is_wanted() {
            self.loops.insert(uid.to_owned(), mailbox.clone());
            return self.run_loop(uid.to_owned(), mailbox);
        }
        self.look_for_leftovers(LOOK_AFTER);
    }
}

/// Watches the pods of a node, beginning with those that are there.
async fn watch(client: &Client, node: &str) -> Result<WatchStream, Status> {
    let fields = FieldSelector::parse(&format!("spec.nodeName={node}"))
        .map_err(|error| Status::internal(error.to_string()))?;
    let options = WatchOptions {
        fields: Some(fields),
        initial_events: Some(true),
        bookmarks: true,
        ..WatchOptions::default()
    };
    client.watch(Target::of::<Pod>(None), options).await
}

async fn found(looking: &mut Option<BoxFuture<'static, Vec<Leftover>>>) -> Vec<Leftover> {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

/// Waits for the runtime's next event, or for `None` after events may have been missed.
async fn next_event(ctx: &Context, events: &mut Option<EventStream>) -> Option<RuntimeEvent> {
    loop {
        let Some(stream) = events else {
            match ctx.runtime.events().await {
                Ok(stream) => {
                    *events = Some(stream);
                    return None;
                }
                Err(error) => tracing::debug!(node = ctx.name, %error, "no events from the runtime"),
            }
            ctx.clock().sleep(WATCH_RETRY).await;
            continue;
        };
        match stream.next().await {
            Some(Ok(event)) => return Some(event),
            Some(Err(_)) | None => *events = None,
        }
    }
}
