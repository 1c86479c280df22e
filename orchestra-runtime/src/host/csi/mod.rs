//! Volumes of drivers that speak the Container Storage Interface, over their sockets on this machine.
//!
//! A driver is found when it is needed: each socket in the folder where plugins register is asked who is there. What is shown to
//! a pod is not kept in memory but noted in the pod's folder before the driver is asked, so that whoever comes later can take it
//! back.
//!
//! Drivers show volumes below the kubelet's folder, whatever ours is: one that is a pod has just that of the machine mounted, as
//! its manifest says, and what it mounted elsewhere nobody else would see.
//!
//! ```text
//! <kubelet>/plugins_registry/<socket>                                        those that have registered
//!          /plugins/kubernetes.io/csi/<driver>/<hash>/globalmount            where a volume is made ready
//!          /pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount              where a pod is shown files
//!          /pods/<uid>/volumeDevices/kubernetes.io~csi/<volume>              and where a device
//! ```

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orchestra_core::node::{Csi, CsiGroup, HostError, ShownVolume};
use serde::{Deserialize, Serialize};
use tonic::Code;
use tonic::transport::Channel;

use super::calls::{self, Call, said};
use super::group;
use crate::private;

mod proto;
mod registered;
#[cfg(test)]
mod tests;

pub(super) use registered::Registered;

use proto::{
    AccessMode, CapabilitiesRequest, CapacityRange, Empty, ExpandRequest, InfoRequest, MountVolume,
    PublishRequest, Rpc, StageRequest, UnpublishRequest, UnstageRequest, VolumeCapability,
};

/// The folder of a kubelet.
pub(super) const KUBELET: &str = "/var/lib/kubelet";
/// Where drivers register in it.
const REGISTRY: &str = "plugins_registry";
const OF_CSI: &str = "kubernetes.io~csi";
/// The permissions of folders there.
const PRIVATE: u32 = 0o750;
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
    /// Whether it was shown once, and all was done that is done when it is shown first.
    #[serde(default)]
    complete: bool,
}

impl Shown {
    /// What a driver is asked to show to a pod. `owner` is the folder of this node: two of one machine share no place.
    fn new(csi: &Csi, kubelet: &Path, owner: &Path, (pod, volume): (&str, &str)) -> Self {
        // Handles are as long and as odd as drivers like.
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in [csi.handle.as_bytes(), b"\0", owner.as_os_str().as_encoded_bytes()] {
            hash.update(part);
        }
        let name: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let own = kubelet.join("pods").join(pod);
        Self {
            driver: csi.driver.clone(),
            handle: csi.handle.clone(),
            stage: kubelet.join("plugins/kubernetes.io/csi").join(&csi.driver).join(name).join("globalmount"),
            target: match csi.block {
                true => own.join("volumeDevices").join(OF_CSI).join(volume),
                false => own.join("volumes").join(OF_CSI).join(volume).join("mount"),
            },
            attached: csi.attached.is_some(),
            complete: false,
        }
    }

    /// What was noted of a pod's volume, or else what is to be. What an agent before had shown elsewhere stays where it is.
    pub(super) fn of(csi: &Csi, kubelet: &Path, owner: &Path, pod: &str, volume: &str) -> Self {
        let noted = fs::read(note_of(&owner.join(pod).join(FOLDER), volume)).ok();
        let noted = noted.and_then(|noted| serde_json::from_slice::<Self>(&noted).ok());
        let same = noted.filter(|noted| noted.driver == csi.driver && noted.handle == csi.handle);
        same.unwrap_or_else(|| Self::new(csi, kubelet, owner, (pod, volume)))
    }

    /// Where the pod is shown it.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Notes it in a folder, where it stands whole or as it did before.
    pub(super) fn note(&self, folder: &Path, volume: &str) -> io::Result<()> {
        private::folder(folder, PRIVATE)?;
        let note = note_of(folder, volume);
        let draft = note.with_extension("new");
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(draft, note)
    }

    /// Where the pod is shown it, and where it is ready.
    pub(super) fn into_places(self) -> [PathBuf; 2] {
        [self.target, self.stage]
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
/// How the names of notes end.
const NOTE: &str = "json";

fn note_of(folder: &Path, volume: &str) -> PathBuf {
    folder.join(format!("{volume}.{NOTE}"))
}

/// What is noted in a folder, and in which files.
pub(super) fn noted(folder: &Path) -> io::Result<Vec<(PathBuf, Shown)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // Others are drafts of whoever was killed while it noted something.
        if path.extension() == Some(OsStr::new(NOTE)) {
            all.push((path.clone(), serde_json::from_slice(&fs::read(&path)?)?));
        }
    }
    Ok(all)
}

/// Has a driver show a volume, which is noted before it is asked. Safe to repeat.
pub(super) async fn show(
    kubelet: &Path,
    csi: &Csi,
    shown: &mut Shown,
    note: impl Fn(&Shown) -> io::Result<()>,
) -> Result<(), HostError> {
    let driver = Driver::find(kubelet, &csi.driver).await?;
    let of_driver = |error: io::Error| failed(&csi.driver, error);
    shown.complete &= shown.target.exists();
    note(shown).map_err(of_driver)?;
    let can = driver.capabilities().await?;
    let capability = Some(capability(csi, &can));
    let volume_context: HashMap<_, _> = csi.attributes.clone().into_iter().collect();
    let publish_context = csi.attached.clone().unwrap_or_default();
    let stages = can.contains(&Rpc::STAGES) && !csi.ephemeral;
    if stages {
        private::folders(&shown.stage, PRIVATE).map_err(of_driver)?;
        let request = StageRequest {
            volume_id: csi.handle.clone(),
            publish_context: publish_context.clone(),
            staging_target_path: text(&shown.stage),
            volume_capability: capability.clone(),
            secrets: csi.secrets.stage.0.clone(),
            volume_context: volume_context.clone(),
        };
        driver.ask(request).await?;
    }
    if let Some(above) = shown.target.parent() {
        private::folders(above, PRIVATE).map_err(of_driver)?;
    }
    let request = PublishRequest {
        volume_id: csi.handle.clone(),
        publish_context,
        staging_target_path: if stages { text(&shown.stage) } else { String::new() },
        target_path: text(&shown.target),
        volume_capability: capability,
        readonly: csi.read_only,
        secrets: csi.secrets.publish.0.clone(),
        volume_context,
    };
    driver.ask(request).await?;
    if !shown.complete {
        let by_file = csi.group.filter(|group| group.by_file && !csi.block && !can.contains(&Rpc::GROUPS));
        if let Some(CsiGroup { id, unless_root_is, .. }) = by_file {
            let target = shown.target.clone();
            let given = tokio::task::spawn_blocking(move || group::give(&target, id, unless_root_is)).await;
            given.map_err(io::Error::other).flatten().map_err(of_driver)?;
        }
        shown.complete = true;
        note(shown).map_err(of_driver)?;
    }
    Ok(())
}

/// Has a driver take a volume back, for good if it is the last that had it.
pub(super) async fn take_back(kubelet: &Path, shown: &Shown, is_last: bool) -> Result<(), HostError> {
    let driver = Driver::find(kubelet, &shown.driver).await?;
    let request = UnpublishRequest { volume_id: shown.handle.clone(), target_path: text(&shown.target) };
    driver.ask(request).await?;
    // Folders of ours, which hold nothing any more; what is not empty stays.
    let _ = fs::remove_dir(&shown.target);
    let own = shown.target.ancestors().skip(1).take_while(|above| !above.ends_with("pods"));
    let _ = own.take(4).try_for_each(fs::remove_dir);
    if is_last && shown.stage.exists() {
        let request =
            UnstageRequest { volume_id: shown.handle.clone(), staging_target_path: text(&shown.stage) };
        driver.ask(request).await?;
        let _ = fs::remove_dir(&shown.stage);
        let _ = shown.stage.parent().map(fs::remove_dir);
    }
    Ok(())
}

/// Has a driver let a volume that it shows have room for so many bytes. Whether it does such a thing on nodes.
pub(super) async fn grow(kubelet: &Path, csi: &Csi, shown: &Shown, bytes: i64) -> Result<bool, HostError> {
    let driver = Driver::find(kubelet, &csi.driver).await?;
    let can = driver.capabilities().await?;
    if !can.contains(&Rpc::EXPANDS) {
        return Ok(false);
    }
    let stages = can.contains(&Rpc::STAGES) && !csi.ephemeral;
    let request = ExpandRequest {
        volume_id: csi.handle.clone(),
        volume_path: text(&shown.target),
        capacity_range: Some(CapacityRange { required_bytes: bytes }),
        staging_target_path: if stages { text(&shown.stage) } else { String::new() },
        volume_capability: Some(capability(csi, &can)),
        secrets: csi.secrets.expand.0.clone(),
    };
    driver.ask(request).await.map(|_| true)
}

/// How a volume is used, by the words that a driver knows.
fn capability(csi: &Csi, can: &[i32]) -> VolumeCapability {
    let counts = can.contains(&Rpc::COUNTS_WRITERS);
    let mode = match csi.access_mode.as_str() {
        "ReadOnlyMany" => 3,
        "ReadWriteMany" => 5,
        "ReadWriteOncePod" if counts => 6,
        _ if counts => 7,
        _ => 1,
    };
    let group = csi.group.filter(|_| can.contains(&Rpc::GROUPS));
    let files = || MountVolume {
        fs_type: csi.fs_type.clone(),
        mount_flags: csi.mount_options.clone(),
        volume_mount_group: group.map(|group| group.id.to_string()).unwrap_or_default(),
    };
    VolumeCapability {
        block: csi.block.then_some(Empty {}),
        mount: (!csi.block).then(files),
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
    async fn find(kubelet: &Path, name: &str) -> Result<Self, HostError> {
        for socket in sockets(kubelet) {
            let plugin = Self { name: name.to_owned(), channel: connect(&socket, name)? };
            // What does not answer is not the one that is looked for.
            let Ok(info) = plugin.ask(InfoRequest {}).await else { continue };
            if info.r#type == "CSIPlugin" && info.name == name {
                let endpoint = if info.endpoint.is_empty() { socket } else { info.endpoint.into() };
                return Ok(Self { name: name.to_owned(), channel: connect(&endpoint, name)? });
            }
        }
        let message = format!("driver name {name} not found in the list of registered CSI drivers");
        Err(HostError::Io { path: kubelet.join(REGISTRY).display().to_string(), message })
    }

    /// The calls that it takes beside those that each driver takes.
    async fn capabilities(&self) -> Result<Vec<i32>, HostError> {
        let said = self.ask(CapabilitiesRequest {}).await?;
        Ok(said.capabilities.into_iter().filter_map(|one| one.rpc).map(|call| call.r#type).collect())
    }

    async fn ask<Q: Call>(&self, question: Q) -> Result<Q::Answer, HostError> {
        let asked = async {
            let answer = calls::ask(&self.channel, question).await;
            answer.map_err(|status| match status.code() {
                Code::InvalidArgument | Code::NotFound | Code::OutOfRange => {
                    HostError::Infeasible { who: format!("CSI driver {}", self.name), message: said(&status) }
                }
                _ => failed(&self.name, said(&status)),
            })
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(&self.name, format!("it does not answer within {PATIENCE:?}"))),
        }
    }
}

/// The sockets of those that have registered, whether anybody answers there or not.
fn sockets(kubelet: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(kubelet.join(REGISTRY)).into_iter().flatten().flatten();
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
