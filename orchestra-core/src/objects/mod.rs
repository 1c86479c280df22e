//! The built-in kinds: one file a kind says what is defaulted, what is invalid, what may change and what is printed.
//!
//! [`builtin`] is the table. Each row comes from an implementation of [`Rules`](crate::api::Rules); all else about a
//! kind, its routes, discovery, tables, garbage collection and client, follows from the row. The field types are those
//! of [`k8s_openapi`]; nothing of the schema is retyped here.
//!
//! What needs more than the object itself is not here but with the API's admission: which service account and priority
//! a pod gets, the five minutes for which it tolerates a lost node, which cluster IP and node ports a Service gets.
//!
//! Beside the kinds: `json` fills in fields, `quantities` rounds amounts, `names` and `check` of the API know what values
//! may be and say so in its words, [`metadata`](crate::api::metadata) is about metadata, `template` about pods in other
//! objects, `print` about cells, `legacy` about versions that Kubernetes no longer serves.
//!
//! # Adding a kind
//!
//! `priority_class.rs` was written by this list.
//!
//! What the fields of a kind of Kubernetes' own are, how they merge and what protobuf calls them is in
//! `api/schema/types.txt` already, for every kind that Kubernetes 1.36 serves, and nothing is to be added there. The
//! fields of any other kind are its own: they are kept as they are sent.
//!
//! 1. Write `objects/<kind>.rs` with a `struct <Kind>Rules` and `impl Rules for` it. `type Object` is the type from
//!    [`k8s_openapi`], or a serde struct that implements [`Object`](crate::meta::Object). With that alone it works.
//! 2. Set the constants that differ from their defaults: short names, its verbs, whether it has a status, a generation, a
//!    scale, further subresources, which names it may have, which fields selectors may ask for. Each one's doc says what
//!    it does; [`Subresource`](crate::api::Subresource) says what a row of a subresource has.
//! 3. `default`: what Kubernetes fills in, with `json::Fields`. It is called on every request and must be idempotent.
//!    It sees objects from which what is empty was dropped, and quantities and times in their stored form.
//! 4. `prepare_create`, `prepare_update`, `prepare_status`: what only the system may set.
//! 5. `validate` and `validate_update`, with Kubernetes' paths and messages. Take what `check` and `names` have.
//! 6. `COLUMNS` and `cells`, in the same number and order, wide ones included.
//! 7. Add `mod <kind>;` and a row to [`builtin`], where discovery is to list it. Other versions or groups of it are
//!    added to the row with [`Resource::also`].
//! 8. Add it to the tables in `objects/tests`: a manifest and what is stored of it (`defaults`), manifests and why they
//!    are refused (`invalid`), what may not change (`updates`), an object and its row (`cells`). The properties in
//!    `tests/properties.rs` cover it without being told.
//!
//! What stands in a table beside the row: a kind that selects pods is in the list of `admission/selectors.rs`, because
//! what is told of its selector depends on what else selects in its namespace, and not on the kind alone.
//!
//! What it does, if anything, is then a controller's: see [`control`](crate::control).

mod address;
pub(crate) mod admission_registration;
mod api_service;
mod autoscaler;
mod binding;
pub(crate) mod certificate_request;
mod claim;
mod component_status;
mod conditions;
mod config_map;
mod controller_revision;
mod cron_job;
pub(crate) mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod disruption_budget;
mod endpoint_slice;
mod endpoints;
mod event;
pub(crate) mod flowcontrol;
mod job;
mod json;
mod lease;
mod legacy;
mod limit_range;
pub mod metrics;
mod namespace;
pub(crate) mod networking;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_template;
mod print;
mod priority_class;
mod quantities;
mod rbac;
mod replica_set;
mod replicas;
mod replication_controller;
mod resource;
mod resource_quota;
mod review;
mod runtime_class;
mod secret;
pub(crate) mod service;
mod service_account;
mod stateful_set;
mod storage;
mod template;
mod volume_source;

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};

pub use self::custom_resource_definition::definition_of;
pub(crate) use self::print::STORAGE_CLASS as CLASS_ANNOTATION;
pub(crate) use self::storage::{attached_name, is_default_class};
use crate::api::{Kinds, Resource, check, metadata as meta, names};

/// The table of the built-in kinds, in the order in which discovery lists them.
pub fn builtin() -> Kinds {
    Kinds::new([
        Resource::of::<binding::BindingRules>(),
        Resource::of::<component_status::ComponentStatusRules>(),
        Resource::of::<config_map::ConfigMapRules>(),
        Resource::of::<endpoints::EndpointsRules>(),
        event::row(),
        Resource::of::<limit_range::LimitRangeRules>(),
        Resource::of::<namespace::NamespaceRules>(),
        Resource::of::<node::NodeRules>(),
        Resource::of::<persistent_volume_claim::PersistentVolumeClaimRules>(),
        Resource::of::<persistent_volume::PersistentVolumeRules>(),
        Resource::of::<pod::PodRules>(),
        Resource::of::<pod_template::PodTemplateRules>(),
        Resource::of::<replication_controller::ReplicationControllerRules>(),
        Resource::of::<resource_quota::ResourceQuotaRules>(),
        Resource::of::<secret::SecretRules>(),
        Resource::of::<service_account::ServiceAccountRules>(),
        Resource::of::<service::ServiceRules>(),
        Resource::of::<api_service::ApiServiceRules>(),
        Resource::of::<controller_revision::ControllerRevisionRules>(),
        Resource::of::<daemon_set::DaemonSetRules>(),
        deployment::row(),
        replica_set::row(),
        Resource::of::<stateful_set::StatefulSetRules>(),
        review::row::<SelfSubjectReview>(),
        review::row::<TokenReview>(),
        review::row::<LocalSubjectAccessReview>(),
        review::row::<SelfSubjectAccessReview>(),
        review::row::<SelfSubjectRulesReview>(),
        review::row::<SubjectAccessReview>(),
        autoscaler::row(),
        Resource::of::<cron_job::CronJobRules>(),
        Resource::of::<job::JobRules>(),
        Resource::of::<certificate_request::CertificateRequestRules>(),
        Resource::of::<networking::IngressClassRules>(),
        Resource::of::<networking::IngressRules>(),
        Resource::of::<networking::IpAddressRules>(),
        Resource::of::<networking::NetworkPolicyRules>(),
        Resource::of::<networking::ServiceCidrRules>(),
        Resource::of::<admission_registration::MutatingPolicyRules>(),
        Resource::of::<admission_registration::MutatingBindingRules>(),
        Resource::of::<admission_registration::MutatingWebhookRules>(),
        Resource::of::<admission_registration::ValidatingPolicyRules>(),
        Resource::of::<admission_registration::ValidatingBindingRules>(),
        Resource::of::<admission_registration::ValidatingWebhookRules>(),
        Resource::of::<lease::LeaseRules>(),
        Resource::of::<runtime_class::RuntimeClassRules>(),
        Resource::of::<endpoint_slice::EndpointSliceRules>(),
        Resource::of::<disruption_budget::DisruptionBudgetRules>(),
        Resource::of::<rbac::ClusterRoleRules>(),
        Resource::of::<rbac::ClusterRoleBindingRules>(),
        Resource::of::<rbac::RoleRules>(),
        Resource::of::<rbac::RoleBindingRules>(),
        Resource::of::<resource::DeviceClassRules>(),
        Resource::of::<resource::ResourceClaimRules>(),
        Resource::of::<resource::ResourceClaimTemplateRules>(),
        Resource::of::<resource::ResourceSliceRules>(),
        Resource::of::<flowcontrol::FlowSchemaRules>(),
        Resource::of::<flowcontrol::PriorityLevelRules>(),
        Resource::of::<priority_class::PriorityClassRules>(),
        Resource::of::<storage::DriverRules>(),
        Resource::of::<storage::CsiNodeRules>(),
        Resource::of::<storage::StorageCapacityRules>(),
        Resource::of::<storage::StorageClassRules>(),
        Resource::of::<storage::VolumeAttachmentRules>(),
        Resource::of::<storage::VolumeAttributesClassRules>(),
        custom_resource_definition::row(),
    ])
}

#[cfg(test)]
mod tests;
