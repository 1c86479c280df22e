//! Claims and volumes, as placing pods and binding claims see them.
//!
//! Who binds what is one rule for both: the controller binds claims that need not wait, the scheduler those that wait for
//! the node of their first pod, and both choose by [`best`].

mod attached;
mod bind;
mod demand;
mod room;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use self::attached::Attached;
pub(crate) use self::attached::{AttachmentInfo, DriversOfNode};
pub(crate) use self::bind::{BOUND_BY_CONTROLLER, bind_volumes, reference};
pub(crate) use self::demand::{Binding, Claims, OnNode};
use self::room::Room;
pub(crate) use self::room::{CapacityInfo, keeps_account};
pub(crate) use self::view::{
    BIND_COMPLETED, ClaimInfo, ClassInfo, HeldBy, SELECTED_NODE, Source, VolumeInfo, ZONES, on_node,
};
use crate::meta::ObjectName;
use crate::selector::LabelSet;

/// A node, as volumes that can be reached only from some look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'n> {
    pub(crate) name: &'n str,
    pub(crate) labels: &'n LabelSet,
}

/// The volume for a claim that has none: the one that is kept for it, or the smallest that does.
///
/// `waits` says that the claim waits for its first pod: then only one that is kept for it is meant, unless it is asked
/// for a node. `taken` says which volumes others are about to have.
pub(crate) fn best<'v>(
    claim: &ClaimInfo,
    volumes: impl IntoIterator<Item = &'v VolumeInfo>,
    waits: bool,
    at: Option<At<'_>>,
    taken: impl Fn(&VolumeInfo) -> bool,
) -> Option<&'v VolumeInfo> {
    let mut best: Option<&VolumeInfo> = None;
    for volume in volumes {
        let kept = volume.held_by(claim);
        if taken(volume) || kept == HeldBy::Another || !volume.could_serve(claim) {
            continue;
        }
        let reached = at.is_none_or(|at| volume.is_reached_from(at.name, at.labels));
        if kept == HeldBy::This {
            return reached.then_some(volume);
        }
        if (waits && at.is_none()) || !reached || !volume.may_be_chosen_for(claim) {
            continue;
        }
        // Of volumes that can be used in fewer ways first, then of smaller ones.
        let rank = |volume: &VolumeInfo| (volume.modes.len(), volume.capacity);
        if best.is_none_or(|best| rank(volume) < rank(best)) {
            best = Some(volume);
        }
    }
    best
}

/// All that the cluster has of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volumes {
    pub(crate) claims: HashMap<ObjectName, Arc<ClaimInfo>>,
    pub(crate) volumes: BTreeMap<Arc<str>, Arc<VolumeInfo>>,
    pub(crate) classes: HashMap<Arc<str>, ClassInfo>,
    pub(crate) attached: Attached,
    pub(crate) room: Room,
    /// Volumes that are being bound to a claim, before they say so themselves.
    assumed: HashMap<Arc<str>, ObjectName>,
}

impl Volumes {
    /// Takes over what a claim says of itself now, or that it is gone.
    pub(crate) fn set_claim(&mut self, name: &ObjectName, claim: Option<ClaimInfo>) {
        match claim {
            Some(claim) => self.claims.insert(name.clone(), Arc::new(claim)),
            None => self.claims.remove(name),
        };
    }

    /// The same of a volume.
    pub(crate) fn set_volume(&mut self, name: &str, volume: Option<VolumeInfo>) {
        let name: Arc<str> = name.into();
        if volume.as_ref().is_none_or(|volume| volume.claim.is_some()) {
            self.assumed.remove(&name);
        }
        match volume {
            Some(volume) => self.volumes.insert(name, Arc::new(volume)),
            None => self.volumes.remove(&name),
        };
    }

    /// The same of a class.
    pub(crate) fn set_class(&mut self, name: &str, class: Option<ClassInfo>) {
        match class {
            Some(class) => self.classes.insert(name.into(), class),
            None => self.classes.remove(name),
        };
    }

    /// Counts what is about to be bound as bound.
    pub(crate) fn assume(&mut self, bindings: &[Binding]) {
        for binding in bindings {
            if let Binding::Volume { claim, volume } = binding {
                self.assumed.insert(volume.name.clone(), claim.name.clone());
            }
        }
    }

    /// It was not bound after all.
    pub(crate) fn release(&mut self, claims: &[ObjectName]) {
        self.assumed.retain(|_, claim| !claims.contains(claim));
    }

    fn is_assumed_by_another(&self, volume: &VolumeInfo, claim: &ClaimInfo) -> bool {
        self.assumed.get(&volume.name).is_some_and(|other| *other != claim.name)
    }

    /// Whether a claim waits for the node of its first pod, as its class says.
    fn waits(&self, claim: &ClaimInfo) -> bool {
        claim.class.as_ref().and_then(|class| self.classes.get(class)).is_some_and(|class| class.waits)
    }

    /// What a claim is to the driver that attaches it: its volume, or that which is still to be made. `None` for one that
    /// no driver attaches.
    pub(crate) fn attachable(&self, claim: &ObjectName) -> Option<Source> {
        let held = self.claims.get(claim)?;
        if let Some(volume) = held.volume.as_ref().and_then(|name| self.volumes.get(name)) {
            return volume.source.clone();
        }
        let class = self.classes.get(held.class.as_deref()?)?;
        Some(Source { driver: class.provisioner.as_str().into(), handle: format!("{claim} to be made") })
    }

    /// Whether only one pod at a time may have a claim.
    pub(crate) fn is_for_one_pod(&self, claim: &ObjectName) -> bool {
        let modes = self.claims.get(claim).map(|claim| &claim.modes);
        modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
    }
}
