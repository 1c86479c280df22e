//! What is read of slices, classes and claims of devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::resource::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::capacity::{Amounts, Capacity};
use super::{DeviceId, Taken};
use crate::expression::{Attribute, CompileError, Device, DeviceSelector};
use crate::meta::{ObjectName, Uid};
use crate::quantity::{ParseQuantityError, Quantity};
use crate::selector::{CompiledNodeSelector, InvalidSelector, LabelSet, NodeSelector};
use crate::watch::{Entry, EntryError};

/// Why one of them cannot be read. The API lets none of these through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("cannot be decoded: {0}")]
    Decode(#[from] EntryError),
    #[error("holds an invalid node selector")]
    Selector(#[from] InvalidSelector),
    #[error("holds an amount that is none")]
    Quantity(#[from] ParseQuantityError),
    #[error("holds a selector that cannot be compiled: {0}")]
    Expression(#[from] CompileError),
}

/// On which nodes a device can be had.
#[derive(Clone, Debug)]
pub(super) enum Nodes {
    All,
    Named(String),
    Selected(Box<(CompiledNodeSelector, core::NodeSelector)>),
}

impl Nodes {
    fn read(
        all: Option<bool>,
        name: Option<String>,
        selector: Option<core::NodeSelector>,
    ) -> Result<Option<Self>, Unreadable> {
        if all == Some(true) {
            return Ok(Some(Self::All));
        }
        if let Some(name) = name {
            return Ok(Some(Self::Named(name)));
        }
        let selected = |given: core::NodeSelector| {
            let compiled = NodeSelector::try_from(&given)?.compile();
            Ok::<_, Unreadable>(Self::Selected(Box::new((compiled, given))))
        };
        selector.map(selected).transpose()
    }

    pub(super) fn include(&self, node: &str, labels: &LabelSet) -> bool {
        match self {
            Self::All => true,
            Self::Named(name) => name == node,
            Self::Selected(selector) => matches(&selector.0, node, labels),
        }
    }
}

pub(super) fn matches(selector: &CompiledNodeSelector, node: &str, labels: &LabelSet) -> bool {
    selector.matches(labels, |path| (path == "metadata.name").then_some(node))
}

/// A device of a slice.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: DeviceId,
    /// `None`: on no node.
    pub(super) nodes: Option<Nodes>,
    pub(super) seen: Device,
    pub(super) taints: Vec<api::DeviceTaint>,
    /// What it takes of the counters of its pool, by set and name.
    pub(super) consumes: Vec<(String, String, Quantity)>,
    pub(super) capacities: BTreeMap<String, Capacity>,
    /// What its driver has to say of it before a pod may be bound, and what it says if that will not be.
    pub(super) conditions: Option<Conditions>,
    /// Whether whoever has it can only be where it was chosen.
    pub(super) binds_to_node: bool,
}

/// Conditions in the status of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) ready: Vec<String>,
    pub(super) failed: Vec<String>,
}

/// A part of what a driver has.
#[derive(Clone, Debug)]
pub(crate) struct SliceInfo {
    pub(super) pool: (Arc<str>, Arc<str>),
    pub(super) generation: i64,
    /// How many slices of that generation there are.
    pub(super) of: i64,
    pub(super) devices: Vec<Arc<Held>>,
    pub(super) counters: Vec<(String, String, Quantity)>,
}

impl SliceInfo {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        let slice: api::ResourceSlice = entry.peek()?;
        let spec = slice.spec;
        let driver: Arc<str> = spec.driver.as_str().into();
        let pool: Arc<str> = spec.pool.name.as_str().into();
        let nodes = Nodes::read(spec.all_nodes, spec.node_name, spec.node_selector)?;
        let each = spec.per_device_node_selection == Some(true);
        let devices = spec.devices.unwrap_or_default().into_iter().map(|device| {
            let own = Nodes::read(device.all_nodes, device.node_name.clone(), device.node_selector.clone())?;
            let nodes = if each { own } else { nodes.clone() };
            let id =
                DeviceId { driver: driver.clone(), pool: pool.clone(), device: device.name.as_str().into() };
            Ok::<_, Unreadable>(Arc::new(held(id, nodes, device)?))
        });
        let counters = spec.shared_counters.unwrap_or_default().into_iter();
        let counters = counters.flat_map(|set| amounts(set.name, set.counters));
        Ok(Self {
            generation: spec.pool.generation,
            of: spec.pool.resource_slice_count,
            devices: devices.collect::<Result<_, Unreadable>>()?,
            counters: counters.collect::<Result<_, _>>()?,
            pool: (driver, pool),
        })
    }
}

fn held(id: DeviceId, nodes: Option<Nodes>, device: api::Device) -> Result<Held, Unreadable> {
    let mut seen = Device {
        driver: id.driver.to_string(),
        is_shared: device.allow_multiple_allocations == Some(true),
        ..Device::default()
    };
    for (name, attribute) in device.attributes.unwrap_or_default() {
        let (domain, name) = qualified(&name, &id.driver);
        let value = match attribute {
            api::DeviceAttribute { bool: Some(value), .. } => Attribute::Bool(value),
            api::DeviceAttribute { int: Some(value), .. } => Attribute::Int(value),
            api::DeviceAttribute { string: Some(value), .. } => Attribute::Text(value),
            api::DeviceAttribute { version: Some(value), .. } => Attribute::Version(value),
            _ => continue,
        };
        seen.attributes.entry(domain).or_default().insert(name, value);
    }
    let mut capacities = BTreeMap::new();
    for (name, capacity) in device.capacity.unwrap_or_default() {
        capacities.insert(name.clone(), Capacity::read(&capacity)?);
        let (domain, name) = qualified(&name, &id.driver);
        seen.capacity.entry(domain).or_default().insert(name, Quantity::parse(&capacity.value.0)?);
    }
    let consumes = device.consumes_counters.unwrap_or_default().into_iter();
    let consumes = consumes.flat_map(|taken| amounts(taken.counter_set, taken.counters));
    Ok(Held {
        consumes: consumes.collect::<Result<_, _>>()?,
        capacities,
        conditions: device
            .binding_conditions
            .filter(|all| !all.is_empty())
            .map(|ready| Conditions { ready, failed: device.binding_failure_conditions.unwrap_or_default() }),
        binds_to_node: device.binds_to_node == Some(true),
        taints: device.taints.unwrap_or_default(),
        id,
        nodes,
        seen,
    })
}

fn amounts(
    set: String,
    counters: BTreeMap<String, api::Counter>,
) -> impl Iterator<Item = Result<(String, String, Quantity), ParseQuantityError>> {
    counters
        .into_iter()
        .map(move |(name, counter)| Ok((set.clone(), name, Quantity::parse(&counter.value.0)?)))
}

/// The domain and the name of an attribute: what says none is of the driver's.
pub(super) fn qualified(name: &str, driver: &str) -> (String, String) {
    let (domain, name) = name.split_once('/').unwrap_or((driver, name));
    (domain.to_owned(), name.to_owned())
}

/// A class of devices.
#[derive(Clone, Debug)]
pub(crate) struct DeviceClassInfo {
    pub(super) selectors: Vec<DeviceSelector>,
    pub(super) config: Vec<api::DeviceClassConfiguration>,
}

impl DeviceClassInfo {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        let class: api::DeviceClass = entry.peek()?;
        let selectors = compile(class.spec.selectors)?;
        Ok(Self { selectors, config: class.spec.config.unwrap_or_default() })
    }
}

fn compile(selectors: Option<Vec<api::DeviceSelector>>) -> Result<Vec<DeviceSelector>, Unreadable> {
    let texts = selectors.unwrap_or_default().into_iter().filter_map(|selector| selector.cel);
    texts.map(|cel| Ok::<_, Unreadable>(DeviceSelector::compile(&cel.expression)?)).collect()
}

/// One way to meet a request.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The request's name, with that of the alternative.
    pub(super) name: String,
    pub(super) class: Arc<str>,
    pub(super) selectors: Vec<DeviceSelector>,
    /// How many devices; `None`: all there are.
    pub(super) count: Option<usize>,
    pub(super) is_admin: bool,
    /// How much of each device.
    pub(super) capacity: Amounts,
    pub(super) tolerations: Vec<api::DeviceToleration>,
}

/// A claim on devices.
#[derive(Clone, Debug)]
pub(crate) struct DeviceClaim {
    pub(crate) name: ObjectName,
    pub(crate) uid: Uid,
    pub(super) deleting: bool,
    /// The pod that it was made for.
    pub(super) owner: Option<Uid>,
    /// Of each request the ways to meet it, the best first.
    pub(super) requests: Vec<Vec<Way>>,
    pub(super) constraints: Vec<api::DeviceConstraint>,
    pub(super) config: Vec<api::DeviceClaimConfiguration>,
    /// The devices that it has, and those of which it only looks after.
    pub(super) allocated: Option<Allocated>,
    /// The uids of who uses it.
    pub(super) users: Vec<String>,
}

/// What a claim has.
#[derive(Clone, Debug)]
pub(super) struct Allocated {
    pub(super) taken: Taken,
    /// `None`: it can be used on every node.
    pub(super) nodes: Option<CompiledNodeSelector>,
}

impl DeviceClaim {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        let claim: api::ResourceClaim = entry.peek()?;
        let devices = claim.spec.devices.unwrap_or_default();
        let status = claim.status.unwrap_or_default();
        let requests = devices.requests.unwrap_or_default().into_iter().map(ways);
        let allocated = status.allocation.map(|allocation| {
            let nodes = allocation.node_selector.as_ref().map(NodeSelector::try_from).transpose()?;
            let taken = taken(allocation)?;
            let nodes = nodes.map(|nodes| nodes.compile());
            Ok::<_, Unreadable>(Allocated { taken, nodes })
        });
        Ok(Self {
            name: entry.name().clone(),
            uid: entry.uid().clone(),
            deleting: entry.is_deleting(),
            owner: entry.controller().filter(|owner| &*owner.kind == "Pod").map(|owner| owner.uid.clone()),
            requests: requests.collect::<Result<_, _>>()?,
            constraints: devices.constraints.unwrap_or_default(),
            config: devices.config.unwrap_or_default(),
            allocated: allocated.transpose()?,
            users: status.reserved_for.unwrap_or_default().into_iter().map(|user| user.uid).collect(),
        })
    }
}

/// The devices that an allocation is of, without those of which it only looks after.
pub(super) fn taken(allocation: api::AllocationResult) -> Result<Taken, ParseQuantityError> {
    let results = allocation.devices.and_then(|devices| devices.results).unwrap_or_default();
    let mut taken = Taken::default();
    for result in results.into_iter().filter(|result| result.admin_access != Some(true)) {
        let (driver, pool) = (result.driver.into(), result.pool.into());
        let id = DeviceId { driver, pool, device: result.device.into() };
        match result.share_id {
            Some(_) => taken.shares.push((id, quantities(result.consumed_capacity)?)),
            None => taken.whole.push(id),
        }
    }
    Ok(taken)
}

fn quantities(given: Option<BTreeMap<String, Text>>) -> Result<Amounts, ParseQuantityError> {
    let given = given.unwrap_or_default().into_iter();
    given.map(|(name, amount)| Ok((name, Quantity::parse(&amount.0)?))).collect()
}

fn ways(request: api::DeviceRequest) -> Result<Vec<Way>, Unreadable> {
    let count = |mode: Option<String>, count: Option<i64>| match mode.as_deref() {
        Some("All") => None,
        _ => Some(usize::try_from(count.unwrap_or(1)).unwrap_or(1)),
    };
    if let Some(exactly) = request.exactly {
        return Ok(vec![Way {
            name: request.name,
            class: exactly.device_class_name.into(),
            selectors: compile(exactly.selectors)?,
            count: count(exactly.allocation_mode, exactly.count),
            is_admin: exactly.admin_access == Some(true),
            capacity: quantities(exactly.capacity.and_then(|capacity| capacity.requests))?,
            tolerations: exactly.tolerations.unwrap_or_default(),
        }]);
    }
    let alternatives = request.first_available.unwrap_or_default().into_iter().map(|one| {
        Ok::<_, Unreadable>(Way {
            name: format!("{}/{}", request.name, one.name),
            class: one.device_class_name.into(),
            selectors: compile(one.selectors)?,
            count: count(one.allocation_mode, one.count),
            is_admin: false,
            capacity: quantities(one.capacity.and_then(|capacity| capacity.requests))?,
            tolerations: one.tolerations.unwrap_or_default(),
        })
    });
    alternatives.collect()
}
