//! The part `ephemeralcontainers`: containers that are added to a pod that runs, to look into it. They can be added, and
//! neither be changed nor taken away.

use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use serde_json::Value;

use super::update::{MIRROR, keep_all_but_uid};
use crate::api::field::{Errors, Path};

/// Takes from what was sent the list of these containers, and all else from the pod as it is.
pub(super) fn take_over(new: &mut Value, old: &Value) {
    let wanted = new.pointer_mut("/spec/ephemeralContainers").map(Value::take);
    keep_all_but_uid(new, old);
    let Some(spec) = new["spec"].as_object_mut() else { return };
    match wanted {
        Some(wanted) => drop(spec.insert("ephemeralContainers".to_owned(), wanted)),
        None => drop(spec.remove("ephemeralContainers")),
    }
}

/// Says what is wrong with a change of the list.
pub(super) fn validate(new: &Pod, old: &Pod, errors: &mut Errors) {
    let mirror = old.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
    if mirror {
        return errors.forbidden(&Path::root(), "static pods do not support ephemeral containers");
    }
    super::validate::pod(new, errors);
    let path = Path::new("spec").child("ephemeralContainers");
    let list = |pod: &Pod| -> Vec<EphemeralContainer> {
        pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.clone()).unwrap_or_default()
    };
    let now = list(new);
    for before in list(old) {
        match now.iter().find(|container| container.name == before.name) {
            None => errors.forbidden(
                &path,
                format!("existing ephemeral containers {:?} may not be removed\n", before.name),
            ),
            Some(same) if *same == before => {}
            Some(_) => errors.forbidden(
                &path,
                format!("existing ephemeral containers {:?} may not be changed\n", before.name),
            ),
        }
    }
}
