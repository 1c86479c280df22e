//! Who owns which fields of what is written: what [`ownership`](crate::api::ownership) is asked for each write.

use std::borrow::Cow;

use serde_json::Value;

use super::conversions::{Converted, settled};
use super::current::{Current, Write};
use super::draft::{Draft, Part, place};
use super::meta::put_managed;
use super::prepare::timestamp;
use crate::api::ownership::managers::{self, Held, differ_in_times};
use crate::api::ownership::{
    Author, FieldSet, Ignored, Kind, NodeId, Owners, Schema, Versions, first, update,
};
use crate::api::request::{User, WriteOptions};
use crate::api::schema::{Place, Type, canonical};
use crate::api::{Resource, Status, split_api_version};

/// The longest name of a manager in bytes, as in Kubernetes.
const LONGEST: usize = 128;

/// Who is named as the manager of what a write changes.
pub(super) struct Signature<'a> {
    manager: Cow<'a, str>,
    subresource: &'a str,
    now: String,
}

impl<'a> Signature<'a> {
    /// The manager that the write names, else the program that the user stands for.
    pub(super) fn of(
        user: &'a User,
        part: Part<'a>,
        options: &'a WriteOptions,
        now: jiff::Timestamp,
    ) -> Self {
        let named = options.field_manager.as_deref().filter(|name| !name.is_empty());
        let manager = named.map_or_else(|| program(&user.name), Cow::Borrowed);
        let subresource = part.map_or("", |part| &*part.name);
        Self { manager: shortened(manager), subresource, now: timestamp(now) }
    }

    pub(super) fn author(&self) -> Author<'_> {
        Author { manager: &self.manager, subresource: self.subresource, now: &self.now }
    }
}

fn shortened(name: Cow<'_, str>) -> Cow<'_, str> {
    let end = name.floor_char_boundary(LONGEST);
    if end == name.len() { name } else { Cow::Owned(name[..end].to_owned()) }
}

/// The program of Kubernetes that does what a user of the system does; else the user's name. Who calls over HTTP is
/// known by its user agent.
fn program(user: &str) -> Cow<'_, str> {
    match user.strip_prefix("system:") {
        Some(rest) if is_controller(rest) => "kube-controller-manager".into(),
        Some(rest) if rest.starts_with("node:") => "kubelet".into(),
        Some("scheduler" | "kube-scheduler") => "kube-scheduler".into(),
        Some("apiserver") => "kube-apiserver".into(),
        _ => user.into(),
    }
}

/// Whether a user is the account of one of the cluster's own controllers, all of which are named alike. A part that an
/// embedder adds has an account in the same namespace, and is known by its own name.
fn is_controller(user: &str) -> bool {
    let account = user.strip_prefix("serviceaccount:kube-system:");
    let endings = ["-controller", "-collector", "-publisher"];
    account.is_some_and(|account| endings.iter().any(|ending| account.ends_with(ending)))
}

/// The versions of a kind of the table.
struct Served<'r>(&'r Resource);

impl Versions for Served<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let from = object.get("apiVersion").and_then(Value::as_str).unwrap_or(api_version);
        let conversion = |version: &str| {
            let (group, version) = split_api_version(version);
            self.0.conversion(group, version)
        };
        let (from, to) = (conversion(from), conversion(api_version)?);
        let mut object = object.clone();
        if let Some(from) = from {
            (from.to_stored)(&mut object);
        }
        (to.from_stored)(&mut object);
        object["apiVersion"] = api_version.into();
        canonical::complete(self.place(api_version), &mut object);
        Some(object)
    }

    fn schema(&self, api_version: &str) -> (&Schema, NodeId) {
        Schema::builtin(self.place(api_version))
    }
}

impl Served<'_> {
    /// Where objects of a version begin in the table of types.
    fn place(&self, api_version: &str) -> Place {
        Place::of_kind(api_version, &self.0.kind).unwrap_or_else(|| place(self.0))
    }
}

/// What a write to a part does not change, whatever it says.
fn ignored<'r>(resource: &'r Resource, place: Option<&'static Type>, part: Part<'_>) -> Ignored<'r> {
    let subresource = part.map_or("", |part| &*part.name);
    let fields: &[&'static str] = match place {
        Some(held) if held.kept(subresource).is_some() => held.kept(subresource).unwrap_or_default(),
        None if part.is_some_and(|part| part.is_status()) => &["metadata", "spec"],
        _ if part.is_some_and(|part| part.is_status()) => &["spec"],
        _ if resource.has_status() => &["status"],
        _ => &[],
    };
    let paths = fields.iter().map(|path| FieldSet::of(path.split('.')));
    Ignored::These(paths.reduce(|set, path| set.union(&path)).unwrap_or_default())
}

/// Asks about a kind in a version.
pub(super) fn with_kind<T>(
    resource: &Resource,
    part: Part<'_>,
    current: Option<&Current>,
    api_version: &str,
    ask: impl FnOnce(&Kind<'_>) -> T,
) -> T {
    let served = Served(resource);
    let versions = resource.rules.versions().unwrap_or(&served);
    let converted = current.filter(|_| resource.kept.is_some());
    let converted = converted.map(|current| Converted { versions, known: &current.conversions });
    let versions = converted.as_ref().map_or(versions, |converted| converted as &dyn Versions);
    let (schema, node) = versions.schema(api_version);
    let place = Place::of_kind(api_version, &resource.kind);
    let held = match place {
        Some(Place::Type(held)) => Some(held),
        _ => None,
    };
    let empty = canonical::nothing(place.unwrap_or(Place::Plain));
    let ignored = ignored(resource, held, part);
    ask(&Kind { api_version, schema, node, empty, ignored, versions })
}

/// Who owns what after a write: what the draft says, if it was made of an applied configuration, else what comes of
/// comparing it with what was there.
pub(super) async fn after(
    write: Write<'_>,
    current: Option<&Current>,
    draft: &mut Draft,
    now: jiff::Timestamp,
) -> Result<Owners, Status> {
    if let Some(owners) = draft.owners.take() {
        return Ok(owners);
    }
    let given = draft.managed.take().unwrap_or(Value::Null);
    if !write.owned {
        return Ok(Owners::Kept);
    }
    let draft = &*draft;
    let conversions = current.map(|current| &current.conversions);
    settled(write.kind, conversions, || compared(write, current, draft, &given, now)).await
}

fn compared(
    write: Write<'_>,
    current: Option<&Current>,
    draft: &Draft,
    given: &Value,
    now: jiff::Timestamp,
) -> Owners {
    let signature = Signature::of(write.user, write.part, write.options, now);
    let held = current.map_or(Held::Value(&Value::Null), Current::held);
    let old = current.map(|current| &current.object);
    let stored = write.kind.api_version();
    let spoken = draft.spoken.as_deref().unwrap_or(&stored);
    let is_given = !given.is_null() && !managers::is_reset(given);
    let is_new = current.is_none() && spoken == stored && !is_given && write.kind.kept.is_none();
    with_kind(write.kind, write.part, current, spoken, |kind| {
        if let Some(text) = is_new.then(|| first(kind, &draft.object, signature.author())).flatten() {
            return Owners::Text { text, is_new: true };
        }
        if spoken == stored {
            return update(kind, old, &draft.object, (held, given), signature.author());
        }
        let convert = |object: &Value| kind.versions.convert(object, spoken);
        let (Some(new), old) = (convert(&draft.object), old.and_then(convert)) else { return Owners::Kept };
        update(kind, old.as_ref(), &new, (held, given), signature.author())
    })
}

/// What is stored of the owners.
pub(super) enum Managed {
    /// They stay out of the object.
    Nothing,
    /// As the object has them.
    Value(Value),
    /// As a text in JSON.
    Text(String),
}

impl Managed {
    fn of(value: Option<Value>) -> Self {
        value.map_or(Self::Nothing, Self::Value)
    }

    /// Puts them into an object that is to be stored; what is a text is for who encodes it.
    pub(super) fn put_into(self, object: &mut Value) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Value(value) => {
                put_managed(object, Some(value));
                None
            }
            Self::Text(text) => Some(text),
        }
    }
}

/// What is stored of the owners, and whether a write says anything new of them: times alone do not.
pub(super) fn settle(owners: Owners, current: Option<&Current>) -> (Managed, bool) {
    let held = current.map_or(Held::Value(&Value::Null), Current::held);
    match owners {
        Owners::Kept => match held {
            Held::Text(text) => (Managed::Text(text.to_owned()), false),
            Held::Value(held) => (Managed::of((!held.is_null()).then(|| held.clone())), false),
        },
        Owners::Text { text, is_new } => (Managed::Text(text), is_new),
        Owners::Are(owners) => {
            let new = !differ_in_times(owners.as_ref().unwrap_or(&Value::Null), &held.value());
            (Managed::of(owners), new)
        }
    }
}
