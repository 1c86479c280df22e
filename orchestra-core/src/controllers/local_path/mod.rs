//! Volumes that are directories of nodes, made for claims as they are needed.
//!
//! A claim of such a class waits for its first pod, so that its node is known; its volume is a `hostPath` there, which
//! the node makes when it first mounts it, with an affinity that keeps every later pod on that node. When the claim goes,
//! so does the volume, after the directory has been removed through the port [`Directories`]: where nobody can do that,
//! the volume stays and says so. Claims may grow; a directory has no bound of its own.

mod plan;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use self::plan::{ClaimView, ClassView, Made, VolumeView};
use super::Host;
use super::volume_binder::DEFAULT_CLASS;
use crate::api::{Body, Operation, Status, Target};
use crate::control::events::{EventType, Recorder, reference_to};
use crate::control::{Action, Context, Error, write};
use crate::meta::ObjectName;
use crate::watch::Entry;

/// The name by which classes ask for such volumes.
pub const PROVISIONER: &str = "orchestra.io/local-path";
/// The class that a cluster has from the start.
const CLASS: &str = "local-path";

/// Removes directories of nodes.
#[async_trait]
pub trait Directories: Send + Sync + fmt::Debug + 'static {
    /// Removes a directory of a node with all that is in it. One that is not there is removed.
    ///
    /// # Errors
    /// Why it cannot be removed, for people.
    async fn remove(&self, node: &str, path: &str) -> Result<(), String>;
}

/// Where such volumes are.
#[derive(Clone, Debug)]
pub struct LocalPath {
    /// The directory under which they are made, on every node, unless a class says otherwise by its parameter `path`.
    pub root: String,
    /// Who removes them.
    pub directories: Arc<dyn Directories>,
}

/// Runs the controller that makes volumes.
pub(super) async fn run_making(host: Host, local: LocalPath) -> Result<(), Status> {
    ensure_class(&host).await?;
    let controller = host
        .controller::<PersistentVolumeClaim>()
        .named("local-path-provisioner")
        .reads::<StorageClass>()
        .reads::<Node>()
        .reads::<PersistentVolume>();
    let recorder = host.recorder(PROVISIONER);
    host.run(controller, move |context| make(context, local.root.clone(), recorder.clone())).await
}

/// Runs the controller that removes volumes.
pub(super) async fn run_removing(host: Host, local: LocalPath) -> Result<(), Status> {
    let controller = host.controller::<PersistentVolume>().named("local-path-remover");
    let recorder = host.recorder(PROVISIONER);
    host.run(controller, move |context| remove(context, Arc::clone(&local.directories), recorder.clone()))
        .await
}

/// Makes the class, if there is none of its name: what people changed in it stays.
async fn ensure_class(host: &Host) -> Result<(), Status> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    });
    let create = Operation::Create { body: Body::Value(class), options: Default::default() };
    match host.client.call(Target::of::<StorageClass>(None), create).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

async fn make(context: Context, root: String, recorder: Recorder) -> Result<Action, Error> {
    let Some(entry) = context.entry::<PersistentVolumeClaim>().await? else { return Ok(Action::Done) };
    let claim = entry.view::<ClaimView>()?;
    if claim.is_bound() {
        grow(&context, &entry, &claim).await?;
        return Ok(Action::Done);
    }
    if !claim.asks(PROVISIONER) || entry.is_deleting() {
        return Ok(Action::Done);
    }
    let class = match claim.class() {
        Some(name) => context.cache::<StorageClass>().await?.get(&ObjectName::cluster(name)),
        None => None,
    };
    let class = class.map(|class| class.view::<ClassView>()).transpose()?;
    let node = match claim.node() {
        Some(name) => context.cache::<Node>().await?.get(&ObjectName::cluster(name)),
        None => None,
    };
    let hostname = node.as_ref().map(|node| plan::hostname(node));
    let about = reference_to::<PersistentVolumeClaim>(&entry);
    match plan::make(&entry, &claim, class.as_deref(), hostname.as_deref(), &root) {
        Made::Volume(volume) => {
            let name = plan::name(&entry);
            let create = Operation::Create { body: Body::Value(volume), options: Default::default() };
            match context.client().call(Target::of::<PersistentVolume>(None), create).await {
                Err(status) if !status.is_already_exists() => return Err(status.into()),
                _ => {}
            }
            let told = format!("Successfully provisioned volume {name}");
            recorder.record(&about, EventType::Normal, "ProvisioningSucceeded", told);
        }
        Made::Refused(why) => {
            let told = format!(
                "failed to provision volume with StorageClass \"{}\": {why}",
                claim.class().unwrap_or_default()
            );
            recorder.record(&about, EventType::Warning, "ProvisioningFailed", told);
        }
        // The node went: the scheduler chooses another.
        Made::Reschedule => {
            let patch = json!({"metadata": {"annotations": {plan::SELECTED_NODE: null}}});
            let patched = write::patch::<PersistentVolumeClaim>(context.client(), &entry, patch).await;
            write::unless_gone(patched)?;
        }
    }
    Ok(Action::Done)
}

/// Lets a claim have more than it had: first the volume says so, then the claim.
async fn grow(context: &Context, entry: &Entry, claim: &ClaimView) -> Result<(), Error> {
    let Some(request) = claim.wants_more() else { return Ok(()) };
    let name = ObjectName::cluster(claim.volume());
    let Some(volume) = context.cache::<PersistentVolume>().await?.get(&name) else { return Ok(()) };
    let view = volume.view::<VolumeView>()?;
    if !view.is_made_by(PROVISIONER) {
        return Ok(());
    }
    let capacity = json!({"storage": request.to_string()});
    if view.capacity() < request {
        let patch = json!({"spec": {"capacity": capacity}});
        write::unless_gone(write::patch::<PersistentVolume>(context.client(), &volume, patch).await)?;
    }
    let status = json!({"capacity": capacity});
    let patched = write::patch_status::<PersistentVolumeClaim>(context.client(), entry, status).await;
    write::unless_gone(patched)
}

async fn remove(
    context: Context,
    directories: Arc<dyn Directories>,
    recorder: Recorder,
) -> Result<Action, Error> {
    let Some(entry) = context.entry::<PersistentVolume>().await? else { return Ok(Action::Done) };
    let volume = entry.view::<VolumeView>()?;
    if !volume.is_to_be_removed(PROVISIONER) {
        return Ok(Action::Done);
    }
    if let Some((node, path)) = volume.place()
        && let Err(why) = directories.remove(node, path).await
    {
        recorder.warning(&reference_to::<PersistentVolume>(&entry), "VolumeFailedDelete", why.clone());
        return Err(why.into());
    }
    write::delete::<PersistentVolume>(context.client(), entry.name(), entry.uid()).await?;
    Ok(Action::Done)
}
