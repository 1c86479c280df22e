//! The controllers over an embedded server, in virtual time.

mod cluster;
mod deletion;
mod endpoints;
mod nodes;
mod quotas;
mod workloads;
