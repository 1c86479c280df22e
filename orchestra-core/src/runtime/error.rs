//! Why a runtime could not do what it was asked, told apart by what the caller can do about it.

use std::time::Duration;

/// The result of every method of [`Runtime`](super::Runtime).
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// Why a runtime could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime does not answer. Nothing is known about any container; try again. It costs no pod.
    #[error("the container runtime is not available: {message}")]
    Unavailable {
        /// What was tried and what came back.
        message: String,
    },
    /// There is no such sandbox or container. It was removed, by us or by somebody else.
    #[error("no such {what}: {id}")]
    NotFound {
        /// `sandbox` or `container`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// There is one of that name and attempt already. List, and adopt it or remove it.
    #[error("{what} {name} already exists")]
    AlreadyExists {
        /// `sandbox` or `container`.
        what: &'static str,
        /// Its name in the runtime.
        name: String,
    },
    /// What was to be removed is in use.
    #[error("{what} {id} is in use")]
    InUse {
        /// `image` for now.
        what: &'static str,
        /// Its id or name.
        id: String,
    },
    /// The container is not running, so nothing can be executed in it or attached to it.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The image is not on this machine. Pull it.
    #[error("image {image:?} is not present")]
    ImageNotFound {
        /// The image.
        image: String,
    },
    /// The image could not be pulled.
    #[error("failed to pull image {image:?}: {message}")]
    Pull {
        /// The image.
        image: String,
        /// What stood in the way.
        why: PullFailure,
        /// What the registry or the daemon said.
        message: String,
    },
    /// This is not the name of an image. Only another name helps.
    #[error("couldn't parse image name {image:?}: {message}")]
    InvalidImageName {
        /// The text that was to be a name.
        image: String,
        /// What is wrong with it.
        message: String,
    },
    /// The runtime will never accept this: a field it cannot honour, a bad mount, a user that is not there.
    #[error("{message}")]
    InvalidSpec {
        /// What is wrong and where.
        message: String,
    },
    /// A host port is taken by somebody else.
    #[error("host port {port} is already in use")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The container was made but its process could not be started.
    #[error("{message}")]
    StartFailed {
        /// What the runtime said, as it stands in the container's status.
        message: String,
        /// The code a shell would give it: 126 not executable, 127 not found, 128 otherwise.
        exit_code: i32,
    },
    /// It took too long.
    #[error("timed out after {after:?}")]
    Timeout {
        /// The time that was allowed.
        after: Duration,
    },
    /// This runtime cannot do that at all; see [`Capabilities`](super::Capabilities).
    #[error("this runtime does not support {what}")]
    Unsupported {
        /// The ability.
        what: &'static str,
    },
    /// The disk or the memory of the machine is used up. Trying again helps once somebody has made room.
    #[error("no room left: {message}")]
    Exhausted {
        /// What ran out.
        message: String,
    },
    /// Anything else. Worth another try with back-off.
    #[error("{message}")]
    Failed {
        /// What was tried and what came back.
        message: String,
    },
}

/// What stood in the way of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PullFailure {
    /// The registry does not have it, or does not say so to strangers.
    NotFound,
    /// The registry wants (other) credentials.
    Unauthorized,
    /// The registry does not answer.
    Unreachable,
    /// Anything else.
    Other,
}

impl RuntimeError {
    /// Whether the runtime itself is away, which says nothing about what it was asked to do.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// [`RuntimeError::NotFound`] for a container.
    pub fn no_container(id: impl ToString) -> Self {
        Self::NotFound { what: "container", id: id.to_string() }
    }

    /// [`RuntimeError::NotFound`] for a sandbox.
    pub fn no_sandbox(id: impl ToString) -> Self {
        Self::NotFound { what: "sandbox", id: id.to_string() }
    }
}
