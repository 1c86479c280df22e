//! The subresource `scale`: how many replicas there are, and how many there should be, in one form for all kinds.

use std::sync::Arc;

use serde_json::Value;

use super::Server;
use super::apply;
use super::caches::Open;
use super::convert;
use super::current::{Current, Write};
use super::draft::{Draft, check_name};
use super::owners::Signature;
use super::read::{existing, object_name};
use super::write::Next;
use crate::api::document::Decoded;
use crate::api::field::{Errors, Path};
use crate::api::ownership::managers::Held;
use crate::api::ownership::{self, FieldSet, Ignored, Kind, NodeId, Owners, Schema, Versions, scale};
use crate::api::request::{
    FieldValidation, Operation, PatchKind, Reply, Response, Target, User, Verb, WriteOptions,
};
use crate::api::scaled::{SCALE, at, place, scale_of, set_replicas};
use crate::api::schema::canonical;
use crate::api::{ScalePaths, Status, Subresource, api_version, patch};
use crate::meta::GroupResource;

/// What is to become of a scale.
enum Wanted {
    Scale(Value),
    Patch(PatchKind, bytes::Bytes),
    Applied { config: Decoded, patch: bytes::Bytes, force: bool },
}

impl Server {
    /// Reads or changes a scale.
    pub(super) async fn scale(
        &self,
        user: &User,
        resource: &Open,
        part: &Subresource<Arc<str>>,
        target: &Target,
        paths: &ScalePaths<Arc<str>>,
        operation: Operation,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let (wanted, options): (Wanted, WriteOptions) = match operation {
            Operation::Get { revision, .. } => {
                self.at_least(revision).await?;
                let entry = convert::spoken(resource, self.current(resource, target, &name)?).await?;
                let object = entry.to_value().map_err(Status::internal)?;
                check_scaled(&object, paths)?;
                return Ok(Response::new(Reply::Value(scale_of(&object, paths))));
            }
            Operation::Update { body, options } => {
                let scale = body.read("Scale")?;
                check_name(scale["metadata"]["name"].as_str().unwrap_or_default(), name.name())?;
                (Wanted::Scale(scale), options)
            }
            Operation::Patch { kind: PatchKind::Apply, patch, force, options } => {
                (Wanted::Applied { config: apply::read(&patch)?, patch, force }, options)
            }
            Operation::Patch { kind, patch, options, .. } => {
                // A scale has no lists, so the two kinds of merge are one.
                let kind = if kind == PatchKind::Strategic { PatchKind::Merge } else { kind };
                (Wanted::Patch(kind, patch), options)
            }
            _ => {
                return Err(Status::method_not_allowed());
            }
        };
        let verb = if matches!(wanted, Wanted::Scale(_)) { Verb::Update } else { Verb::Patch };
        let signature = Signature::of(user, Some(part), &options, self.clock.now());
        let spoken = api_version(&target.group, &target.version);
        let mut make = |current: Option<&Current>| {
            let current = existing(target, &name, current)?;
            let live = scale_of(&current.shown(), paths);
            let (scale, owners, warning) =
                wanted_of(&wanted, &live, current, (resource, paths), &signature, options.field_validation)?;
            let mut draft = scaled(current, paths, &scale)?;
            draft.warnings.extend(warning);
            draft.owners = Some(parents(current, owners, paths, &spoken));
            Ok(Next::Put(draft))
        };
        // The object is changed, not its subresource: its own rules see to the rest.
        self.catch_up().await?;
        let options = &options;
        let scale = Some(paths);
        let write = Write { scale, ..Write::new(user, resource, target, verb, options) };
        let response = self.write(write, &name, &mut make).await?;
        Ok(match response.reply {
            Reply::Object(entry) => {
                let entry = convert::spoken(resource, entry).await?;
                let object = entry.to_value().map_err(Status::internal)?;
                Response { reply: Reply::Value(scale_of(&object, paths)), ..response }
            }
            reply => Response { reply, ..response },
        })
    }
}

/// The scale that is wanted, who owns what of it, and what its author should know.
fn wanted_of(
    wanted: &Wanted,
    live: &Value,
    current: &Current,
    (resource, paths): (&Open, &ScalePaths<Arc<str>>),
    signature: &Signature<'_>,
    validation: FieldValidation,
) -> Result<(Value, Owners, Option<String>), Status> {
    let path: Vec<&str> = paths.spec_replicas.split('.').collect();
    let held = scale::to_scale(current.managed(), &path).unwrap_or_default();
    let (schema, node) = Schema::builtin(place());
    let kind = Kind {
        api_version: SCALE,
        schema,
        node,
        empty: canonical::nothing(place()),
        ignored: Ignored::These(FieldSet::default()),
        versions: &OneVersion,
    };
    let mut scale = match wanted {
        Wanted::Scale(scale) => scale.clone(),
        Wanted::Patch(form, text) => patch::apply(resource, *form, live.clone(), text)?,
        Wanted::Applied { config, patch, force } => {
            apply::check_config(&config.value, SCALE, "Scale")?;
            let applied =
                ownership::apply(&kind, (Some(live), &held), &config.value, signature.author(), *force);
            let applied = applied.map_err(apply::refusal)?;
            let warning = apply::repeated(config, patch, validation)?;
            return Ok((applied.object.unwrap_or_else(|| live.clone()), applied.owners, warning));
        }
    };
    let given = scale.clone();
    let _ = canonical::reduce(place(), &mut scale);
    canonical::complete(place(), &mut scale);
    let owners =
        ownership::update(&kind, Some(live), &scale, (Held::Value(&held), &Value::Null), signature.author());
    // What is of the wrong type is refused as it was given.
    Ok((given, owners, None))
}

/// Who owns what of the object, given who owns what of its scale.
fn parents(current: &Current, owners: Owners, paths: &ScalePaths<Arc<str>>, api_version: &str) -> Owners {
    let Some(owners) = owners.into_value() else { return Owners::Kept };
    let path: Vec<&str> = paths.spec_replicas.split('.').collect();
    let owners = scale::to_parent(current.managed(), &owners.unwrap_or_default(), &path, api_version);
    owners.map_or(Owners::Kept, Owners::Are)
}

/// A scale has one version.
struct OneVersion;

impl Versions for OneVersion {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == SCALE).then(|| object.clone())
    }

    fn schema(&self, _api_version: &str) -> (&Schema, NodeId) {
        Schema::builtin(place())
    }
}

/// A custom kind may leave out how many replicas are wanted, and then has no scale.
fn check_scaled(object: &Value, paths: &ScalePaths<Arc<str>>) -> Result<(), Status> {
    if paths.strict && at(object, &paths.spec_replicas).is_null() {
        let why = format!("the spec replicas field \".{}\" does not exist", paths.spec_replicas);
        return Err(Status::internal(why));
    }
    Ok(())
}

/// The object with as many replicas as a scale asks for.
fn scaled(current: &Current, paths: &ScalePaths<Arc<str>>, scale: &Value) -> Result<Draft, Status> {
    let mut object = current.object.clone();
    let entry = &current.entry;
    let name = entry.name().name();
    for (field, ours) in [("resourceVersion", entry.revision().to_string()), ("uid", entry.uid().to_string())]
    {
        let given = scale["metadata"][field].as_str().unwrap_or_default();
        if !given.is_empty() && given != ours {
            let id = GroupResource::new("autoscaling", "scales");
            return Err(Status::modified(&id, name));
        }
    }
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().and_then(|count| i32::try_from(count).ok()).ok_or_else(|| {
            Status::bad_request(
                "Scale in version \"v1\" cannot be handled as a Scale: spec.replicas is not a number of type int32",
            )
        })?,
    };
    // Of a custom kind, its own rules say what its numbers may be.
    if replicas < 0 && !paths.strict {
        let mut errors = Errors::new();
        let path = Path::new("spec.replicas");
        errors.invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, &errors));
    }
    set_replicas(&mut object, paths, replicas);
    Ok(Draft::made(object))
}
