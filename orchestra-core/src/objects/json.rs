//! Filling in what a manifest leaves out, on JSON, so that nothing else of it is touched.
//!
//! A field that is missing and one that is `null` are the same. For some fields the empty value counts as left out
//! too, because the API cannot tell the two apart; [`Fields::or_text`] and [`Fields::or_number`] are for those.

use serde_json::{Map, Value};

/// The fields of a JSON object.
pub(super) trait Fields {
    /// Sets a field that is missing.
    fn or(&mut self, name: &str, value: impl Into<Value>);
    /// Sets a field that is missing or `""`.
    fn or_text(&mut self, name: &str, value: impl Into<Value>);
    /// Sets a field that is missing or 0.
    fn or_number(&mut self, name: &str, value: impl Into<Value>);
    /// The text of a field; `""` if it has none.
    fn text(&self, name: &str) -> &str;
    /// Whether a field is `true`.
    fn is_true(&self, name: &str) -> bool;
    /// Whether a field is there.
    fn has(&self, name: &str) -> bool;
    /// The object in a field, if there is one.
    fn object(&mut self, name: &str) -> Option<&mut Map<String, Value>>;
    /// The object in a field, made empty if the field is missing; `None` if it is something else.
    fn object_or_new(&mut self, name: &str) -> Option<&mut Map<String, Value>>;
    /// The objects in the list in a field.
    fn each(&mut self, name: &str) -> impl Iterator<Item = &mut Map<String, Value>>;
}

impl Fields for Map<String, Value> {
    fn or(&mut self, name: &str, value: impl Into<Value>) {
        if !self.has(name) {
            self.insert(name.to_owned(), value.into());
        }
    }

    fn or_text(&mut self, name: &str, value: impl Into<Value>) {
        if !self.has(name) || self.get(name).is_some_and(|held| held == "") {
            self.insert(name.to_owned(), value.into());
        }
    }

    fn or_number(&mut self, name: &str, value: impl Into<Value>) {
        if !self.has(name) || self.get(name).is_some_and(|held| held == 0) {
            self.insert(name.to_owned(), value.into());
        }
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|held| !held.is_null())
    }

    fn object(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.get_mut(name)?.as_object_mut()
    }

    fn object_or_new(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.or(name, Map::new());
        self.object(name)
    }

    fn each(&mut self, name: &str) -> impl Iterator<Item = &mut Map<String, Value>> {
        let list = self.get_mut(name).and_then(Value::as_array_mut);
        list.into_iter().flatten().filter_map(Value::as_object_mut)
    }
}

/// The object that a path of field names leads to, if there is one.
pub(super) fn at<'v>(value: &'v mut Value, path: &[&str]) -> Option<&'v mut Map<String, Value>> {
    let mut fields = value.as_object_mut()?;
    for step in path {
        fields = fields.object(step)?;
    }
    Some(fields)
}

/// Sets a field of an object.
pub(super) fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// Copies a part of one object over that of another; removes it where the first has none.
pub(super) fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(fields) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => {
            fields.insert(field.to_owned(), value.clone());
        }
        None => {
            fields.remove(field);
        }
    }
}

/// Metadata is not a status's to change.
pub(super) fn keep_metadata(new: &mut Value, old: &Value) {
    keep(new, old, "metadata");
}
