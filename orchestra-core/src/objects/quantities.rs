//! Amounts of resources inside objects, and the names of resources.

use serde_json::{Map, Value};

use super::check::say;
use super::json::Fields;
use super::names;
use crate::api::field::{Errors, Path};
use crate::quantity::Quantity;

/// Rounds the amounts in a map up to thousandths, the finest that the API keeps of resources.
pub(super) fn round_up(fields: &mut Map<String, Value>, name: &str) {
    for held in fields.object(name).into_iter().flat_map(Map::values_mut) {
        let Some(Ok(amount)) = held.as_str().map(Quantity::parse) else { continue };
        let milli = amount.milli_value();
        let rounded = Quantity::from_milli(milli, amount.format());
        if rounded != amount && milli != i64::MAX && milli != i64::MIN {
            *held = Value::String(rounded.to_string());
        }
    }
}

/// The resources whose names have no domain: what containers use, what storage has, and what quotas count.
const STANDARD: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// Says what is wrong with the name of a resource.
pub(super) fn resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let faults = names::qualified(name);
    if faults.is_empty() && !name.contains('/') && !is_standard(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    say(errors, path, name, faults);
}

/// Whether a resource is one of those whose names have no domain.
pub(super) fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}
