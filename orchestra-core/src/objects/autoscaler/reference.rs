//! References to other objects: what is scaled, and what is measured.

use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;

use crate::api::NameRule;
use crate::api::field::{Errors, Path};
use crate::objects::check::say;
use crate::objects::names;

/// Says what is wrong with a kind and a name; the version is checked apart.
pub(super) fn reference(reference: &CrossVersionObjectReference, path: &Path, errors: &mut Errors) {
    for (field, text) in [("kind", &reference.kind), ("name", &reference.name)] {
        let path = path.child(field);
        if text.is_empty() {
            errors.required(&path, "");
        } else {
            say(errors, &path, text, names::object_name(NameRule::PathSegment, text, false));
        }
    }
}

/// Says what is wrong with the version of an object; the core group has no name, and has next to nothing to scale.
pub(super) fn version(version: &str, core_is_fine: bool, path: &Path, errors: &mut Errors) {
    let at = path.child("apiVersion");
    if version.matches('/').count() > 1 {
        errors.invalid(&at, version, format!("unexpected GroupVersion string: {version}"));
    } else if !core_is_fine && crate::api::split_api_version(version).0.is_empty() {
        errors.invalid(&at, version, "apiVersion must specify API group");
    }
}
