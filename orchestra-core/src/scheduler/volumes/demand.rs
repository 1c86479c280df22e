//! What the claims of one pod ask of nodes.

use std::sync::Arc;

use super::{At, ClaimInfo, VolumeInfo, Volumes, best};
use crate::meta::ObjectName;

/// Why no node will do, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClaimFault {
    Absent(String),
    /// It is made of the pod's own template, and is yet to be made.
    NotMade(String),
    Lost {
        claim: String,
        volume: String,
    },
    Deleting(String),
    /// It need not wait for this pod, and is not bound yet.
    Unbound,
}

impl std::fmt::Display for ClaimFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(claim) => write!(f, "persistentvolumeclaim \"{claim}\" not found"),
            Self::NotMade(claim) => write!(
                f,
                "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{claim}\""
            ),
            Self::Lost { claim, volume } => write!(
                f,
                "persistentvolumeclaim \"{claim}\" bound to non-existent persistentvolume \"{volume}\""
            ),
            Self::Deleting(claim) => write!(f, "persistentvolumeclaim \"{claim}\" is being deleted"),
            Self::Unbound => f.write_str("pod has unbound immediate PersistentVolumeClaims"),
        }
    }
}

/// What is to be bound before a pod is.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// A volume that there is, to a claim.
    Volume { claim: Arc<ClaimInfo>, volume: Arc<VolumeInfo> },
    /// A claim, to a volume that is still to be made for the node.
    New { claim: Arc<ClaimInfo> },
}

impl Binding {
    pub(crate) fn claim(&self) -> &Arc<ClaimInfo> {
        match self {
            Self::Volume { claim, .. } | Self::New { claim } => claim,
        }
    }
}

/// What a node is to the claims of a pod.
#[derive(Clone, Debug)]
pub(crate) enum OnNode {
    /// It will do, once so much is bound.
    Fits(Vec<Binding>),
    /// A volume that is bound cannot be had there.
    OutOfReach,
    /// There is no volume for a claim there, and none is made.
    NoVolume,
    /// One would be made, if there were room.
    NoRoom,
    /// A volume that a claim is bound to is not there at all.
    Gone,
}

/// The claims of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    bound: Vec<Option<Arc<VolumeInfo>>>,
    waiting: Vec<Arc<ClaimInfo>>,
    pub(crate) fault: Option<ClaimFault>,
}

/// A claim of a pod by its name, and whether it is of the pod's own template.
pub(crate) type Named = (Arc<str>, bool);

impl Claims {
    /// Those of a pod of the namespace.
    pub(crate) fn of(volumes: &Volumes, namespace: &str, names: &[Named]) -> Self {
        let mut claims = Self::default();
        for (name, own) in names {
            let key = ObjectName::namespaced(namespace, &**name);
            match claims.add(volumes, volumes.claims.get(&key), name, *own) {
                Ok(()) => {}
                Err(ClaimFault::Unbound) => claims.fault = claims.fault.or(Some(ClaimFault::Unbound)),
                // What is not there comes before what is not bound.
                Err(fault) => {
                    claims.fault = Some(fault);
                    return claims;
                }
            }
        }
        claims
    }

    fn add(
        &mut self,
        volumes: &Volumes,
        claim: Option<&Arc<ClaimInfo>>,
        name: &str,
        own: bool,
    ) -> Result<(), ClaimFault> {
        let name = || name.to_owned();
        let Some(claim) = claim else {
            return Err(if own { ClaimFault::NotMade(name()) } else { ClaimFault::Absent(name()) });
        };
        let volume = claim.volume.as_deref().unwrap_or_default();
        if claim.lost {
            return Err(ClaimFault::Lost { claim: name(), volume: volume.to_owned() });
        }
        if claim.deleting {
            return Err(ClaimFault::Deleting(name()));
        }
        if claim.is_bound() {
            self.bound.push(volumes.volumes.get(volume).cloned());
            return Ok(());
        }
        // One that asks for a volume by name is bound by the controller.
        if claim.volume.is_none() && volumes.waits(claim) {
            self.waiting.push(Arc::clone(claim));
            return Ok(());
        }
        Err(ClaimFault::Unbound)
    }

    /// Where the volumes that are bound are, by their labels.
    pub(crate) fn zones(&self) -> impl Iterator<Item = &(&'static str, Vec<String>)> {
        self.bound.iter().flatten().flat_map(|volume| &volume.zones)
    }

    /// Whether there are any that matter.
    pub(crate) fn is_empty(&self) -> bool {
        self.bound.is_empty() && self.waiting.is_empty() && self.fault.is_none()
    }

    /// What a node is to them.
    pub(crate) fn on(&self, volumes: &Volumes, at: At<'_>) -> OnNode {
        for volume in &self.bound {
            match volume {
                None => return OnNode::Gone,
                Some(volume) if !volume.is_reached_from(at.name, at.labels) => return OnNode::OutOfReach,
                Some(_) => {}
            }
        }
        let mut chosen: Vec<Binding> = Vec::new();
        // The smallest first, so that it does not take what a larger one needs.
        let mut waiting: Vec<_> = self.waiting.iter().collect();
        waiting.sort_by_key(|claim| claim.request);
        for claim in waiting {
            match choose(volumes, claim, at, &chosen) {
                Ok(binding) => chosen.push(binding),
                Err(lacking) => return lacking,
            }
        }
        OnNode::Fits(chosen)
    }
}

fn choose(
    volumes: &Volumes,
    claim: &Arc<ClaimInfo>,
    at: At<'_>,
    chosen: &[Binding],
) -> Result<Binding, OnNode> {
    let new = || Binding::New { claim: Arc::clone(claim) };
    // A volume is being made for it on a node.
    if let Some(node) = &claim.selected_node {
        return if **node == *at.name { Ok(new()) } else { Err(OnNode::NoVolume) };
    }
    let taken = |volume: &VolumeInfo| {
        let by_pod = chosen.iter().any(
            |binding| matches!(binding, Binding::Volume { volume: held, .. } if held.name == volume.name),
        );
        by_pod || volumes.is_assumed_by_another(volume, claim)
    };
    let all = volumes.volumes.values().map(|volume| &**volume);
    if let Some(found) = best(claim, all, true, Some(at), taken) {
        let volume = volumes.volumes.get(&found.name).map(Arc::clone).ok_or(OnNode::NoVolume)?;
        return Ok(Binding::Volume { claim: Arc::clone(claim), volume });
    }
    let name = claim.class.as_deref().unwrap_or_default();
    let class = volumes.classes.get(name).filter(|class| class.provisions_on(at.labels));
    let class = class.ok_or(OnNode::NoVolume)?;
    match volumes.room.is_enough(&class.provisioner, name, claim.request, at.labels) {
        true => Ok(new()),
        false => Err(OnNode::NoRoom),
    }
}
