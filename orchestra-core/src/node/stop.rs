//! Why a step of a plan could not be done.

use crate::runtime::RuntimeError;

/// Why a step could not be done.
pub(super) enum Stop {
    /// The runtime or the API is away: nothing was learnt about the pod.
    Away(String),
    /// It has to wait; memory says until when.
    Wait,
}

impl From<RuntimeError> for Stop {
    fn from(error: RuntimeError) -> Self {
        Self::Away(error.to_string())
    }
}
