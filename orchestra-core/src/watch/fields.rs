use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::selector::FieldSelector;

/// A field by whose value objects of a kind are found, as with `kubectl get pods --field-selector`.
///
/// The text is `&'static str` in the constants of [`Rules`](crate::api::Rules), and shared in a row of the table, which
/// may be made while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedField<S = &'static str> {
    /// What field selectors call it: as a rule its path from the object's root, such as `spec.nodeName`.
    pub path: S,
    /// Where its value stands. Differs from `path` for the few fields that go by another name.
    pub at: S,
    /// Where its value stands in objects that have none at `at`; empty if nowhere.
    pub or_at: S,
    /// The value of an object that does not have the field.
    pub default: S,
    /// Whether the cache keeps, for each value, the objects that have it. Without, a query by this field is a scan.
    pub lookup: bool,
}

impl IndexedField {
    /// A field that counts as empty when it is missing.
    pub const fn new(path: &'static str) -> Self {
        Self { path, at: path, or_at: "", default: "", lookup: false }
    }

    /// A field with a value for objects that miss it.
    pub const fn or(path: &'static str, default: &'static str) -> Self {
        Self { path, at: path, or_at: "", default, lookup: false }
    }

    /// The same field, whose value stands at another path than its name says.
    #[must_use]
    pub const fn at(self, at: &'static str) -> Self {
        Self { at, ..self }
    }

    /// The same field, whose value stands at another path in objects that have none at the first.
    #[must_use]
    pub const fn or_at(self, or_at: &'static str) -> Self {
        Self { or_at, ..self }
    }

    /// The same field, with the objects of each value kept at hand.
    #[must_use]
    pub const fn lookup(self) -> Self {
        Self { lookup: true, ..self }
    }
}

impl From<&IndexedField> for IndexedField<Arc<str>> {
    fn from(field: &IndexedField) -> Self {
        let IndexedField { path, at, or_at, default, lookup } = *field;
        Self { path: path.into(), at: at.into(), or_at: or_at.into(), default: default.into(), lookup }
    }
}

/// The indexed fields of a kind. Cheap to clone: each of its objects refers to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexedFields(Arc<[IndexedField<Arc<str>>]>);

impl IndexedFields {
    /// No fields: only name and namespace can be asked for.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every field.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &IndexedField<Arc<str>>> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A selector by fields that are indexed, all of them: one by others would silently match as if no object had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFields(FieldSelector);

impl Deref for KnownFields {
    type Target = FieldSelector;

    fn deref(&self) -> &FieldSelector {
        &self.0
    }
}

/// A field by which objects of a kind cannot be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field label not supported: {path}")]
pub struct UnknownField {
    /// What the selector calls it.
    pub path: String,
}

impl IndexedFields {
    /// A selector, if all its fields are indexed. Name and namespace always are.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn known(&self, selector: FieldSelector) -> Result<KnownFields, UnknownField> {
        let is_known = |path: &str| {
            matches!(path, "metadata.name" | "metadata.namespace")
                || self.iter().any(|field| &*field.path == path)
        };
        match selector.requirements().iter().find(|requirement| !is_known(&requirement.path)) {
            Some(unknown) => Err(UnknownField { path: unknown.path.clone() }),
            None => Ok(KnownFields(selector)),
        }
    }
}

impl From<&[IndexedField]> for IndexedFields {
    fn from(fields: &[IndexedField]) -> Self {
        Self(fields.iter().map(Into::into).collect())
    }
}

impl FromIterator<IndexedField<Arc<str>>> for IndexedFields {
    fn from_iter<I: IntoIterator<Item = IndexedField<Arc<str>>>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// The values of an object's indexed fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValues {
    fields: IndexedFields,
    /// One for each field, in their order; `None` is the field's default.
    values: Box<[Option<Box<str>>]>,
}

impl FieldValues {
    /// Takes the indexed fields out of an object's JSON in one pass, building nothing else.
    pub(crate) fn extract(bytes: &[u8], indexed: &IndexedFields) -> Result<Self, serde_json::Error> {
        let others = || indexed.iter().filter(|field| !field.or_at.is_empty());
        let mut values = vec![None; indexed.0.len() + others().count()];
        if !values.is_empty() {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            let wanted = indexed.iter().map(|field| &*field.at).chain(others().map(|field| &*field.or_at));
            Walk { wanted: wanted.map(Some).collect(), values: &mut values }.deserialize(&mut json)?;
        }
        let mut instead = values.split_off(indexed.0.len()).into_iter();
        for (field, value) in indexed.iter().zip(&mut values) {
            let other = if field.or_at.is_empty() { None } else { instead.next().flatten() };
            *value = value.take().filter(|text| !text.is_empty()).or(other);
        }
        Ok(Self { fields: indexed.clone(), values: values.into() })
    }

    /// The same of an object that is a value still.
    pub(crate) fn of(object: &Value, indexed: &IndexedFields) -> Self {
        let at = |path: &str| -> Option<Box<str>> {
            match path.split('.').try_fold(object, |value, step| value.get(step))? {
                Value::String(text) => Some(text.as_str().into()),
                Value::Bool(set) => Some(set.to_string().into()),
                Value::Number(number) => Some(number.to_string().into()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            }
        };
        let value = |field: &IndexedField<Arc<str>>| {
            let given = at(&field.at).filter(|text| !text.is_empty());
            given.or_else(|| if field.or_at.is_empty() { None } else { at(&field.or_at) })
        };
        Self { fields: indexed.clone(), values: indexed.iter().map(value).collect() }
    }

    /// The value of a field; `None` if the kind does not index it.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.iter().find(|(held, _)| *held == path).map(|(_, value)| value)
    }

    /// Every field with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let both = self.fields.iter().zip(&self.values);
        both.map(|(field, value)| (&*field.path, value.as_deref().unwrap_or(&field.default)))
    }
}

/// Walks one level of an object. `wanted` holds, for each field, what of its path is left, if it leads here.
struct Walk<'v, 'f> {
    wanted: Vec<Option<&'f str>>,
    values: &'v mut [Option<Box<str>>],
}

impl<'f> Walk<'_, 'f> {
    fn below(&self, key: &str) -> Option<Vec<Option<&'f str>>> {
        let rest = |path: &'f str| match path.split_once('.') {
            Some((first, rest)) => (first == key).then_some(rest),
            None => (path == key).then_some(""),
        };
        let below: Vec<_> = self.wanted.iter().map(|path| path.and_then(rest)).collect();
        below.iter().any(Option::is_some).then_some(below)
    }

    fn set(self, value: &str) {
        for (wanted, held) in self.wanted.iter().zip(self.values) {
            if *wanted == Some("") {
                *held = Some(value.into());
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.below(&key) {
                Some(wanted) => map.next_value_seed(Walk { wanted, values: &mut *self.values })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.set(value);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.set(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.set(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.set(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.set(&value.to_string());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_at_any_depth() {
        const FIELDS: &[IndexedField] = &[
            IndexedField::new("spec.nodeName"),
            IndexedField::or("spec.unschedulable", "false"),
            IndexedField::new("status.replicas"),
            IndexedField::new("type"),
            IndexedField::new("node").at("spec.nodeName"),
            IndexedField::new("source").at("spec.component").or_at("spec.nodeName"),
        ];
        let json =
            br#"{"type":"Opaque","spec":{"nodeName":"a","list":[{"nodeName":"b"}]},"status":{"replicas":3}}"#;
        let values = FieldValues::extract(json, &FIELDS.into()).unwrap();
        assert_eq!(values.get("spec.nodeName"), Some("a"));
        assert_eq!(values.get("spec.unschedulable"), Some("false"));
        assert_eq!(values.get("status.replicas"), Some("3"));
        assert_eq!(values.get("type"), Some("Opaque"));
        assert_eq!(values.get("node"), Some("a"));
        assert_eq!(values.get("source"), Some("a"));
        assert_eq!(values.get("spec.other"), None);
        let indexed = IndexedFields::from(FIELDS);
        let selector = |text| FieldSelector::parse(text).unwrap();
        assert!(indexed.known(selector("metadata.name=a,spec.nodeName!=b")).is_ok());
        let unknown = indexed.known(selector("type=a,spec.other=b")).unwrap_err();
        assert_eq!(unknown.path, "spec.other");
        let object = serde_json::from_slice(json).unwrap();
        assert_eq!(FieldValues::of(&object, &FIELDS.into()), values);
    }
}
