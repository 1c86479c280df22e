use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity};
use serde_json::Value;

use super::source;
use crate::api::field::{Errors, Path, Shown};
use crate::objects::check;
use crate::objects::pod;

/// Says what is wrong with a change of a volume: it stays where it is.
pub(super) fn validate(new: &PersistentVolume, old: &PersistentVolume, errors: &mut Errors) {
    let none = PersistentVolumeSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    if places(&with_late_secret_of(new, old)) != places(old) {
        errors.forbidden(
            &Path::new("spec.persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    check::unchanged(errors, &Path::new("volumeMode"), &new.volume_mode, &old.volume_mode);
    if old.node_affinity.is_some()
        && current(new.node_affinity.as_ref()) != current(old.node_affinity.as_ref())
    {
        errors.invalid_object(
            &Path::new("nodeAffinity"),
            new.node_affinity.as_ref().map_or(Value::Null.into(), shown_affinity),
            "field is immutable, except for updating from beta label to GA",
        );
    }
    if old.volume_attributes_class_name.is_some() && new.volume_attributes_class_name.is_none() {
        let detail = "update from non-nil value to nil is forbidden";
        errors.forbidden(&Path::new("spec.volumeAttributesClassName"), detail);
    }
}

fn places(spec: &PersistentVolumeSpec) -> Vec<Value> {
    source::given(spec).into_iter().map(|(_, fields)| fields).collect()
}

/// The secret with which a volume is made larger may come later.
fn with_late_secret_of(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    let mut new = new.clone();
    if let (Some(csi), Some(before)) = (&mut new.csi, &old.csi)
        && before.controller_expand_secret_ref.is_none()
    {
        csi.controller_expand_secret_ref = None;
    }
    new
}

/// An affinity with labels of nodes by their current names.
fn current(affinity: Option<&VolumeNodeAffinity>) -> Option<VolumeNodeAffinity> {
    let mut affinity = affinity.cloned();
    let nodes = affinity.as_mut().and_then(|affinity| affinity.required.as_mut());
    for term in nodes.into_iter().flat_map(|nodes| &mut nodes.node_selector_terms) {
        for requirement in term.match_expressions.iter_mut().flatten() {
            if let Some(name) = pod::current_node_label(&requirement.key) {
                requirement.key = name.to_owned();
            }
        }
    }
    affinity
}

fn shown_affinity(affinity: &VolumeNodeAffinity) -> Shown {
    let null = || Shown::from(Value::Null);
    let required = affinity.required.as_ref().map_or_else(null, |nodes| {
        let terms = nodes.node_selector_terms.iter().map(pod::shown_node_term);
        let terms = if terms.len() == 0 { null() } else { Shown::list(terms) };
        Shown::object([("NodeSelectorTerms", terms)])
    });
    Shown::object([("Required", required)])
}
