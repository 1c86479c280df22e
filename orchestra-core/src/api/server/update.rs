use serde_json::Value;

use super::Server;
use super::caches::Open;
use super::current::{Current, Write};
use super::draft::{self, Draft, Other, Part};
use super::given::Given;
use super::meta::{MANAGED_FIELDS, put_managed, take_managed};
use super::read::{existing, missing, object_name};
use super::write::{Next, another_uid};
use crate::api::document::Decoded;
use crate::api::field::{Errors, Path};
use crate::api::request::{Body, FieldValidation, PatchKind, Response, Target, User, Verb, WriteOptions};
use crate::api::schema::Place;
use crate::api::{Resource, Status, Subresource, decode, patch};
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
        let again = body.to_read_again();
        let read = |body| {
            let mut draft = Draft::read(kind, target, body, options.field_validation)?;
            draft.settle_namespace(kind, target)?;
            draft.check_name(name.name())?;
            Ok::<_, Status>(draft)
        };
        // What is wrong with the body is said before what is wrong with the object.
        let mut first = Some(read(body)?);
        self.catch_up().await?;
        let creates = kind.created_by_update && part.is_none();
        if creates && kind.cache().get(&name).is_none() {
            self.permit(user, Verb::Create, target.clone(), None).await?;
        }
        let mut make = |current: Option<&Current>| {
            let mut draft = first.take().map_or_else(|| read(again.clone()), Ok)?;
            match current {
                Some(current) => {
                    check_uid(kind, &current.entry, &mut draft)?;
                    names_version(kind, name.name(), &draft)
                        .map_err(|status| status.warned(&draft.warnings))?;
                }
                None if creates => drop(draft.meta().remove("resourceVersion")),
                None => return Err(missing(target, &name)),
            }
            Ok(Next::Put(draft))
        };
        let write = Write { part, ..Write::new(user, kind, target, Verb::Update, &options) };
        self.write(write, &name, &mut make).await
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
        let mut make = |current: Option<&Current>| {
            let current = existing(target, &name, current)?;
            let to_status = part.is_some_and(Subresource::is_status);
            patched(kind, (target, to_status), current, form, patch, options.field_validation).map(Next::Put)
        };
        self.catch_up().await?;
        let write = Write { part, ..Write::new(user, kind, target, Verb::Patch, &options) };
        self.write(write, &name, &mut make).await
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

/// An update that says which object it means, means the one that is there.
fn check_uid(kind: &Open, current: &Entry, draft: &mut Draft) -> Result<(), Status> {
    let given = draft.meta().get("uid").and_then(Value::as_str).filter(|given| !given.is_empty());
    match given.filter(|given| *given != current.uid().as_str()) {
        Some(given) => Err(another_uid(kind, current, given)),
        None => Ok(()),
    }
}

fn patched(
    resource: &Resource,
    (target, to_status): (&Target, bool),
    current: &Current,
    kind: PatchKind,
    patch: &[u8],
    validation: FieldValidation,
) -> Result<Draft, Status> {
    // A merge leaves alone what its patch does not name, so that it need not be there. A JSON patch can move it without naming
    // it, and a name can be written with escapes.
    let names_owners = kind == PatchKind::Json
        || patch.contains(&b'\\')
        || memchr::memmem::find(patch, MANAGED_FIELDS.as_bytes()).is_some();
    let mut object = if names_owners { current.shown() } else { current.shown_bare() };
    resource.present(&target.group, &target.version, &mut object);
    let spoken = patch::spoken(resource, &object).filter(|_| kind == PatchKind::Strategic);
    let Decoded { mut value, repeated } = patch::patched(resource, kind, object, patch)?;
    let unfit = spoken.and_then(|place| patch::unstructured::convert(place, &mut value).err());
    // Which of the patch's fields are to blame is not known: what was to become of the object is shown as a whole, or
    // of a strategic patch, which Kubernetes does not write as JSON again, the patch.
    let shown = || match kind {
        PatchKind::Strategic => {
            serde_json::from_slice(patch).map_or_else(|_| String::new(), |given| patch::go(&given))
        }
        _ if names_owners => value.to_string(),
        _ => {
            let mut whole = value.clone();
            put_managed(&mut whole, Some(current.managed().clone()).filter(|managed| !managed.is_null()));
            whole.to_string()
        }
    };
    let refuse = |why: &str| {
        let mut errors = Errors::new();
        errors.invalid(&Path::new("patch"), shown(), why);
        Status::invalid("", "", "", &errors)
    };
    if let Some(why) = unfit {
        return Err(refuse(&why));
    }
    if kind != PatchKind::Strategic {
        decode::version_and_kind(&value).map_err(|why| refuse(&why))?;
        // Of a custom object, a patch of the status may say anything else that it is: only the status is taken from it.
        if !(to_status && resource.custom) {
            check_patched(resource, target, (current.entry.name().name(), &value), validation, &refuse)?;
        }
    }
    let mut read = value.clone();
    if names_owners && value["metadata"].get(MANAGED_FIELDS) == Some(current.managed()) {
        // What the patch leaves as it is need not be read to be known.
        drop(take_managed(&mut read));
    }
    let decoded = Decoded { value: read, repeated };
    let mut draft = Draft::of(resource, target, decoded, (validation, None), &refuse)?;
    let meta = draft.meta();
    let namespace = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    let name = current.entry.name();
    match name.namespace() {
        Some(ours) if namespace.is_empty() => {
            meta.insert("namespace".to_owned(), ours.into());
        }
        None => drop(meta.remove("namespace")),
        Some(ours) if namespace == ours => {}
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            )
            .warned(&draft.warnings));
        }
    }
    draft.check_name(name.name())?;
    draft.given = Some(Box::new(Given::Value(value)));
    Ok(draft)
}

/// What a patch makes of an object is of its kind and version. Kubernetes reads it anew, with its own words for what is
/// not.
fn check_patched(
    resource: &Resource,
    target: &Target,
    (name, patched): (&str, &Value),
    validation: FieldValidation,
    refuse: &dyn Fn(&str) -> Status,
) -> Result<(), Status> {
    let text = |field: &str| patched[field].as_str().unwrap_or_default();
    let expected = crate::api::api_version(&target.group, &target.version);
    let kind = if text("kind").is_empty() { &resource.kind } else { text("kind") };
    if text("apiVersion").is_empty() && Place::of(resource).is_some() {
        // Without a version it is read as the type that Kubernetes works with inside, which has none of these fields.
        let fields = patched.as_object().into_iter().flat_map(|fields| fields.keys());
        let unknown: Vec<String> = fields
            .filter(|field| !matches!(field.as_str(), "apiVersion" | "kind"))
            .map(|field| format!("unknown field \"{field}\""))
            .collect();
        return match (draft::check_name("", name), validation) {
            (_, FieldValidation::Strict) => {
                Err(refuse(&format!("strict decoding error: {}", unknown.join(", "))))
            }
            (Err(status), FieldValidation::Warn) => Err(status.warned(&unknown)),
            (outcome, _) => outcome,
        };
    }
    let version = if text("apiVersion").is_empty() { &expected } else { text("apiVersion") };
    if resource.custom && *version == *expected && *kind != *resource.kind {
        return Err(draft::another_kind(resource, kind, name));
    }
    if resource.custom && *version != *expected {
        return Err(draft::another_version(resource, version, &expected, name));
    }
    draft::check_kind(resource, (&expected, version), kind, patched).map_err(|other| match other {
        Other::Version => Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )),
        Other::Kind(why) => refuse(&why),
    })
}
