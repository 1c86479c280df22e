//! Contract suites that any implementation of a port can run.
//!
//! The fakes are not here: [`runtime::fake`](crate::runtime::fake) and [`network::fake`](crate::network::fake) are
//! part of the crate, because a cluster without containers is a thing to run too.

pub mod contract;
