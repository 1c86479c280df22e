use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use super::check;
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, split_api_version, table};

/// The rules of ControllerRevision objects.
pub(super) struct ControllerRevisionRules;

impl Rules for ControllerRevisionRules {
    type Object = ControllerRevision;

    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Controller", "Whose state this is."),
        Column::new("Revision", "The how many-th state it is."),
        Column::AGE,
    ];

    fn validate(object: &ControllerRevision, errors: &mut Errors) {
        match &object.data {
            None => errors.required(&Path::new("data"), "data is mandatory"),
            Some(data) if !data.0.is_object() => {
                errors.required(&Path::new("data"), "data must be a valid JSON object");
            }
            Some(_) => {}
        }
        check::not_negative(errors, &Path::new("revision"), Some(object.revision));
    }

    fn validate_update(new: &ControllerRevision, old: &ControllerRevision, errors: &mut Errors) {
        check::unchanged(errors, &Path::new("data"), &new.data, &old.data);
    }

    fn cells(object: &ControllerRevision, now: Timestamp) -> Vec<Value> {
        let owners = object.metadata.owner_references.iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        let controller = controller.map_or("<none>".to_owned(), |owner| {
            let kind = owner.kind.to_lowercase();
            match split_api_version(&owner.api_version).0 {
                "" => format!("{kind}/{}", owner.name),
                group => format!("{kind}.{group}/{}", owner.name),
            }
        });
        vec![
            object.metadata.name.clone().into(),
            controller.into(),
            object.revision.into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}
