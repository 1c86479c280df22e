use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde_json::Value;

use super::check::say;
use super::names;
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Rules, table};

/// The most that the values of a ConfigMap or a Secret may take together, in bytes.
pub(super) const MAX_DATA: usize = 1024 * 1024;

/// The rules of ConfigMap objects.
pub(super) struct ConfigMapRules;

impl Rules for ConfigMapRules {
    type Object = ConfigMap;

    const SHORT_NAMES: &'static [&'static str] = &["cm"];
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Data", "How many entries there are."), Column::AGE];

    fn validate(object: &ConfigMap, errors: &mut Errors) {
        let (data, binary) = (Path::new("data"), Path::new("binaryData"));
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            say(errors, &data.key(key), key, names::data_key(key));
            if object.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
            }
            size += value.len();
        }
        for (key, value) in object.binary_data.iter().flatten() {
            say(errors, &binary.key(key), key, names::data_key(key));
            size += value.0.len();
        }
        if size > MAX_DATA {
            errors.push(&Path::new("[]"), Problem::TooLong(MAX_DATA));
        }
    }

    fn validate_update(new: &ConfigMap, old: &ConfigMap, errors: &mut Errors) {
        if old.immutable == Some(true) {
            frozen(new.immutable, errors);
            unchanged("data", new.data.as_ref(), old.data.as_ref(), errors);
            unchanged("binaryData", new.binary_data.as_ref(), old.binary_data.as_ref(), errors);
        }
    }

    fn cells(object: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let text = object.data.as_ref().map_or(0, BTreeMap::len);
        let binary = object.binary_data.as_ref().map_or(0, BTreeMap::len);
        vec![
            object.metadata.name.clone().into(),
            (text + binary).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

const FROZEN: &str = "field is immutable when `immutable` is set";

/// Says that what is immutable stays so.
pub(super) fn frozen(new: Option<bool>, errors: &mut Errors) {
    if new != Some(true) {
        errors.forbidden(&Path::new("immutable"), FROZEN);
    }
}

/// Says that the entries of an immutable object may not change. No entries and none given are the same.
pub(super) fn unchanged<V: PartialEq + Serialize>(
    field: &str,
    new: Option<&BTreeMap<String, V>>,
    old: Option<&BTreeMap<String, V>>,
    errors: &mut Errors,
) {
    let entries = |held: Option<&BTreeMap<String, V>>| held.is_some_and(|held| !held.is_empty());
    if (entries(new) || entries(old)) && new != old {
        errors.forbidden(&Path::new(field), FROZEN);
    }
}
