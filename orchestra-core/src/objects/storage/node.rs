use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use serde_json::Value;

use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, Deletion, Rules, table};
use crate::objects::check::{self, IMMUTABLE, say, shown};
use crate::objects::{names, volume_source};

/// The longest name that a driver may have for a node, in bytes.
const MAX_NODE_ID: usize = 256;

/// The rules of CSINode objects.
pub(in crate::objects) struct CsiNodeRules;

impl Rules for CsiNodeRules {
    type Object = CSINode;

    const DELETION: Deletion = Deletion::Object;
    const METADATA_CHECKED_ONCE: bool = true;

    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Drivers", "How many drivers the node has.").integer(), Column::AGE];

    fn validate(object: &CSINode, errors: &mut Errors) {
        let mut seen = HashSet::new();
        for (index, driver) in object.spec.drivers.iter().enumerate() {
            let path = Path::new("spec.drivers").index(index);
            self::driver(driver, &path, errors);
            check::unique(errors, &mut seen, &path.child("name"), &driver.name);
        }
    }

    /// How many volumes a driver takes may change, and nothing else of it.
    fn validate_update(new: &CSINode, old: &CSINode, errors: &mut Errors) {
        let fixed = |driver: &CSINodeDriver| CSINodeDriver { allocatable: None, ..driver.clone() };
        for old in &old.spec.drivers {
            for new in new.spec.drivers.iter().filter(|new| new.name == old.name) {
                if fixed(new) != fixed(old) {
                    let value = Shown::object([
                        ("Name", shown(&new.name).into()),
                        ("NodeID", shown(&new.node_id).into()),
                        ("TopologyKeys", shown(&new.topology_keys).into()),
                        ("Allocatable", Value::Null.into()),
                    ]);
                    errors.invalid_object(&Path::new("spec.drivers"), value, IMMUTABLE);
                }
            }
        }
    }

    fn cells(object: &CSINode, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.spec.drivers.len().into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn driver(driver: &CSINodeDriver, path: &Path, errors: &mut Errors) {
    volume_source::driver_name(&driver.name, &path.child("name"), errors);
    let at = path.child("nodeID");
    if driver.node_id.is_empty() {
        errors.required(&at, "");
    }
    if driver.node_id.len() > MAX_NODE_ID {
        errors.invalid(&at, &*driver.node_id, format!("must be {MAX_NODE_ID} characters or less"));
    }
    let count = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count);
    check::not_negative(errors, &path.child("allocatable.count"), count);
    let mut seen = HashSet::new();
    for key in driver.topology_keys.iter().flatten() {
        if key.is_empty() {
            errors.required(path, "");
        }
        check::unique(errors, &mut seen, path, key);
        say(errors, path, key, names::qualified(key));
    }
}
