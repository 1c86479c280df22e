//! One suite a port: what every implementation must do, whoever wrote it.
//!
//! A suite panics with what went wrong. It is run against the fakes, against our adapters, and against yours.

pub mod network;
pub mod runtime;
pub mod store;
