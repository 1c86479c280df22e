use jiff::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use serde_json::Value;

use super::{parameters, provisioner};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, table};

/// The rules of VolumeAttributesClass objects.
pub(in crate::objects) struct VolumeAttributesClassRules;

impl Rules for VolumeAttributesClassRules {
    type Object = VolumeAttributesClass;

    const DELETION: Deletion = Deletion::Object;

    const SHORT_NAMES: &'static [&'static str] = &["vac"];
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("DriverName", "Whose volumes have the attributes."), Column::AGE];

    fn validate(object: &VolumeAttributesClass, errors: &mut Errors) {
        provisioner(&object.driver_name, &Path::new("driverName"), errors);
        let path = Path::new("parameters");
        parameters(object.parameters.as_ref(), &path, errors);
        if object.parameters.as_ref().is_none_or(|parameters| parameters.is_empty()) {
            errors.required(&path, "must contain at least one key/value pair");
        }
    }

    fn validate_update(new: &VolumeAttributesClass, old: &VolumeAttributesClass, errors: &mut Errors) {
        let changed = [
            ("driverName", new.driver_name != old.driver_name),
            ("parameters", new.parameters != old.parameters),
        ];
        for (field, _) in changed.into_iter().filter(|(_, is_changed)| *is_changed) {
            errors.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
        }
    }

    fn cells(object: &VolumeAttributesClass, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.driver_name.as_str().into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}
