//! What the agent needs of the machine beside its runtime and network: files, and a way to knock at a pod's door.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::csi_volume::Csi;
use super::volumes::{EmptyDir, Files, Nfs};
use crate::runtime::PodRef;

/// The agent's piece of the machine's file system: pods' volumes, their hosts files, their termination messages.
///
/// Every method is safe to repeat. Everything of a pod is below one directory, named after its uid.
#[async_trait]
pub trait VolumeHost: Send + Sync + 'static {
    /// An empty directory of the pod's own, made if it is not there. What it holds stays until the pod goes.
    ///
    /// With a [group](EmptyDir::group) it belongs to that group, which may write to it, and hands it on to what is made
    /// in it (the mode is 2777).
    async fn empty_dir(&self, pod: &PodRef, volume: &str, directory: &EmptyDir)
    -> Result<PathBuf, HostError>;

    /// A path of the machine that is what `kind` says (`Directory`, `DirectoryOrCreate`, `File`, `FileOrCreate`,
    /// `Socket`, `CharDevice`, `BlockDevice`, or empty for no check).
    async fn host_path(&self, path: &Path, kind: &str) -> Result<PathBuf, HostError>;

    /// A directory of another machine, mounted for the pod until it goes.
    async fn nfs(&self, pod: &PodRef, volume: &str, nfs: &Nfs) -> Result<PathBuf, HostError> {
        let _ = (pod, volume, nfs);
        Err(HostError::Unsupported { what: "volumes of other machines" })
    }

    /// What a driver of this machine shows to the pod, until the pod goes.
    async fn csi(&self, pod: &PodRef, volume: &str, csi: &Csi) -> Result<PathBuf, HostError> {
        let _ = (pod, volume, csi);
        Err(HostError::Unsupported { what: "volumes of CSI drivers" })
    }

    /// Has a driver see to it that what it shows to the pod has room for so many bytes. Whether it does so on nodes: for some,
    /// all is done when the volume itself is larger.
    async fn grow(&self, pod: &PodRef, volume: &str, csi: &Csi, bytes: i64) -> Result<bool, HostError> {
        let _ = (pod, volume, csi, bytes);
        Ok(false)
    }

    /// The drivers of this machine, by their names, as they are now.
    async fn csi_drivers(&self) -> Result<Vec<CsiDriver>, HostError> {
        Ok(Vec::new())
    }

    /// All that drivers show to pods of this machine, also those of an agent before.
    async fn csi_shown(&self) -> Result<Vec<ShownVolume>, HostError> {
        Ok(Vec::new())
    }

    /// Has drivers take back what they show to a pod that has ended, of which all else stays.
    async fn take_back(&self, uid: &str) -> Result<(), HostError> {
        let _ = uid;
        Ok(())
    }

    /// Gives a directory with all below it to a group, which may read it, and write what its owner may write; what is made in
    /// it later belongs to it too. If it is `unless_root_is`, nothing is done where that is so of the directory itself.
    async fn give_to_group(
        &self,
        directory: &Path,
        group: u32,
        unless_root_is: bool,
    ) -> Result<(), HostError> {
        let _ = (directory, group, unless_root_is);
        Ok(())
    }

    /// A place of the pod's own at which an image can be shown: an empty directory, or where it is shown already.
    async fn image_place(&self, pod: &PodRef, volume: &str) -> Result<PathBuf, HostError> {
        let _ = (pod, volume);
        Err(HostError::Unsupported { what: "volumes that are images" })
    }

    /// A directory of the pod's own that holds exactly these files. They appear and change all at once: a reader never
    /// sees some old and some new. Files that are as they should be are not written again.
    ///
    /// With a [group](FileSet::group), files and directories belong to it; the modes of the files allow for that already,
    /// and directories hand the group on.
    async fn files(&self, pod: &PodRef, volume: &str, set: &FileSet<'_>) -> Result<PathBuf, HostError>;

    /// A path for one mount of a path within a volume, which is made (as a directory) if it is not there.
    ///
    /// What the answer names was inside the volume when it was opened, and stays the same thing whatever is done in the
    /// volume afterwards: a container can swap a directory for a symbolic link between this call and another's start.
    async fn sub_path(&self, pod: &PodRef, wanted: &SubPath<'_>) -> Result<PathBuf, HostError>;

    /// A file of the pod's own that containers mount: `etc-hosts`, or an empty termination message.
    async fn pod_file(&self, pod: &PodRef, file: &PodFile<'_>) -> Result<PathBuf, HostError>;

    /// The machine's own hosts file, of which pods on its network see a copy.
    async fn hosts_file(&self) -> Result<String, HostError> {
        Ok(String::new())
    }

    /// The first `most` bytes of a file of [`pod_file`](VolumeHost::pod_file), empty when it is not there.
    async fn read_pod_file(&self, pod: &PodRef, name: &str, most: usize) -> Result<Vec<u8>, HostError>;

    /// How much each volume takes that is kept for a pod.
    async fn usage(&self, pod: &PodRef) -> Result<Vec<VolumeUsage>, HostError>;

    /// How many bytes of disk a folder of the machine takes with all below it; 0 if it is not there.
    async fn size_of(&self, folder: &Path) -> Result<u64, HostError>;

    /// Removes everything of a pod.
    async fn remove_pod(&self, uid: &str) -> Result<(), HostError>;

    /// Uids of pods that something is kept of.
    async fn pods(&self) -> Result<Vec<String>, HostError>;
}

/// A driver of the Container Storage Interface on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CsiDriver {
    /// Its name.
    pub name: String,
    /// What it calls this machine.
    pub node_id: String,
    /// Where the machine is, as its volumes go by it: labels of the node.
    pub topology: BTreeMap<String, String>,
    /// How many of its volumes the machine can have; `None` for as many as there are.
    pub most_volumes: Option<i32>,
}

/// A volume that a driver shows to a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShownVolume {
    /// The uid of the pod.
    pub pod: String,
    /// The driver.
    pub driver: String,
    /// Which of its volumes.
    pub handle: String,
    /// Whether it was attached to the node before.
    pub attached: bool,
}

/// What a volume takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUsage {
    /// The volume's name in the pod.
    pub volume: String,
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
    /// It is in memory and takes nothing of a disk.
    pub memory: bool,
}

/// Files to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSet<'a> {
    /// The files.
    pub files: &'a Files,
    /// In memory where the machine allows it, so that nothing of them reaches a disk: they may be secrets.
    pub memory: bool,
    /// The group they belong to: the pod's `fsGroup`.
    pub group: Option<u32>,
}

/// One mount of a path within a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubPath<'a> {
    /// Where the volume is on the machine.
    pub volume: &'a Path,
    /// The path within it.
    pub path: &'a str,
    /// The container that mounts it.
    pub container: &'a str,
    /// Which of the container's mounts it is. The same mount of the container's next life replaces this one.
    pub index: usize,
}

/// A file of a pod's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodFile<'a> {
    /// Its name among the pod's files.
    pub name: &'a str,
    /// What it holds.
    pub content: &'a [u8],
    /// Its permissions, whatever the umask: 0o644, or 0o666 for what containers of any user write.
    pub mode: u32,
    /// Write it anew when it is there already.
    pub replace: bool,
}

/// Why a file or directory is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A path of the machine is not what it should be.
    #[error("hostPath type check failed: {path} is not {expected}")]
    HostPathType {
        /// The path.
        path: String,
        /// `a directory`, `a file` …
        expected: &'static str,
    },
    /// A sub path leads out of its volume.
    #[error("subpath {sub_path:?} not within volume path")]
    SubPathEscapes {
        /// The sub path.
        sub_path: String,
    },
    /// This host cannot do that.
    #[error("this node has no place for {what}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// What was asked for cannot be, however often it is tried.
    #[error("{who}: {message}")]
    Infeasible {
        /// Who said so.
        who: String,
        /// What it said.
        message: String,
    },
    /// The file system refused.
    #[error("{path}: {message}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        message: String,
    },
}

/// Where a node finds pods of its own, which no API gives it: a folder, a file, a URL.
#[async_trait]
pub trait Manifests: Send + Sync + 'static {
    /// Of what kind it is, as the pods' annotation `kubernetes.io/config.source` says: `file` or `http`.
    fn source(&self) -> &'static str;

    /// All manifests that there are now. Pods whose manifest is not among them end.
    async fn read(&self) -> Result<Vec<Manifest>, HostError>;

    /// Resolves when something may have changed since the last [`read`](Self::read), and not before: at once, or after the
    /// time in which it is to be looked again whatever happens.
    async fn changed(&self);
}

/// A manifest as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The file or the URL.
    pub origin: String,
    /// What it says, in YAML or JSON.
    pub text: Vec<u8>,
}

/// Knocks at a pod's door, for probes and lifecycle hooks.
#[async_trait]
pub trait Prober: Send + Sync + 'static {
    /// Asks with GET. Redirects within the host are followed; certificates are not checked. Any answer is an answer,
    /// whatever its code.
    async fn http(&self, request: &HttpProbe) -> Result<HttpAnswer, ProbeError>;

    /// Connects, and hangs up.
    async fn tcp(&self, address: SocketAddr, timeout: Duration) -> Result<(), ProbeError>;

    /// Asks a gRPC server for its health. Whether it serves.
    async fn grpc(&self, address: SocketAddr, service: &str, timeout: Duration) -> Result<bool, ProbeError> {
        let _ = (address, service, timeout);
        Err(ProbeError::Unsupported { what: "grpc" })
    }
}

/// An HTTP request to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// Over TLS.
    pub tls: bool,
    /// Whom to ask: an address, or a name where the probe says one.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Headers beside the usual, `Host` among them where it is to be another.
    pub headers: Vec<(String, String)>,
    /// How long it may take in all.
    pub timeout: Duration,
}

impl HttpProbe {
    /// The address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.path)
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its code.
    pub status: u16,
    /// The beginning of its body, at most 10 KiB.
    pub body: String,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Nobody listens there, or the way is closed.
    #[error("{message}")]
    Connect {
        /// What the system said, such as `dial tcp 10.1.0.5:80: connect: connection refused`.
        message: String,
    },
    /// It took too long.
    #[error("context deadline exceeded")]
    Timeout,
    /// What came back is no answer.
    #[error("{message}")]
    Protocol {
        /// What is wrong with it.
        message: String,
    },
    /// This prober cannot ask in that way.
    #[error("{what} probes are not supported on this node")]
    Unsupported {
        /// The way.
        what: &'static str,
    },
}
