//! What the claims of one pod ask of nodes.

use std::sync::Arc;

use super::Devices;
use super::view::{DeviceClaim, matches};
use crate::meta::ObjectName;
use crate::scheduler::pod::{Asked, PodInfo};
use crate::selector::LabelSet;

/// As many may use one claim.
const MAX_USERS: usize = 256;

/// The claims of a pod, and what they have or want.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(super) claims: Vec<Arc<DeviceClaim>>,
    /// Why no node will do, whatever it is.
    pub(crate) fault: Option<String>,
}

impl Wanted {
    pub(crate) fn of(devices: &Devices, pod: &PodInfo) -> Self {
        let mut wanted = Self::default();
        for asked in &pod.devices {
            match claim(devices, pod, asked) {
                Ok(claim) => wanted.claims.extend(claim),
                Err(fault) => return Self { fault: Some(fault), ..wanted },
            }
        }
        wanted
    }

    /// Whether there are any that matter.
    pub(crate) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.fault.is_none()
    }

    /// Whether what the claims have already can be used on a node.
    pub(super) fn is_reached_from(&self, node: &str, labels: &LabelSet) -> bool {
        let mut allocated = self.claims.iter().filter_map(|claim| claim.allocated.as_ref());
        allocated.all(|it| it.nodes.as_ref().is_none_or(|nodes| matches(nodes, node, labels)))
    }

    /// A claim whose devices keep the pod from every node that it could otherwise have, and that nobody else uses: it may
    /// give them back.
    pub(crate) fn to_give_back(&self, pod: &PodInfo) -> Option<ObjectName> {
        let held = self.claims.iter().find(|claim| {
            claim.allocated.as_ref().is_some_and(|allocated| allocated.nodes.is_some())
                && claim.users.iter().all(|user| user == pod.uid.as_str())
        });
        held.map(|claim| claim.name.clone())
    }
}

fn claim(devices: &Devices, pod: &PodInfo, asked: &Asked) -> Result<Option<Arc<DeviceClaim>>, String> {
    let Some(name) = &asked.claim else {
        return match asked.settled {
            true => Ok(None),
            false => {
                Err(format!("pod \"{}\": pod claim {}: ResourceClaim not created yet", pod.name, asked.name))
            }
        };
    };
    let found = devices.claims.get(&ObjectName::namespaced(pod.namespace(), &**name));
    let claim = found.ok_or_else(|| format!("resourceclaim.resource.k8s.io \"{name}\" not found"))?;
    if claim.deleting {
        return Err(format!("resourceclaim \"{name}\" is being deleted"));
    }
    if asked.own && claim.owner.as_ref() != Some(&pod.uid) {
        return Err(format!(
            "ResourceClaim {} was not created for pod {} (pod is not owner)",
            claim.name, pod.name
        ));
    }
    if claim.allocated.is_some() {
        let is_used =
            claim.users.len() >= MAX_USERS && !claim.users.iter().any(|user| user == pod.uid.as_str());
        return if is_used { Err("resourceclaim in use".to_owned()) } else { Ok(Some(Arc::clone(claim))) };
    }
    if devices.assumed.contains_key(&claim.uid) {
        return Err(format!("resource claim {} is in the process of being allocated", claim.name));
    }
    for way in claim.requests.iter().flatten() {
        if !devices.classes.contains_key(&way.class) {
            return Err(format!("request {}: device class {} does not exist", way.name, way.class));
        }
    }
    Ok(Some(Arc::clone(claim)))
}
