//! Networks for orchestra: implementations of [`Network`](orchestra_core::network::Network), and what goes with them.
//!
//! [`NftablesNetwork`] leads the traffic of services in the kernel, which takes root. [`UserspaceNetwork`] carries it
//! itself: it listens at the services' addresses and passes bytes on, so it needs nothing of the kernel but sockets and
//! works without root where cluster addresses are loopback ones. Both leave the addresses of pods to the runtime.
//!
//! [`Dns`] answers the cluster's names on each node. [`Routes`] keeps the ways between the pods of several machines, by
//! tunnels where they are not on one segment, and [`Announcer`] has one node of a segment answer for each address of a load
//! balancer.
//!
//! [`Leftovers`] is what all of them have on a machine, to be taken away.
//!
//! What leads where is decided by the plan that the core makes; here it is rendered (`plan.rs`, `render.rs` and
//! `zone.rs`, which are pure) and done.

mod address;
pub mod announce;
pub mod dns;
#[cfg(test)]
mod lab;
mod leftovers;
pub mod nftables;
pub mod routes;
pub mod userspace;

pub use announce::Announcer;
pub use dns::Dns;
pub use leftovers::Leftovers;
pub use nftables::NftablesNetwork;
pub use routes::Routes;
pub use userspace::UserspaceNetwork;
