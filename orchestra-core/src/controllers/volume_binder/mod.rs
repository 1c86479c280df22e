//! Claims and volumes: which are bound to each other, and what becomes of either when the other goes.
//!
//! `plan.rs` decides. A binding stands on both sides, so it is written in steps: the volume takes its claim, by a
//! write that fails if another was faster; then the claim takes the volume; then both say that they are bound. Whoever
//! dies between two of them finds the rest to be done.

mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::{ClaimStep, Observed, PhaseView, Reclaim, Told, VolumeStep};
use super::Host;
use super::storage_protection::claims_of;
use crate::api::{Reply, Response, Status};
use crate::control::events::{EventType, Recorder, reference_to};
use crate::control::predicate::{self, Predicate};
use crate::control::{Action, Context, Error, write};
use crate::meta::{ObjectName, Revision};
use crate::scheduler::volumes::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, ClaimInfo, ClassInfo, HeldBy, VolumeInfo, reference,
};
use crate::watch::{Entry, Event, EventKind, Query};

/// Stands for every claim that waits: a volume or a class that comes may be what any of them waits for.
const WAITING: &str = "";
/// By which a volume says who made it.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// By which a claim says who is to make its volume; the second is what it was called before.
pub(super) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const OLD_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// By which a class says that claims without one are of it.
pub(super) const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// How soon a volume is looked at again whose claim is not bound to it yet.
const RETRY: Duration = Duration::from_secs(15);

/// Runs the controller of claims.
pub(super) async fn run_claims(host: Host) -> Result<(), Status> {
    let placed = |event: &Event| matches!(event.kind, EventKind::Added);
    let controller = host
        .controller::<PersistentVolumeClaim>()
        .named("persistentvolumeclaim-binder")
        .watches::<PersistentVolume, _, _>(served_by)
        .watches::<StorageClass, _, _>(|_| [ObjectName::cluster(WAITING)])
        .watches::<Pod, _, _>(claims_of)
        .when(placed.or(predicate::field_changed("spec.nodeName")));
    let binder =
        Arc::new(Binder { recorder: host.recorder("persistentvolume-controller"), read: Mutex::default() });
    host.run(controller, move |context| {
        let binder = Arc::clone(&binder);
        async move { binder.claim(context).await }
    })
    .await
}

/// Runs the controller of volumes.
pub(super) async fn run_volumes(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<PersistentVolume>()
        .named("persistentvolume-binder")
        .watches::<PersistentVolumeClaim, _, _>(|entry| {
        let claim = ClaimInfo::read(entry).ok();
        claim.and_then(|claim| claim.volume).map(|volume| ObjectName::cluster(&*volume))
    });
    let recorder = host.recorder("persistentvolume-controller");
    host.run(controller, move |context| volume(context, recorder.clone())).await
}

/// The claim that a volume is of, and those that wait for one.
fn served_by(entry: &Entry) -> Vec<ObjectName> {
    let held = VolumeInfo::read(entry).ok().and_then(|volume| volume.claim);
    match held {
        Some(held) => vec![ObjectName::namespaced(held.namespace, held.name)],
        None => vec![ObjectName::cluster(WAITING)],
    }
}

struct Binder {
    recorder: Recorder,
    /// Volumes as they were read last, so that each is read once and not for each claim.
    read: Mutex<HashMap<ObjectName, (Revision, Arc<VolumeInfo>)>>,
}

impl Binder {
    async fn claim(&self, context: Context) -> Result<Action, Error> {
        if context.name().namespace().is_none() {
            return wake(&context).await;
        }
        let Some(entry) = context.entry::<PersistentVolumeClaim>().await? else { return Ok(Action::Done) };
        let claim = ClaimInfo::read(&entry)?;
        let step = self.step(&context, &entry, &claim).await?;
        let about = reference_to::<PersistentVolumeClaim>(&entry);
        let tell = |(kind, reason, message): Told| self.recorder.record(&about, kind, reason, message);
        match step {
            ClaimStep::Wait(told) => {
                told.into_iter().for_each(tell);
                if phase(&entry)? == "Pending" || claim.completed {
                    return Ok(Action::Done);
                }
                let status = json!({"phase": "Pending", "accessModes": null, "capacity": null});
                write_status::<PersistentVolumeClaim>(&context, &entry, status).await?;
            }
            ClaimStep::Classify(class) => {
                let patch = json!({"spec": {"storageClassName": class}});
                write::unless_gone(
                    write::patch::<PersistentVolumeClaim>(context.client(), &entry, patch).await,
                )?;
            }
            ClaimStep::Bind(volume) => return bind(&context, &entry, &claim, &volume).await,
            ClaimStep::Provision { provisioner } => {
                if claim.annotations.get(PROVISIONER) != Some(&provisioner) {
                    let annotations = json!({PROVISIONER: provisioner, OLD_PROVISIONER: provisioner});
                    let patch = json!({"metadata": {"annotations": annotations}});
                    let patched =
                        write::patch::<PersistentVolumeClaim>(context.client(), &entry, patch).await;
                    write::unless_gone(patched)?;
                }
                tell((EventType::Normal, "ExternalProvisioning", awaited(&provisioner)));
            }
            ClaimStep::Lose { reason, message } => {
                let status = json!({"phase": "Lost", "accessModes": null, "capacity": null});
                write_status::<PersistentVolumeClaim>(&context, &entry, status).await?;
                tell((EventType::Warning, reason, message.to_owned()));
            }
        }
        Ok(Action::Done)
    }

    async fn step(&self, context: &Context, entry: &Entry, claim: &ClaimInfo) -> Result<ClaimStep, Error> {
        let volumes = self.volumes(&context.cache::<PersistentVolume>().await?.list(&Query::all()))?;
        let classes = context.cache::<StorageClass>().await?;
        let named = claim.class.as_deref().filter(|name| !name.is_empty());
        let class = named.and_then(|name| classes.get(&ObjectName::cluster(name)));
        let class = class.map(|entry| ClassInfo::read(&entry)).transpose()?;
        let default = match claim.class {
            None => default_class(&classes.list(&Query::all())),
            Some(_) => None,
        };
        let waits = class.as_ref().is_some_and(|class| class.waits) && claim.selected_node.is_none();
        let pods = if waits && !claim.completed { unplaced(context).await? } else { Vec::new() };
        let phase = phase(entry)?;
        Ok(plan::claim(&Observed {
            claim,
            phase: &phase,
            volumes: &volumes,
            class: class.as_ref(),
            default_class: default.as_deref(),
            pods,
        }))
    }

    fn volumes(&self, entries: &[Arc<Entry>]) -> Result<Vec<Arc<VolumeInfo>>, Error> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() > 2 * entries.len() + 64 {
            read.clear();
        }
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            match read.get(entry.name()) {
                Some((revision, volume)) if *revision == entry.revision() => all.push(Arc::clone(volume)),
                _ => {
                    let volume = Arc::new(VolumeInfo::read(entry)?);
                    read.insert(entry.name().clone(), (entry.revision(), Arc::clone(&volume)));
                    all.push(volume);
                }
            }
        }
        Ok(all)
    }
}

fn awaited(provisioner: &str) -> String {
    format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    )
}

/// Has every claim be looked at that waits.
async fn wake(context: &Context) -> Result<Action, Error> {
    for entry in context.cache::<PersistentVolumeClaim>().await?.list(&Query::all()) {
        if phase(&entry)? == "Pending" {
            context.run_for(entry.name().clone());
        }
    }
    Ok(Action::Done)
}

fn phase(entry: &Entry) -> Result<String, Error> {
    Ok(entry.view::<PhaseView>()?.status.phase.clone())
}

/// The newest of the classes that are the default.
fn default_class(classes: &[Arc<Entry>]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        #[serde(default)]
        annotations: std::collections::BTreeMap<String, String>,
        creation_timestamp: Option<jiff::Timestamp>,
    }
    #[derive(Deserialize)]
    struct View {
        metadata: Metadata,
    }
    let defaults = classes.iter().filter_map(|entry| {
        let view = entry.view::<View>().ok()?;
        let is_default = view.metadata.annotations.get(DEFAULT_CLASS).is_some_and(|value| value == "true");
        let name = entry.name().name().to_owned();
        is_default.then(|| (view.metadata.creation_timestamp, std::cmp::Reverse(name)))
    });
    defaults.max().map(|(_, name)| name.0)
}

/// The pods of the claim that are on no node.
async fn unplaced(context: &Context) -> Result<Vec<String>, Error> {
    let pods = context.cache::<Pod>().await?.list(&Query::namespace(context.namespace()));
    let waits = |pod: &&Arc<Entry>| pod.field("spec.nodeName").is_none_or(str::is_empty);
    let over = |pod: &Arc<Entry>| matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"));
    let mine = pods.iter().filter(waits).filter(|pod| !over(pod) && claims_of(pod).contains(context.name()));
    Ok(mine.map(|pod| pod.name().name().to_owned()).collect())
}

async fn write_status<K: crate::meta::Object>(
    context: &Context,
    entry: &Entry,
    status: Value,
) -> Result<(), Error> {
    write::unless_gone(write::patch_status::<K>(context.client(), entry, status).await)
}

fn object(response: Response) -> Result<Arc<Entry>, Error> {
    match response.reply {
        Reply::Object(entry) => Ok(entry),
        Reply::List(_) | Reply::Value(_) => Err("a write was not answered with the object".into()),
    }
}

/// Binds a claim and a volume to each other, as far as they are not.
async fn bind(context: &Context, entry: &Arc<Entry>, claim: &ClaimInfo, name: &str) -> Result<Action, Error> {
    let client = context.client();
    let volumes = context.cache::<PersistentVolume>().await?;
    let Some(mut held) = volumes.get(&ObjectName::cluster(name)) else { return Ok(Action::Done) };
    let volume = VolumeInfo::read(&held)?;
    let is_whole = volume.claim.as_ref().is_some_and(|it| it.uid == claim.uid.as_str());
    if !is_whole {
        let mut patch = json!({"spec": {"claimRef": reference(claim)}});
        if volume.held_by(claim) != HeldBy::This {
            patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
        }
        held = object(write::patch::<PersistentVolume>(client, &held, patch).await?)?;
    }
    set_phase(context, &held, "Bound", None).await?;
    let mut entry = Arc::clone(entry);
    let mut patch = json!({});
    if claim.volume.as_deref() != Some(name) {
        patch["spec"]["volumeName"] = name.into();
        patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
    }
    if !claim.completed {
        patch["metadata"]["annotations"][BIND_COMPLETED] = "yes".into();
    }
    if patch != json!({}) {
        entry = object(write::patch::<PersistentVolumeClaim>(client, &entry, patch).await?)?;
    }
    let (volume, claim) = (held.to_value()?, entry.to_value()?);
    let mut status = json!({});
    if claim["status"]["phase"] != "Bound" {
        let attributes = &volume["spec"]["volumeAttributesClassName"];
        status = json!({
            "phase": "Bound", "capacity": volume["spec"]["capacity"],
            "currentVolumeAttributesClassName": attributes,
        });
    }
    if claim["status"]["accessModes"] != volume["spec"]["accessModes"] {
        status["accessModes"] = volume["spec"]["accessModes"].clone();
    }
    if status != json!({}) {
        write_status::<PersistentVolumeClaim>(context, &entry, status).await?;
    }
    Ok(Action::Done)
}

/// Has a volume be in another phase; returns whether it was not.
async fn set_phase(context: &Context, entry: &Entry, to: &str, message: Option<&str>) -> Result<bool, Error> {
    if phase(entry)? == to {
        return Ok(false);
    }
    let now = context.now();
    let status = json!({"phase": to, "message": message, "reason": null, "lastPhaseTransitionTime": now});
    write_status::<PersistentVolume>(context, entry, status).await?;
    Ok(true)
}

/// What is read of a volume beside what binding goes by.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VolumeView {
    metadata: VolumeMetadata,
    spec: VolumeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VolumeMetadata {
    annotations: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSpec {
    persistent_volume_reclaim_policy: String,
}

async fn volume(context: Context, recorder: Recorder) -> Result<Action, Error> {
    let Some(entry) = context.entry::<PersistentVolume>().await? else { return Ok(Action::Done) };
    let (info, view) = (VolumeInfo::read(&entry)?, entry.view::<VolumeView>()?);
    let policy = view.spec.persistent_volume_reclaim_policy.as_str();
    let provisioner = view.metadata.annotations.get(PROVISIONED_BY).map(String::as_str);
    let claim = claim_of(&context, &info).await?;
    match plan::volume(&info, provisioner.is_some(), policy == "Delete", claim.as_ref()) {
        VolumeStep::Phase(phase) => _ = set_phase(&context, &entry, phase, None).await?,
        VolumeStep::Nudge(claim) => {
            // The claim's own controller looks at it too, when it sees the volume; it may have missed it.
            tracing::debug!(volume = %entry.name(), %claim, "a volume waits for its claim");
            return Ok(Action::Again(RETRY));
        }
        VolumeStep::Unbind => unbind(&context, &entry, &view).await?,
        VolumeStep::Reclaim => {
            if phase(&entry)? != "Failed" {
                set_phase(&context, &entry, "Released", None).await?;
            }
            if let Reclaim::Fail { reason, message } = plan::reclaim(entry.name().name(), policy, provisioner)
                && phase(&entry)? == "Released"
                && set_phase(&context, &entry, "Failed", Some(&message)).await?
            {
                recorder.warning(&reference_to::<PersistentVolume>(&entry), reason, message);
            }
        }
    }
    Ok(Action::Done)
}

/// The claim that a volume names. One that the cache does not show is asked for: what is thought gone is given up for good.
async fn claim_of(context: &Context, volume: &VolumeInfo) -> Result<Option<ClaimInfo>, Error> {
    let Some(held) = volume.claim.as_ref().filter(|held| !held.uid.is_empty()) else { return Ok(None) };
    let name = ObjectName::namespaced(held.namespace.as_str(), held.name.as_str());
    let cache = context.cache::<PersistentVolumeClaim>().await?;
    if let Some(entry) = cache.get(&name).filter(|entry| entry.uid().as_str() == held.uid) {
        return Ok(Some(ClaimInfo::read(&entry)?));
    }
    let target = write::target::<PersistentVolumeClaim>(&name);
    match context.client().call(target, crate::api::Operation::GET).await {
        Ok(response) => {
            let entry = object(response)?;
            Ok(Some(ClaimInfo::read(&entry)?))
        }
        Err(status) if status.is_not_found() => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// Gives a volume up whose claim has another: to all if a controller chose it, else to the claim it was kept for.
async fn unbind(context: &Context, entry: &Entry, view: &VolumeView) -> Result<(), Error> {
    let patch = match view.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
        true => json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}}),
        false => json!({"spec": {"claimRef": {"uid": null}}}),
    };
    let patched = object(write::patch::<PersistentVolume>(context.client(), entry, patch).await?)?;
    set_phase(context, &patched, "Available", None).await.map(drop)
}
