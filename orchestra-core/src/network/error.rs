//! Why a network could not do what it was asked.

/// The result of every method of [`Network`](super::Network).
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;

/// Why a network could not do what it was asked, told apart by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// What it works with (a daemon, a kernel facility) does not answer. Try again.
    #[error("the network is not available: {message}")]
    Unavailable {
        /// What was tried and what came back.
        message: String,
    },
    /// No address is left to give out. Trying again helps once a pod is gone.
    #[error("no addresses left in {range}")]
    AddressesExhausted {
        /// The range.
        range: String,
    },
    /// The sandbox has no addresses and this network cannot give it any.
    #[error("sandbox {sandbox} has no address, and this network gives out none")]
    NoAddress {
        /// The sandbox.
        sandbox: String,
    },
    /// This program may not do that: more rights are needed.
    #[error("not permitted: {message}")]
    NotPermitted {
        /// What was tried.
        message: String,
    },
    /// The pod asks for what cannot be meant. Trying again helps once it asks for something else.
    #[error("{message}")]
    Refused {
        /// Where it does so, and what is the matter with it.
        message: String,
    },
    /// Anything else. Worth another try with back-off.
    #[error("{message}")]
    Failed {
        /// What was tried and what came back.
        message: String,
    },
}
