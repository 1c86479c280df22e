//! Where the specification of a pod stands.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Where a specification stands. A pod itself is held to a few more rules than a template of one.
#[derive(Clone, Copy)]
pub(in crate::objects) enum Place<'a> {
    /// In a pod with this metadata.
    Pod(&'a ObjectMeta),
    /// In a template.
    Template,
}

impl<'a> Place<'a> {
    /// The name of the pod; none of a template, whose pods are named later.
    pub(super) fn name_of_pod(self) -> Option<&'a str> {
        match self {
            Self::Pod(meta) => meta.name.as_deref().filter(|name| !name.is_empty()),
            Self::Template => None,
        }
    }
}
