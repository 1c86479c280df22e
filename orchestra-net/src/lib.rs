//! Service networks for orchestra: implementations of [`Network`](orchestra_core::network::Network).
//!
//! [`UserspaceNetwork`] leaves the addresses of pods to the runtime and carries the traffic of services itself: it
//! listens at their addresses and passes bytes on. It needs nothing of the kernel but sockets, so it works without root
//! where cluster addresses are loopback ones.
//!
//! What leads where is decided by the plan that the core makes; here it is rendered ([`userspace`]'s `plan.rs`, pure)
//! and done.

pub mod userspace;

pub use userspace::UserspaceNetwork;
