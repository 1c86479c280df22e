use k8s_openapi::api::core::v1::Pod;

use crate::api::Rules;
use crate::watch::IndexedField;

/// The rules of Pod objects.
pub(super) struct PodRules;

impl Rules for PodRules {
    type Object = Pod;

    const SHORT_NAMES: &'static [&'static str] = &["po"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SUBRESOURCES: &'static [&'static str] = &[
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
    ];
    const FIELDS: &'static [IndexedField] = &[
        IndexedField::new("spec.nodeName").lookup(),
        IndexedField::new("spec.restartPolicy"),
        IndexedField::new("spec.schedulerName"),
        IndexedField::new("spec.serviceAccountName"),
        IndexedField::or("spec.hostNetwork", "false"),
        IndexedField::new("status.phase"),
        IndexedField::new("status.podIP"),
        IndexedField::new("status.podIPs"),
        IndexedField::new("status.nominatedNodeName"),
    ];
}
