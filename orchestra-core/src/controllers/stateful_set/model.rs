//! A StatefulSet and its pods by ordinal, as the plan sees them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Volume;
use serde::Deserialize;

use super::held_claims::Claims;
use crate::controllers::pod::{Availability, Phase};
use crate::controllers::replicas::member::Member;
use crate::controllers::share::share;
use crate::watch::Entry;

/// The label with the name of the revision that a pod was made from.
pub(super) const REVISION: &str = "controller-revision-hash";
pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// What there is.
#[derive(Debug)]
pub(super) struct Observed<'o> {
    pub(super) wanted: Wanted<'o>,
    /// Its pods, by ordinal.
    pub(super) pods: Vec<Replica<'o>>,
    /// The names of the revision that pods had and of the one that they are to have.
    pub(super) current: String,
    pub(super) update: String,
    pub(super) claims: Claims,
    pub(super) now: Timestamp,
}

/// What the StatefulSet asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'o> {
    pub(super) entry: &'o Entry,
    pub(super) spec: &'o StatefulSetSpec,
}

impl<'o> Wanted<'o> {
    pub(super) fn name(&self) -> &'o str {
        self.entry.name().name()
    }

    pub(super) fn replicas(&self) -> u32 {
        u32::try_from(self.spec.replicas.unwrap_or(1)).unwrap_or_default()
    }

    /// The ordinals that there are to be.
    pub(super) fn ordinals(&self) -> std::ops::Range<u32> {
        let start = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default();
        let start = u32::try_from(start).unwrap_or_default();
        start..start.saturating_add(self.replicas())
    }

    /// Whether pods come and go one after the other, each waiting for those before it.
    pub(super) fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    pub(super) fn is_on_delete(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    fn rolling(&self) -> Option<&'o RollingUpdateStatefulSetStrategy> {
        self.spec.update_strategy.as_ref()?.rolling_update.as_ref()
    }

    /// How many of the first pods keep their revision.
    pub(super) fn partition(&self) -> u32 {
        let partition = self.rolling().and_then(|rolling| rolling.partition);
        u32::try_from(partition.unwrap_or_default()).unwrap_or_default()
    }

    /// How many pods may be unavailable in an update, if it is said.
    pub(super) fn most_unavailable(&self) -> Option<usize> {
        let value = self.rolling()?.max_unavailable.as_ref()?;
        let of = self.spec.replicas.unwrap_or(1);
        Some(usize::try_from(share(value, of, false)).unwrap_or_default().max(1))
    }
}

/// A pod of the set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica<'o> {
    pub(super) ordinal: u32,
    pub(super) member: &'o Member,
}

impl<'o> Replica<'o> {
    /// `None`: its name is not one that the set gives.
    pub(super) fn of(set: &str, member: &'o Member) -> Option<Self> {
        Some(Self { ordinal: ordinal(set, member.entry.name().name())?, member })
    }

    pub(super) fn name(&self) -> &'o str {
        self.member.entry.name().name()
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.member.entry.is_deleting()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.member.pod.status.phase == Phase::Running && self.member.pod.is_ready()
    }

    pub(super) fn availability(&self, wanted: &Wanted<'_>, now: Timestamp) -> Availability {
        self.member.pod.availability(wanted.spec.min_ready_seconds.unwrap_or_default(), now)
    }

    pub(super) fn serves(&self, wanted: &Wanted<'_>, now: Timestamp) -> bool {
        !self.is_terminating() && self.availability(wanted, now) == Availability::Available
    }

    pub(super) fn has_revision(&self, revision: &str) -> bool {
        self.member.entry.labels().has(REVISION, revision)
    }

    /// Whether it bears the name it has.
    pub(super) fn is_identified(&self) -> bool {
        self.member.entry.labels().has(POD_NAME, self.name())
    }

    /// Whether each of the set's claims is one of its volumes.
    pub(super) fn has_storage(&self, wanted: &Wanted<'_>) -> bool {
        let templates = wanted.spec.volume_claim_templates.iter().flatten();
        let Ok(view) = self.member.entry.view::<Stored>() else { return false };
        let has = |volume: &str| {
            let claim = claim_name(volume, wanted.name(), self.ordinal);
            view.spec.volumes.iter().flatten().any(|held| {
                let named = held.persistent_volume_claim.as_ref().map(|source| &source.claim_name);
                held.name == volume && named == Some(&claim)
            })
        };
        templates.filter_map(|template| template.metadata.name.as_deref()).all(has)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    spec: StoredSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StoredSpec {
    volumes: Option<Vec<Volume>>,
}

/// The ordinal in the name of a pod of a set.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<u32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    // One spelling for each: s-01 is not the pod s-1.
    (ordinal.to_string() == digits).then(|| u32::try_from(ordinal).ok())?
}

pub(super) fn claim_name(template: &str, set: &str, ordinal: u32) -> String {
    format!("{template}-{set}-{ordinal}")
}

/// What is to be done, in this order, and what is then to be reported.
#[derive(Debug, Default)]
pub(super) struct Plan<'o> {
    pub(super) steps: Vec<Step<'o>>,
    pub(super) status: StatefulSetStatus,
    /// When to look again if nothing happens.
    pub(super) again: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) enum Step<'o> {
    /// A pod, after its claims; of the present template or of the one before.
    Create {
        ordinal: u32,
        present: bool,
    },
    Delete(Replica<'o>),
    /// The claims of a pod that waits for them, as far as they are missing.
    Claim(u32),
    /// Who owns a claim, which says when it goes.
    Own {
        claim: Arc<Entry>,
        owners: Vec<serde_json::Value>,
        disputed: bool,
    },
    /// The labels and volumes that make a pod this one.
    Identify(Replica<'o>),
}
