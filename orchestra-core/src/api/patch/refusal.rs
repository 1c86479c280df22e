//! Why a patch cannot be applied, in Kubernetes' words.

use serde_json::{Map, Value};

use crate::api::document::Decoded;
use crate::api::syntax;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not a patch.
    #[error("{0}")]
    Malformed(String),
    /// It is a JSON patch of more operations than one may have.
    #[error("The allowed maximum operations in a JSON patch is {most}, got {count}")]
    TooLong { most: usize, count: usize },
    /// It does not fit the object. Kubernetes does not say why.
    #[error("the server rejected our request due to an error in our request")]
    Unfit,
    /// It does not fit the object, in a way that Kubernetes takes for a fault of its own (HTTP 500).
    #[error("{0}")]
    Unforeseen(String),
}

impl Refusal {
    /// Of all forms but strategic merge Kubernetes says that it was decoding the patch.
    pub(super) fn undecodable(why: impl std::fmt::Display) -> Self {
        Self::Malformed(format!("error decoding patch: {why}"))
    }
}

pub(super) fn parse(patch: &[u8]) -> Result<Value, String> {
    syntax::read(patch)
}

/// A patch that is a map.
pub(super) struct Fields {
    pub(super) fields: Map<String, Value>,
    /// The paths of the keys that stand there twice.
    pub(super) repeated: Vec<String>,
}

/// Reads a patch that is a map; `None` if it is null.
pub(super) fn object(patch: &[u8]) -> Result<Option<Fields>, String> {
    let Decoded { value, repeated } = syntax::read(patch)?;
    match value {
        Value::Null => Ok(None),
        Value::Object(fields) => Ok(Some(Fields { fields, repeated })),
        other => Err(mistaken(&other, "map[string]interface {}")),
    }
}

/// What Go says of a value where another type was meant.
pub(crate) fn mistaken(found: &Value, wanted: &str) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// A value as Go prints it.
pub(crate) fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => go_list(items),
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            fields.sort_unstable();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

pub(super) fn go_list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" "))
}
