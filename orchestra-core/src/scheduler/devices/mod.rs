//! Devices that pods ask for by claims (dynamic resource allocation).
//!
//! Drivers say in slices what there is, claims what is wanted, and the scheduler chooses: a device is had by one claim, a
//! claim by one node or several. [`Wanted`] is what a pod's claims ask of a node, [`allocate`](Wanted::allocate) a search
//! through the devices there; what was chosen is written into the status of the claims before the pod is bound (`bind`).
//!
//! Of a device that several claims may have at a time each is given a portion (`capacity`). Where a driver has to prepare a
//! device first, the pod is not bound before the driver says in the status of the claim that it has (`ready`).

mod allocate;
mod bind;
mod capacity;
mod demand;
mod ready;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use self::capacity::Amounts;
use self::view::{Held, SliceInfo as Slice};
use crate::meta::{ObjectName, Uid};
use crate::quantity::Quantity;

pub(crate) use self::allocate::{Allocation, OnNode};
pub(crate) use self::bind::{release, reserve};
pub(crate) use self::demand::Wanted;
pub(crate) use self::ready::until_ready;
pub(crate) use self::view::{DeviceClaim, DeviceClassInfo, SliceInfo};

/// A device of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceId {
    driver: Arc<str>,
    pool: Arc<str>,
    device: Arc<str>,
}

/// All that the cluster has of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Devices {
    classes: HashMap<Arc<str>, Arc<DeviceClassInfo>>,
    slices: BTreeMap<Arc<str>, Arc<Slice>>,
    claims: HashMap<ObjectName, Arc<DeviceClaim>>,
    /// What claims are about to have, before they say so themselves.
    assumed: HashMap<Uid, Taken>,
}

/// The devices that a claim has.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    /// Those that nobody else may have.
    whole: Vec<DeviceId>,
    /// Those that others may have too, with what it is given of each.
    shares: Vec<(DeviceId, Amounts)>,
}

impl Taken {
    /// The first device that one of the two has for itself and the other has as well.
    fn meets<'t>(&'t self, other: &Taken) -> Option<&'t DeviceId> {
        let has = |device: &DeviceId| {
            other.whole.contains(device) || other.shares.iter().any(|(shared, _)| shared == device)
        };
        let shared =
            || self.shares.iter().map(|(device, _)| device).find(|device| other.whole.contains(device));
        self.whole.iter().find(|device| has(device)).or_else(shared)
    }
}

/// What a driver has in one place, of the newest generation.
#[derive(Debug, Default)]
struct Pool<'s> {
    generation: i64,
    slices: Vec<&'s Slice>,
}

impl Pool<'_> {
    /// Whether all of it is known.
    fn is_complete(&self) -> bool {
        self.slices.first().is_some_and(|slice| slice.of == self.slices.len() as i64)
    }
}

impl Devices {
    /// Takes over what a class says now, or that it is gone.
    pub(crate) fn set_class(&mut self, name: &str, class: Option<DeviceClassInfo>) {
        match class {
            Some(class) => self.classes.insert(name.into(), Arc::new(class)),
            None => self.classes.remove(name),
        };
    }

    /// The same of a slice.
    pub(crate) fn set_slice(&mut self, name: &str, slice: Option<Slice>) {
        match slice {
            Some(slice) => self.slices.insert(name.into(), Arc::new(slice)),
            None => self.slices.remove(name),
        };
    }

    /// The same of a claim.
    pub(crate) fn set_claim(&mut self, name: &ObjectName, claim: Option<DeviceClaim>) {
        let before = match claim {
            Some(claim) => {
                if claim.allocated.is_some() {
                    self.assumed.remove(&claim.uid);
                }
                self.claims.insert(name.clone(), Arc::new(claim))
            }
            None => self.claims.remove(name),
        };
        if let Some(before) = before
            && self.claims.get(name).is_none_or(|now| now.uid != before.uid)
        {
            self.assumed.remove(&before.uid);
        }
    }

    /// Counts what is about to be allocated as allocated.
    pub(crate) fn assume(&mut self, allocations: &[Allocation]) {
        for allocation in allocations.iter().filter(|allocation| allocation.is_new()) {
            self.assumed.insert(allocation.claim.uid.clone(), allocation.taken());
        }
    }

    /// It was not allocated after all.
    pub(crate) fn release(&mut self, claims: &[Uid]) {
        self.assumed.retain(|claim, _| !claims.contains(claim));
    }

    /// What claims have or are about to have.
    fn held(&self) -> impl Iterator<Item = &Taken> {
        let allocated = self.claims.values().filter_map(|claim| claim.allocated.as_ref());
        allocated.map(|allocated| &allocated.taken).chain(self.assumed.values())
    }

    /// The devices that are somebody's alone.
    fn taken(&self) -> HashSet<&DeviceId> {
        self.held().flat_map(|taken| &taken.whole).collect()
    }

    /// What is given of those that several may have.
    fn shared(&self) -> HashMap<&DeviceId, Share> {
        let mut shared: HashMap<&DeviceId, Share> = HashMap::new();
        for (device, amounts) in self.held().flat_map(|taken| &taken.shares) {
            shared.entry(device).or_default().give(amounts);
        }
        shared
    }

    fn pools(&self) -> BTreeMap<&(Arc<str>, Arc<str>), Pool<'_>> {
        let mut pools: BTreeMap<_, Pool<'_>> = BTreeMap::new();
        for slice in self.slices.values() {
            let pool = pools.entry(&slice.pool).or_default();
            if pool.slices.is_empty() || slice.generation > pool.generation {
                *pool = Pool { generation: slice.generation, slices: vec![slice] };
            } else if slice.generation == pool.generation {
                pool.slices.push(slice);
            }
        }
        pools
    }
}

/// What is given of a device that several may have.
#[derive(Clone, Debug, Default)]
struct Share {
    /// By how many it is had.
    by: usize,
    amounts: Amounts,
}

impl Share {
    fn give(&mut self, amounts: &Amounts) {
        self.by += 1;
        capacity::count(&mut self.amounts, amounts, false);
    }

    fn take_back(&mut self, amounts: &Amounts) {
        self.by = self.by.saturating_sub(1);
        capacity::count(&mut self.amounts, amounts, true);
    }
}

/// What is left of the counters of a pool, by set and name.
type Counters = BTreeMap<(String, String), Quantity>;

/// Takes what a device consumes; `false` when there is not so much.
fn take(counters: &mut Counters, device: &Held) -> bool {
    let enough = device.consumes.iter().all(|(set, name, amount)| {
        counters.get(&(set.clone(), name.clone())).is_some_and(|left| left >= amount)
    });
    if enough {
        give(counters, device, false);
    }
    enough
}

/// Gives back what a device consumes, or takes it.
fn give(counters: &mut Counters, device: &Held, back: bool) {
    for (set, name, amount) in &device.consumes {
        if let Some(left) = counters.get_mut(&(set.clone(), name.clone())) {
            *left = if back { *left + *amount } else { *left - *amount };
        }
    }
}
