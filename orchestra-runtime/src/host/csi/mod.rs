//! Volumes of drivers that speak the Container Storage Interface, over their sockets on this machine.
//!
//! A driver is found when it is needed: each socket in the folder where plugins register is asked who is there. What is shown is
//! not kept in memory: it to a pod is noted in the pod's folder before the driver is asked, so that whoever comes later can
//! take it back.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orchestra_core::node::{Csi, HostError, ShownVolume};
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use super::calls::{self, Call, said};
use crate::private;

mod proto;
mod registered;
#[cfg(test)]
mod tests;

pub(super) use registered::Registered;

use proto::{
    AccessMode, CapabilitiesRequest, InfoRequest, MountVolume, PublishRequest, Rpc, StageRequest,
    UnpublishRequest, UnstageRequest, VolumeCapability,
};

/// Where drivers register for Kubernetes.
pub(super) const REGISTRY: &str = "/var/lib/kubelet/plugins_registry";
/// How long a driver may take over a call, as the kubelet has it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A volume that a driver shows to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    driver: String,
    handle: String,
    /// Where it is made ready for all pods of the node, if the driver does that.
    stage: PathBuf,
    target: PathBuf,
    /// Whether it was attached to the node before.
    #[serde(default)]
    attached: bool,
}

impl Shown {
    /// What a driver is asked to show at a folder. `stages` is where volumes are made ready.
    pub(super) fn new(csi: &Csi, stages: &Path, target: &Path) -> Self {
        // Handles are as long and as odd as drivers like.
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, csi.handle.as_bytes());
        let name: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            driver: csi.driver.clone(),
            handle: csi.handle.clone(),
            stage: stages.join(&csi.driver).join(name).join("globalmount"),
            target: target.to_owned(),
            attached: csi.attached.is_some(),
        }
    }

    /// Notes it in a folder.
    pub(super) fn note(&self, folder: &Path, volume: &str) -> io::Result<()> {
        private::folder(folder, 0o750)?;
        fs::write(folder.join(format!("{volume}.json")), serde_json::to_vec(self)?)
    }

    /// As the agent knows it.
    pub(super) fn of_pod(self, pod: String) -> ShownVolume {
        ShownVolume { pod, driver: self.driver, handle: self.handle, attached: self.attached }
    }

    /// Whether another pod is shown the same, by what is noted below the folders of pods.
    pub(super) fn is_shared(&self, pods: &Path) -> bool {
        let folders = fs::read_dir(pods).into_iter().flatten().flatten();
        let all = folders.flat_map(|pod| noted(&pod.path().join(FOLDER)).unwrap_or_default());
        all.into_iter().any(|(_, other)| other.stage == self.stage && other.target != self.target)
    }
}

/// Where in a pod's folder it is noted what it is shown.
pub(super) const FOLDER: &str = "csi";

/// What is noted in a folder, and in which files.
pub(super) fn noted(folder: &Path) -> io::Result<Vec<(PathBuf, Shown)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        all.push((path.clone(), serde_json::from_slice(&fs::read(&path)?)?));
    }
    Ok(all)
}

/// Has a driver show a volume, which is noted before it is asked. Safe to repeat.
pub(super) async fn show(
    registry: &Path,
    csi: &Csi,
    shown: &Shown,
    note: impl FnOnce() -> io::Result<()>,
) -> Result<(), HostError> {
    let driver = Driver::find(registry, &csi.driver).await?;
    note().map_err(|error| failed(&csi.driver, error))?;
    let capability = Some(capability(csi));
    let volume_context: HashMap<_, _> = csi.attributes.clone().into_iter().collect();
    let publish_context = csi.attached.clone().unwrap_or_default();
    let stages = driver.stages().await?;
    if stages && !csi.ephemeral {
        private::folders(&shown.stage, 0o750).map_err(|error| failed(&csi.driver, error))?;
        let request = StageRequest {
            volume_id: csi.handle.clone(),
            publish_context: publish_context.clone(),
            staging_target_path: text(&shown.stage),
            volume_capability: capability.clone(),
            volume_context: volume_context.clone(),
        };
        driver.ask(request).await?;
    }
    let request = PublishRequest {
        volume_id: csi.handle.clone(),
        publish_context,
        staging_target_path: if stages && !csi.ephemeral { text(&shown.stage) } else { String::new() },
        target_path: text(&shown.target),
        volume_capability: capability,
        readonly: csi.read_only,
        volume_context,
    };
    driver.ask(request).await.map(drop)
}

/// Has a driver take a volume back, for good if it is the last that had it.
pub(super) async fn take_back(registry: &Path, shown: &Shown, is_last: bool) -> Result<(), HostError> {
    let driver = Driver::find(registry, &shown.driver).await?;
    let request = UnpublishRequest { volume_id: shown.handle.clone(), target_path: text(&shown.target) };
    driver.ask(request).await?;
    if is_last && shown.stage.exists() {
        let request =
            UnstageRequest { volume_id: shown.handle.clone(), staging_target_path: text(&shown.stage) };
        driver.ask(request).await?;
        let _ = fs::remove_dir(&shown.stage);
        let _ = shown.stage.parent().map(fs::remove_dir);
    }
    Ok(())
}

/// How a volume is used.
fn capability(csi: &Csi) -> VolumeCapability {
    let mode = match csi.access_mode.as_str() {
        "ReadOnlyMany" => 3,
        "ReadWriteMany" => 5,
        _ => 1,
    };
    VolumeCapability {
        mount: Some(MountVolume { fs_type: csi.fs_type.clone(), mount_flags: csi.mount_options.clone() }),
        access_mode: Some(AccessMode { mode }),
    }
}

/// A driver that answers.
struct Driver {
    name: String,
    channel: Channel,
}

impl Driver {
    /// The driver of a name, among those that have registered.
    async fn find(registry: &Path, name: &str) -> Result<Self, HostError> {
        for socket in sockets(registry) {
            let plugin = Self { name: name.to_owned(), channel: connect(&socket, name)? };
            // What does not answer is not the one that is looked for.
            let Ok(info) = plugin.ask(InfoRequest {}).await else { continue };
            if info.r#type == "CSIPlugin" && info.name == name {
                let endpoint = if info.endpoint.is_empty() { socket } else { info.endpoint.into() };
                return Ok(Self { name: name.to_owned(), channel: connect(&endpoint, name)? });
            }
        }
        let message = format!("driver name {name} not found in the list of registered CSI drivers");
        Err(HostError::Io { path: registry.display().to_string(), message })
    }

    async fn stages(&self) -> Result<bool, HostError> {
        let said = self.ask(CapabilitiesRequest {}).await?;
        let mut calls = said.capabilities.into_iter().filter_map(|one| one.rpc);
        Ok(calls.any(|call| call.r#type == Rpc::STAGES))
    }

    async fn ask<Q: Call>(&self, question: Q) -> Result<Q::Answer, HostError> {
        let asked = async {
            let answer = calls::ask(&self.channel, question).await;
            answer.map_err(|status| failed(&self.name, said(&status)))
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(&self.name, format!("it does not answer within {PATIENCE:?}"))),
        }
    }
}

/// The sockets of those that have registered, whether anybody answers there or not.
fn sockets(registry: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(registry).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut sockets: Vec<_> = paths.filter(|path| path.extension() == Some(OsStr::new("sock"))).collect();
    sockets.sort();
    sockets
}

fn connect(socket: &Path, name: &str) -> Result<Channel, HostError> {
    calls::connect(socket).map_err(|error| failed(name, error))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn failed(driver: &str, error: impl std::fmt::Display) -> HostError {
    HostError::Io { path: format!("CSI driver {driver}"), message: error.to_string() }
}
