use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::meta::{GroupResource, ObjectName};
use crate::selector::{Labels, Overlap, Selector};
use crate::store::Txn;
use crate::watch::{Entry, Query};

/// How many other controllers one answer warns of.
const MOST: usize = 3;

/// Refuses nothing, but warns of a selector that is probably not what was meant: that of a new controller which selects
/// pods of another one in its namespace, or whose own pods another one selects. That two selectors could meet is not
/// enough: there must be a pod, or a template, that both select.
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
    template: Option<Labelled>,
}

/// What has labels in its metadata: a template, or a pod.
#[derive(Deserialize)]
struct Labelled {
    metadata: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    labels: Labels,
}

impl Labelled {
    /// Whether two selectors both select it.
    fn is_of_both(&self, one: &Selector, other: &Selector) -> bool {
        let labels = self.metadata.as_ref().map(|meta| &meta.labels);
        labels.is_some_and(|labels| one.matches(labels) && other.matches(labels))
    }
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

    /// What the pods of the controller are like.
    fn template(&self) -> Option<&Labelled> {
        self.spec.as_ref()?.template.as_ref()
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
    fn overlaps(&self, name: &ObjectName, new: &Selecting, selector: &Selector) -> Vec<String> {
        let namespace = Query { namespace: name.namespace().map(Into::into), ..Query::all() };
        let pods = self.caches.of::<Pod>();
        let pods = pods.map(|pods| pods.list(&namespace)).unwrap_or_default();
        let kinds = self.controllers.iter().filter_map(|id| Some((id, self.caches.get(id)?)));
        let others = kinds.flat_map(|(id, cache)| {
            let entries = cache.list(&namespace).into_iter().filter(|entry| !is_owned(entry));
            let pods = &pods;
            entries.filter_map(move |entry| {
                let held = entry.view::<Selecting>().ok()?;
                let other = held.selector()?;
                let example = selector.overlap(&other)?;
                let mut templates = [new.template(), held.template()].into_iter().flatten();
                let meet = templates.any(|template| template.is_of_both(selector, &other))
                    || pods
                        .iter()
                        .any(|pod| pod.view::<Labelled>().is_ok_and(|pod| pod.is_of_both(selector, &other)));
                if !meet {
                    return None;
                }
                let id = format!("{id} {:?}", entry.name().name());
                Some(Overlap { id: &id, selector: &other, example }.to_string())
            })
        });
        others.take(MOST).collect()
    }
}

#[async_trait]
impl Admission for SelectorWarnings {
    fn concerns(&self, kind: &Resource) -> bool {
        self.controllers.contains(&kind.id)
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let (WriteVerb::Create, None, Some(object)) = (attributes.verb, attributes.subresource, new) else {
            return Ok(Vec::new());
        };
        if !self.controllers.contains(&attributes.resource.id) || names_a_controller(object) {
            return Ok(Vec::new());
        }
        let Ok(new) = Selecting::deserialize(object) else { return Ok(Vec::new()) };
        let selector = new.selector().filter(|selector| !selector.is_everything());
        Ok(selector.map(|selector| self.overlaps(attributes.name, &new, &selector)).unwrap_or_default())
    }
}

fn is_owned(entry: &Entry) -> bool {
    entry.owners().iter().any(|owner| owner.controller)
}

fn names_a_controller(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner["controller"] == true)
}
