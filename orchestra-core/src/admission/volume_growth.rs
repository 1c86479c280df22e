use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::meta::ObjectName;
use crate::objects::CLASS_ANNOTATION;
use crate::quantity::Quantity;

/// Lets a claim ask for more than it did only if its volume may grow: it is bound, and its class allows it.
#[derive(Debug)]
pub struct VolumeGrowth {
    caches: Caches,
}

impl VolumeGrowth {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    fn may_grow(&self, claim: &Value, old: &Value) -> bool {
        let class = class(claim).filter(|class| !class.is_empty() && self::class(old) == Some(class));
        let known = class.and_then(|name| self.caches.of::<StorageClass>()?.get(&ObjectName::cluster(name)));
        let known = known.and_then(|entry| entry.decode_bare::<StorageClass>().ok());
        known.is_some_and(|class| class.allow_volume_expansion == Some(true))
    }
}

/// The class of a claim, in the annotation of old or in the field.
fn class(claim: &Value) -> Option<&str> {
    let annotated = claim["metadata"]["annotations"][CLASS_ANNOTATION].as_str();
    annotated.or_else(|| claim["spec"]["storageClassName"].as_str())
}

fn asked(claim: &Value) -> Quantity {
    let size = claim["spec"]["resources"]["requests"]["storage"].as_str();
    size.and_then(|size| Quantity::parse(size).ok()).unwrap_or_default()
}

#[async_trait]
impl Admission for VolumeGrowth {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<PersistentVolumeClaim>()
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let id = &attributes.resource.id;
        let is_change = attributes.verb == WriteVerb::Update && attributes.subresource.is_none();
        let (Some(new), Some(old)) = (object, attributes.old) else { return Ok(Vec::new()) };
        if !is_change || !id.is::<PersistentVolumeClaim>() || asked(new) <= asked(old) {
            return Ok(Vec::new());
        }
        let why = if old["status"]["phase"] != "Bound" {
            "Only bound persistent volume claims can be expanded"
        } else if self.may_grow(new, old) {
            return Ok(Vec::new());
        } else {
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        };
        Err(Status::forbidden(id, attributes.name.name(), why))
    }
}
