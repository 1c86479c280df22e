use jiff::Timestamp;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use serde_json::Value;

use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules};
use crate::objects::check::{self, IMMUTABLE, NEGATIVE, say};
use crate::objects::{names, pod, print};
use crate::quantity::Quantity;

/// The rules of CSIStorageCapacity objects.
pub(in crate::objects) struct StorageCapacityRules;

impl Rules for StorageCapacityRules {
    type Object = CSIStorageCapacity;

    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[Column::NAME, Column::CREATED_AT];

    fn validate(object: &CSIStorageCapacity, errors: &mut Errors) {
        if let Some(selector) = &object.node_topology {
            check::selector(errors, &Path::new("nodeTopology"), selector);
        }
        let class = object.storage_class_name.as_str();
        say(errors, &Path::new("storageClassName"), class, names::subdomain(class));
        if let Some(capacity) = &object.capacity
            && Quantity::parse(&capacity.0).is_ok_and(|capacity| capacity.is_negative())
        {
            errors.invalid(&Path::new("capacity"), &*capacity.0, NEGATIVE);
        }
    }

    fn validate_update(new: &CSIStorageCapacity, old: &CSIStorageCapacity, errors: &mut Errors) {
        if new.node_topology != old.node_topology {
            let shown = new.node_topology.as_ref().map_or(Value::Null.into(), check::shown_selector);
            errors.invalid_object(&Path::new("nodeTopology"), shown, IMMUTABLE);
        }
        let at = Path::new("storageClassName");
        check::unchanged(errors, &at, &new.storage_class_name, &old.storage_class_name);
    }

    fn warnings(object: &CSIStorageCapacity) -> Vec<String> {
        let Some(selector) = &object.node_topology else { return Vec::new() };
        let path = Path::new("nodeTopology");
        let expressions = selector.match_expressions.iter().flatten().enumerate();
        let of_expressions = expressions.filter_map(|(index, expression)| {
            let said = pod::old_node_label(&expression.key)?;
            let at = path.child("matchExpressions").index(index).child("key");
            Some(format!("{at}: {} is {said}", expression.key))
        });
        let labels = selector.match_labels.iter().flatten();
        let of_labels = labels.filter_map(|(label, _)| {
            let said = pod::old_node_label(label)?;
            Some(format!("{}: {said}", path.child("matchLabels").child(label)))
        });
        of_expressions.chain(of_labels).collect()
    }

    fn cells(object: &CSIStorageCapacity, _now: Timestamp) -> Vec<Value> {
        vec![object.metadata.name.clone().into(), print::created_at(&object.metadata)]
    }
}
