//! What an object has been: its versions that the store still has, and the way back to one.
//!
//! Any object has a subresource `history`, which orchestra adds to Kubernetes: the table of its versions. A version
//! itself is read with [`RevisionMatch::Exact`], in the URL `asOf=1234`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::request::{Body, Operation, Reply, RevisionMatch, Target, WriteOptions};
use super::{Client, Status, Subresource};
use crate::meta::Revision;
use crate::watch::{Entry, IndexedFields};

/// The subresource.
pub const HISTORY: &str = Subresource::HISTORY.name;

/// The versions of an object, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The versions that are kept.
    pub versions: Vec<Version>,
}

/// One version of an object: what a write made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The revision of the write.
    pub revision: Revision,
    /// When that was, if anybody took note.
    pub time: Option<Time>,
    /// Who it was: the field manager, or else the user. Nobody takes note of who removed an object at last.
    pub manager: Option<String>,
    /// What was done.
    pub change: Effect,
    /// The fields that it changed, such as `spec.replicas`; `+` before one that was not there, `-` before one that
    /// is gone.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// What a write did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It came to be.
    Created,
    /// It was there, and what it was before is no longer known.
    Kept,
    /// It became another.
    Changed,
    /// It was removed.
    Deleted,
}

impl Client {
    /// What an object has been, oldest first. Also of one that is gone.
    ///
    /// # Errors
    /// [Not found](Status::is_not_found) when nothing of that name is remembered.
    pub async fn history(&self, object: Target) -> Result<History, Status> {
        match self.call(object.sub(HISTORY), Operation::GET).await?.reply {
            Reply::Value(value) => History::deserialize(&value).map_err(Status::internal),
            _ => Err(Status::internal("a history is not an object")),
        }
    }

    /// An object as it was at a revision.
    ///
    /// # Errors
    /// [Not found](Status::is_not_found) when there was none then, [expired](Status::is_expired) when that is no
    /// longer known.
    pub async fn at(&self, object: Target, revision: Revision) -> Result<Value, Status> {
        let revision_match = Some(RevisionMatch::Exact);
        let operation = Operation::Get { revision: Some(revision), revision_match };
        value(self.call(object, operation).await?.reply)
    }

    /// Makes an object again what it was at a revision: labels, annotations, and all that is not metadata or status.
    /// It stays the object that it is, or is made anew if it is gone.
    ///
    /// # Errors
    /// As [`Client::at`]; [a conflict](Status::is_conflict) when it changes meanwhile; and what the API has against
    /// such a change, as against one of a field that cannot be changed.
    pub async fn restore(&self, object: Target, revision: Revision) -> Result<Value, Status> {
        let old = self.at(object.clone(), revision).await?;
        let options =
            WriteOptions { field_manager: Some("orchestra-history".into()), ..WriteOptions::default() };
        let (target, operation) = match self.call(object.clone(), Operation::GET).await {
            Ok(response) => {
                let body = Body::Value(restored(&old, Some(&value(response.reply)?)));
                (object, Operation::Update { body, options })
            }
            Err(status) if status.is_not_found() => {
                let body = Body::Value(restored(&old, None));
                (Target { name: None, ..object }, Operation::Create { body, options })
            }
            Err(status) => return Err(status),
        };
        value(self.call(target, operation).await?.reply)
    }
}

fn value(reply: Reply) -> Result<Value, Status> {
    match reply {
        Reply::Object(entry) => entry.to_value().map_err(Status::internal),
        _ => Err(Status::internal("the API did not answer with an object")),
    }
}

/// What is to be stored so that an object becomes what it was, given what it is now: labels, annotations and all that is
/// not metadata or status are of the old one, and it stays the object that it is.
pub fn restored(old: &Value, now: Option<&Value>) -> Value {
    let given = |from: &Value, fields: &[&str]| -> Map<String, Value> {
        let held = fields
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), from["metadata"].get(field)?.clone())));
        held.collect()
    };
    let mut metadata = match now {
        Some(now) => {
            let kept = ["name", "namespace", "uid", "resourceVersion", "finalizers", "ownerReferences"];
            given(now, &kept)
        }
        None => given(old, &["name", "namespace"]),
    };
    metadata.extend(given(old, &["labels", "annotations"]));
    let fields = old.as_object().into_iter().flatten();
    let mut object: Map<_, _> = fields
        .filter(|(field, _)| *field != "status")
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    object.insert("metadata".to_owned(), metadata.into());
    object.into()
}

/// The table as it is answered.
pub(super) fn table(versions: &[crate::store::history::Version]) -> Result<Value, Status> {
    let mut before: Option<Value> = None;
    let mut rows = Vec::with_capacity(versions.len());
    for version in versions {
        let object = version.record.as_ref().map(|record| {
            let entry = Entry::read(record.value.clone(), record.modified, &IndexedFields::none());
            entry.and_then(|entry| entry.to_value()).map_err(Status::internal)
        });
        let object = object.transpose()?;
        let change = match (&object, &before, &version.record) {
            (None, ..) => Effect::Deleted,
            (Some(_), Some(_), _) => Effect::Changed,
            (_, _, Some(record)) if record.created < record.modified => Effect::Kept,
            _ => Effect::Created,
        };
        let signed = object.as_ref().and_then(|object| signer(before.as_ref(), object));
        let noted = |field: &str| signed.and_then(|signed| signed[field].as_str());
        rows.push(Version {
            revision: version.revision,
            time: version.time.or_else(|| noted("time").and_then(|time| time.parse().ok())).map(Time),
            manager: noted("manager").map(str::to_owned),
            change,
            fields: match (&before, &object) {
                (Some(before), Some(object)) => changes(before, object),
                _ => Vec::new(),
            },
        });
        before = object;
    }
    let mut table = serde_json::to_value(History { versions: rows }).map_err(Status::internal)?;
    table["kind"] = json!("History");
    table["apiVersion"] = json!("orchestra/v1");
    Ok(table)
}

/// The entry of who wrote a version: the latest of those that were not there before. Who only takes something away owns
/// nothing by that, and is not known.
fn signer<'v>(before: Option<&Value>, object: &'v Value) -> Option<&'v Value> {
    let entries = |object: &'v Value| object["metadata"]["managedFields"].as_array();
    let held = before.and_then(|before| before["metadata"]["managedFields"].as_array());
    let is_new = |entry: &&Value| held.is_none_or(|held| !held.contains(entry));
    let grew = |entry: &&Value| {
        let same = |other: &&Value| {
            ["manager", "operation", "subresource"].iter().all(|field| other[*field] == entry[*field])
        };
        // Who lost something to another keeps the time of its own last write.
        held.and_then(|held| held.iter().find(same)).is_none_or(|other| other["time"] != entry["time"])
    };
    let mut new: Vec<&Value> = entries(object)?.iter().filter(is_new).collect();
    if new.iter().any(grew) {
        new.retain(grew);
    }
    new.into_iter().max_by_key(|entry| entry["time"].as_str().unwrap_or_default())
}

/// The paths at which two objects differ, without those that differ with every write.
fn changes(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ(old, new, String::new(), &mut found);
    let noise = ["metadata.resourceVersion", "metadata.generation", "metadata.managedFields"];
    found.retain(|path| !noise.iter().any(|noise| path.trim_start_matches(['+', '-']).starts_with(noise)));
    found
}

fn differ(old: &Value, new: &Value, path: String, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                step(Some(value), new.get(key), below(&path, key), found);
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                step(None, Some(value), below(&path, key), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            let key = |item: &Value, index: usize| {
                let named = ["name", "type", "key"].iter().find_map(|field| item[*field].as_str());
                named.map_or_else(|| index.to_string(), str::to_owned)
            };
            let keyed = |list: &[Value]| -> Vec<(String, Value)> {
                list.iter().enumerate().map(|(index, item)| (key(item, index), item.clone())).collect()
            };
            let (old, new) = (keyed(old), keyed(new));
            let find = |list: &[(String, Value)], key: &str| {
                list.iter().find(|(held, _)| held == key).map(|(_, item)| item.clone())
            };
            for (key, item) in &old {
                step(Some(item), find(&new, key).as_ref(), format!("{path}[{key}]"), found);
            }
            for (key, item) in new.iter().filter(|(key, _)| find(&old, key).is_none()) {
                step(None, Some(item), format!("{path}[{key}]"), found);
            }
        }
        (old, new) if old != new => found.push(path),
        _ => {}
    }
}

fn step(old: Option<&Value>, new: Option<&Value>, path: String, found: &mut Vec<String>) {
    match (old, new) {
        (Some(old), Some(new)) => differ(old, new, path, found),
        (None, Some(_)) => found.push(format!("+{path}")),
        (Some(_), None) => found.push(format!("-{path}")),
        (None, None) => {}
    }
}

fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        _ if key.contains(['.', '/']) => format!("{path}[{key}]"),
        _ => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_by_path() {
        let old = json!({
            "metadata": {"generation": 1, "labels": {"app.kubernetes.io/name": "a", "old": "x"}, "managedFields": []},
            "spec": {"replicas": 1, "containers": [{"name": "a", "image": "x"}, {"name": "b"}], "args": ["1", "2"]},
        });
        let new = json!({
            "metadata": {"generation": 2, "labels": {"app.kubernetes.io/name": "b"}, "managedFields": [{}]},
            "spec": {
                "replicas": 2, "containers": [{"name": "c"}, {"name": "a", "image": "y"}], "args": ["1", "3"], "paused": true
            },
        });
        let mut found = changes(&old, &new);
        found.sort();
        let expected = [
            "+spec.containers[c]",
            "+spec.paused",
            "-metadata.labels.old",
            "-spec.containers[b]",
            "metadata.labels[app.kubernetes.io/name]",
            "spec.args[1]",
            "spec.containers[a].image",
            "spec.replicas",
        ];
        assert_eq!(found, expected);
        assert_eq!(changes(&new, &new), Vec::<String>::new());
    }

    #[test]
    fn what_is_restored_stays_the_object_that_it_is() {
        let old = json!({
            "kind": "Thing", "apiVersion": "v1", "data": {"a": "1"}, "status": {"ready": true},
            "metadata": {"name": "t", "uid": "old", "resourceVersion": "1", "labels": {"a": "1"}, "finalizers": ["gone"]},
        });
        let now = json!({
            "kind": "Thing", "apiVersion": "v1", "data": {"a": "2"}, "immutable": true, "status": {"ready": false},
            "metadata": {"name": "t", "uid": "new", "resourceVersion": "9", "annotations": {"b": "2"}, "finalizers": ["f"]},
        });
        let expected = json!({
            "kind": "Thing", "apiVersion": "v1", "data": {"a": "1"},
            "metadata": {"name": "t", "uid": "new", "resourceVersion": "9", "labels": {"a": "1"}, "finalizers": ["f"]},
        });
        assert_eq!(restored(&old, Some(&now)), expected);
        let anew = json!({
            "kind": "Thing", "apiVersion": "v1", "data": {"a": "1"}, "metadata": {"name": "t", "labels": {"a": "1"}},
        });
        assert_eq!(restored(&old, None), anew);
    }
}
