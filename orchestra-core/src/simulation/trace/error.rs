//! Why a trace cannot be lived again.

use crate::api::Status;
use crate::clock::Stuck;
use crate::cluster::StartError;

/// Why a trace cannot be lived again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The cluster does not start.
    #[error("the simulated cluster does not start")]
    Start(#[from] StartError),
    /// The cluster cannot be looked at.
    #[error("the simulated cluster cannot be looked at: {0}")]
    Api(#[from] Status),
    /// Nothing can happen any more.
    #[error("the simulated cluster stands still")]
    Stuck(#[from] Stuck),
    /// A node of the file is none.
    #[error("{0}")]
    Node(String),
    /// An autoscaler of the file is none, or cannot do its work.
    #[error("{0}")]
    Autoscaler(String),
}
