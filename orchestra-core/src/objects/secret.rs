use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::check::{self, say};
use super::config_map::{MAX_DATA, frozen, unchanged};
use super::json::Fields;
use super::names;
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Rules, table};
use crate::watch::IndexedField;

/// The rules of Secret objects.
pub(super) struct SecretRules;

impl Rules for SecretRules {
    type Object = Secret;

    const FIELDS: &'static [IndexedField] = &[IndexedField::new("type")];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Type", "What the entries are for."),
        Column::new("Data", "How many entries there are."),
        Column::AGE,
    ];

    /// `stringData` is for writing only: it becomes `data`.
    fn default(object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        fields.or_text("type", "Opaque");
        if let Some(Value::Object(plain)) = fields.remove("stringData")
            && !plain.is_empty()
            && let Some(data) = fields.object_or_new("data")
        {
            for (key, value) in plain {
                data.insert(key, BASE64_STANDARD.encode(value.as_str().unwrap_or_default()).into());
            }
        }
    }

    fn validate(object: &Secret, errors: &mut Errors) {
        let path = Path::new("data");
        let none = BTreeMap::new();
        let data = object.data.as_ref().unwrap_or(&none);
        let mut size = 0;
        for (key, value) in data {
            say(errors, &path.key(key), key, names::data_key(key));
            size += value.0.len();
        }
        if size > MAX_DATA {
            errors.push(&path, Problem::TooLong(MAX_DATA));
        }
        of_type(object, data, &path, errors);
    }

    fn validate_update(new: &Secret, old: &Secret, errors: &mut Errors) {
        check::unchanged(errors, &Path::new("type"), &new.type_, &old.type_);
        if old.immutable == Some(true) {
            frozen(new.immutable, errors);
            unchanged("data", new.data.as_ref(), old.data.as_ref(), errors);
        }
    }

    fn cells(object: &Secret, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.type_.clone().into(),
            object.data.as_ref().map_or(0, BTreeMap::len).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// What the type of a secret says must be in it.
fn of_type(object: &Secret, data: &BTreeMap<String, ByteString>, path: &Path, errors: &mut Errors) {
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !data.contains_key(**key)) {
            errors.required(&path.key(key), "");
        }
    };
    match object.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let named = object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
            if named.is_none_or(String::is_empty) {
                errors.required(&Path::new("metadata.annotations").key(key), "");
            }
        }
        "kubernetes.io/dockercfg" => json_entry(".dockercfg", data, path, errors),
        "kubernetes.io/dockerconfigjson" => json_entry(".dockerconfigjson", data, path, errors),
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            require(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if data.get("ssh-privatekey").is_none_or(|key| key.0.is_empty()) => {
            errors.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn json_entry(key: &str, data: &BTreeMap<String, ByteString>, path: &Path, errors: &mut Errors) {
    match data.get(key).map(|entry| serde_json::from_slice::<serde_json::Map<String, Value>>(&entry.0)) {
        None => errors.required(&path.key(key), ""),
        Some(Err(error)) => {
            errors.invalid(&path.key(key), "<secret contents redacted>", error.to_string());
        }
        Some(Ok(_)) => {}
    }
}
