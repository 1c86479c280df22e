use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Resource, Status};
use crate::meta::GroupResource;

/// Keeps a claim that pods use.
pub(crate) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume that is bound to a claim.
pub(crate) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Keeps a class that the attributes of volumes are of.
pub(crate) const CLASS_PROTECTION: &str = "kubernetes.io/vac-protection";

/// Gives each new claim, volume and class of volumes' attributes the finalizer that keeps it while it is in use. A
/// controller takes it away from what is deleted when nothing uses it.
#[derive(Debug)]
pub struct StorageProtection;

fn finalizer_of(kind: &GroupResource) -> Option<&'static str> {
    match kind {
        claim if claim.is::<PersistentVolumeClaim>() => Some(CLAIM_PROTECTION),
        volume if volume.is::<PersistentVolume>() => Some(VOLUME_PROTECTION),
        class if class.is::<VolumeAttributesClass>() => Some(CLASS_PROTECTION),
        _ => None,
    }
}

#[async_trait]
impl Admission for StorageProtection {
    fn concerns(&self, kind: &Resource) -> bool {
        finalizer_of(&kind.id).is_some()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        if attributes.verb != WriteVerb::Create || attributes.subresource.is_some() {
            return Ok(Vec::new());
        }
        let Some(finalizer) = finalizer_of(&attributes.resource.id) else { return Ok(Vec::new()) };
        match &mut object["metadata"]["finalizers"] {
            Value::Array(held) if held.iter().any(|held| held == finalizer) => {}
            Value::Array(held) => held.push(finalizer.into()),
            none => *none = Value::Array(vec![finalizer.into()]),
        }
        Ok(Vec::new())
    }
}
