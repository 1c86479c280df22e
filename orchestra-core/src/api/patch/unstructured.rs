//! What Kubernetes makes of the outcome of a strategic merge patch: it puts the values straight into its structs, without
//! writing them as JSON in between, which takes other values and refuses with other words.

use serde_json::Value;

use crate::api::schema::{Field, Kind, Place, Shape};

/// Brings a document into the JSON types of its fields.
///
/// # Errors
/// What does not fit, in Go's words.
pub(crate) fn convert(place: Place, value: &mut Value) -> Result<(), String> {
    let Place::Type(_) = place else { return Ok(()) };
    let Value::Object(fields) = value else {
        return Err(format!("cannot restore struct from: {}", go_kind(value)));
    };
    for (name, value) in fields.iter_mut().filter(|(_, value)| !value.is_null()) {
        let step = place.step(name);
        if let Some(field) = step.facts {
            within(field, step.place, value)?;
        }
    }
    Ok(())
}

fn within(field: &Field, place: Place, value: &mut Value) -> Result<(), String> {
    match (field.shape, &mut *value) {
        (Shape::Plain | Shape::Pointer, _) => single(field.of, place, value),
        (Shape::List, Value::Array(items)) => {
            items.iter_mut().filter(|item| !item.is_null()).try_for_each(|item| single(field.of, place, item))
        }
        (Shape::List, other) => Err(format!("cannot restore slice from {}", go_kind(other))),
        (Shape::Map, Value::Object(entries)) => {
            let mut given = entries.values_mut().filter(|entry| !entry.is_null());
            given.try_for_each(|entry| single(field.of, place, entry))
        }
        (Shape::MapOfLists, Value::Object(_)) => Ok(()),
        (Shape::Map | Shape::MapOfLists, other) => Err(format!("cannot restore map from {}", go_kind(other))),
    }
}

fn single(of: Kind, place: Place, value: &mut Value) -> Result<(), String> {
    let wanted = match of {
        Kind::Message(_) => return convert(place, value),
        Kind::Bool => "bool",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Float64 => "float64",
        Kind::String => "string",
        Kind::Bytes if !value.is_string() => {
            return Err(format!("cannot restore slice from {}", go_kind(value)));
        }
        // These read themselves from JSON.
        _ => return Ok(()),
    };
    match (wanted, &*value) {
        ("bool", Value::Bool(_)) | ("string", Value::String(_)) | ("float64", Value::Number(_)) => Ok(()),
        ("int32" | "int64", Value::Number(number)) => match (number.is_f64(), number.as_f64()) {
            (false, _) => Ok(()),
            (true, Some(whole)) if whole.trunc() == whole => {
                *value = (whole as i64).into();
                Ok(())
            }
            _ => Err(format!("cannot convert float64 to {wanted}")),
        },
        // Go could make a letter of a number, and says for this reason alone that it does not.
        ("string", Value::Number(number)) if !number.is_f64() => {
            Err("cannot convert int64 to string".to_owned())
        }
        _ => Err(format!("unrecognized type: {wanted}")),
    }
}

/// The kind that a value has in Go once its JSON is read.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}
