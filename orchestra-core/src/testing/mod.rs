//! An API server for tests, contract suites that any implementation of a port can run, a store and a disk that fail on
//! request, and a clock that is set.
//!
//! The fakes are not here: [`runtime::fake`](crate::runtime::fake) and [`network::fake`](crate::network::fake) are
//! part of the crate, because a cluster without containers is a thing to run too.

#![cfg_attr(
    not(test),
    expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "what runs here are tests, of things that have clocks of their own"
    )
)]

mod clock;
pub mod contract;
#[cfg(feature = "redb")]
mod faulty_disk;
mod faulty_store;
mod server;
mod until;
mod webhook;

pub use clock::SetClock;
#[cfg(feature = "redb")]
pub use faulty_disk::FaultyDisk;
pub use faulty_store::{Faults, FaultyStore};
pub use server::{TestServer, TestServerBuilder};
pub use until::until;
pub use webhook::FakeWebhooks;
