use std::any::{Any, TypeId};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;

use super::at_rest::{MANAGED_KEY, METADATA, around, encode, with_scratch};
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
    /// Where `managedFields` is, with the comma that parts it from another field; empty if there is none.
    managed: Range<usize>,
    labels: LabelSet,
    owners: Box<[OwnerRef]>,
    generation: i64,
    deleting: bool,
    fields: FieldValues,
    views: Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
}

#[derive(Deserialize)]
struct Head<M> {
    metadata: HeadMeta<M>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta<M> {
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
    deletion_timestamp: Option<IgnoredAny>,
    managed_fields: Option<M>,
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

impl Entry {
    /// Reads what the store holds. `indexed` says which fields of the kind are indexed.
    ///
    /// # Errors
    /// When the bytes are not the JSON of an object with a name and a uid.
    pub fn read(bytes: Bytes, revision: Revision, indexed: &IndexedFields) -> Result<Self, EntryError> {
        #[cfg(test)]
        counted::READ.with(|count| count.set(count.get() + 1));
        let head: Head<&RawValue> = serde_json::from_slice(&bytes)?;
        let fields = FieldValues::extract(&bytes, indexed)?;
        let managed = head.metadata.managed_fields.map_or(0..0, |text| around(&bytes, text.get()));
        Ok(Self::assemble(bytes.clone(), managed, head.metadata, revision, fields))
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
        #[cfg(test)]
        counted::ENCODED.with(|count| count.set(count.get() + 1));
        let (bytes, managed) = encode(object, managed_fields)?;
        let meta = HeadMeta::<IgnoredAny>::deserialize(&object["metadata"])?;
        Ok(Self::assemble(bytes, managed, meta, Revision::ZERO, FieldValues::of(object, indexed)))
    }

    fn assemble<M>(
        bytes: Bytes,
        managed: Range<usize>,
        meta: HeadMeta<M>,
        revision: Revision,
        fields: FieldValues,
    ) -> Self {
        let split = bytes
            .windows(METADATA.len())
            .position(|window| window == METADATA)
            .map_or(0, |start| start + METADATA.len());
        Self {
            name: ObjectName::new(meta.namespace.as_deref(), &meta.name),
            uid: meta.uid,
            revision,
            split,
            managed,
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
        Ok(encode(object, None)?.0)
    }

    /// The same object under another revision: the one at which it was deleted, for an event that says so.
    pub fn at(&self, revision: Revision) -> Self {
        Self {
            name: self.name.clone(),
            uid: self.uid.clone(),
            revision,
            bytes: self.bytes.clone(),
            split: self.split,
            managed: self.managed.clone(),
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

    /// Whether a text stands anywhere in the JSON that is kept of the object: a look that costs far less than to read it, for
    /// who passes over most objects. Where it stands, and whether it means what is looked for, the object says.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        memchr::memmem::find(&self.bytes, text.as_bytes()).is_some()
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
        self.as_type(serde_json::from_slice(&self.bytes)?)
    }

    /// The object as its Rust type, without `managedFields`: they are as long as all the rest, and only who asks whose
    /// fields are which has a use for them. It can be written back: an update without them leaves them as they are.
    ///
    /// # Errors
    /// When the object does not fit the type.
    pub fn decode_bare<K: Object>(&self) -> Result<K, EntryError> {
        self.as_type(self.peek()?)
    }

    fn as_type<K: Object>(&self, mut object: K) -> Result<K, EntryError> {
        object.meta_mut().resource_version = Some(self.revision.to_string());
        Ok(object)
    }

    /// A view that is not kept: for who looks at an object once.
    ///
    /// # Errors
    /// When the object does not fit the view.
    pub fn peek<V: DeserializeOwned>(&self) -> Result<V, EntryError> {
        Ok(self.with_bare(|bytes| serde_json::from_slice(bytes))?)
    }

    /// Does something with the bytes at rest without `managedFields`.
    pub(crate) fn with_bare<T>(&self, work: impl FnOnce(&[u8]) -> T) -> T {
        if self.managed.is_empty() {
            return work(&self.bytes);
        }
        // To copy the rest is less than to pass over what nobody wants.
        with_scratch(|rest| {
            rest.extend_from_slice(&self.bytes[..self.managed.start]);
            rest.extend_from_slice(&self.bytes[self.managed.end..]);
            work(rest)
        })
    }

    /// `managedFields` as the text in JSON that they are kept as, if there are any.
    pub(crate) fn managed_fields(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.bytes[self.managed.clone()]).ok()?;
        text.trim_matches(',').strip_prefix(MANAGED_KEY)
    }

    /// A view: a small serde struct of just the fields a reader wants, without `managedFields`. Decoded once per revision
    /// and shared.
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
        let view: Arc<V> = Arc::new(self.peek()?);
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = held(&views) {
            return Ok(view);
        }
        views.push((wanted, Arc::clone(&view) as Arc<dyn Any + Send + Sync>));
        Ok(view)
    }
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
    fn who_owns_what_is_passed_over_wherever_it_stands() {
        use std::collections::BTreeMap;
        let text = r#"[{"manager":"a,b","fieldsV1":{"f:spec":{}}}]"#;
        let managed: Value = serde_json::from_str(text).unwrap();
        for others in [vec!["name", "uid"], vec!["annotations", "name", "uid"], vec!["annotations"], vec![]] {
            let all = |name: &str| others.contains(&name);
            let mut meta = serde_json::json!({"name": "a", "uid": "u"});
            if all("annotations") {
                meta["annotations"] = serde_json::json!({"managedFields": r#""managedFields":[],"#});
            }
            let mut object = serde_json::json!({"kind": "Pod", "apiVersion": "v1", "metadata": meta});
            object["spec"] = serde_json::json!({"metadata": {"managedFields": [1]}});
            let bare = object.clone();
            let none = Entry::of(&bare, &IndexedFields::none()).unwrap();
            assert_eq!(none.managed_fields(), None);
            object["metadata"]["managedFields"] = managed.clone();
            let whole = Entry::of(&object, &IndexedFields::none()).unwrap();
            let apart = Entry::of_owned(&bare, Some(text), &IndexedFields::none()).unwrap();
            let read = Entry::read(whole.bytes().clone(), Revision(3), &IndexedFields::none()).unwrap();
            for entry in [&whole, &apart, &read, &read.at(Revision(4))] {
                let held = entry.managed_fields().expect("they are there");
                assert_eq!(serde_json::from_str::<Value>(held).unwrap(), managed);
                assert_eq!(entry.peek::<BTreeMap<String, Value>>().unwrap(), none.peek().unwrap());
                assert_eq!(entry.to_value().unwrap()["metadata"]["managedFields"], managed);
            }
        }
        // In a text that is not as they are written here they are found by nobody, and are read with the rest.
        let spaced = r#"{"metadata": {"managedFields" : [1], "name": "a", "uid": "u"}}"#;
        let spaced = entry(spaced);
        assert_eq!(spaced.managed_fields(), None);
        assert!(spaced.peek::<Value>().unwrap()["metadata"]["managedFields"].is_array());
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
