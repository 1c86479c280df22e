use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Status};
use crate::meta::{GroupResource, ObjectName};
use crate::store::Txn;

/// Namespaces that a cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Refuses what would be made in a namespace that is not there or is being emptied, and the deletion of the namespaces
/// that a cluster needs.
#[derive(Debug)]
pub struct NamespaceLifecycle {
    caches: Caches,
}

impl NamespaceLifecycle {
    /// Over these caches. A cluster without the kind Namespace has no such rules.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }
}

#[async_trait]
impl Admission for NamespaceLifecycle {
    async fn mutate(&self, attributes: &Attributes<'_>, _object: &mut Value) -> Result<Vec<String>, Status> {
        let (resource, name) = (attributes.resource, attributes.name);
        let namespaces = GroupResource::of::<Namespace>();
        let (WriteVerb::Create, Some(namespace), Some(cache)) =
            (attributes.verb, name.namespace(), self.caches.get(&namespaces))
        else {
            return Ok(Vec::new());
        };
        match cache.get(&ObjectName::cluster(namespace)) {
            None => Err(Status::not_found(&namespaces, namespace)),
            Some(entry) if entry.is_deleting() => {
                let why = format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                );
                Err(Status::forbidden(&resource.id, name.name(), why).because(
                    "NamespaceTerminating",
                    format!("namespace {namespace} is being terminated"),
                    "metadata.namespace",
                ))
            }
            Some(_) => Ok(Vec::new()),
        }
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        _new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let (resource, name) = (attributes.resource, attributes.name);
        let of_namespaces = resource.id.is::<Namespace>();
        if attributes.verb == WriteVerb::Delete && of_namespaces && IMMORTAL.contains(&name.name()) {
            return Err(Status::forbidden(&resource.id, name.name(), "this namespace may not be deleted"));
        }
        Ok(Vec::new())
    }
}
