//! Server-side apply: what a configuration makes of an object, or of none.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde_json::Value;

use super::Server;
use super::caches::Open;
use super::current::{Current, Write};
use super::draft::{Draft, Part};
use super::owners::{Signature, with_kind};
use super::read::{existing, object_name};
use super::write::Next;
use crate::api::document::Decoded;
use crate::api::field::{Errors, Path};
use crate::api::ownership::{Applied, ApplyError, Conflicts, Kind, apply};
use crate::api::request::{FieldValidation, Response, Target, User, Verb, WriteOptions};
use crate::api::{Reason, Resource, Status, split_api_version, syntax, yaml};
use crate::meta::ObjectName;

impl Server {
    /// Applies a configuration. It is merged into the object, which is made if there is none.
    #[expect(clippy::too_many_arguments, reason = "the parts of one operation; a struct would be used once")]
    pub(super) async fn apply(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        part: Part<'_>,
        patch: &[u8],
        force: bool,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let config = read(patch)?;
        let signature = Signature::of(user, part, &options, self.clock.now());
        self.catch_up().await?;
        // Who may patch may not create by that.
        let may_create = part.is_none() && kind.cache().get(&name).is_none();
        if may_create {
            let collection = Target { name: None, ..target.clone() };
            self.permit(user, Verb::Create, collection, None).await?;
        }
        let request = Request { kind, target, part, name: &name, config: &config, patch, options: &options };
        let mut make = |current: Option<&Current>| {
            if part.is_some() {
                existing(target, &name, current)?;
            } else if current.is_none() && !may_create {
                return Err(Status::modified(&kind.id, name.name()));
            }
            request.draft(current, &signature, force).map(Next::Put)
        };
        let write = Write { part, ..Write::new(user, kind, target, Verb::Patch, &options) };
        self.write(write, &name, &mut make).await
    }
}

struct Request<'r> {
    kind: &'r Resource,
    target: &'r Target,
    part: Part<'r>,
    name: &'r ObjectName,
    config: &'r Decoded,
    patch: &'r [u8],
    options: &'r WriteOptions,
}

impl Request<'_> {
    /// What becomes of the object, or of none.
    fn draft(
        &self,
        current: Option<&Current>,
        signature: &Signature<'_>,
        force: bool,
    ) -> Result<Draft, Status> {
        let api_version = crate::api::api_version(&self.target.group, &self.target.version);
        let config = &self.config.value;
        check_config(config, &api_version, &self.kind.kind)?;
        let applied = with_kind(self.kind, self.part, current, &api_version, |kind| {
            let live = current.and_then(|current| spoken(self.kind, kind, current));
            let held = current.map_or(&Value::Null, Current::managed);
            let live = live.as_ref().or(current.map(|current| &current.object));
            apply(kind, (live, held), config, signature.author(), force)
        });
        let applied = applied.map_err(refusal)?;
        let mut draft = self.made(current, applied)?;
        if let Some(warning) = repeated(self.config, self.patch, self.options.field_validation)? {
            draft.warnings.push(warning);
        }
        if let Some(given) = config["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
            self.check_uid(current, given)?;
        }
        self.settle(&mut draft)?;
        Ok(draft)
    }

    /// The draft of what was applied, as it is stored.
    fn made(&self, current: Option<&Current>, applied: Applied) -> Result<Draft, Status> {
        let Applied { object, owners } = applied;
        let mut draft = match (object, current) {
            (None, Some(current)) => Draft::made(current.object.clone()),
            (object, _) => {
                let value = object.unwrap_or_else(|| self.config.value.clone());
                let decoded = Decoded { value, repeated: Vec::new() };
                let refuse = |why: &str| {
                    let (namespace, name) =
                        (self.target.namespace.as_deref().unwrap_or(""), self.name.name());
                    let version = crate::api::api_version(&self.target.group, &self.target.version);
                    let kind = &self.kind.kind;
                    failed(format!(
                        "failed to convert new object ({namespace}/{name}; {version}, Kind={kind}) to proper version \
                         ({version}): {why}"
                    ))
                };
                Draft::of(self.kind, self.target, decoded, (FieldValidation::Ignore, None), &refuse)?
            }
        };
        draft.owners = Some(owners);
        if current.is_none() {
            // Of what there is none, a version says nothing.
            draft.meta().remove("resourceVersion");
        }
        Ok(draft)
    }

    fn check_uid(&self, current: Option<&Current>, given: &str) -> Result<(), Status> {
        let Some(current) = current else {
            let why = format!(
                "uid mismatch: the provided object specified uid {given}, and no existing object was found"
            );
            return Err(Status::conflict(&self.kind.id, self.name.name(), why));
        };
        if given == current.entry.uid().as_str() {
            return Ok(());
        }
        let mut errors = Errors::new();
        errors.invalid(&Path::new("metadata.uid"), given, "field is immutable");
        Err(Status::invalid(&self.kind.id.group, &self.kind.kind, self.name.name(), &errors))
    }

    /// The object is the one that the request is about.
    fn settle(&self, draft: &mut Draft) -> Result<(), Status> {
        draft.settle_namespace(self.kind, self.target)?;
        draft.check_name(self.name.name())
    }
}

/// The object in the version of the request, if that is not the stored one.
fn spoken(resource: &Resource, kind: &Kind<'_>, current: &Current) -> Option<Value> {
    if kind.api_version == resource.api_version() {
        return None;
    }
    kind.versions.convert(&current.object, kind.api_version)
}

/// Reads a configuration.
pub(super) fn read(patch: &[u8]) -> Result<Decoded, Status> {
    let undecodable = |why: &str| Status::bad_request(format!("error decoding YAML: {why}"));
    let json = patch.first().is_some_and(|first| *first == b'{').then(|| syntax::read(patch).ok()).flatten();
    let decoded = match json {
        Some(decoded) => decoded,
        None => yaml::decode(patch).map_err(|error| undecodable(&error.to_string()))?,
    };
    let found = match &decoded.value {
        Value::Object(_) => return Ok(decoded),
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Err(undecodable(&format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type \
         map[string]interface {{}}"
    )))
}

/// A configuration is of the kind and version that the URL says, and speaks of no owners.
pub(super) fn check_config(config: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) != (api_version, kind) {
        let (group, version) = split_api_version(text("apiVersion"));
        let kind = text("kind");
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    if config["metadata"]["managedFields"].is_array() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// What is said of a key that stands twice in a configuration.
pub(super) fn repeated(
    config: &Decoded,
    patch: &[u8],
    validation: FieldValidation,
) -> Result<Option<String>, Status> {
    let Some(path) = config.repeated.first().filter(|_| validation != FieldValidation::Ignore) else {
        return Ok(None);
    };
    let line = yaml::line_of_repeated(patch).map_or_else(String::new, |line| format!("line {line}: "));
    let said = format!("{line}key {:?} already set in map", path.rsplit('.').next().unwrap_or(path));
    if validation == FieldValidation::Warn {
        return Ok(Some(said));
    }
    Err(Status::bad_request(format!(
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {said}"
    )))
}

/// Why a configuration was not applied, as the wire has it.
pub(super) fn refusal(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflicts(conflicts) => conflict(&conflicts),
        other => failed(other.to_string()),
    }
}

fn conflict(conflicts: &Conflicts) -> Status {
    let refused = Status::new(Reason::Conflict, conflicts.to_string());
    conflicts.iter().fold(refused, |status, conflict| {
        let why = format!("conflict with {}", conflict.manager);
        status.because("FieldManagerConflict", why, &conflict.field)
    })
}

/// What Kubernetes says with 500 and without a reason.
fn failed(message: String) -> Status {
    Status::from_object(metav1::Status { code: Some(500), message: Some(message), ..Default::default() })
}
