//! How a probe fails once there is a connection.

use orchestra_core::node::ProbeError;

/// The other side does not speak as it should.
pub(super) fn protocol(error: impl std::fmt::Display) -> ProbeError {
    ProbeError::Protocol { message: error.to_string() }
}
