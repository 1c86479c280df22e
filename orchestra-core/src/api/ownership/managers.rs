//! `metadata.managedFields`: who owns which fields of an object.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::element::{ParseElementError, push_text};
use super::set::FieldSet;

/// How many managers that update are remembered by name; of the oldest of more, the fields are put together.
const MOST_UPDATERS: usize = 10;
/// The name under which they are put together.
const ANCIENT: &str = "ancient-changes";
const FIELDS_V1: &str = "FieldsV1";

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying a configuration.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// That of an entry of this version.
    fn of(text: &str, api_version: &str) -> Result<Self, ManagersError> {
        let operation = match text {
            "Apply" => Self::Apply,
            "Update" => Self::Update,
            _ => return Err(ManagersError::Operation),
        };
        if api_version.is_empty() { Err(ManagersError::Version) } else { Ok(operation) }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// A manager, with what it owns: a set, or what else is known of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager<'a, F = FieldSet<'a>> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// How it came to own the fields.
    pub operation: Operation,
    /// The version in which the fields are named.
    pub api_version: Cow<'a, str>,
    /// The subresource that it wrote to; empty for the object itself.
    pub subresource: Cow<'a, str>,
    /// When it last changed something.
    pub time: Option<Cow<'a, str>>,
    /// The fields.
    pub fields: F,
}

/// `managedFields` as they are at hand.
#[derive(Clone, Copy, Debug)]
pub enum Held<'h> {
    /// Of an object that has been read; null for none.
    Value(&'h Value),
    /// As they are stored.
    Text(&'h str),
}

impl<'h> Held<'h> {
    /// Reads them. Of two entries of one manager the last counts.
    ///
    /// # Errors
    /// When an entry is none.
    pub fn read(self) -> Result<Vec<Manager<'h>>, ManagersError> {
        match self {
            Self::Value(entries) => read(entries),
            Self::Text(text) => read_text(text),
        }
    }

    /// The same as a value.
    pub fn value(self) -> Cow<'h, Value> {
        match self {
            Self::Value(value) => Cow::Borrowed(value),
            Self::Text(text) => Cow::Owned(serde_json::from_str(text).unwrap_or_default()),
        }
    }
}

/// Why `managedFields` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManagersError {
    /// Neither of the two.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// None.
    #[error("apiVersion must not be empty")]
    Version,
    /// None.
    #[error("missing fieldsType in managed fields entry {0}")]
    MissingType(usize),
    /// Unknown.
    #[error("invalid fieldsType {1:?} in managed fields entry {0}")]
    Type(usize, String),
    /// Damaged.
    #[error("error decoding set: {0}")]
    Fields(#[from] ParseElementError),
}

impl<F> Manager<'_, F> {
    /// Whether two entries are of one manager. Who applies is one in all versions.
    pub(super) fn is<G>(&self, other: &Manager<'_, G>) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn write_text(&self, out: &mut String, write_fields: &impl Fn(&F, &mut String)) {
        out.push_str("{\"apiVersion\":");
        push_text(&self.api_version, out);
        out.push_str(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        write_fields(&self.fields, out);
        let rest = [
            ("manager", &*self.name),
            ("operation", self.operation.as_str()),
            ("subresource", &self.subresource),
        ];
        let rest = rest.into_iter().filter(|(_, text)| !text.is_empty());
        for (field, text) in rest.chain(self.time.as_deref().map(|time| ("time", time))) {
            out.push_str(",\"");
            out.push_str(field);
            out.push_str("\":");
            push_text(text, out);
        }
        out.push('}');
    }
}

impl<'a> Manager<'a> {
    fn read(place: usize, entry: &'a Value) -> Result<Self, ManagersError> {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let operation = Operation::of(text("operation"), text("apiVersion"))?;
        fields_of(place, text("fieldsType"))?;
        static NOTHING: Value = Value::Null;
        let fields = match entry.get("fieldsV1").unwrap_or(&NOTHING) {
            Value::Null => FieldSet::default(),
            fields => FieldSet::read(fields)?,
        };
        Ok(Self {
            name: text("manager").into(),
            operation,
            api_version: text("apiVersion").into(),
            subresource: text("subresource").into(),
            time: entry.get("time").and_then(Value::as_str).map(Into::into),
            fields,
        })
    }

    fn write(&self) -> Value {
        let mut entry = Map::new();
        let mut put = |field: &str, value: Value| drop(entry.insert(field.to_owned(), value));
        if !self.name.is_empty() {
            put("manager", (*self.name).into());
        }
        put("operation", self.operation.as_str().into());
        put("apiVersion", (*self.api_version).into());
        if let Some(time) = &self.time {
            put("time", (**time).into());
        }
        put("fieldsType", FIELDS_V1.into());
        put("fieldsV1", self.fields.write());
        if !self.subresource.is_empty() {
            put("subresource", (*self.subresource).into());
        }
        entry.into()
    }

    /// What conflicts are ordered by.
    pub(super) fn identity(&self) -> String {
        let mut identity = json!({"manager": self.name, "operation": self.operation.as_str()}).to_string();
        if self.operation == Operation::Update {
            identity.push_str(&self.api_version);
        }
        identity.push_str(&self.subresource);
        identity
    }
}

/// Reads `managedFields`. Of two entries of one manager the last counts.
///
/// # Errors
/// When an entry is none.
pub fn read(entries: &Value) -> Result<Vec<Manager<'_>>, ManagersError> {
    let entries = entries.as_array().map_or(&[][..], Vec::as_slice);
    let read = |(place, entry)| Manager::read(place, entry);
    all(entries.iter().enumerate().map(read))
}

/// The same of the text that they are stored as.
fn read_text(text: &str) -> Result<Vec<Manager<'_>>, ManagersError> {
    all(entries::<FieldSet<'_>>(text)?)
}

/// The entries of the text that they are stored as, with whatever their fields are read as.
pub(super) fn entries<'a, F: Deserialize<'a> + Default>(
    text: &'a str,
) -> Result<impl Iterator<Item = Result<Manager<'a, F>, ManagersError>>, ManagersError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry<'a, F> {
        #[serde(borrow, default)]
        manager: Cow<'a, str>,
        #[serde(borrow, default)]
        operation: Cow<'a, str>,
        #[serde(borrow, default)]
        api_version: Cow<'a, str>,
        #[serde(borrow, default)]
        subresource: Cow<'a, str>,
        #[serde(borrow, default)]
        time: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        fields_type: Cow<'a, str>,
        #[serde(rename = "fieldsV1")]
        fields: Option<F>,
    }
    let malformed = |error: serde_json::Error| ParseElementError::Malformed(error.to_string());
    let entries: Vec<Entry<'a, F>> = serde_json::from_str(text).map_err(malformed)?;
    Ok(entries.into_iter().enumerate().map(|(place, entry)| {
        let operation = Operation::of(&entry.operation, &entry.api_version)?;
        fields_of(place, &entry.fields_type)?;
        Ok(Manager {
            name: entry.manager,
            operation,
            api_version: entry.api_version,
            subresource: entry.subresource,
            time: entry.time,
            fields: entry.fields.unwrap_or_default(),
        })
    }))
}

fn all<'a>(
    entries: impl Iterator<Item = Result<Manager<'a>, ManagersError>>,
) -> Result<Vec<Manager<'a>>, ManagersError> {
    let mut managers: Vec<Manager<'a>> = Vec::new();
    for manager in entries {
        let manager = manager?;
        match managers.iter_mut().find(|held| held.is(&manager)) {
            Some(held) => *held = manager,
            None => managers.push(manager),
        }
    }
    Ok(managers)
}

/// Writes `managedFields`, ordered as Kubernetes has them; `None` for none.
pub fn write(mut managers: Vec<Manager<'_>>) -> Option<Value> {
    order(&mut managers);
    let entries: Vec<Value> = managers.iter().map(Manager::write).collect();
    (!entries.is_empty()).then(|| entries.into())
}

/// The same as a text in JSON.
pub fn write_text(mut managers: Vec<Manager<'_>>) -> Option<String> {
    managers.retain(|manager| !manager.fields.is_empty());
    write_entries(managers, FieldSet::write_into)
}

/// The text of managers that all own something, whose fields are written so.
pub(super) fn write_entries<F>(
    mut managers: Vec<Manager<'_, F>>,
    write_fields: impl Fn(&F, &mut String),
) -> Option<String> {
    sort(&mut managers);
    let mut out = String::with_capacity(2048);
    for (place, manager) in managers.iter().enumerate() {
        out.push(if place == 0 { '[' } else { ',' });
        manager.write_text(&mut out, &write_fields);
    }
    out.push(']');
    (!managers.is_empty()).then_some(out)
}

/// Those that own anything, as they are ordered.
fn order(managers: &mut Vec<Manager<'_>>) {
    managers.retain(|manager| !manager.fields.is_empty());
    sort(managers);
}

fn sort<F>(managers: &mut [Manager<'_, F>]) {
    managers.sort_by(|a, b| {
        (a.operation.cmp(&b.operation))
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
}

/// An entry at this place says how its fields are written.
fn fields_of(place: usize, fields_type: &str) -> Result<(), ManagersError> {
    match fields_type {
        FIELDS_V1 => Ok(()),
        "" => Err(ManagersError::MissingType(place)),
        other => Err(ManagersError::Type(place, other.to_owned())),
    }
}

/// Whether a request says that nobody shall own anything: an empty list, or one with an empty entry.
pub fn is_reset(given: &Value) -> bool {
    let Value::Array(entries) = given else { return false };
    match &**entries {
        [] => true,
        [Value::Object(only)] => only.values().all(Value::is_null),
        [only] => only.is_null(),
        _ => false,
    }
}

/// Whether two `managedFields` differ in nothing but times.
pub fn differ_in_times(ours: &Value, theirs: &Value) -> bool {
    let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return ours == theirs };
    let same = |ours: &Value, theirs: &Value| match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let timeless =
                |entry: &'_ Map<String, Value>| entry.iter().filter(|(name, _)| *name != "time").count();
            timeless(ours) == timeless(theirs)
                && ours.iter().all(|(name, value)| name == "time" || theirs.get(name) == Some(value))
        }
        _ => ours == theirs,
    };
    // Their order follows their times.
    ours.len() == theirs.len() && ours.iter().all(|ours| theirs.iter().any(|theirs| same(ours, theirs)))
}

fn updaters<F>(managers: &[Manager<'_, F>]) -> usize {
    managers.iter().filter(|manager| manager.operation == Operation::Update).count()
}

/// Whether some are to be [put together](cap).
pub(super) fn are_too_many<F>(managers: &[Manager<'_, F>]) -> bool {
    updaters(managers) > MOST_UPDATERS
}

/// Puts the fields of the oldest updaters together, if there are too many.
pub(super) fn cap(managers: &mut Vec<Manager<'_>>) {
    if !are_too_many(managers) {
        return;
    }
    let mut count = updaters(managers);
    managers.sort_by(|a, b| {
        let applies = |manager: &Manager<'_>| manager.operation == Operation::Apply;
        applies(a)
            .cmp(&applies(b))
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| a.identity().cmp(&b.identity()))
    });
    let mut buckets: Vec<Manager<'_>> = Vec::new();
    let mut kept: Vec<Manager<'_>> = Vec::new();
    for manager in managers.drain(..) {
        let is_old = manager.operation == Operation::Update && count > MOST_UPDATERS;
        let bucket = buckets.iter_mut().find(|bucket| bucket.api_version == manager.api_version);
        match bucket {
            _ if !is_old => kept.push(manager),
            // One alone keeps its name.
            None => buckets.push(manager),
            Some(bucket) => {
                bucket.name = ANCIENT.into();
                bucket.subresource = "".into();
                bucket.fields = bucket.fields.union(&manager.fields);
                bucket.time = manager.time;
                count -= 1;
            }
        }
    }
    for bucket in buckets {
        match kept.iter_mut().find(|held| held.is(&bucket)) {
            Some(held) => held.fields = held.fields.union(&bucket.fields),
            None => kept.push(bucket),
        }
    }
    *managers = kept;
}
