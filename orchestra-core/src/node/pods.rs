//! The pods of the node: one loop for each that the API has or a manifest makes, or of which something is left here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::changes::{PodUpdate, changes};
use super::context::Context;
use super::leftovers::{self, Leftover};
use super::mailbox::Mailbox;
use super::manifests::{Found, Wanted, read_all};
use super::model::is_terminal;
use super::pod_loop::PodLoop;
use super::{mirror, room, static_pods};
use crate::api::WatchEvent;
use crate::runtime::{EventKind, EventStream, RuntimeEvent};
use crate::supervise::Supervisor;
use crate::watch::Entry;

/// How soon a runtime is asked for its events again.
const WATCH_RETRY: Duration = Duration::from_secs(1);
/// How long after a pod ended it is looked whether something of it came up meanwhile.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// The pods of the node, by uid. All that is decided about them is decided here, in one task.
pub(super) struct Pods {
    ctx: Arc<Context>,
    loops: FxHashMap<String, Arc<Mailbox>>,
    tasks: Supervisor<String>,
    events: Option<EventStream>,
    changes: BoxStream<'static, PodUpdate>,
    /// The pods that the API has told of since its watch began, until it has told of all.
    listing: Option<BTreeSet<String>>,
    /// Those of them that have not begun: they wait until it is known what the others have.
    newcomers: Vec<Arc<Entry>>,
    manifests: BoxStream<'static, Found>,
    /// The static pods that are to be.
    wanted: Wanted,
    /// Mirrors that the API has told of before all manifests were read.
    unsettled: Vec<(String, Arc<Entry>)>,
    /// Mirrors that are being removed.
    removing: FuturesUnordered<BoxFuture<'static, ()>>,
    /// The API has told of every pod at least once: whatever else is on the node is left over.
    listed: bool,
    /// Looks for what is left over.
    looking: Option<BoxFuture<'static, Vec<Leftover>>>,
    freed_addresses: bool,
}

impl Pods {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self {
            loops: FxHashMap::default(),
            tasks: Supervisor::new(format!("node/{}/pod", ctx.name), ctx.clock().clone()),
            events: None,
            changes: changes(ctx.client.clone(), ctx.name.clone()),
            listing: None,
            manifests: read_all(&ctx),
            wanted: Wanted::of(ctx.manifests.len()),
            unsettled: Vec::new(),
            removing: FuturesUnordered::new(),
            listed: false,
            newcomers: Vec::new(),
            looking: None,
            freed_addresses: false,
            ctx,
        }
    }

    /// Follows the API and the runtime until it is told to stop, and ends the loops then. What they have made stays.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        self.ctx.residents.clear();
        stop.run_until_cancelled(self.follow()).await;
        self.tasks.stop_all().await;
    }

    async fn follow(&mut self) {
        loop {
            tokio::select! {
                biased;
                Some(change) = self.changes.next() => self.changed(change),
                Some(found) = self.manifests.next() => self.read(found),
                event = next_event(&self.ctx, &mut self.events) => self.happened(event),
                Some((uid, _)) = self.tasks.next() => self.ended(&uid),
                found = found(&mut self.looking) => self.adopt(found),
                Some(()) = self.removing.next() => {}
            }
        }
    }

    fn changed(&mut self, change: PodUpdate) {
        match change {
            PodUpdate::Began => {
                self.listing = Some(BTreeSet::new());
                self.newcomers.clear();
            }
            PodUpdate::Told(WatchEvent::Added(entry) | WatchEvent::Modified(entry)) => {
                if let Some(listed) = &mut self.listing {
                    listed.insert(entry.uid().to_string());
                }
                match static_pods::mirrored(&entry) {
                    Some(of) => self.shown(&of, &entry),
                    None => self.put(entry),
                }
            }
            PodUpdate::Told(WatchEvent::Deleted(entry)) => match static_pods::mirrored(&entry) {
                Some(of) => self.poke(&of),
                None => {
                    if let Some(mailbox) = self.loops.get(entry.uid().as_str()) {
                        // Whoever takes its place comes after it.
                        self.ctx.room.free(entry.uid().as_str());
                        mailbox.put_gone(Some(entry));
                    }
                }
            },
            PodUpdate::Told(WatchEvent::Bookmark { initial_events_end: true, .. }) => {
                if let Some(listed) = self.listing.take() {
                    self.drop_others(&listed);
                    for entry in std::mem::take(&mut self.newcomers) {
                        self.put(entry);
                    }
                }
            }
            PodUpdate::Told(WatchEvent::Bookmark { .. }) => {}
        }
    }

    /// A source was read.
    fn read(&mut self, found: Found) {
        self.wanted.take(found);
        self.settle();
        if self.wanted.is_known() {
            for (of, mirror) in std::mem::take(&mut self.unsettled) {
                self.shown(&of, &mirror);
            }
        }
        self.look_for_leftovers(Duration::ZERO);
    }

    /// The API shows a static pod. One that is no more is not to be shown.
    fn shown(&mut self, of: &str, mirror: &Arc<Entry>) {
        if self.loops.contains_key(of) {
            return self.poke(of);
        }
        if !self.wanted.is_known() {
            self.unsettled.push((of.to_owned(), Arc::clone(mirror)));
        } else if !self.wanted.has(of) {
            let (ctx, mirror) = (Arc::clone(&self.ctx), Arc::clone(mirror));
            self.removing.push(async move { mirror::remove_orphan(&ctx, &mirror).await }.boxed());
        }
    }

    fn poke(&self, uid: &str) {
        if let Some(mailbox) = self.loops.get(uid) {
            mailbox.poke();
        }
    }

    /// Begins static pods that are to be, and ends those that are not. Of two of one name the new one waits until the old
    /// one has ended.
    fn settle(&mut self) {
        if self.ctx.manifests.is_empty() {
            return;
        }
        let wanted = self.wanted.pods();
        let mut names = BTreeSet::new();
        for (uid, mailbox) in &self.loops {
            let entry = mailbox.entry();
            if !static_pods::is_static(&entry) {
                continue;
            }
            names.insert(entry.name().clone());
            if !wanted.iter().any(|entry| entry.uid().as_str() == uid) && !entry.is_deleting() {
                match static_pods::ending(&entry, self.ctx.now()) {
                    Some(ending) => mailbox.put(ending),
                    None => {
                        self.ctx.room.free(uid);
                        mailbox.put_gone(None);
                    }
                }
            }
        }
        for entry in wanted {
            if !names.contains(entry.name()) {
                self.start(entry.uid().to_string(), Mailbox::new(entry));
            }
        }
    }

    fn put(&mut self, entry: Arc<Entry>) {
        match self.loops.get(entry.uid().as_str()) {
            Some(mailbox) => mailbox.put(entry),
            // Who is here already has its room before newcomers are given theirs.
            None if self.listing.is_some() && !self.is_here(&entry) => self.newcomers.push(entry),
            None => self.start(entry.uid().to_string(), Mailbox::new(entry)),
        }
    }

    /// Whether a pod has begun, and keeps the room that it has.
    fn is_here(&self, entry: &Entry) -> bool {
        let Ok(pod) = entry.decode_bare::<Pod>() else { return true };
        let has_begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if has_begun && !is_terminal(&pod) {
            self.ctx.room.note(entry.uid().as_str(), room::held(entry, &pod));
        }
        has_begun
    }

    fn start(&mut self, uid: String, mailbox: Mailbox) {
        let mailbox = Arc::new(mailbox);
        self.ctx.residents.add(&uid, &mailbox);
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
            if !listed.contains(uid) && !static_pods::is_static(&mailbox.entry()) {
                self.ctx.room.free(uid);
                mailbox.put_gone(None);
            }
        }
        self.listed = true;
        self.look_for_leftovers(Duration::ZERO);
    }

    fn look_for_leftovers(&mut self, after: Duration) {
        if !self.listed || !self.wanted.is_known() || self.looking.is_some() {
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
        self.ctx.residents.remove(uid);
        self.ctx.probes.forget(uid);
        let entry = mailbox.entry();
        if static_pods::is_static(&entry) {
            let ctx = Arc::clone(&self.ctx);
            self.removing.push(async move { mirror::forget(&ctx, &entry).await }.boxed());
        } else if mailbox.is_wanted() {
            self.ctx.residents.add(uid, &mailbox);
            self.loops.insert(uid.to_owned(), mailbox.clone());
            return self.run_loop(uid.to_owned(), mailbox);
        }
        self.settle();
        self.look_for_leftovers(LOOK_AFTER);
    }
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
