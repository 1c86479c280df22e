use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::objects::{CLASS_ANNOTATION, is_default_class};
use crate::watch::Query;

/// Gives a new claim that names no class the default one, if there is one.
#[derive(Debug)]
pub struct DefaultStorageClass {
    caches: Caches,
}

impl DefaultStorageClass {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    /// The default class: of several, the one that was made last, and of those the first by name.
    fn default_class(&self) -> Option<String> {
        let classes = self.caches.of::<StorageClass>()?.list(&Query::all());
        let classes = classes.iter().filter_map(|entry| entry.decode_bare::<StorageClass>().ok());
        let marked = classes.filter(|class| is_default_class(&class.metadata));
        let made = |class: &StorageClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let last = marked.min_by(|one, other| {
            made(other).cmp(&made(one)).then_with(|| one.metadata.name.cmp(&other.metadata.name))
        });
        last?.metadata.name
    }
}

#[async_trait]
impl Admission for DefaultStorageClass {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<PersistentVolumeClaim>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        if !attributes.resource.id.is::<PersistentVolumeClaim>() || attributes.verb != WriteVerb::Create {
            return Ok(Vec::new());
        }
        let names_class = object.pointer("/spec/storageClassName").is_some_and(|class| !class.is_null())
            || object["metadata"]["annotations"].get(CLASS_ANNOTATION).is_some();
        if !names_class && let Some(class) = self.default_class() {
            object["spec"]["storageClassName"] = class.into();
        }
        Ok(Vec::new())
    }
}
