//! Kubernetes as a library: a whole container cluster that another program can hold in a variable.

// The macros of this crate name it by its name, also when they are used inside it.
extern crate self as orchestra_core;

pub use k8s_openapi;

pub mod admission;
pub mod api;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod controllers;
pub mod meta;
pub mod network;
pub mod node;
pub mod objects;
pub mod proxy;
pub mod quantity;
pub mod runtime;
pub mod scheduler;
pub mod selector;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod watch;
