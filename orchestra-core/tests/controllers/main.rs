//! The controllers over an embedded server, in virtual time.

mod cluster;
mod workloads;
