//! CustomResourceDefinition: how a kind comes to be without a Rust type.
//!
//! Its schemas are documents that the types of k8s-openapi only carry, so its rules work on JSON. What a definition makes
//! of itself, a row of the table, is the business of [`extensions`](crate::extensions); what its schemas mean that of
//! [`structural`](crate::api::structural).

mod approval;
mod kind;
mod of_type;
mod show;
#[cfg(feature = "openapi")]
mod type_schema;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

pub(crate) use self::approval::{Approval, is_protected};
pub(crate) use self::kind::kind_of;
pub use self::of_type::definition_of;
use super::json::{Fields, at};
use crate::api::field::Errors;
use crate::api::structural::{Schema, unrecognized_formats};
use crate::api::{Column, Deletion, KindRules, Resource, Rules, Typed};

/// What keeps a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The row of CustomResourceDefinitions.
pub(super) fn row() -> Resource {
    Resource {
        rules: Arc::new(DefinitionRules(Typed::new())),
        ..Resource::of::<CustomResourceDefinitionRules>()
    }
}

/// What of the rules is constant, or about the typed object.
struct CustomResourceDefinitionRules;

impl Rules for CustomResourceDefinitionRules {
    type Object = CustomResourceDefinition;

    const DELETION: Deletion = Deletion::Terminating;
    const ANY_FINALIZER: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["crd", "crds"];
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const STATUS: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column { kind: "date", ..Column::new("Created At", "When the definition was created.") },
    ];

    fn default(object: &mut Value) {
        let Some(spec) = at(object, &["spec"]) else { return };
        if let Some(names) = spec.object_or_new("names") {
            let kind = names.text("kind").to_owned();
            if names.text("singular").is_empty() && !kind.is_empty() {
                names.insert("singular".to_owned(), kind.to_lowercase().into());
            }
            if names.text("listKind").is_empty() && !kind.is_empty() {
                names.insert("listKind".to_owned(), format!("{kind}List").into());
            }
        }
        spec.or("conversion", json!({"strategy": "None"}));
        if let Some(service) = at(object, &["spec", "conversion", "webhook", "clientConfig", "service"]) {
            service.or("port", 443);
        }
    }

    fn prepare_create(object: &mut Value) {
        object["status"] = json!({});
        note_storage(object);
    }

    fn prepare_update(new: &mut Value, _old: &Value) {
        note_storage(new);
    }

    /// A definition that is deleted stays until its objects are gone.
    fn prepare_deletion(object: &mut Value) {
        let time = object["metadata"]["deletionTimestamp"].clone();
        let Some(meta) = at(object, &["metadata"]) else { return };
        // Kubernetes marks definitions by itself, without these two.
        meta.remove("deletionGracePeriodSeconds");
        if let Some(generation) = meta.get("generation").and_then(Value::as_i64) {
            meta.insert("generation".to_owned(), (generation - 1).into());
        }
        let mut finalizers = meta.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        if !finalizers.iter().any(|held| held == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        meta.insert("finalizers".to_owned(), finalizers.into());
        let pending = json!({
            "type": "Terminating",
            "status": "True",
            "lastTransitionTime": time,
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        });
        let Value::Object(fields) = object else { return };
        let status = fields.entry("status").or_insert_with(|| json!({}));
        let Value::Object(status) = status else { return };
        match status.entry("conditions").or_insert(Value::Null) {
            Value::Array(held) => {
                held.retain(|condition| condition["type"] != "Terminating");
                held.push(pending);
            }
            other => *other = json!([pending]),
        }
    }

    fn cells(object: &CustomResourceDefinition, _now: Timestamp) -> Vec<Value> {
        let created = object.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        vec![object.metadata.name.clone().into(), created.into()]
    }
}

/// Notes the version that objects are kept in among those that they may be kept in.
fn note_storage(object: &mut Value) {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let storage = versions.into_iter().find(|version| version["storage"] == true);
    let Some(name) = storage.map(|version| version["name"].clone()) else { return };
    match &mut object["status"]["storedVersions"] {
        Value::Array(stored) if stored.contains(&name) => {}
        Value::Array(stored) => stored.push(name),
        other => *other = json!([name]),
    }
}

/// The rules, over documents.
struct DefinitionRules(Typed<CustomResourceDefinitionRules>);

impl KindRules for DefinitionRules {
    fn check(&self, object: &mut Value) -> Result<Vec<String>, String> {
        self.0.check(object)
    }

    fn default(&self, object: &mut Value) {
        self.0.default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        self.0.prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        self.0.prepare_update(new, old);
    }

    fn prepare_deletion(&self, object: &mut Value) {
        self.0.prepare_deletion(object);
    }

    fn validate_create(&self, object: &Value, errors: &mut Errors) -> Result<Vec<String>, serde_json::Error> {
        validate::created(object, errors);
        Ok(formats(object).into_iter().map(|format| format!("unrecognized format {format:?}")).collect())
    }

    fn validate_update(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        validate::changed(new, old, errors);
        Ok(())
    }

    fn validate_status(
        &self,
        new: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        validate::status(new, errors);
        Ok(())
    }

    fn cells(&self, json: &[u8], now: Timestamp) -> Result<Vec<Value>, serde_json::Error> {
        self.0.cells(json, now)
    }

    #[cfg(feature = "openapi")]
    fn schema(
        &self,
        generator: &mut k8s_openapi::schemars::SchemaGenerator,
    ) -> Option<k8s_openapi::schemars::Schema> {
        self.0.schema(generator)
    }
}

/// The formats in its schemas that nobody looks at.
fn formats(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for version in object["spec"]["versions"].as_array().into_iter().flatten() {
        if let Ok(schema) = Schema::read(&version["schema"]["openAPIV3Schema"]) {
            unrecognized_formats(&schema, &mut found);
        }
    }
    found.dedup();
    found
}
