//! The claims of a StatefulSet's pods, and who owns them. Pure.
//!
//! A claim that is to go with the set is owned by the set; one that is to go when the set is made smaller is owned by the
//! pod that goes, once its ordinal is not wanted any more. The garbage collector does the rest.

use std::sync::Arc;

use serde_json::{Value, json};

use super::held_claims::Claims;
use super::model::{Replica, Step, Wanted, claim_name};
use crate::control::owner_reference;
use crate::meta::OwnerRef;
use crate::watch::Entry;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

impl Claims {
    /// Whether a claim of an ordinal is missing.
    pub(super) fn lack(&self, wanted: &Wanted<'_>, ordinal: u32) -> bool {
        names(wanted, ordinal).any(|name| self.get(&name).is_none())
    }

    /// Whether a claim of an ordinal still belongs to the last pod of it, with which it goes: then there is no new pod yet.
    pub(super) fn are_stale(&self, wanted: &Wanted<'_>, ordinal: u32) -> bool {
        let pod = format!("{}-{ordinal}", wanted.name());
        Policy::of(wanted).when_scaled
            && names(wanted, ordinal)
                .filter_map(|name| self.get(&name))
                .any(|claim| claim.owners().iter().any(|owner| is_pod(owner, &pod)))
    }

    /// What makes the owners of a pod's claims those that they should have.
    pub(super) fn owned<'o>(&self, wanted: &Wanted<'_>, replica: &Replica<'_>) -> Vec<Step<'o>> {
        let claims = names(wanted, replica.ordinal).filter_map(|name| self.get(&name));
        claims.filter_map(|claim| own(wanted, replica, claim)).collect()
    }
}

/// The names of the claims of an ordinal.
pub(super) fn names<'w>(wanted: &'w Wanted<'_>, ordinal: u32) -> impl Iterator<Item = String> + 'w {
    let templates = wanted.spec.volume_claim_templates.iter().flatten();
    let volumes = templates.filter_map(|template| template.metadata.name.as_deref());
    volumes.map(move |volume| claim_name(volume, wanted.name(), ordinal))
}

/// Whether claims are deleted.
#[derive(Clone, Copy, Debug)]
struct Policy {
    when_deleted: bool,
    when_scaled: bool,
}

impl Policy {
    fn of(wanted: &Wanted<'_>) -> Self {
        let policy = wanted.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |value: Option<&String>| value.is_some_and(|value| value == "Delete");
        Self {
            when_deleted: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            when_scaled: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }
}

fn is_set(owner: &OwnerRef, name: &str) -> bool {
    &*owner.kind == "StatefulSet" && &*owner.api_version == "apps/v1" && *owner.name == *name
}

fn is_pod(owner: &OwnerRef, name: &str) -> bool {
    &*owner.kind == "Pod" && &*owner.api_version == "v1" && *owner.name == *name
}

fn own<'o>(wanted: &Wanted<'_>, replica: &Replica<'_>, claim: &Arc<Entry>) -> Option<Step<'o>> {
    let policy = Policy::of(wanted);
    let (set, pod) = (wanted.entry, &replica.member.entry);
    let ours = |owner: &OwnerRef| is_set(owner, wanted.name()) || is_pod(owner, replica.name());
    let uids = [set.uid(), pod.uid()];
    // It belongs to an earlier set or pod of the name: that is for the garbage collector.
    if claim.owners().iter().any(|owner| ours(owner) && !uids.contains(&&owner.uid)) {
        return None;
    }
    let others: Vec<&OwnerRef> = claim.owners().iter().filter(|owner| !ours(owner)).collect();
    let disputed = (policy.when_deleted || policy.when_scaled) && others.iter().any(|owner| owner.controller);
    let condemned = !wanted.ordinals().contains(&replica.ordinal);
    let mut next: Vec<Value> = others.iter().map(|owner| owner_reference::stored(owner)).collect();
    if !disputed {
        if policy.when_scaled && condemned {
            next.push(owner_reference::controller::<Pod>(pod));
        } else if policy.when_deleted {
            next.push(owner_reference::controller::<StatefulSet>(set));
        }
    }
    let same = |held: &OwnerRef| {
        next.iter()
            .any(|next| next["uid"] == held.uid.as_str() && (next["controller"] == true) == held.controller)
    };
    let settled = claim.owners().len() == next.len() && claim.owners().iter().all(same);
    (!settled).then(|| Step::Own { claim: Arc::clone(claim), owners: next, disputed })
}

/// The claims of an ordinal, as they are made.
pub(super) fn made(set: &Value, wanted: &Wanted<'_>, ordinal: u32) -> Vec<Value> {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    let made = templates.into_iter().flatten().map(|template| {
        let meta = &template["metadata"];
        let mut labels = meta["labels"].clone();
        for (key, value) in set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
            labels[key] = value.clone();
        }
        let volume = meta["name"].as_str().unwrap_or_default();
        let mut claim = json!({
            "metadata": {
                "name": claim_name(volume, wanted.name(), ordinal),
                "namespace": wanted.entry.name().namespace(),
                "labels": labels,
                "annotations": meta["annotations"],
                "finalizers": meta["finalizers"],
            },
            "spec": template["spec"],
        });
        if Policy::of(wanted).when_deleted {
            claim["metadata"]["ownerReferences"] =
                json!([owner_reference::controller::<StatefulSet>(wanted.entry)]);
        }
        if let Some(meta) = claim["metadata"].as_object_mut() {
            meta.retain(|_, value| !value.is_null());
        }
        claim
    });
    made.collect()
}
