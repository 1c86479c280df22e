//! Networks for orchestra: implementations of [`Network`](orchestra_core::network::Network), and what goes with them.
//!
//! [`NftablesNetwork`] leads the traffic of services in the kernel, which takes root. [`UserspaceNetwork`] carries it
//! itself: it listens at the services' addresses and passes bytes on, so it needs nothing of the kernel but sockets and
//! works without root where cluster addresses are loopback ones. Both leave the addresses of pods to the runtime.
//! [`CniNetwork`] has plugins of CNI connect pods, and leaves services to one of these. [`LimitedNetwork`] holds the pods of
//! another to the bandwidth that they may have.
//!
//! [`Dns`] answers the cluster's names on each node. [`Routes`] keeps the ways between the pods of several machines, by
//! tunnels where they are not on one segment, and [`Announcer`] has one node of a segment answer for each address of a load
//! balancer.
//!
//! [`Leftovers`] is what all of them have on a machine, to be taken away.
//!
//! What leads where is decided by the plan that the core makes; here it is rendered (`plan.rs`, `render.rs` and
//! `zone.rs`, which are pure) and done.
//!
//! # What runs
//!
//! [`Dns::run`], [`Routes::run`] and [`Announcer::run`] start nothing: they go on for as long as they are polled. These are
//! tasks; each ends with what it belongs to.
//!
//! | task | belongs to | takes in | gives out |
//! | --- | --- | --- | --- |
//! | listener, one a port of a service | [`UserspaceNetwork`] | connections or datagrams | carries them to endpoints, by a task each |
//! | health, one a `healthCheckNodePort` | [`UserspaceNetwork`] | requests | whether this node has endpoints |
//! | renewal | a network's addresses on loopback | time | the addresses, for two minutes more |
//! | watch | [`NftablesNetwork`] | what the kernel tells of tables, time | what others took away, put back |
//! | answer, one a question or connection | [`Dns::run`] | a question | an answer, asked for elsewhere if need be |

mod address;
pub mod announce;
mod balance;
pub mod bandwidth;
pub mod cni;
pub mod dns;
#[cfg(test)]
mod lab;
mod leftovers;
pub mod nftables;
pub mod routes;
pub mod userspace;

pub use announce::Announcer;
pub use balance::Balance;
pub use bandwidth::LimitedNetwork;
pub use cni::CniNetwork;
pub use dns::Dns;
pub use leftovers::Leftovers;
pub use nftables::NftablesNetwork;
pub use routes::Routes;
pub use userspace::UserspaceNetwork;
