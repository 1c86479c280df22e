//! Objects taken apart field by field, so that what is left over is told.

use serde_json::{Map, Value};

use super::Note;

/// What is told of a document while it is converted.
#[derive(Debug, Default)]
pub(super) struct Tell {
    /// What means something else today.
    pub(super) notes: Vec<Note>,
    /// What cannot be said today.
    pub(super) wrong: Vec<Note>,
    /// Where the object that is worked on stands in the document.
    within: Vec<String>,
    /// Where values went, and where they came from: new path, old path.
    moved: Vec<(String, String)>,
}

impl Tell {
    pub(super) fn note(&mut self, path: &str, what: &str) {
        let note = self.of(path, what);
        self.notes.push(note);
    }

    pub(super) fn wrong(&mut self, path: &str, what: &str) {
        let note = self.of(path, what);
        self.wrong.push(note);
    }

    fn of(&self, path: &str, what: &str) -> Note {
        let within = self.within.iter().map(String::as_str);
        let steps: Vec<&str> = within.chain([path]).filter(|step| !step.is_empty()).collect();
        let path = if steps.is_empty() { "the document".to_owned() } else { steps.join(".") };
        Note { path, what: what.to_owned() }
    }

    /// Does something with an object that stands within this document.
    pub(super) fn within<T>(&mut self, step: String, work: impl FnOnce(&mut Self) -> T) -> T {
        self.within.push(step);
        let outcome = work(self);
        self.within.pop();
        outcome
    }

    fn moved(&mut self, new: String, old: String) {
        if new != old {
            self.moved.push((new, old));
        }
    }

    /// Where a value of the new object stood in the old one.
    pub(super) fn came_from(&self, new: &str) -> String {
        let below = |moved: &str| {
            new.strip_prefix(moved).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let found = self.moved.iter().filter_map(|(to, from)| Some((to.len(), from, below(to)?)));
        let longest = found.max_by_key(|(length, _, _)| *length);
        longest.map_or_else(|| new.to_owned(), |(_, from, rest)| format!("{from}{rest}"))
    }

    pub(super) fn forget_moves(&mut self) {
        self.moved.clear();
    }
}

/// An object as it was, of which fields are taken.
#[derive(Debug, Default)]
pub(super) struct Old {
    fields: Map<String, Value>,
    at: String,
}

impl Old {
    pub(super) fn new(fields: Map<String, Value>) -> Self {
        Self { fields, at: String::new() }
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The names of its fields.
    pub(super) fn names(&self) -> Vec<String> {
        self.fields.keys().cloned().collect()
    }

    /// Takes a field. One that is null is not there.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// Takes fields that say nothing of their own.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.fields.remove(*name)));
    }

    /// Takes a text. What is no text is wrong.
    pub(super) fn text(&mut self, name: &str, tell: &mut Tell) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            _ => {
                tell.wrong(&self.path(name), "it is not a text");
                None
            }
        }
    }

    /// Takes a truth. What is none is wrong.
    pub(super) fn truth(&mut self, name: &str, tell: &mut Tell) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(value)) => value,
            Some(_) => {
                tell.wrong(&self.path(name), "it is neither true nor false");
                false
            }
        }
    }

    /// Takes an object; an empty one if it is not there.
    pub(super) fn object(&mut self, name: &str, tell: &mut Tell) -> Self {
        let at = self.path(name);
        match self.take(name) {
            None => Self { fields: Map::new(), at },
            Some(Value::Object(fields)) => Self { fields, at },
            Some(_) => {
                tell.wrong(&at, "it is not an object");
                Self { fields: Map::new(), at }
            }
        }
    }

    /// Takes a list of objects.
    pub(super) fn objects(&mut self, name: &str, tell: &mut Tell) -> Vec<Self> {
        let at = self.path(name);
        let items = match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                tell.wrong(&at, "it is not a list");
                Vec::new()
            }
        };
        let object = |(index, item)| match item {
            Value::Object(fields) => Some(Self { fields, at: format!("{at}[{index}]") }),
            _ => {
                tell.wrong(&format!("{at}[{index}]"), "it is not an object");
                None
            }
        };
        items.into_iter().enumerate().filter_map(object).collect()
    }

    /// Moves a field to the new object, under the same name.
    pub(super) fn carry(&mut self, name: &str, to: &mut New, tell: &mut Tell) {
        self.carry_as(name, name, to, tell);
    }

    /// Moves a field to the new object, under another name.
    pub(super) fn carry_as(&mut self, name: &str, new: &str, to: &mut New, tell: &mut Tell) {
        if let Some(value) = self.take(name) {
            tell.moved(to.path(new), self.path(name));
            to.set(new, value);
        }
    }

    /// Takes a field that has no counterpart and says so, if it is there.
    pub(super) fn lose(&mut self, name: &str, why: &str, tell: &mut Tell) {
        if self.take(name).is_some_and(|value| !is_nothing(&value)) {
            tell.note(&self.path(name), why);
        }
    }

    /// Takes a field that cannot be left out without another meaning, and refuses it, if it is there.
    pub(super) fn refuse(&mut self, name: &str, why: &str, tell: &mut Tell) {
        if self.take(name).is_some_and(|value| !is_nothing(&value)) {
            tell.wrong(&self.path(name), why);
        }
    }

    /// Ends the work: what nobody took is wrong.
    pub(super) fn end(self, tell: &mut Tell) {
        for (name, value) in &self.fields {
            if !value.is_null() {
                tell.wrong(&self.path(name), "no such field is known there, and it would be lost");
            }
        }
    }
}

/// Whether a value says nothing: what a client of that time wrote for every field that it did not set.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

/// An object as it is to be.
#[derive(Debug)]
pub(super) struct New {
    pub(super) fields: Map<String, Value>,
    at: String,
}

impl New {
    pub(super) fn at(path: &str) -> Self {
        Self { fields: Map::new(), at: path.to_owned() }
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// An object within this one, to be put there when it is done.
    pub(super) fn below(&self, name: &str) -> Self {
        Self::at(&self.path(name))
    }

    /// An element of a list within this one.
    pub(super) fn element(&self, name: &str, index: usize) -> Self {
        Self::at(&format!("{}[{index}]", self.path(name)))
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    pub(super) fn set_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Sets a field to an object or a list unless it is empty.
    pub(super) fn put(&mut self, name: &str, held: Self) {
        if !held.fields.is_empty() {
            self.set(name, held.fields);
        }
    }

    /// Sets a field to a list unless it is empty.
    pub(super) fn put_all(&mut self, name: &str, held: Vec<Self>) {
        if !held.is_empty() {
            self.set(name, held.into_iter().map(|one| Value::Object(one.fields)).collect::<Vec<_>>());
        }
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.fields)
    }
}
