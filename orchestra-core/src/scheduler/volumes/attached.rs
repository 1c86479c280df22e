//! How many volumes of a driver a node can have, and which it has without a pod that says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::Deserialize;

use super::super::view::or_default;
use super::{Source, Volumes};
use crate::watch::{Entry, EntryError};

/// What a node says of the drivers of volumes that run there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DriversOfNode {
    /// How many volumes of each driver there can be; of one that is not named, any number.
    pub(crate) limits: BTreeMap<Arc<str>, i64>,
}

impl DriversOfNode {
    pub(crate) fn read(entry: &Entry) -> Result<Self, EntryError> {
        #[derive(Deserialize)]
        struct Node {
            spec: Spec,
        }
        #[derive(Deserialize)]
        struct Spec {
            #[serde(default, deserialize_with = "or_default")]
            drivers: Vec<Driver>,
        }
        #[derive(Deserialize)]
        struct Driver {
            name: Arc<str>,
            allocatable: Option<Allocatable>,
        }
        #[derive(Deserialize)]
        struct Allocatable {
            count: Option<i64>,
        }
        let node: Node = entry.peek()?;
        let limit = |driver: Driver| Some((driver.name, driver.allocatable?.count?));
        Ok(Self { limits: node.spec.drivers.into_iter().filter_map(limit).collect() })
    }
}

/// A volume that is attached to a node, or on its way there.
#[derive(Clone, Debug)]
pub(crate) struct AttachmentInfo {
    node: Arc<str>,
    volume: Arc<str>,
}

impl AttachmentInfo {
    /// Reads one of a persistent volume. One of a volume that a pod describes itself names none.
    pub(crate) fn read(entry: &Entry) -> Result<Self, EntryError> {
        #[derive(Deserialize)]
        struct Attachment {
            spec: Spec,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            node_name: Arc<str>,
            source: Of,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Of {
            persistent_volume_name: Option<Arc<str>>,
        }
        let Attachment { spec } = entry.peek()?;
        let volume = spec.source.persistent_volume_name.unwrap_or_else(|| "".into());
        Ok(Self { node: spec.node_name, volume })
    }
}

/// What all nodes say of their drivers, and all attachments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached {
    nodes: HashMap<Arc<str>, DriversOfNode>,
    attachments: HashMap<Arc<str>, AttachmentInfo>,
    /// The volumes attached to each node, by the name of their attachment.
    by_node: HashMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>,
}

impl Attached {
    /// Takes over what a node says of its drivers now, or that it says nothing.
    pub(crate) fn set_node(&mut self, name: &str, drivers: Option<DriversOfNode>) {
        match drivers.filter(|drivers| !drivers.limits.is_empty()) {
            Some(drivers) => self.nodes.insert(name.into(), drivers),
            None => self.nodes.remove(name),
        };
    }

    /// The same of an attachment.
    pub(crate) fn set_attachment(&mut self, name: &str, attachment: Option<AttachmentInfo>) {
        if let Some(before) = self.attachments.remove(name)
            && let Some(volumes) = self.by_node.get_mut(&before.node)
        {
            volumes.remove(name);
            if volumes.is_empty() {
                self.by_node.remove(&before.node);
            }
        }
        if let Some(attachment) = attachment {
            let name: Arc<str> = name.into();
            let volumes = self.by_node.entry(attachment.node.clone()).or_default();
            volumes.insert(name.clone(), attachment.volume.clone());
            self.attachments.insert(name, attachment);
        }
    }

    /// Whether any node has a limit.
    pub(crate) fn has_limits(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The limits of a node, if it has some.
    pub(crate) fn limits(&self, node: &str) -> Option<&BTreeMap<Arc<str>, i64>> {
        self.nodes.get(node).map(|drivers| &drivers.limits)
    }

    /// The volumes that are attached to a node.
    pub(crate) fn on<'v>(&'v self, volumes: &'v Volumes, node: &str) -> impl Iterator<Item = &'v Source> {
        let names = self.by_node.get(node).into_iter().flat_map(BTreeMap::values);
        names.filter_map(|name| volumes.volumes.get(name)?.source.as_ref())
    }
}
