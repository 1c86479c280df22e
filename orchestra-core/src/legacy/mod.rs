//! Manifests of API versions that no cluster serves any more, made what a cluster of today takes.
//!
//! From `v1beta1` with its `id` and `desiredState` up to the betas that Kubernetes 1.26 took away. [`convert`] is pure:
//! a document in, a document out, with [notes](Note) that name the path of each field which means less than it did. What
//! cannot be said today refuses the document; nothing is dropped without a word. What is served today comes back as it
//! was.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `table` | which kind of which version became what, and by which function |
//! | `parts` | taking an object apart so that what nobody asked for is told |
//! | `first` | `v1beta1` and `v1beta2`: everything at the top |
//! | `manifest` | their containers and volumes |
//! | `third` | `v1beta3`, which is nearly `v1` |
//! | `workloads`, `ingress`, `autoscaling`, `policy` | the betas of groups |

mod autoscaling;
mod first;
mod ingress;
mod manifest;
mod parts;
mod policy;
mod table;
#[cfg(test)]
mod tests;
mod third;
mod workloads;

use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use self::parts::Tell;
use self::table::Row;
use crate::api::schema::{Place, fit};
use crate::api::{Kinds, split_api_version};
use crate::objects;

/// The kinds of today.
static TODAY: LazyLock<Kinds> = LazyLock::new(objects::builtin);

/// Something about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where the field is in the document as it was given.
    pub path: String,
    /// What becomes of it, or why it cannot stay.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// An object that a cluster of today takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The object.
    pub object: Value,
    /// Fields that mean something else today, or nothing.
    pub notes: Vec<Note>,
}

/// A document that has no counterpart today.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Refused {
    /// Why not, by field.
    pub wrong: Vec<Note>,
}

/// How deep lists may stand in lists: more is no manifest that anybody wrote.
const DEEPEST_LIST: usize = 8;

/// Makes a document what a cluster of today takes. A list stays a list, with each of its items converted.
///
/// # Errors
/// When something in it cannot be said today.
pub fn convert(document: Value) -> Result<Converted, Refused> {
    let mut tell = Tell::default();
    let object = any(document, &mut tell, 0);
    match object {
        Some(object) if tell.wrong.is_empty() => Ok(Converted { object, notes: tell.notes }),
        _ => Err(Refused { wrong: tell.wrong }),
    }
}

/// What a name of an old manifest is today: Kubernetes once took `Apache-Node`, and takes only small letters, digits and
/// hyphens now. Names of today stay as they are.
pub fn name(old: &str) -> String {
    old.to_lowercase().replace(['_', ' '], "-")
}

fn any(document: Value, tell: &mut Tell, depth: usize) -> Option<Value> {
    let Value::Object(fields) = document else {
        tell.wrong("", "it is not an object");
        return None;
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut version, mut kind) = (text("apiVersion"), text("kind"));
    if version.is_empty() && kind.is_empty() && fields.contains_key("containers") {
        // What a kubelet once read from a file had a version and no kind.
        (version, kind) = (text("version"), "ContainerManifest".to_owned());
    }
    if version.is_empty() || kind.is_empty() {
        let missing = if version.is_empty() { "apiVersion" } else { "kind" };
        tell.wrong(missing, "without it, it is not known what the document is");
        return None;
    }
    if let Some(of) = list_of(&version, &kind, &fields) {
        return list(fields, &version, &of, tell, depth);
    }
    match table::row(&version, &kind) {
        Some(row) => one(fields, &version, row, tell),
        None => current(fields, &version, &kind, tell),
    }
}

/// The kind of a list's items; empty for a list of anything.
fn list_of(version: &str, kind: &str, fields: &Map<String, Value>) -> Option<String> {
    let holds = fields.get("items").is_some_and(Value::is_array) || fields.contains_key("minions");
    let of = kind.strip_suffix("List").filter(|_| holds)?;
    // A list of anything is v1's; what another group calls one may be a kind of its own.
    let is_known = table::row(version, of).is_some() || TODAY.by_kind(version, of).is_some();
    let is_list = if of.is_empty() { version == "v1" || table::is_first(version) } else { is_known };
    is_list.then(|| of.to_owned())
}

fn list(
    mut fields: Map<String, Value>,
    version: &str,
    of: &str,
    tell: &mut Tell,
    depth: usize,
) -> Option<Value> {
    if depth == DEEPEST_LIST {
        tell.wrong("items", "lists stand in lists too deep");
        return None;
    }
    // The first of them had another name for what nodes are in.
    let place = if fields.contains_key("items") { "items" } else { "minions" };
    let items = match fields.remove(place) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let is_current = version == "v1" || table::row(version, of).is_none() && !table::is_first(version);
    let converted: Vec<Value> = items
        .into_iter()
        .enumerate()
        .filter_map(|(index, mut item)| {
            if let (false, Value::Object(item)) = (of.is_empty(), &mut item) {
                let missing = |item: &Map<String, Value>, name| item.get(name).is_none_or(Value::is_null);
                if !is_current && missing(item, "kind") && missing(item, "apiVersion") {
                    item.insert("kind".to_owned(), json!(of));
                    item.insert("apiVersion".to_owned(), json!(version));
                }
                if is_current && missing(item, "kind") {
                    // As Kubernetes itself lists them: what they are is said once, by the list.
                    return Some(Value::Object(item.clone()));
                }
            }
            tell.within(format!("{place}[{index}]"), |tell| any(item, tell, depth + 1))
        })
        .collect();
    if is_current {
        fields.insert("items".to_owned(), Value::Array(converted));
        return Some(Value::Object(fields));
    }
    for (name, value) in fields {
        if !matches!(name.as_str(), "apiVersion" | "kind") && !parts::is_nothing(&value) {
            tell.note(&name, "it is of the answer that the list was, and left out");
        }
    }
    Some(json!({"apiVersion": "v1", "kind": "List", "items": converted}))
}

/// An object of a version that is no longer served.
fn one(fields: Map<String, Value>, version: &str, row: &Row, tell: &mut Tell) -> Option<Value> {
    let begun = tell.wrong.len();
    let mut object = (row.convert)(fields, version, tell)?;
    let fields = object.as_object_mut()?;
    fields.insert("apiVersion".to_owned(), json!(row.to));
    fields.insert("kind".to_owned(), json!(row.kind));
    if tell.wrong.len() > begun {
        return None;
    }
    let place = Place::of_kind(row.to, row.kind)?;
    match fit::fit(place, &mut object) {
        Err(misfit) => tell.wrong("", &misfit),
        Ok(unknown) => {
            for path in unknown {
                let path = tell.came_from(&path);
                tell.wrong(&path, &format!("{} {} has no such field", row.to, row.kind));
            }
        }
    }
    tell.forget_moves();
    (tell.wrong.len() == begun).then_some(object)
}

/// An object that is none of the table: one of today, one of a custom kind, or one of nobody.
fn current(fields: Map<String, Value>, version: &str, kind: &str, tell: &mut Tell) -> Option<Value> {
    let object = Value::Object(fields);
    let (group, _) = split_api_version(version);
    if TODAY.by_kind(version, kind).is_some() || Place::of_kind(version, kind).is_some() {
        if let Some(place) = Place::of_kind(version, kind) {
            let unknown = fit::fit(place, &mut object.clone()).unwrap_or_default();
            for path in unknown {
                tell.note(&path, &format!("{version} {kind} has no such field; it is left as it is"));
            }
        }
        return Some(object);
    }
    if let Some(gone) = table::gone(version, kind) {
        tell.wrong("kind", &format!("{version} {kind} is no more: {gone}"));
        return None;
    }
    let is_of_kubernetes = table::is_of(version) || TODAY.iter().any(|row| &*row.id.group == group);
    if is_of_kubernetes {
        tell.wrong("apiVersion", &format!("it is not known what became of {version} {kind}"));
        return None;
    }
    Some(object)
}
