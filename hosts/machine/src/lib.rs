//! What runs containers on this machine and connects them, for the programs that make a node of it.
//!
//! [`Choice`] is what the command line says; [`choose`] looks at what the machine has and returns a [`Machine`]: a runtime,
//! the network that goes with it, and what must be told where the cluster's pods are. What a program differs in it says in a
//! [`Place`].
//!
//! It starts no task. [`PodNetwork::follow`] goes on for as long as the program polls it: it takes in where the cluster's pods
//! are, and tells the runtime and the kernel.

mod choice;
mod kept;
mod machine;
mod pods;

pub use choice::{Balance, Choice, Network, Runtime};
pub use kept::{left_in, native_directory, plugins_directory};
pub use machine::{Machine, Place, choose};
pub use pods::PodNetwork;

/// Whether this program is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
