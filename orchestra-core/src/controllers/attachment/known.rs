//! Which objects have to do with a volume, so that nobody looks through all of them for each.
//!
//! Only names are kept, and none is taken out by an event: whoever asks looks at the objects, and strikes out what is not so
//! any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use tokio::sync::OnceCell;

use super::view::{AttachmentView, Source, VolumeView};
use crate::control::{Context, Error};
use crate::controllers::storage_protection::claims_of;
use crate::meta::ObjectName;
use crate::watch::{Cache, Entry};

#[derive(Default)]
pub(super) struct Known {
    names: Mutex<Names>,
    filled: OnceCell<()>,
}

#[derive(Default)]
struct Names {
    /// The pods that have a claim.
    pods: HashMap<ObjectName, BTreeSet<ObjectName>>,
    /// The attachments of a volume, with their nodes.
    attachments: HashMap<String, BTreeMap<String, String>>,
    /// The volumes that have attachments to a node.
    on_node: HashMap<String, BTreeSet<String>>,
    /// The PersistentVolumes that are the same volume to their driver.
    alike: HashMap<Source, BTreeSet<String>>,
}

impl Known {
    /// Has all that there is be known, before anything is decided: what is not known of looks as if nobody needed it.
    pub(super) async fn fill(&self, context: &Context) -> Result<(), Error> {
        let fill = async || {
            for entry in context.cache::<PersistentVolume>().await?.snapshot().range(None, None) {
                self.volume(entry);
            }
            for entry in context.cache::<VolumeAttachment>().await?.snapshot().range(None, None) {
                self.attachment(entry);
            }
            for entry in context.cache::<Pod>().await?.snapshot().range(None, None) {
                self.pod(entry);
            }
            Ok::<_, Error>(())
        };
        self.filled.get_or_try_init(fill).await.map(drop)
    }

    /// A pod was seen. Its claims.
    pub(super) fn pod(&self, entry: &Entry) -> Vec<ObjectName> {
        let claims = claims_of(entry);
        if !claims.is_empty() {
            let mut names = self.lock();
            for claim in &claims {
                names.pods.entry(claim.clone()).or_default().insert(entry.name().clone());
            }
        }
        claims
    }

    /// An attachment was seen. Its volume.
    pub(super) fn attachment(&self, entry: &Entry) -> Option<ObjectName> {
        let view = entry.view::<AttachmentView>().ok()?;
        let volume = view.volume()?;
        self.attached(volume, entry.name().name(), view.node());
        Some(ObjectName::cluster(volume))
    }

    /// A volume has an attachment to a node, or is about to.
    pub(super) fn attached(&self, volume: &str, attachment: &str, node: &str) {
        let mut names = self.lock();
        let of_volume = names.attachments.entry(volume.to_owned()).or_default();
        of_volume.insert(attachment.to_owned(), node.to_owned());
        names.on_node.entry(node.to_owned()).or_default().insert(volume.to_owned());
    }

    /// A volume was seen.
    pub(super) fn volume(&self, entry: &Entry) {
        let source = entry.view::<VolumeView>().ok().and_then(|view| view.spec.csi.clone());
        if let Some(source) = source {
            self.lock().alike.entry(source).or_default().insert(entry.name().name().to_owned());
        }
    }

    /// The pods that have a claim, of those in the cache.
    pub(super) fn pods_of(&self, claim: &ObjectName, pods: &Cache) -> Vec<std::sync::Arc<Entry>> {
        let mut names = self.lock();
        let Some(of_claim) = names.pods.get_mut(claim) else { return Vec::new() };
        let mut found = Vec::new();
        of_claim.retain(|name| {
            let entry = pods.get(name);
            let is_there = entry.is_some();
            found.extend(entry);
            is_there
        });
        if of_claim.is_empty() {
            names.pods.remove(claim);
        }
        found
    }

    /// The attachments of a volume, with their nodes: some may be gone.
    pub(super) fn attachments_of(&self, volume: &str) -> BTreeMap<String, String> {
        self.lock().attachments.get(volume).cloned().unwrap_or_default()
    }

    /// An attachment is gone, and nobody is told of it any more.
    pub(super) fn detached(&self, volume: &str, attachment: &str) {
        let mut names = self.lock();
        let Some(of_volume) = names.attachments.get_mut(volume) else { return };
        let Some(node) = of_volume.remove(attachment) else { return };
        let still = of_volume.values().any(|other| *other == node);
        if of_volume.is_empty() {
            names.attachments.remove(volume);
        }
        if !still && let Some(on_node) = names.on_node.get_mut(&node) {
            on_node.remove(volume);
            if on_node.is_empty() {
                names.on_node.remove(&node);
            }
        }
    }

    /// The volumes that have attachments to a node.
    pub(super) fn on_node(&self, node: &str) -> Vec<ObjectName> {
        self.lock().on_node.get(node).into_iter().flatten().map(ObjectName::cluster).collect()
    }

    /// The PersistentVolumes in the cache that are the same volume to their driver.
    pub(super) fn alike(&self, source: &Source, volumes: &Cache) -> Vec<String> {
        let mut names = self.lock();
        let Some(alike) = names.alike.get_mut(source) else { return Vec::new() };
        alike.retain(|name| {
            let view =
                volumes.get(&ObjectName::cluster(name)).and_then(|entry| entry.view::<VolumeView>().ok());
            view.is_some_and(|view| view.spec.csi.as_ref() == Some(source))
        });
        let all: Vec<String> = alike.iter().cloned().collect();
        if all.is_empty() {
            names.alike.remove(source);
        }
        all
    }

    /// The PersistentVolumes of a driver.
    pub(super) fn of_driver(&self, driver: &str) -> Vec<ObjectName> {
        let names = self.lock();
        let of_driver = names.alike.iter().filter(|(source, _)| source.driver == driver);
        let mut all: Vec<_> =
            of_driver.flat_map(|(_, names)| names.iter().map(ObjectName::cluster)).collect();
        all.sort();
        all
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
