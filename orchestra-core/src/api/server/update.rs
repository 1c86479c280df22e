use serde_json::Value;

use super::Server;
use super::caches::Open;
use super::draft::{Draft, Part};
use super::read::{existing, object_name};
use super::write::{Next, Write};
use crate::api::document::Decoded;
use crate::api::field::{Errors, Path};
use crate::api::request::{Body, FieldValidation, PatchKind, Response, Target, User, WriteOptions};
use crate::api::{Resource, Status, patch};
use crate::watch::Entry;

impl Server {
    /// Replaces an object, or its status.
    pub(super) async fn update(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        part: Part<'_>,
        body: Body,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let read = || {
            let mut draft = Draft::read(kind, target, body.clone(), options.field_validation)?;
            draft.settle_namespace(kind, target)?;
            draft.check_name(name.name())?;
            Ok::<_, Status>(draft)
        };
        // What is wrong with the body is said before what is wrong with the object.
        let mut first = Some(read()?);
        let mut make = |current: Option<&Entry>| {
            existing(kind, &name, current)?;
            let draft = first.take().map_or_else(read, Ok)?;
            names_version(kind, name.name(), &draft)?;
            Ok(Next::Put(draft))
        };
        self.catch_up().await?;
        self.write(Write { user, kind, part, options: &options }, &name, &mut make).await
    }

    /// Changes an object, or its status.
    #[expect(clippy::too_many_arguments, reason = "the parts of one operation; a struct would be used once")]
    pub(super) async fn patch(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        part: Part<'_>,
        form: PatchKind,
        patch: &[u8],
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let mut make = |current: Option<&Entry>| {
            let current = existing(kind, &name, current)?;
            patched(kind, target, current, form, patch, options.field_validation).map(Next::Put)
        };
        self.catch_up().await?;
        self.write(Write { user, kind, part, options: &options }, &name, &mut make).await
    }
}

/// Objects of some kinds are replaced only by who says which version of them was read.
fn names_version(resource: &Resource, name: &str, draft: &Draft) -> Result<(), Status> {
    let version = draft.object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if resource.unconditional_update || !version.is_empty() {
        return Ok(());
    }
    let mut errors = Errors::new();
    errors.invalid(&Path::new("metadata.resourceVersion"), 0, "must be specified for an update");
    // Here Kubernetes says the plural for the kind.
    Err(Status::invalid(&resource.id.group, &resource.id.resource, name, &errors))
}

fn patched(
    resource: &Resource,
    target: &Target,
    current: &Entry,
    kind: PatchKind,
    patch: &[u8],
    validation: FieldValidation,
) -> Result<Draft, Status> {
    let mut object = current.to_value().map_err(Status::internal)?;
    if let Some(conversion) = resource.conversion(&target.group, &target.version) {
        (conversion.from_stored)(&mut object);
        object["apiVersion"] = crate::api::api_version(&target.group, &target.version).into();
    }
    let mut value = patch::apply(resource, kind, &object, patch)?;
    let unfit = patch::spoken(resource, &object)
        .filter(|_| kind == PatchKind::Strategic)
        .and_then(|place| patch::unstructured::convert(place, &mut value).err());
    // Which of the patch's fields are to blame is not known: what was to become of the object is shown as a whole, or
    // of a strategic patch, which Kubernetes does not write as JSON again, the patch.
    let shown = || match kind {
        PatchKind::Strategic => {
            serde_json::from_slice(patch).map_or_else(|_| String::new(), |given| patch::go(&given))
        }
        _ => value.to_string(),
    };
    let refuse = |why: &str| {
        let mut errors = Errors::new();
        errors.invalid(&Path::new("patch"), shown(), why);
        Status::invalid("", "", "", &errors)
    };
    if let Some(why) = unfit {
        return Err(refuse(&why));
    }
    // Of a JSON patch the keys are those of operations, of which the last of two counts.
    let repeated = match kind {
        PatchKind::Merge | PatchKind::Strategic => serde_json::from_slice::<Decoded>(patch).ok(),
        _ => None,
    };
    let repeated = repeated.map(|patch| patch.repeated).unwrap_or_default();
    let decoded = Decoded { value: value.clone(), repeated };
    let mut draft = Draft::of(resource, target, decoded, validation, &refuse)?;
    let meta = draft.meta();
    let namespace = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match current.name().namespace() {
        Some(ours) if namespace.is_empty() => {
            meta.insert("namespace".to_owned(), ours.into());
        }
        ours if namespace == ours.unwrap_or_default() => {}
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    draft.check_name(current.name().name())?;
    Ok(draft)
}
