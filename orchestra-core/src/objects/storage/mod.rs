//! The kinds of `storage.k8s.io`: classes of volumes, the drivers that make them, and where they are attached.

mod attachment;
mod attributes_class;
mod capacity;
mod class;
mod driver;
mod node;

use std::collections::BTreeMap;

pub(super) use attachment::VolumeAttachmentRules;
pub(super) use attributes_class::VolumeAttributesClassRules;
pub(super) use capacity::StorageCapacityRules;
pub(super) use class::StorageClassRules;
pub(crate) use class::is_default as is_default_class;
pub(super) use driver::DriverRules;
pub(super) use node::CsiNodeRules;

use super::check::say;
use super::names;
use crate::api::field::{Errors, Path, Problem};

/// What a volume that a driver attaches is called in the status of nodes.
pub(crate) fn attached_name(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

/// The most parameters of a class, and the most bytes that they have together.
const MAX_PARAMETERS: usize = 512;
const MAX_SIZE: usize = 256 * 1024;

/// Says what is wrong with the name of what makes volumes.
fn provisioner(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let lower = name.to_lowercase();
    say(errors, path, &lower, names::qualified(&lower));
}

/// Says what is wrong with what a class tells its driver.
fn parameters(parameters: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut Errors) {
    let all = || parameters.into_iter().flatten();
    if all().count() > MAX_PARAMETERS {
        return errors.push(path, Problem::TooLong(MAX_PARAMETERS));
    }
    if all().any(|(key, _)| key.is_empty()) {
        errors.invalid(path, "", "field can not be empty.");
    }
    if all().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_SIZE {
        errors.push(path, Problem::TooLong(MAX_SIZE));
    }
}
