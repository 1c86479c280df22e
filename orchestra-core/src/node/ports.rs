//! What the agent needs of the machine beside its runtime and network: files, and a way to knock at a pod's door.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::volumes::Files;
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

    /// A directory of the pod's own that holds exactly these files. They appear and change all at once: a reader never
    /// sees some old and some new. Files that are as they should be are not written again.
    ///
    /// With a group (the pod's `fsGroup`), files and directories belong to it; the modes of the files allow for that
    /// already, and directories hand the group on.
    async fn files(
        &self,
        pod: &PodRef,
        volume: &str,
        files: &Files,
        group: Option<u32>,
    ) -> Result<PathBuf, HostError>;

    /// A path within a volume. It is made (as a directory) if it is not there, and does not lead out of the volume, not
    /// even through a symbolic link.
    async fn sub_path(&self, volume: &Path, sub_path: &str) -> Result<PathBuf, HostError>;

    /// A file of the pod's own, with this content if it is not there yet and is not to be replaced: `etc-hosts`, or an
    /// empty termination message.
    async fn pod_file(
        &self,
        pod: &PodRef,
        name: &str,
        content: &[u8],
        replace: bool,
    ) -> Result<PathBuf, HostError>;

    /// The first `most` bytes of a file of [`pod_file`](VolumeHost::pod_file), empty when it is not there.
    async fn read_pod_file(&self, pod: &PodRef, name: &str, most: usize) -> Result<Vec<u8>, HostError>;

    /// Removes everything of a pod.
    async fn remove_pod(&self, uid: &str) -> Result<(), HostError>;

    /// Uids of pods that something is kept of.
    async fn pods(&self) -> Result<Vec<String>, HostError>;
}

/// An empty directory to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmptyDir {
    /// In memory instead of on disk.
    pub memory: bool,
    /// Most bytes.
    pub size_limit: Option<u64>,
    /// The group it belongs to: the pod's `fsGroup`.
    pub group: Option<u32>,
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
    /// The file system refused.
    #[error("{path}: {message}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        message: String,
    },
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
