use k8s_openapi::api::core::v1::Node;

use crate::api::Rules;
use crate::watch::IndexedField;

/// The rules of Node objects.
pub(super) struct NodeRules;

impl Rules for NodeRules {
    type Object = Node;

    const SHORT_NAMES: &'static [&'static str] = &["no"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const SUBRESOURCES: &'static [&'static str] = &["proxy"];
    const FIELDS: &'static [IndexedField] = &[IndexedField::or("spec.unschedulable", "false")];
}
