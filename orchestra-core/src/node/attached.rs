//! Volumes that have to be attached to the node before a driver can show them: which of them the node uses, and whether it
//! has them.
//!
//! A node says that it uses a volume before it looks whether it has it, and until its driver has taken it back: so whoever
//! takes volumes away, who first says that the node has it no more, knows that nobody is about to use it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{AttachedVolume, Node};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use serde::Deserialize;

use super::context::Context;
use super::csi_volume::Csi;
use crate::objects::attached_name;
use crate::supervise::Backoff;

/// How long attaching may take before the pod's author is told that it waits.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked meanwhile.
const LOOK: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// Finds what an agent before has had shown, before anything is said of the node.
pub(super) async fn load(ctx: &Context) {
    match ctx.volumes.csi_shown().await {
        Ok(all) => {
            for shown in all.into_iter().filter(|shown| shown.attached) {
                ctx.in_use.add(&shown.pod, attached_name(&shown.driver, &shown.handle));
            }
        }
        Err(error) => tracing::warn!(node = ctx.name, %error, "it is not known which volumes are in use"),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct View {
    status: Said,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    volumes_attached: Vec<AttachedVolume>,
    volumes_in_use: Vec<String>,
}

/// Waits until the node has a volume that a pod is to be shown, if it is not shown it already. What whoever attached it says
/// of it.
pub(super) async fn until_attached(
    ctx: &Context,
    pod: &str,
    csi: &Csi,
    is_shown: bool,
) -> Result<BTreeMap<String, String>, String> {
    let name = attached_name(&csi.driver, &csi.handle);
    ctx.in_use.add(pod, name.clone());
    let (deadline, mut looked) = (ctx.clock().elapsed() + PATIENCE, 0);
    loop {
        let why = match look(ctx, &name).await {
            Ok(said) => return Ok(said),
            Err(why) if is_shown || ctx.clock().elapsed() >= deadline => return Err(why),
            Err(why) => why,
        };
        tracing::trace!(node = ctx.name, volume = name, why, "waiting for a volume");
        ctx.clock().sleep(LOOK.pause(looked)).await;
        looked += 1;
    }
}

async fn look(ctx: &Context, name: &str) -> Result<BTreeMap<String, String>, String> {
    let entry = ctx.client.cluster::<Node>().objects().get(&ctx.name).await;
    let entry = entry.map_err(|status| format!("failed to fetch Node {}: {status}", ctx.name))?;
    let said = &entry.view::<View>().map_err(|error| error.to_string())?.status;
    if !said.volumes_in_use.iter().any(|held| held == name) {
        return Err(
            "Volume has not been added to the list of VolumesInUse in the node's volume status".into()
        );
    }
    let attached = said.volumes_attached.iter().find(|held| held.name == name);
    let attachment = &attached.ok_or("Volume not attached according to node status")?.device_path;
    let fetched = ctx.client.cluster::<VolumeAttachment>().get(attachment).await;
    let fetched =
        fetched.map_err(|status| format!("failed to fetch VolumeAttachment {attachment}: {status}"))?;
    match fetched.status.filter(|status| status.attached) {
        Some(status) => Ok(status.attachment_metadata.unwrap_or_default()),
        None => Err(format!("the VolumeAttachment {attachment} is not attached")),
    }
}
