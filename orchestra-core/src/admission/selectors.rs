use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, Change};
use crate::api::{Caches, Status};
use crate::meta::{GroupResource, ObjectName};
use crate::selector::{Labels, Overlap, Selector};
use crate::store::Txn;
use crate::watch::{Entry, Query};

/// How many other controllers one answer warns of.
const MOST: usize = 3;

/// Refuses nothing, but warns of selectors that are probably not what was meant: of a new controller that could select
/// the pods of another one in its namespace, and of a new service that selects no pod while a label is spelled almost
/// as its selector asks.
///
/// A controller that is itself owned, such as a Deployment's ReplicaSet, neither warns nor is warned of: its owner has
/// seen to its selector.
#[derive(Debug)]
pub struct SelectorWarnings {
    caches: Caches,
    controllers: [GroupResource; 5],
}

/// The part of an object that selects.
#[derive(Deserialize)]
struct Selecting {
    spec: Option<SelectingSpec>,
}

#[derive(Deserialize)]
struct SelectingSpec {
    selector: Option<Form>,
}

/// A plain map, as services and replication controllers have it, or the form that all others have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Map(Labels),
    Selector(LabelSelector),
}

impl Selecting {
    /// None where there is no selector, or none that means something.
    fn selector(&self) -> Option<Selector> {
        match self.spec.as_ref()?.selector.as_ref()? {
            Form::Map(map) => Some(Selector::from_map(map)),
            Form::Selector(selector) => Selector::try_from(selector).ok(),
        }
    }
}

impl SelectorWarnings {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        let controllers = [
            GroupResource::of::<Deployment>(),
            GroupResource::of::<ReplicaSet>(),
            GroupResource::of::<StatefulSet>(),
            GroupResource::of::<DaemonSet>(),
            GroupResource::of::<ReplicationController>(),
        ];
        Self { caches: caches.clone(), controllers }
    }

    /// What a new controller overlaps with.
    fn overlaps(&self, name: &ObjectName, selector: &Selector) -> Vec<String> {
        let namespace = Query { namespace: name.namespace().map(Into::into), ..Query::all() };
        let kinds = self.controllers.iter().filter_map(|id| Some((id, self.caches.get(id)?)));
        let others = kinds.flat_map(|(id, cache)| {
            let entries = cache.list(&namespace).into_iter().filter(|entry| !is_owned(entry));
            entries.filter_map(move |entry| {
                let other = entry.view::<Selecting>().ok()?.selector()?;
                let example = selector.overlap(&other)?;
                let id = format!("{id} {:?}", entry.name().name());
                Some(Overlap { id: &id, selector: &other, example }.to_string())
            })
        });
        others.take(MOST).collect()
    }
}

#[async_trait]
impl Admission for SelectorWarnings {
    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let (Change::Create, None, Some(object)) = (attributes.change, attributes.subresource, new) else {
            return Ok(Vec::new());
        };
        let id = &attributes.resource.id;
        let selector =
            || Selecting::deserialize(object).ok()?.selector().filter(|found| !found.is_everything());
        if *id == GroupResource::of::<Service>() {
            let nearest = selector()
                .zip(self.caches.get(&GroupResource::of::<Pod>()))
                .and_then(|(selector, pods)| pods.nearest_label(&selector, attributes.name.namespace()));
            return Ok(nearest.map(|nearest| nearest.to_string()).into_iter().collect());
        }
        if !self.controllers.contains(id) || names_a_controller(object) {
            return Ok(Vec::new());
        }
        Ok(selector().map(|selector| self.overlaps(attributes.name, &selector)).unwrap_or_default())
    }
}

fn is_owned(entry: &Entry) -> bool {
    entry.owners().iter().any(|owner| owner.controller)
}

fn names_a_controller(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner["controller"] == true)
}
