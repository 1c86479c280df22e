//! From what a request carries to an object that may be stored: the steps that creation and update share.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::api::decode;
use crate::api::document::Decoded;
use crate::api::field::Errors;
use crate::api::metadata as meta_rules;
use crate::api::request::{Body, FieldValidation, Target};
use crate::api::schema::{Place, canonical};
use crate::api::{Resource, Status, Subresource};
use crate::meta::ObjectName;

/// The subresource that a write goes to; `None` for the object itself.
pub(super) type Part<'r> = Option<&'r Subresource<Arc<str>>>;

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
        let decoded = decode::body(body, &resource.kind)?;
        let (kind, version) = (&resource.kind, &target.version);
        Self::of(resource, target, decoded, validation, &|why| {
            Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
        })
    }

    /// The same for a value that has been read, as after a patch. `refuse` says that it does not fit the kind's type.
    pub(super) fn of(
        resource: &Resource,
        target: &Target,
        decoded: Decoded,
        validation: FieldValidation,
        refuse: &dyn Fn(&str) -> Status,
    ) -> Result<Self, Status> {
        let Decoded { value: mut object, repeated } = decoded;
        check_kind(resource, target, &object)?;
        let conversion = resource.conversion(&target.group, &target.version);
        if let Some(conversion) = conversion {
            (conversion.to_stored)(&mut object);
        }
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = (*resource.kind).into();
        let place = place(resource);
        canonical::reduce(place, &mut object).map_err(|refusal| refuse(&refusal.to_string()))?;
        let unknown = resource.rules.check(&object).map_err(|why| refuse(&why))?;
        decode::prune(&mut object, &unknown);
        resource.rules.default(&mut object);
        canonical::complete(place, &mut object);
        let faults: Vec<String> = unknown
            .iter()
            .map(|path| format!("unknown field \"{}\"", decode::readable(path)))
            .chain(repeated.iter().map(|path| format!("duplicate field \"{path}\"")))
            .collect();
        match validation {
            FieldValidation::Strict if !faults.is_empty() => {
                Err(refuse(&format!("strict decoding error: {}", faults.join(", "))))
            }
            FieldValidation::Warn => Ok(Self { object, warnings: faults }),
            _ => Ok(Self { object, warnings: Vec::new() }),
        }
    }

    /// What the object is called.
    pub(super) fn name(&self) -> ObjectName {
        let meta = &self.object["metadata"];
        ObjectName::new(meta["namespace"].as_str(), meta["name"].as_str().unwrap_or_default())
    }

    /// Whether the object has a name, rather than one that is to be generated.
    pub(super) fn is_named(&self) -> bool {
        self.object["metadata"]["name"].as_str().is_some_and(|name| !name.is_empty())
    }

    /// The name of an object is that of the request.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Status> {
        let given = self.object["metadata"]["name"].as_str().unwrap_or_default();
        if given == name {
            return Ok(());
        }
        if given.is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )))
    }

    /// The namespace of a request and of the object in it are the same.
    pub(super) fn settle_namespace(&mut self, resource: &Resource, target: &Target) -> Result<(), Status> {
        let meta = self.meta();
        let given = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if !resource.is_namespaced() {
            // Kubernetes takes it for a slip, and not for an error.
            meta.remove("namespace");
            return Ok(());
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
        Ok(())
    }

    pub(super) fn meta(&mut self) -> &mut Map<String, Value> {
        metadata(&mut self.object)
    }

    /// Checks what is wrong with the finished object; on an update, with the change too. What was added to it since it
    /// was read gets the form of the rest.
    pub(super) fn validate(
        &mut self,
        resource: &Resource,
        name: &ObjectName,
        old: Option<&Value>,
        part: Part<'_>,
    ) -> Result<(), Status> {
        canonical::complete(place(resource), &mut self.object);
        let mut errors = Errors::new();
        let undecodable = |error: serde_json::Error| Status::internal(error);
        match old {
            Some(old) if part.is_some_and(Subresource::is_status) => {
                check_metadata(resource, &self.object, Some(old), &mut errors).map_err(undecodable)?;
                resource.rules.validate_status(&self.object, old, &mut errors).map_err(undecodable)?;
            }
            Some(old) if part.is_some_and(Subresource::is_whole) => {
                check_metadata(resource, &self.object, Some(old), &mut errors).map_err(undecodable)?;
                let name = part.map_or("", |part| &part.name);
                let checked = resource.rules.validate_part(name, &self.object, old, &mut errors);
                checked.map_err(undecodable)?;
            }
            _ => {
                check_metadata(resource, &self.object, old, &mut errors).map_err(undecodable)?;
                let warnings = resource.rules.validate(&self.object, &mut errors).map_err(undecodable)?;
                if old.is_none_or(|old| resource.rules.warns_of_change(&self.object, old)) {
                    self.warnings.extend(warnings);
                }
                if old.is_none() {
                    let created = resource.rules.validate_create(&self.object, &mut errors);
                    self.warnings.extend(created.map_err(undecodable)?);
                }
                // What a subresource such as `binding` edits is beyond what an update may change.
                if let Some(old) = old.filter(|_| part.is_none()) {
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
    meta_rules::validate(&meta, resource.scope, resource.name_rule, errors);
    if let Some(old) = old {
        meta_rules::validate_update(&meta, &ObjectMeta::deserialize(&old["metadata"])?, errors);
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

/// An object that does not say its kind or version is of those that the URL names; one that does must be of them.
fn check_kind(resource: &Resource, target: &Target, object: &Value) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             it is not an object",
            resource.kind
        )));
    }
    let expected = crate::api::api_version(&target.group, &target.version);
    let text = |field: &str| match object.get(field).unwrap_or(&Value::Null) {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        _ => Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {field} is not a string",
            resource.kind
        ))),
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    if !kind.is_empty() && *kind != *resource.kind {
        let (_, version) = crate::api::split_api_version(&api_version);
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: the kind in the data ({kind}) does not match \
             the expected kind ({})",
            resource.kind, resource.kind
        )));
    }
    if !api_version.is_empty() && api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    Ok(())
}

/// What is known of the fields of a kind's objects, as they are stored.
fn place(resource: &Resource) -> Place {
    Place::of(resource).unwrap_or(Place::Object)
}
