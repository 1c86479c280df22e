//! How much room there is for volumes that are still to be made, as far as their drivers keep account of it.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::view::Unreadable;
use crate::meta::ObjectName;
use crate::quantity::Quantity;
use crate::selector::{CompiledSelector, LabelSet, Selector};
use crate::watch::{Entry, EntryError};

/// Whether a driver says how much room there is for its volumes.
pub(crate) fn keeps_account(entry: &Entry) -> Result<bool, EntryError> {
    #[derive(Deserialize)]
    struct Driver {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        storage_capacity: Option<bool>,
    }
    let driver: Driver = entry.peek()?;
    Ok(driver.spec.storage_capacity == Some(true))
}

/// How much room there is for volumes of a class, on some of the nodes.
#[derive(Clone, Debug)]
pub(crate) struct CapacityInfo {
    class: Arc<str>,
    /// The largest volume that can be made.
    largest: Option<Quantity>,
    /// `None`: on no node.
    nodes: Option<CompiledSelector>,
}

impl CapacityInfo {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Capacity {
            storage_class_name: Arc<str>,
            capacity: Option<Quantity>,
            maximum_volume_size: Option<Quantity>,
            node_topology: Option<LabelSelector>,
        }
        let read: Capacity = entry.peek()?;
        let nodes = read.node_topology.as_ref().map(Selector::try_from).transpose()?;
        Ok(Self {
            class: read.storage_class_name,
            largest: read.maximum_volume_size.or(read.capacity),
            nodes: nodes.map(|nodes| nodes.compile()),
        })
    }
}

/// What all drivers say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    /// The drivers that keep account.
    accounted: HashSet<Arc<str>>,
    capacities: HashMap<ObjectName, CapacityInfo>,
}

impl Room {
    /// Takes over whether a driver keeps account.
    pub(crate) fn set_driver(&mut self, name: &str, accounts: bool) {
        match accounts {
            true => self.accounted.insert(name.into()),
            false => self.accounted.remove(name),
        };
    }

    /// Takes over how much room there is, or that nothing is said of it any more.
    pub(crate) fn set_capacity(&mut self, name: &ObjectName, capacity: Option<CapacityInfo>) {
        match capacity {
            Some(capacity) => self.capacities.insert(name.clone(), capacity),
            None => self.capacities.remove(name),
        };
    }

    /// Whether a driver can make a volume of a class and size for a node.
    pub(super) fn is_enough(&self, driver: &str, class: &str, size: Quantity, node: &LabelSet) -> bool {
        if size == Quantity::default() || !self.accounted.contains(driver) {
            return true;
        }
        self.capacities.values().any(|room| {
            *room.class == *class
                && room.largest.is_some_and(|largest| largest >= size)
                && room.nodes.as_ref().is_some_and(|nodes| nodes.matches(node))
        })
    }
}
