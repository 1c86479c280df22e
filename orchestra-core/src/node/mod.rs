//! The node agent: what runs a node's pods.

pub mod backoff;
pub mod env;
pub mod expand;
pub mod fields;
pub mod model;
pub mod plan;
mod ports;
pub mod resources;
pub mod sources;
pub mod status;
pub mod volumes;

pub use ports::{HostError, HttpAnswer, HttpProbe, ProbeError, Prober, VolumeHost};
