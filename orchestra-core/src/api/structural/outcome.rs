use serde_json::Value;

use crate::api::field::{Errors, Path, Problem, Shown};

/// Why a value does not fit a schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reason {
    /// A field is missing.
    Required,
    /// It is none of these.
    Enum(Vec<Value>),
    /// It has more characters than this.
    TooLong(i64),
    /// It has so many elements, and may have so many.
    TooMany(usize, i64),
    /// It is of another type or format.
    Type,
    /// Anything else about one value.
    Other,
    /// What is about no value by itself: it is said without a path.
    Schema,
}

#[derive(Clone, Debug, PartialEq)]
struct Fault {
    name: String,
    value: Value,
    reason: Reason,
    message: String,
}

/// What came of a value and a schema: what is wrong, and how much of the schema it met, by which the nearest of several
/// alternatives is found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    faults: Vec<Fault>,
    pub(super) met: usize,
}

impl Outcome {
    /// Whether the value fits.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds a fault, unless the same has been said.
    pub(super) fn fault(&mut self, name: String, value: Value, reason: Reason, message: String) {
        if !self.faults.iter().any(|fault| fault.message == message) {
            self.faults.push(Fault { name, value, reason, message });
        }
    }

    /// Takes over what came of a part.
    pub(super) fn merge(&mut self, other: Self) {
        self.met += other.met;
        for Fault { name, value, reason, message } in other.faults {
            self.fault(name, value, reason, message);
        }
    }

    /// Says what is wrong, of a value that stands at a path.
    pub fn say(self, at: &Path, errors: &mut Errors) {
        for Fault { name, value, reason, message } in self.faults {
            let name = name.strip_prefix('.').unwrap_or(&name);
            let path = if name.is_empty() { at.clone() } else { at.child(name) };
            let shown = if value.is_null() { Value::from("") } else { value };
            match reason {
                Reason::Required => errors.required(&path, ""),
                Reason::Enum(values) => {
                    let texts = values.iter().map(|value| match value {
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    });
                    errors.push(&path, Problem::NotSupported(Shown::from(shown), texts.collect()));
                }
                Reason::TooLong(most) => {
                    errors.push(&path, Problem::TooLong(usize::try_from(most).unwrap_or(0)));
                }
                Reason::TooMany(actual, most) => {
                    errors.push(&path, Problem::TooMany(actual, usize::try_from(most).unwrap_or(0)));
                }
                Reason::Type => errors.push(&path, Problem::TypeInvalid(shown.into(), message)),
                Reason::Other => errors.invalid(&path, shown, message),
                Reason::Schema => errors.invalid(at, "", message),
            }
        }
    }
}
