//! The one form in which objects are kept: what Kubernetes would write of what was sent.
//!
//! Kubernetes reads an object into Go structs and writes it anew. Here bytes stay the truth, so what that round trip
//! does to a document is done to the document itself, by the types of its fields. [`reduce`] drops what says nothing
//! and writes what is left as Go does; it comes before defaulting, which then finds missing what is empty. [`complete`]
//! adds the fields that Go writes even when they are empty; it comes last. Of a document that went through both, equal
//! means equal to Kubernetes: generations, immutable fields, templates and writes without effect are compared so.
//!
//! What the table does not know is not touched, and neither is a value of the wrong type, which the decoder refuses.

#[cfg(test)]
mod tests;
mod time;

use std::sync::{LazyLock, OnceLock};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Field, Kind, Place, Shape, Type};
use crate::api::base64;
use crate::quantity::{self, ParseQuantityError};

/// A value that Go's decoder refuses, though its JSON type is right, in Go's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Quantity(#[from] ParseQuantityError),
    #[error(transparent)]
    Time(#[from] time::ParseTimeError),
    #[error(transparent)]
    Bytes(#[from] base64::CorruptInput),
}

/// The form of what a program has made, to be compared with what is stored; `None` if it is nothing of the place.
pub(crate) fn form(place: Place, made: &impl Serialize) -> Option<Value> {
    let mut value = serde_json::to_value(made).ok()?;
    reduce(place, &mut value).ok()?;
    complete(place, &mut value);
    Some(value)
}

/// Writes whole numbers as such, however they were written: Go's encoder knows no point without a fraction.
pub(crate) fn write_whole_numbers(value: &mut Value) {
    /// From here on Go writes an exponent.
    const LARGE: f64 = 1e21;
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < LARGE);
            if let Some(whole) = whole.filter(|_| number.is_f64())
                && let Ok(text) = format!("{whole}").parse()
            {
                *number = text;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        _ => {}
    }
}

/// Drops what is empty, and brings what has many spellings into the one that is stored. Answers whether everything in the
/// document was seen to be of its type: what was not, [`fit`](super::fit) has to look at.
///
/// # Errors
/// A text that is to be a quantity, a time or bytes, and is none.
pub(crate) fn reduce(place: Place, value: &mut Value) -> Result<bool, Refusal> {
    match (place, value) {
        (Place::Type(of), Value::Object(fields)) => {
            let mut fits = true;
            message(of, fields, &mut fits)?;
            Ok(fits)
        }
        (Place::Object, Value::Object(fields)) => match fields.get_mut("metadata") {
            Some(meta) => reduce(Place::metadata(), meta).map(|_| false),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// Reduces the fields of a message. `fits` turns false with the first that is not seen to be of its type, here as in all
/// that is below.
fn message(of: &Type, fields: &mut Map<String, Value>, fits: &mut bool) -> Result<(), Refusal> {
    let (mut hint, mut idle, mut outcome) = (0, Vec::new(), Ok(()));
    for (name, value) in fields.iter_mut() {
        let Some(field) = of.field_after(&mut hint, name) else {
            *fits &= matches!(name.as_str(), "apiVersion" | "kind") && value.is_string() && of.is_kind();
            continue;
        };
        match reduced(field, value, fits) {
            Ok(true) => {}
            Ok(false) => idle.push(field.name),
            Err(refusal) => outcome = Err(refusal),
        }
    }
    // Few objects have such fields, and to remove them as one goes would cost all others more.
    for name in idle {
        fields.remove(name);
    }
    outcome
}

/// Reduces the value of a field, and says whether it says anything.
fn reduced(field: &Field, value: &mut Value, fits: &mut bool) -> Result<bool, Refusal> {
    match (field.shape, &mut *value) {
        (_, Value::Null) => return Ok(false),
        (Shape::List, Value::Array(items)) => {
            items.iter_mut().try_for_each(|item| element(field.of, item, fits))?;
            return Ok(!items.is_empty() || field.meant_when_empty);
        }
        (Shape::Map, Value::Object(entries)) => {
            entries.values_mut().try_for_each(|entry| element(field.of, entry, fits))?;
            return Ok(!entries.is_empty());
        }
        (Shape::MapOfLists, Value::Object(entries)) => {
            for list in entries.values_mut() {
                match list {
                    Value::Null => *list = Value::Array(Vec::new()),
                    Value::Array(items) => {
                        items.iter_mut().try_for_each(|item| element(field.of, item, fits))?;
                    }
                    _ => *fits = false,
                }
            }
            return Ok(!entries.is_empty());
        }
        (Shape::List | Shape::Map | Shape::MapOfLists, _) => {
            *fits = false;
            return Ok(true);
        }
        (Shape::Plain | Shape::Pointer, _) => {}
    }
    single(field.of, value, fits)?;
    Ok(field.shape == Shape::Pointer || !says_nothing(field.of, value))
}

/// An element of a list or an entry of a map, where null stands for zero.
fn element(of: Kind, value: &mut Value, fits: &mut bool) -> Result<(), Refusal> {
    if value.is_null() {
        *value = match of {
            // In a list and in a map bytes are there, if only none.
            Kind::Bytes => Value::String(String::new()),
            of => zero(of),
        };
    }
    single(of, value, fits)
}

/// An element of bytes that are written as a list of numbers, which Go reads too.
pub(super) fn byte(item: &Value) -> Option<u8> {
    match item {
        Value::Null => Some(0),
        item => item.as_u64().and_then(|number| u8::try_from(number).ok()),
    }
}

/// Reduces one value. What is not of the type is left for the decoder to complain of.
fn single(of: Kind, value: &mut Value, fits: &mut bool) -> Result<(), Refusal> {
    if let (Kind::Message(of), Value::Object(fields)) = (of, &mut *value) {
        return message(of.get(), fields, fits);
    }
    if let (Kind::Bytes, Value::Array(items)) = (of, &mut *value)
        && let Some(bytes) = items.iter().map(byte).collect::<Option<Vec<u8>>>()
    {
        *value = Value::String(base64::encode(&bytes));
    }
    // Of what may be several things nothing is seen here.
    *fits &= of.holds(value);
    match (of, &mut *value) {
        (Kind::Either(of, _), Value::Object(fields)) => message(of.get(), fields, fits),
        (Kind::Either(of, _), Value::Array(items)) => items
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .try_for_each(|fields| message(of.get(), fields, fits)),
        (Kind::Quantity, Value::String(text)) => rewrite(text, quantity::respelled(text)?),
        (Kind::Quantity, Value::Number(number)) => {
            *value = Value::String(quantity::canonicalize(&number.to_string())?);
            Ok(())
        }
        (Kind::Quantity, Value::Bool(_) | Value::Object(_) | Value::Array(_)) => {
            // Go's type of quantities reads any JSON, and refuses it as a text.
            quantity::canonicalize(&value.to_string())?;
            Ok(())
        }
        (Kind::Time, Value::String(text)) => rewrite(text, time::respelled(text, time::SECONDS)?),
        (Kind::MicroTime, Value::String(text)) => rewrite(text, time::respelled(text, time::MICROSECONDS)?),
        (Kind::Bytes, Value::String(text)) => rewrite(text, base64::respelled(text)?),
        _ => Ok(()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last step of functions that may fail before it")]
fn rewrite(text: &mut String, other: Option<String>) -> Result<(), Refusal> {
    if let Some(other) = other {
        *text = other;
    }
    Ok(())
}

/// Whether a value that is no pointer is one that Go cannot tell from a missing one.
fn says_nothing(of: Kind, value: &Value) -> bool {
    match (of, value) {
        (Kind::Bool, Value::Bool(value)) => !value,
        (Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::IntOrString, Value::Number(value)) => {
            value.as_i64() == Some(0)
        }
        (Kind::String | Kind::Bytes, Value::String(text)) => text.is_empty(),
        (Kind::Time | Kind::MicroTime, Value::String(text)) => time::is_zero(text),
        _ => false,
    }
}

/// Adds what Go writes though it is empty, and drops what it does not write.
pub(crate) fn complete(place: Place, value: &mut Value) {
    match (place, value) {
        (Place::Type(of), Value::Object(fields)) => fill(of, fields),
        (Place::Object, Value::Object(fields)) => {
            if let Some(meta) = fields.get_mut("metadata") {
                complete(Place::metadata(), meta);
            }
        }
        _ => {}
    }
}

fn fill(of: &Type, fields: &mut Map<String, Value>) {
    let (mut hint, mut idle) = (0, Vec::new());
    for (name, value) in fields.iter_mut() {
        // In what holds nothing else nothing is missing, and most values are such.
        if !matches!(value, Value::Object(_) | Value::Array(_) | Value::Null) {
            continue;
        }
        let Some(field) = of.field_after(&mut hint, name) else { continue };
        if let Kind::Message(of) | Kind::Either(of, _) = field.of {
            fill_within(field.shape, of.get(), value);
        }
        // What was added since an object was read may be null, where Go writes nothing.
        if value.is_null() && !field.always_written() {
            idle.push(field.name);
        }
    }
    for name in idle {
        fields.remove(name);
    }
    for field in of.always().iter().filter_map(|place| of.fields().get(*place)) {
        if !fields.contains_key(field.name) {
            fields.insert(field.name.to_owned(), empty(field));
        }
    }
}

fn fill_within(shape: Shape, of: &Type, value: &mut Value) {
    match value {
        Value::Object(entries) if shape == Shape::Map => {
            entries.values_mut().filter_map(Value::as_object_mut).for_each(|fields| fill(of, fields));
        }
        Value::Object(fields) => fill(of, fields),
        Value::Array(items) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|fields| fill(of, fields));
        }
        _ => {}
    }
}

/// A document of a place of which nothing is set, as Go writes it.
pub(crate) fn nothing(place: Place) -> &'static Value {
    static BARE: LazyLock<Value> = LazyLock::new(|| Map::new().into());
    static OF_TYPES: LazyLock<Box<[OnceLock<Value>]>> =
        LazyLock::new(|| Type::all().map(|_| OnceLock::new()).collect());
    let held = match place {
        Place::Type(of) => OF_TYPES.get(of.at().index()),
        Place::Object | Place::Plain => None,
    };
    let made = || {
        let mut document = BARE.clone();
        complete(place, &mut document);
        document
    };
    held.map_or(&BARE, |held| held.get_or_init(made))
}

/// The document with times in the place of null, where Go always writes a time and has none: for readers whose types know
/// no missing one.
pub(crate) fn with_times(place: Place, document: &Value) -> Value {
    let mut document = document.clone();
    if let (Place::Type(of), Value::Object(fields)) = (place, &mut document) {
        add_times(of, fields);
    }
    document
}

fn add_times(of: &Type, fields: &mut Map<String, Value>) {
    let mut hint = 0;
    for (name, value) in fields {
        let Some(field) = of.field_after(&mut hint, name) else { continue };
        match (field.of, &mut *value) {
            (Kind::Time | Kind::MicroTime, Value::Null) if field.shape == Shape::Plain => {
                *value = time::ZERO.into();
            }
            (Kind::Message(of), Value::Object(entries)) if field.shape == Shape::Map => {
                entries
                    .values_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|one| add_times(of.get(), one));
            }
            (Kind::Message(of), Value::Object(fields)) => add_times(of.get(), fields),
            (Kind::Message(of), Value::Array(items)) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(|one| add_times(of.get(), one));
            }
            _ => {}
        }
    }
}

/// What Go writes of a field that is empty.
fn empty(field: &Field) -> Value {
    if field.shape != Shape::Plain {
        return Value::Null;
    }
    let mut value = zero(field.of);
    if let (Kind::Message(of), Value::Object(fields)) = (field.of, &mut value) {
        fill(of.get(), fields);
    }
    value
}

fn zero(of: Kind) -> Value {
    match of {
        Kind::Bool => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::IntOrString => 0.into(),
        Kind::String => "".into(),
        Kind::Quantity => "0".into(),
        Kind::Message(_) => Map::new().into(),
        Kind::Bytes | Kind::Time | Kind::MicroTime | Kind::Raw | Kind::Either(..) => Value::Null,
    }
}
