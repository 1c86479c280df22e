//! From what a request carries to an object that may be stored: the steps that creation and update share.

use std::cell::RefCell;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::given::Given;
use super::meta::{metadata, put_managed, take_managed};
use crate::api::decode;
use crate::api::document::Decoded;
use crate::api::field::{Errors, Path};
use crate::api::metadata as meta_rules;
use crate::api::ownership::Owners;
use crate::api::request::{Body, FieldValidation, Target};
use crate::api::schema::{Place, canonical, fit};
use crate::api::{Conversion, Resource, Status, Subresource};
use crate::meta::ObjectName;

/// The subresource that a write goes to; `None` for the object itself.
pub(super) type Part<'r> = Option<&'r Subresource<Arc<str>>>;

/// An object on its way into the store, in the stored version, and what its author should know.
pub(super) struct Draft {
    /// The object, without `managedFields`.
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
    /// The version that its author speaks.
    served: Conversion,
    /// The `managedFields` that the request has.
    pub(super) managed: Option<Value>,
    /// Who owns what, if that is known already.
    pub(super) owners: Option<Owners>,
    /// The version in which the request speaks, if it is not the stored one.
    pub(super) spoken: Option<String>,
    /// What it was read from, if that is still known.
    pub(super) given: Option<Box<Given>>,
}

impl Draft {
    /// A draft that this program made, in the stored version.
    pub(super) fn made(object: Value) -> Self {
        Self {
            object,
            warnings: Vec::new(),
            served: Conversion::NONE,
            managed: None,
            owners: None,
            spoken: None,
            given: None,
        }
    }

    /// Reads a body, of the kind and version that the URL says, every field known.
    pub(super) fn read(
        resource: &Resource,
        target: &Target,
        body: Body,
        validation: FieldValidation,
    ) -> Result<Self, Status> {
        let text = match &body {
            Body::Json(text) => Some(text.clone()),
            _ => None,
        };
        let decoded = decode::body(body, &resource.kind)?;
        let (version, kind) = spoken(resource, target, &decoded.value);
        let refuse = |why: &str| {
            let (_, version) = crate::api::split_api_version(&version);
            Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {}: {why}",
                resource.kind
            ))
        };
        let expected = crate::api::api_version(&target.group, &target.version);
        if resource.custom {
            let checked = check_custom_kind(resource, (&decoded.value, text.as_deref()), &expected);
            checked.map_err(|status| match validation {
                FieldValidation::Warn => status.warned(&unknown_to_all(resource, &decoded.value)),
                _ => status,
            })?;
        } else {
            check_kind(resource, (&expected, &version), &kind, &decoded.value).map_err(|other| match other {
                Other::Version => Status::bad_request(format!(
                    "the API version in the data ({version}) does not match the expected API version ({expected})"
                )),
                Other::Kind(why) => refuse(&why),
            })?;
        }
        let draft = Self::of(resource, target, decoded, (validation, text.as_deref()), &refuse)?;
        Ok(Self { given: text.map(|text| Box::new(Given::Text(text))), ..draft })
    }

    /// The same for a value that has been read, as after a patch, and is of the kind. `refuse` says that it does not fit
    /// the kind's type. What is wrong with fields is said in the order of the text, if there is one.
    pub(super) fn of(
        resource: &Resource,
        target: &Target,
        decoded: Decoded,
        (validation, text): (FieldValidation, Option<&[u8]>),
        refuse: &dyn Fn(&str) -> Status,
    ) -> Result<Self, Status> {
        let Decoded { value: mut object, repeated } = decoded;
        // Typed decoding would copy them; what is none of theirs is left, to be refused.
        let managed = take_managed(&mut object).filter(|managed| !managed.is_null());
        if let Some(managed) = managed.as_ref().filter(|managed| !is_managed(managed)) {
            put_managed(&mut object, Some(managed.clone()));
        }
        let served = resource.conversion(&target.group, &target.version).unwrap_or(Conversion::NONE);
        let stored = resource.api_version();
        let spoken = Some(crate::api::api_version(&target.group, &target.version));
        let spoken = spoken.filter(|spoken| *spoken != stored);
        let mut unknown = Vec::new();
        if let Some(place) = spoken.as_ref().and_then(|spoken| Place::of_kind(spoken, &resource.kind)) {
            // What is mistyped and what is unknown is told by the types of the version that is spoken.
            unknown = fit::fit(place, &mut object).map_err(|why| refuse(&why))?;
        }
        (served.to_stored)(&mut object);
        object["apiVersion"] = stored.into();
        object["kind"] = (*resource.kind).into();
        let place = place(resource);
        let fits = canonical::reduce(place, &mut object).map_err(|refusal| refuse(&refusal.to_string()))?;
        if !fits {
            unknown.extend(resource.rules.check(&mut object).map_err(|why| refuse(&why))?);
        }
        let pruned = resource.rules.prune(&mut object).map_err(|why| refuse(&why))?;
        resource.rules.default(&mut object);
        canonical::complete(place, &mut object);
        let faults = if resource.custom {
            // What stands twice is found as the text is read, what is unknown when that is done.
            let mut all: Vec<String> = unknown.into_iter().chain(pruned).collect();
            all.sort();
            let mut faults = decode::faults(text, &[], &repeated);
            faults.extend(all.into_iter().map(|path| format!("unknown field \"{path}\"")));
            faults
        } else {
            decode::faults(text, &unknown, &repeated)
        };
        let warnings = validated(validation, faults, refuse)?;
        let mut draft = Self { object, warnings, served, managed, owners: None, spoken, given: None };
        let repeated = draft.drop_repeated_owners();
        draft.warnings.extend(repeated);
        Ok(draft)
    }

    /// Drops owner references that stand there more than once, and says so.
    fn drop_repeated_owners(&mut self) -> Option<String> {
        let owners = self.object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
        let (mut kept, mut repeated): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
        for owner in std::mem::take(owners) {
            match kept.contains(&owner) {
                true => repeated.push(owner["uid"].as_str().unwrap_or_default().to_owned()),
                false => kept.push(owner),
            }
        }
        *owners = kept;
        (!repeated.is_empty()).then(|| {
            format!(
                ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and \
                 may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
                repeated.join(", ")
            )
        })
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
        check_name(given, name).map_err(|status| status.warned(&self.warnings))
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
            let status = Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            );
            return Err(status.warned(&self.warnings));
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
        // What the type refuses of an object that its kind has taken: it came with the request all the same.
        let undecodable = |error: serde_json::Error| {
            let kind = &resource.kind;
            Status::bad_request(format!(
                "{kind} in version {:?} cannot be handled as a {kind}: {error}",
                &*resource.version
            ))
        };
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
            None if self.served.validate.is_none() => {
                let last = RefCell::new(Errors::new());
                let metadata = |meta: &ObjectMeta, errors: &mut Errors| match resource.metadata_last {
                    true => check_new_metadata(resource, meta, &mut last.borrow_mut()),
                    false => check_new_metadata(resource, meta, errors),
                };
                let warnings = resource.rules.validate_new(&self.object, &metadata, &mut errors);
                self.warnings.extend(warnings.map_err(undecodable)?);
                if errors.is_empty() {
                    errors.extend(last.into_inner());
                }
            }
            _ => {
                if old.is_some() || !resource.metadata_last {
                    check_metadata(resource, &self.object, old, &mut errors).map_err(undecodable)?;
                }
                if let Some(validate) = self.served.validate {
                    validate(&self.object, old, &mut errors).map_err(undecodable)?;
                    return self.refused(resource, name, errors);
                }
                let Some(old) = old else { return self.refused(resource, name, errors) };
                let (rules, new) = (&resource.rules, &self.object);
                let warnings = match part {
                    None => rules.validate_change(new, old, &mut errors),
                    // What a subresource such as `binding` edits is beyond what an update may change.
                    Some(_) => rules.validate(new, &mut errors),
                };
                let warnings = warnings.map_err(undecodable)?;
                if rules.warns_of_change(new, old) {
                    self.warnings.extend(warnings);
                }
            }
        }
        if resource.custom {
            // As Go writes them: what its schema says of numbers holds for how they came.
            canonical::write_whole_numbers(&mut self.object);
        }
        self.refused(resource, name, errors)
    }

    fn refused(&self, resource: &Resource, name: &ObjectName, mut errors: Errors) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        if let Some(given) = &self.given {
            given.show(place(resource), &mut errors);
        }
        Err(Status::invalid(&resource.id.group, &resource.kind, name.name(), &errors))
    }
}

/// The name that an object gives itself is that of the request.
pub(super) fn check_name(given: &str, name: &str) -> Result<(), Status> {
    if given == name {
        return Ok(());
    }
    Err(Status::bad_request(match given {
        "" => {
            format!("the name of the object ({name} based on URL) was undeterminable: name must be provided")
        }
        given => format!("the name of the object ({given}) does not match the name on the URL ({name})"),
    }))
}

fn check_metadata(
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    errors: &mut Errors,
) -> Result<(), serde_json::Error> {
    if old.is_some_and(|old| old["metadata"] == object["metadata"]) {
        // What stays as it is was found right when it was stored.
        return Ok(());
    }
    let meta = ObjectMeta::deserialize(&object["metadata"])?;
    let before = old.map(|old| ObjectMeta::deserialize(&old["metadata"])).transpose()?;
    if old.is_some() {
        // Kubernetes checks a change of metadata for every kind, and most kinds do so again: each fault is said twice.
        meta_rules::validate(&meta, resource.scope, resource.name_rule, errors);
        before.iter().for_each(|before| meta_rules::validate_update(&meta, before, errors));
    }
    check_new_metadata(resource, &meta, errors);
    if !resource.metadata_checked_once {
        before.iter().for_each(|before| meta_rules::validate_update(&meta, before, errors));
    }
    Ok(())
}

fn check_new_metadata(resource: &Resource, meta: &ObjectMeta, errors: &mut Errors) {
    meta_rules::validate(meta, resource.scope, resource.name_rule, errors);
    // Of custom kinds, any name will do: what others may choose too is warned of.
    if !resource.any_finalizer && !resource.custom {
        meta_rules::validate_finalizers(meta, errors);
    }
}

/// The version and kind that an object says it is of, or else those of the request.
fn spoken(resource: &Resource, target: &Target, object: &Value) -> (String, String) {
    let text = |field: &str| object[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let version =
        text("apiVersion").unwrap_or_else(|| crate::api::api_version(&target.group, &target.version));
    (version, text("kind").unwrap_or_else(|| resource.kind.to_string()))
}

/// How an object is not of the kind that is asked for.
pub(super) enum Other {
    /// It is of another version of it.
    Version,
    /// It is of another kind, or of none.
    Kind(String),
}

/// Whether an object of a version and kind is one of the version that is expected, and of the resource's kind. Of
/// Kubernetes' own kinds it is said, as there, what it would have been read as.
pub(super) fn check_kind(
    resource: &Resource,
    (expected, version): (&str, &str),
    kind: &str,
    object: &Value,
) -> Result<(), Other> {
    let same = kind == &*resource.kind;
    let (group, of_group) = crate::api::split_api_version(version);
    if same && version == expected {
        return Ok(());
    }
    if same && resource.conversion(group, of_group).is_some() {
        return Err(Other::Version);
    }
    if Place::of(resource).is_none() {
        return Err(match same {
            true => Other::Version,
            false => Other::Kind(format!(
                "the kind in the data ({kind}) does not match the expected kind ({})",
                resource.kind
            )),
        });
    }
    let Some(place) = Place::of_kind(version, kind) else {
        return Err(Other::Kind(format!("no kind {kind:?} is registered for version {version:?}")));
    };
    let refused = canonical::reduce(place, &mut object.clone()).err().map(|refusal| refusal.to_string());
    Err(Other::Kind(refused.unwrap_or_else(|| {
        let inside = match resource.id.group.split('.').next().unwrap_or_default() {
            "" => "core",
            group => group,
        };
        let ours = &resource.kind;
        format!("converting ({of_group}.{kind}) to ({inside}.{ours}): unknown conversion")
    })))
}

/// Whether a value is what `managedFields` may be.
fn is_managed(value: &Value) -> bool {
    Option::<Vec<ManagedFieldsEntry>>::deserialize(value).is_ok()
}

/// Says that an object is none of a custom kind.
pub(super) fn another_kind(resource: &Resource, kind: &str, name: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(&Path::new("kind"), kind, format!("must be {}", resource.kind));
    Status::invalid(&resource.id.group, kind, name, &errors)
}

/// What its author is warned of, of the fields that are unknown or stand twice.
///
/// # Errors
/// When there are some and there may be none.
pub(super) fn validated(
    validation: FieldValidation,
    faults: Vec<String>,
    refuse: &dyn Fn(&str) -> Status,
) -> Result<Vec<String>, Status> {
    match validation {
        FieldValidation::Strict if !faults.is_empty() => {
            Err(refuse(&format!("strict decoding error: {}", faults.join(", "))))
        }
        FieldValidation::Warn => Ok(faults),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn another_version(resource: &Resource, version: &str, expected: &str, name: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(&Path::new("apiVersion"), version, format!("must be {expected}"));
    Status::invalid(&resource.id.group, &resource.kind, name, &errors)
}

/// An object of a custom kind must say what it is. It is shown as the text that it was read from, if there is one.
fn check_custom_kind(
    resource: &Resource,
    (object, text): (&Value, Option<&[u8]>),
    expected: &str,
) -> Result<(), Status> {
    let field = |field: &str| object[field].as_str().unwrap_or_default();
    let (kind, api_version) = (field("kind"), field("apiVersion"));
    if kind.is_empty() {
        let shown = text.map_or_else(|| object.to_string().into(), String::from_utf8_lossy);
        let why = format!("Object 'Kind' is missing in '{}'", shown.chars().take(256).collect::<String>());
        return Err(decode::unrecognized(&resource.kind, &why, shown.as_bytes()));
    }
    if api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    if kind != &*resource.kind {
        return Err(another_kind(resource, kind, object["metadata"]["name"].as_str().unwrap_or_default()));
    }
    Ok(())
}

/// What is said of the fields of an object of a version that the kind has not: that version knows only those that every
/// object has.
fn unknown_to_all(resource: &Resource, object: &Value) -> Vec<String> {
    let (group, version) = crate::api::split_api_version(object["apiVersion"].as_str().unwrap_or_default());
    if version.is_empty() || resource.conversion(group, version).is_some() {
        return Vec::new();
    }
    let fields = object.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let unknown = fields.filter(|name| !matches!(*name, "apiVersion" | "kind" | "metadata"));
    let mut unknown: Vec<&str> = unknown.collect();
    unknown.sort_unstable();
    unknown.into_iter().map(|name| format!("unknown field {name:?}")).collect()
}

/// What is known of the fields of a kind's objects, as they are stored.
pub(super) fn place(resource: &Resource) -> Place {
    Place::of(resource).unwrap_or(Place::Object)
}
