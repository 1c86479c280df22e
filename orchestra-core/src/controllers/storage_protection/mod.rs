//! Claims, volumes and classes of their attributes that are deleted while something uses them: they stay until nothing
//! does.
//!
//! Each has a finalizer from its creation on, by the admission `StorageProtection`. What lacks it gets it here, and here
//! it is taken away from what is deleted and not used any more.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use self::plan::{ClaimView, PodView, Step, View, VolumeView};
use super::Host;
use crate::admission::{CLAIM_PROTECTION, CLASS_PROTECTION, VOLUME_PROTECTION};
use crate::api::{ListOptions, Operation, Reply, Status, Target};
use crate::control::predicate::{self, Predicate};
use crate::control::write;
use crate::control::{Action, Context, Error};
use crate::meta::{Object, ObjectName};
use crate::watch::{Entry, Event, Query};

/// Runs the controller of claims.
pub(super) async fn run_claims(host: Host) -> Result<(), Status> {
    let over = predicate::field_changed("status.phase").or(predicate::field_changed("spec.nodeName"));
    let frees = over.or(|event: &Event| event.object.is_deleting());
    let controller = host
        .controller::<PersistentVolumeClaim>()
        .named("pvc-protection-controller")
        .watches::<Pod, _, _>(claims_of)
        .when(frees);
    host.run(controller, claim).await
}

/// Runs the controller of volumes.
pub(super) async fn run_volumes(host: Host) -> Result<(), Status> {
    let controller = host.controller::<PersistentVolume>().named("pv-protection-controller");
    host.run(controller, volume).await
}

/// Runs the controller of classes of attributes.
pub(super) async fn run_classes(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<VolumeAttributesClass>()
        .named("volumeattributesclass-protection-controller")
        .watches::<PersistentVolumeClaim, _, _>(|entry| {
            let claim = entry.view::<ClaimView>().unwrap_or_default();
            claim.classes().map(ObjectName::cluster).collect::<Vec<_>>()
        })
        .watches::<PersistentVolume, _, _>(|entry| {
            let volume = entry.view::<VolumeView>().unwrap_or_default();
            volume.class().map(ObjectName::cluster)
        });
    host.run(controller, class).await
}

/// The claims of a pod's volumes. Not kept with the pod: of most pods it is asked once.
pub(super) fn claims_of(entry: &Entry) -> Vec<ObjectName> {
    if !entry.mentions("\"persistentVolumeClaim\"") && !entry.mentions("\"ephemeral\"") {
        return Vec::new();
    }
    let pod: PodView = entry.peek().unwrap_or_default();
    pod.claims().map(|claim| ObjectName::new(entry.name().namespace(), &claim)).collect()
}

async fn claim(context: Context) -> Result<Action, Error> {
    let Some(entry) = protected::<PersistentVolumeClaim>(&context, CLAIM_PROTECTION).await? else {
        return Ok(Action::Done);
    };
    let pods = context.cache::<Pod>().await?.list(&Query::namespace(context.namespace()));
    // The cache may not have seen the newest pod, which would lose its volume.
    if is_kept(&entry, &pods)? || is_kept(&entry, &all_pods(&context).await?)? {
        return Ok(Action::Done);
    }
    release::<PersistentVolumeClaim>(&context, &entry, CLAIM_PROTECTION).await
}

fn is_kept(claim: &Entry, pods: &[Arc<Entry>]) -> Result<bool, Error> {
    for pod in pods {
        if plan::keeps(&pod.peek::<PodView>()?, pod, claim) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The pods of the namespace by the server's word.
async fn all_pods(context: &Context) -> Result<Vec<Arc<Entry>>, Error> {
    let list = Operation::List(ListOptions::default());
    let target = Target::of::<Pod>(Some(context.namespace()));
    match context.client().call(target, list).await?.reply {
        Reply::List(list) => Ok(list.objects),
        Reply::Object(_) | Reply::Value(_) => Err("the list of pods is no list".into()),
    }
}

async fn volume(context: Context) -> Result<Action, Error> {
    let Some(entry) = protected::<PersistentVolume>(&context, VOLUME_PROTECTION).await? else {
        return Ok(Action::Done);
    };
    match entry.view::<VolumeView>()?.is_bound() {
        true => Ok(Action::Done),
        false => release::<PersistentVolume>(&context, &entry, VOLUME_PROTECTION).await,
    }
}

async fn class(context: Context) -> Result<Action, Error> {
    let Some(entry) = protected::<VolumeAttributesClass>(&context, CLASS_PROTECTION).await? else {
        return Ok(Action::Done);
    };
    let name = context.name().name();
    for volume in context.cache::<PersistentVolume>().await?.snapshot().range(None, None) {
        if volume.view::<VolumeView>()?.class() == Some(name) {
            return Ok(Action::Done);
        }
    }
    for claim in context.cache::<PersistentVolumeClaim>().await?.snapshot().range(None, None) {
        if claim.view::<ClaimView>()?.classes().any(|class| class == name) {
            return Ok(Action::Done);
        }
    }
    release::<VolumeAttributesClass>(&context, &entry, CLASS_PROTECTION).await
}

/// The object that the run is for, if it waits to go and only this finalizer may hold it. One that stays and has no
/// protection gets it.
async fn protected<K: Object>(context: &Context, finalizer: &str) -> Result<Option<Arc<Entry>>, Error> {
    let Some(entry) = context.entry::<K>().await? else { return Ok(None) };
    let view = entry.view::<View>()?;
    match plan::step(&view, entry.is_deleting(), finalizer) {
        Step::None => Ok(None),
        Step::RemoveIfUnused => Ok(Some(entry)),
        Step::Add => {
            let patched = write::patch::<K>(context.client(), &entry, plan::with(&view, finalizer)).await;
            write::unless_gone(patched)?;
            Ok(None)
        }
    }
}

async fn release<K: Object>(context: &Context, entry: &Entry, finalizer: &str) -> Result<Action, Error> {
    let patch = plan::without(&*entry.view::<View>()?, finalizer);
    write::unless_gone(write::patch::<K>(context.client(), entry, patch).await)?;
    Ok(Action::Done)
}
