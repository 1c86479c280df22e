//! The controllers of the cluster.

mod apply;
mod pod;
mod replicas;
