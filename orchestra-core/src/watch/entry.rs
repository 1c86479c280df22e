use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fields::{FieldValues, IndexedFields};
use crate::meta::{Object, ObjectName, OwnerRef, Revision, Uid};
use crate::selector::{LabelSet, Labels};

/// Why bytes are not an object at rest.
#[derive(Debug, thiserror::Error)]
#[error("a stored object cannot be read: {0}")]
pub struct EntryError(#[from] serde_json::Error);

/// One object at one revision: its encoded bytes, and beside them what selection and ownership need.
///
/// The bytes are JSON that begins `{"kind":…,"apiVersion":…,"metadata":{` and has no `resourceVersion`: the revision
/// is not known when they are encoded. [`Entry::write_json`] puts it in on the way out.
pub struct Entry {
    name: ObjectName,
    uid: Uid,
    revision: Revision,
    bytes: Bytes,
    /// Where in `bytes` the fields of `metadata` begin.
    split: usize,
    labels: LabelSet,
    owners: Box<[OwnerRef]>,
    generation: i64,
    deleting: bool,
    fields: FieldValues,
    views: Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
}

#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    uid: Uid,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    owner_references: Option<Box<[OwnerRef]>>,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

/// How often this thread has encoded and read objects, for tests of what a write costs.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static ENCODED: Cell<usize> = const { Cell::new(0) };
        pub(crate) static READ: Cell<usize> = const { Cell::new(0) };
    }
}

const METADATA: &[u8] = b"\"metadata\":{";
const MANAGED_FIELDS: &str = "managedFields";

impl Entry {
    /// Reads what the store holds. `indexed` says which fields of the kind are indexed.
    ///
    /// # Errors
    /// When the bytes are not the JSON of an object with a name and a uid.
    pub fn read(bytes: Bytes, revision: Revision, indexed: &IndexedFields) -> Result<Self, EntryError> {
        #[cfg(test)]
        counted::READ.with(|count| count.set(count.get() + 1));
        let head: Head = serde_json::from_slice(&bytes)?;
        let fields = FieldValues::extract(&bytes, indexed)?;
        Ok(Self::assemble(bytes, head.metadata, revision, fields))
    }

    /// An object that is to be stored, encoded now: what [`Entry::read`] makes of its bytes, without reading them. It has
    /// no revision before it is committed.
    ///
    /// # Errors
    /// When the value has no metadata with a name and a uid.
    pub fn of(object: &Value, indexed: &IndexedFields) -> Result<Self, EntryError> {
        Self::of_owned(object, None, indexed)
    }

    /// The same of an object whose `managedFields`, which it has not, are a text in JSON.
    pub(crate) fn of_owned(
        object: &Value,
        managed_fields: Option<&str>,
        indexed: &IndexedFields,
    ) -> Result<Self, EntryError> {
        let bytes = encode(object, managed_fields)?;
        let meta = HeadMeta::deserialize(&object["metadata"])?;
        Ok(Self::assemble(bytes, meta, Revision::ZERO, FieldValues::of(object, indexed)))
    }

    fn assemble(bytes: Bytes, meta: HeadMeta, revision: Revision, fields: FieldValues) -> Self {
        let split = bytes
            .windows(METADATA.len())
            .position(|window| window == METADATA)
            .map_or(0, |start| start + METADATA.len());
        Self {
            name: ObjectName::new(meta.namespace.as_deref(), &meta.name),
            uid: meta.uid,
            revision,
            split,
            bytes,
            labels: meta.labels.as_ref().into(),
            owners: meta.owner_references.unwrap_or_default(),
            generation: meta.generation,
            deleting: meta.deletion_timestamp.is_some(),
            fields,
            views: Mutex::default(),
        }
    }

    /// The bytes in which an object is kept: its JSON with `kind`, `apiVersion` and `metadata` first, and without
    /// `resourceVersion`.
    ///
    /// # Errors
    /// When the value has no `metadata`.
    pub fn encode(object: &Value) -> Result<Bytes, EntryError> {
        encode(object, None)
    }

    /// The same object under another revision: the one at which it was deleted, for an event that says so.
    pub fn at(&self, revision: Revision) -> Self {
        Self {
            name: self.name.clone(),
            uid: self.uid.clone(),
            revision,
            bytes: self.bytes.clone(),
            split: self.split,
            labels: self.labels.clone(),
            owners: self.owners.clone(),
            generation: self.generation,
            deleting: self.deleting,
            fields: self.fields.clone(),
            views: Mutex::default(),
        }
    }

    /// What the object is called.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Which object of that name.
    pub fn uid(&self) -> &Uid {
        &self.uid
    }

    /// The revision of the commit that last changed it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Its labels.
    pub fn labels(&self) -> &LabelSet {
        &self.labels
    }

    /// Its owners.
    pub fn owners(&self) -> &[OwnerRef] {
        &self.owners
    }

    /// The owner that manages it, if any.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// How often its desired state has changed; 0 for kinds that do not count.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Whether it is being deleted (`metadata.deletionTimestamp` is set).
    pub fn is_deleting(&self) -> bool {
        self.deleting
    }

    /// The value of an indexed field, such as `spec.nodeName`; `None` if the kind has no such index.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(self.name.name()),
            "metadata.namespace" => Some(self.name.namespace().unwrap_or_default()),
            path => self.fields.get(path),
        }
    }

    /// All the indexed fields, except name and namespace.
    pub fn fields(&self) -> &FieldValues {
        &self.fields
    }

    /// The bytes at rest: JSON without `resourceVersion`.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Appends the object's JSON as the wire has it, `resourceVersion` included.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_after(&self.bytes[..self.split], out);
    }

    /// The same as a list has it, which says for all its items at once of which kind they are.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        self.write_after(b"{\"metadata\":{", out);
    }

    /// Appends the object from the first field of its metadata on, after a head that ends there.
    fn write_after(&self, head: &[u8], out: &mut Vec<u8>) {
        use std::io::Write as _;
        out.reserve(self.bytes.len() + 48);
        out.extend_from_slice(head);
        let tail = &self.bytes[self.split..];
        if self.revision == Revision::ZERO {
            // What a dry run would have stored has no revision.
            return out.extend_from_slice(tail);
        }
        // Writing to a Vec cannot fail.
        let _ = write!(out, "\"resourceVersion\":\"{}\"", self.revision);
        if tail.first() != Some(&b'}') {
            out.push(b',');
        }
        out.extend_from_slice(tail);
    }

    /// The object's JSON as the wire has it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }

    /// The whole object as a JSON value, `resourceVersion` included.
    ///
    /// # Errors
    /// When the bytes are not JSON, which a store that is not damaged never holds.
    pub fn to_value(&self) -> Result<serde_json::Value, EntryError> {
        Ok(serde_json::from_slice(&self.to_json())?)
    }

    /// The whole object as its Rust type.
    ///
    /// # Errors
    /// When the object does not fit the type.
    pub fn decode<K: Object>(&self) -> Result<K, EntryError> {
        let mut object: K = serde_json::from_slice(&self.bytes)?;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        Ok(object)
    }

    /// A view: a small serde struct of just the fields a reader wants. Decoded once per revision and shared.
    ///
    /// Unknown fields are skipped, so never write a view back.
    ///
    /// # Errors
    /// When the object does not fit the view.
    pub fn view<V: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<V>, EntryError> {
        let wanted = TypeId::of::<V>();
        let held = |views: &[(TypeId, Arc<dyn Any + Send + Sync>)]| {
            let (_, view) = views.iter().find(|(id, _)| *id == wanted)?;
            Arc::clone(view).downcast::<V>().ok()
        };
        if let Some(view) = held(&self.views.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(view);
        }
        let view: Arc<V> = Arc::new(serde_json::from_slice(&self.bytes)?);
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = held(&views) {
            return Ok(view);
        }
        views.push((wanted, Arc::clone(&view) as Arc<dyn Any + Send + Sync>));
        Ok(view)
    }
}

fn encode(object: &Value, managed_fields: Option<&str>) -> Result<Bytes, EntryError> {
    #[cfg(test)]
    counted::ENCODED.with(|count| count.set(count.get() + 1));
    let metadata = object
        .get("metadata")
        .and_then(Value::as_object)
        .ok_or_else(|| EntryError(serde::de::Error::custom("an object without metadata")))?;
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        write_object(out, object, metadata, managed_fields)?;
        let bytes = Bytes::copy_from_slice(out);
        out.shrink_to(MOST_SCRATCH);
        Ok(bytes)
    })
}

thread_local! {
    /// Where objects are written before their length is known. What is kept of them for as long as they are has no room
    /// to grow, and to take it from what has costs more than to copy it.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many bytes of it are kept.
const MOST_SCRATCH: usize = 64 * 1024;

fn write_object(
    out: &mut Vec<u8>,
    object: &Value,
    metadata: &serde_json::Map<String, Value>,
    managed_fields: Option<&str>,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b"{\"kind\":");
    serde_json::to_writer(&mut *out, &object["kind"])?;
    out.extend_from_slice(b",\"apiVersion\":");
    serde_json::to_writer(&mut *out, &object["apiVersion"])?;
    out.extend_from_slice(b",\"metadata\":{");
    let meta = metadata.iter().filter(|(key, _)| *key != "resourceVersion");
    let comes_before = |(key, _): &(&String, &Value)| key.as_str() < MANAGED_FIELDS;
    write_fields(out, meta.clone().take_while(comes_before))?;
    if let Some(text) = managed_fields {
        write_key(out, MANAGED_FIELDS)?;
        out.extend_from_slice(text.as_bytes());
    }
    write_fields(out, meta.skip_while(comes_before))?;
    out.push(b'}');
    let rest = object.as_object().into_iter().flatten();
    let rest = rest.filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion" | "metadata"));
    write_fields(out, rest)?;
    out.push(b'}');
    Ok(())
}

fn write_fields<'v>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'v String, &'v Value)>,
) -> Result<(), serde_json::Error> {
    for (key, value) in fields {
        write_key(out, key)?;
        serde_json::to_writer(&mut *out, value)?;
    }
    Ok(())
}

/// Begins a field of the object that is being written.
fn write_key(out: &mut Vec<u8>, key: &str) -> Result<(), serde_json::Error> {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key)?;
    out.push(b':');
    Ok(())
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &'static str) -> Entry {
        Entry::read(Bytes::from_static(json.as_bytes()), Revision(7), &IndexedFields::none()).unwrap()
    }

    #[test]
    fn the_revision_is_put_in_on_the_way_out() {
        let entry = entry(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"n","uid":"u"},"spec":{"metadata":{}}}"#,
        );
        let value = entry.to_value().unwrap();
        assert_eq!(value["metadata"]["resourceVersion"], "7");
        assert_eq!(value["spec"]["metadata"], serde_json::json!({}));
        assert_eq!(entry.name().to_string(), "n/a");
    }

    #[test]
    fn an_object_that_was_encoded_here_is_what_its_bytes_are_read_as() {
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1"},
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"a": "b"}, "generation": 3,
                "deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "9",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "o", "uid": "o", "controller": true}]},
        });
        let indexed = [super::super::IndexedField::new("spec.nodeName")].as_slice().into();
        let ours = Entry::of(&object, &indexed).unwrap();
        let read = Entry::read(ours.bytes().clone(), Revision::ZERO, &indexed).unwrap();
        assert_eq!((ours.name(), ours.uid(), ours.split), (read.name(), read.uid(), read.split));
        assert_eq!((ours.labels(), ours.owners()), (read.labels(), read.owners()));
        assert_eq!((ours.generation(), ours.is_deleting()), (3, read.is_deleting()));
        assert_eq!(ours.fields(), read.fields());
    }

    #[test]
    fn who_owns_what_may_come_as_a_text() {
        let text = r#"[{"manager":"a"}]"#;
        for meta in [r#"{"uid":"u","name":"a"}"#, r#"{"annotations":{"a":"b"},"name":"a","uid":"u"}"#] {
            let mut object = serde_json::json!({"kind": "Pod", "apiVersion": "v1", "spec": {}});
            object["metadata"] = serde_json::from_str(meta).unwrap();
            let ours = Entry::of_owned(&object, Some(text), &IndexedFields::none()).unwrap();
            object["metadata"]["managedFields"] = serde_json::from_str(text).unwrap();
            assert_eq!(ours.bytes(), Entry::of(&object, &IndexedFields::none()).unwrap().bytes());
        }
    }

    #[test]
    fn a_view_is_decoded_once_and_shared() {
        #[derive(Deserialize)]
        struct View {
            kind: String,
        }
        let entry = entry(r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u"}}"#);
        let (first, second) = (entry.view::<View>().unwrap(), entry.view::<View>().unwrap());
        assert_eq!(first.kind, "Pod");
        assert!(Arc::ptr_eq(&first, &second));
    }
}
