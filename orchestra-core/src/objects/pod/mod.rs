//! Pods, and the specification of a pod, which templates hold too.
//!
//! | file | what it says |
//! | --- | --- |
//! | `defaults`, `app_armor` | what a manifest may leave out; what annotations say instead of fields |
//! | `validate` | what is wrong with a specification; `containers`, `env`, `probes`, `resources`, `volumes`, `security` and `scheduling` with its parts |
//! | `update`, `narrowed`, `ephemeral`, `resize` | what may change, where a pod that waits may run; the containers that may be added; what containers ask for |
//! | `status` | the status a pod begins with, and binding |
//! | `warnings` | what is accepted, but not good |
//! | `print` | the row in a table |

mod app_armor;
mod containers;
mod defaults;
mod env;
mod ephemeral;
mod narrowed;
mod place;
mod print;
mod probes;
mod resize;
mod resources;
mod scheduling;
mod security;
mod status;
mod status_update;
mod update;
mod validate;
mod volumes;
mod warnings;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

pub(super) use defaults::{network_volume as default_network_volume, spec as default_spec};
pub(super) use narrowed::shown_term as shown_node_term;
pub(super) use place::Place;
pub(super) use resources::{amounts as validate_amounts, resource_name as container_resource_name};
pub(super) use scheduling::{
    EFFECTS, node_selector as validate_node_selector, tolerations as validate_tolerations,
};
pub(super) use validate::{annotations as validate_annotations, spec as validate_spec};
pub(super) use volumes::host_path as validate_host_path;
pub(super) use warnings::{
    current_node_label, node_term as warn_of_node_term, of as warnings_of, old_node_label,
};

use super::json::keep;
use super::print as print_shared;
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, Status, Subresource, Verb};
use crate::watch::IndexedField;

/// The lists of containers in a specification.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The part by which what containers ask for is changed.
const RESIZE: &str = "resize";

/// The rules of Pod objects.
pub(super) struct PodRules;

impl Rules for PodRules {
    type Object = Pod;

    const SHORT_NAMES: &'static [&'static str] = &["po"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const DELETION: Deletion = Deletion::Object;
    const SUBRESOURCES: &'static [Subresource] = &[
        // A binding gives a pod what its spec asks for, and asks for nothing else.
        Subresource::edit("binding", &[Verb::Create]).body("", "v1", "Binding").uncounted(),
        Subresource::part("ephemeralcontainers"),
        Subresource::part(RESIZE),
        Subresource::EVICTION,
        Subresource::LOG,
        Subresource::EXEC,
        Subresource::ATTACH,
        Subresource::PORT_FORWARD,
        Subresource::proxy("PodProxyOptions"),
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
    const COLUMNS: &'static [Column] = print::COLUMNS;

    fn default(object: &mut Value) {
        defaults::pod(object);
    }

    fn prepare_create(object: &mut Value) {
        status::prepare(object);
        object.as_object_mut().into_iter().for_each(app_armor::take_over);
    }

    fn validate(object: &Pod, errors: &mut Errors) {
        validate::pod(object, errors);
    }

    fn validate_create(object: &Pod, errors: &mut Errors) {
        validate::created(object, errors);
    }

    fn validate_update(new: &Pod, old: &Pod, errors: &mut Errors) {
        update::validate(new, old, errors);
    }

    fn prepare_part(part: &str, new: &mut Value, old: &Value) {
        match part {
            RESIZE => resize::take_over(new, old),
            _ => ephemeral::take_over(new, old),
        }
    }

    fn validate_part(part: &str, new: &Pod, old: &Pod, errors: &mut Errors) {
        match part {
            RESIZE => resize::validate(new, old, errors),
            _ => ephemeral::validate(new, old, errors),
        }
    }

    fn validate_status(new: &Pod, old: &Pod, errors: &mut Errors) {
        status_update::validate(new, old, errors);
    }

    fn warnings(object: &Pod) -> Vec<String> {
        let spec = object.spec.as_ref();
        spec.map_or(Vec::new(), |spec| warnings::of(&object.metadata, spec, &Path::root()))
    }

    fn warns_of_change(_new: &Value, _old: &Value) -> bool {
        // Programs change pods, and all the time.
        false
    }

    fn warnings_at_creation(object: &Pod) -> Vec<String> {
        print_shared::hostname_warning(&object.metadata, "the Pod's hostname")
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        // Owners are not the business of a node's agent.
        if let (Some(new), Some(old)) = (new.get_mut("metadata"), old.get("metadata")) {
            keep(new, old, "ownerReferences");
        }
        // It never changes, and who writes a status need not know it.
        let quality = |pod: &Value| pod["status"].get("qosClass").cloned();
        if let (None, Some(held), Value::Object(fields)) = (quality(new), quality(old), new) {
            let status = fields.entry("status").or_insert_with(|| Value::Object(Default::default()));
            if let Value::Object(status) = status {
                status.insert("qosClass".to_owned(), held);
            }
        }
    }

    fn grace_period(object: &Pod, requested: Option<i64>) -> Option<i64> {
        let spec = object.spec.as_ref();
        let scheduled = spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
        let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
        if !scheduled || matches!(phase, Some("Succeeded" | "Failed")) {
            return Some(0);
        }
        let seconds = requested.or_else(|| spec?.termination_grace_period_seconds).unwrap_or_default();
        Some(if seconds < 0 { 1 } else { seconds })
    }

    fn check_body(subresource: &str, body: &Value) -> Result<(), Status> {
        match subresource {
            "binding" => status::target(body).map(drop),
            _ => Ok(()),
        }
    }

    fn edit(subresource: &str, object: &mut Value, body: &Value, now: Timestamp) -> Result<(), Status> {
        match subresource {
            "binding" => status::bind(object, body, now),
            "eviction" => {
                status::evict(object, now);
                Ok(())
            }
            other => Err(status::unknown(other)),
        }
    }

    fn cells(object: &Pod, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
    }
}
