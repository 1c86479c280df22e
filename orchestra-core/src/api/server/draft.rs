//! From what a request carries to an object that may be stored: the steps that creation and update share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::Server;
use crate::api::decode::{self, Decoded};
use crate::api::field::{Errors, Path};
use crate::api::request::{Body, FieldValidation, Target};
use crate::api::{Resource, Status};
use crate::meta::ObjectName;
use crate::objects;

/// An object on its way into the store, in the stored version, and what its author should know.
pub(super) struct Draft {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

impl Draft {
    /// Reads a body, of the kind and version that the URL says, every field known.
    pub(super) fn read(
        resource: &Resource,
        target: &Target,
        body: Body,
        validation: FieldValidation,
    ) -> Result<Self, Status> {
        let Decoded { value, repeated } = decode::body(body)?;
        Self::of(resource, target, value, repeated, validation)
    }

    /// The same for a value that has been read, as after a patch.
    pub(super) fn of(
        resource: &Resource,
        target: &Target,
        mut object: Value,
        repeated: Vec<String>,
        validation: FieldValidation,
    ) -> Result<Self, Status> {
        check_kind(resource, target, &object)?;
        let conversion = resource.conversion(&target.group, &target.version);
        if let Some(conversion) = conversion {
            (conversion.to_stored)(&mut object);
        }
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = resource.kind.as_ref().into();
        let (kind, version) = (&resource.kind, &target.version);
        resource.rules.canonicalize(&mut object).map_err(|error| {
            Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
            ))
        })?;
        let unknown = resource
            .rules
            .check(&object)
            .map_err(|bad| decode::mistyped(&resource.kind, &target.version, &bad.error, &bad.path))?;
        decode::prune(&mut object, &unknown);
        drop_nulls(&mut object);
        resource.rules.default(&mut object);
        let faults: Vec<String> = unknown
            .iter()
            .map(|path| format!("unknown field \"{}\"", decode::readable(path)))
            .chain(repeated.iter().map(|path| format!("duplicate field \"{path}\"")))
            .collect();
        match validation {
            FieldValidation::Strict if !faults.is_empty() => Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                faults.join(", ")
            ))),
            FieldValidation::Warn => Ok(Self { object, warnings: faults }),
            _ => Ok(Self { object, warnings: Vec::new() }),
        }
    }

    pub(super) fn meta(&mut self) -> &mut Map<String, Value> {
        metadata(&mut self.object)
    }

    /// Checks what is wrong with the finished object; on an update, with the change too.
    pub(super) fn validate(
        &mut self,
        resource: &Resource,
        name: &ObjectName,
        old: Option<&Value>,
        subresource: Option<&str>,
    ) -> Result<(), Status> {
        let mut errors = Errors::new();
        let undecodable = |error: serde_json::Error| Status::internal(error);
        let status_only = subresource == Some("status");
        match old {
            Some(old) if status_only => {
                resource.rules.validate_status(&self.object, old, &mut errors).map_err(undecodable)?;
            }
            _ => {
                check_metadata(resource, &self.object, old, &mut errors).map_err(undecodable)?;
                let warnings = resource.rules.validate(&self.object, &mut errors).map_err(undecodable)?;
                self.warnings.extend(warnings);
                // What a subresource such as `binding` edits is beyond what an update may change.
                if let Some(old) = old.filter(|_| subresource.is_none()) {
                    resource.rules.validate_update(&self.object, old, &mut errors).map_err(undecodable)?;
                }
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&resource.id.group, &resource.kind, name.name(), &errors))
    }
}

fn check_metadata(
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    errors: &mut Errors,
) -> Result<(), serde_json::Error> {
    let meta = ObjectMeta::deserialize(&object["metadata"])?;
    objects::meta::validate(&meta, resource.scope, resource.name_rule, errors);
    if let Some(old) = old {
        objects::meta::validate_update(&meta, &ObjectMeta::deserialize(&old["metadata"])?, errors);
    }
    Ok(())
}

/// The object's metadata, made if it is missing.
pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    let meta = &mut object["metadata"];
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    match meta {
        Value::Object(fields) => fields,
        _ => unreachable_metadata(),
    }
}

fn unreachable_metadata() -> ! {
    unreachable!("metadata was made an object on the line above")
}

fn check_kind(resource: &Resource, target: &Target, object: &Value) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request("the body of the request is not an object"));
    }
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let expected = crate::api::api_version(&target.group, &target.version);
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.is_empty() {
        return Err(Status::bad_request(format!(
            "Object 'Kind' is missing; this request is for a {}",
            resource.kind
        )));
    }
    if kind != resource.kind {
        return Err(Status::bad_request(format!(
            "the kind in the data ({kind}) does not match the expected kind ({})",
            resource.kind
        )));
    }
    if api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    Ok(())
}

/// A field that is null is a field that is not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Server {
    /// The namespace of a request and of the object in it are the same.
    pub(super) fn settle_namespace(
        &self,
        resource: &Resource,
        target: &Target,
        draft: &mut Draft,
    ) -> Result<Option<String>, Status> {
        let meta = draft.meta();
        let given = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if !resource.is_namespaced() {
            if !given.is_empty() {
                let mut errors = Errors::new();
                errors.forbidden(&Path::new("metadata.namespace"), "not allowed on this type");
                let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(Status::invalid(&resource.id.group, &resource.kind, &name, &errors));
            }
            meta.remove("namespace");
            return Ok(None);
        }
        let Some(namespace) = target.namespace.as_deref() else {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        };
        if !given.is_empty() && given != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        meta.insert("namespace".to_owned(), namespace.into());
        Ok(Some(namespace.to_owned()))
    }
}
