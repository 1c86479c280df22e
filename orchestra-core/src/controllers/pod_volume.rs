//! Which claims a pod has, by its volumes.

use std::borrow::Cow;

use serde::Deserialize;

/// What is read of a volume of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodVolume {
    name: String,
    persistent_volume_claim: Option<ClaimName>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimName {
    claim_name: String,
}

/// A claim of a volume, in the namespace of its pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct VolumeClaim<'v> {
    pub(super) name: Cow<'v, str>,
    /// Whether it is one that is made for the pod, which then controls it.
    pub(super) is_made: bool,
}

impl PodVolume {
    /// The claim of the volume, if it is of one.
    pub(super) fn claim(&self, pod: &str) -> Option<VolumeClaim<'_>> {
        match &self.persistent_volume_claim {
            Some(claim) => Some(VolumeClaim { name: claim.claim_name.as_str().into(), is_made: false }),
            None => {
                self.ephemeral?;
                Some(VolumeClaim { name: format!("{pod}-{}", self.name).into(), is_made: true })
            }
        }
    }
}
