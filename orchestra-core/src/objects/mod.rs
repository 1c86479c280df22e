//! The built-in kinds: one file a kind says what is defaulted, what is invalid, what may change and what is printed.
//!
//! [`builtin`] is the table. The field types are those of [`k8s_openapi`]; nothing of the schema is retyped here.

mod address;
mod check;
mod config_map;
mod controller_revision;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod json;
mod lease;
mod legacy;
pub mod meta;
mod names;
mod namespace;
mod node;
mod pod;
mod pod_template;
mod print;
mod priority_class;
mod quantities;
mod replica_set;
mod replicas;
mod replication_controller;
mod secret;
mod service;
mod service_account;
mod template;

use crate::api::{Kinds, Resource};

/// The table of the built-in kinds, in the order in which discovery lists them.
pub fn builtin() -> Kinds {
    Kinds::new([
        Resource::of::<config_map::ConfigMapRules>(),
        Resource::of::<endpoints::EndpointsRules>(),
        event::row(),
        Resource::of::<namespace::NamespaceRules>(),
        Resource::of::<node::NodeRules>(),
        Resource::of::<pod::PodRules>(),
        Resource::of::<pod_template::PodTemplateRules>(),
        Resource::of::<replication_controller::ReplicationControllerRules>(),
        Resource::of::<secret::SecretRules>(),
        Resource::of::<service_account::ServiceAccountRules>(),
        Resource::of::<service::ServiceRules>(),
        Resource::of::<controller_revision::ControllerRevisionRules>(),
        deployment::row(),
        replica_set::row(),
        Resource::of::<lease::LeaseRules>(),
        Resource::of::<endpoint_slice::EndpointSliceRules>(),
        Resource::of::<priority_class::PriorityClassRules>(),
    ])
}

#[cfg(test)]
mod tests;
