//! How many pods the controllers of some pods want in all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use serde::Deserialize;

use crate::api::{Kind, Status, api_version};
use crate::control::{Context, Error};
use crate::controllers::scale;
use crate::meta::{Object, ObjectName, OwnerRef, Uid};
use crate::watch::Entry;

/// What is wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) replicas: i32,
    /// Whether there are pods that no controller wants: nobody counts those.
    pub(super) unmanaged: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scaled {
    spec: ScaledSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScaledSpec {
    replicas: Option<i32>,
}

/// What the controllers of these pods want; the inner error says of which nothing can be learned.
pub(super) async fn wanted(context: &Context, pods: &[Arc<Entry>]) -> Result<Result<Wanted, String>, Error> {
    let (mut by_controller, mut unmanaged) = (HashMap::<Uid, i32>::new(), false);
    let mut asked = HashSet::new();
    for pod in pods {
        let Some(owner) = pod.controller() else {
            unmanaged = true;
            continue;
        };
        if !asked.insert(owner.uid.clone()) {
            continue;
        }
        match of(context, owner).await {
            Ok(Some((uid, replicas))) => by_controller.insert(uid, replicas),
            Ok(None) => return Ok(Err(format!("found no controllers for pod \"{}\"", pod.name().name()))),
            Err(Unknown::Scale(why)) => return Ok(Err(why)),
            Err(Unknown::Status(status)) if status.is_not_found() => {
                return Ok(Err(format!("found no controllers for pod \"{}\"", pod.name().name())));
            }
            Err(Unknown::Status(status)) => return Err(status.into()),
        };
    }
    let replicas = by_controller.into_values().fold(0, i32::saturating_add);
    Ok(Ok(Wanted { replicas, unmanaged }))
}

/// Why nothing is known of a controller.
enum Unknown {
    Scale(String),
    Status(Status),
}

impl From<Status> for Unknown {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// How many pods a controller wants, or the Deployment that a ReplicaSet is of; `None` if it is not there.
async fn of(context: &Context, owner: &OwnerRef) -> Result<Option<(Uid, i32)>, Unknown> {
    match (&*owner.api_version, &*owner.kind) {
        ("v1", "ReplicationController") => {
            Ok(held::<ReplicationController>(context, owner).await?.map(|(_, it)| it))
        }
        ("apps/v1", "StatefulSet") => Ok(held::<StatefulSet>(context, owner).await?.map(|(_, it)| it)),
        ("apps/v1", "ReplicaSet") => {
            let Some((entry, scale)) = held::<ReplicaSet>(context, owner).await? else { return Ok(None) };
            match entry.controller() {
                Some(above) if above.kind == Deployment::KIND => {
                    let deployment = held::<Deployment>(context, above).await?;
                    Ok(Some(deployment.map_or(scale, |(_, scale)| scale)))
                }
                _ => Ok(Some(scale)),
            }
        }
        _ => scaled(context, owner).await,
    }
}

/// A controller of a kind that is at hand.
async fn held<K: Object>(
    context: &Context,
    owner: &OwnerRef,
) -> Result<Option<(Arc<Entry>, (Uid, i32))>, Status> {
    let name = ObjectName::new(Some(context.namespace()), &owner.name);
    let found = context.cache::<K>().await?.get(&name).filter(|entry| *entry.uid() == owner.uid);
    let Some(entry) = found else { return Ok(None) };
    let replicas = entry.view::<Scaled>().map_err(Status::internal)?.spec.replicas.unwrap_or(1);
    Ok(Some((Arc::clone(&entry), (entry.uid().clone(), replicas))))
}

/// A controller of any other kind, which says by its `scale` how many pods it wants.
async fn scaled(context: &Context, owner: &OwnerRef) -> Result<Option<(Uid, i32)>, Unknown> {
    let kinds = context.client().service().kinds().await?;
    let is_of = |kind: &&Kind| {
        *kind.kind == *owner.kind && api_version(&kind.id.group, &kind.version) == *owner.api_version
    };
    let Some(kind) = kinds.iter().find(is_of) else { return Ok(None) };
    let value = match scale::get(context.client(), kind, context.namespace(), &owner.name).await {
        Ok(value) => value,
        Err(status) if status.is_not_found() && context.entry_of(kind).await.is_ok() => {
            return Err(Unknown::Scale(format!("{} does not implement the scale subresource", kind.id)));
        }
        Err(status) => return Err(status.into()),
    };
    if value["metadata"]["uid"].as_str() != Some(owner.uid.as_str()) {
        return Ok(None);
    }
    Ok(Some((owner.uid.clone(), scale::replicas(&value, "spec"))))
}
