//! The four ways to change a part of an object: JSON patch, merge patch, strategic merge patch and applied
//! configuration.
//!
//! [`apply`] is a pure function from a document and a patch to the changed document. What may be changed, and by
//! whom, is for the verbs to say: they take the outcome for what an update would have sent.

mod json;
mod list;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::error::Category;
use serde_json::{Map, Value};

use super::schema::Place;
use super::{PatchKind, Reason, Resource, Status};

impl PatchKind {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Json, Self::Merge, Self::Strategic, Self::Apply];

    /// The form's content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }

    /// The form that a `Content-Type` header names, parameters aside.
    pub fn from_content_type(header: &str) -> Option<Self> {
        let media = header.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|kind| kind.content_type().eq_ignore_ascii_case(media))
    }

    /// The forms that objects of a kind can be changed with. Server-side apply is not among them yet.
    pub fn accepted(resource: &Resource) -> Vec<Self> {
        let mut kinds = vec![Self::Json, Self::Merge];
        if Place::of(resource).is_some() {
            kinds.push(Self::Strategic);
        }
        kinds
    }

    /// The answer to a patch of a form that the kind does not take (HTTP 415).
    pub fn unsupported(resource: &Resource) -> Status {
        let accepted: Vec<_> = Self::accepted(resource).into_iter().map(Self::content_type).collect();
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::new(Reason::UnsupportedMediaType, message)
    }
}

/// Applies a patch to an object and returns what becomes of it. `current` has the version that the request speaks.
///
/// # Errors
/// - 400 when the patch cannot be read, or gives directives that contradict each other;
/// - 413 when it is a JSON patch of more than 10,000 operations;
/// - 415 when the kind takes no patches of this form: a custom kind has no strategic merge;
/// - 422 when it can be read but not applied, as when a `test` fails or a path leads nowhere.
pub fn apply(resource: &Resource, kind: PatchKind, current: &Value, patch: &[u8]) -> Result<Value, Status> {
    match kind {
        PatchKind::Json => json::apply(current, patch),
        PatchKind::Merge => {
            let patch = Value::Object(object(patch).map_err(malformed)?);
            let mut patched = current.clone();
            json_patch::merge(&mut patched, &patch);
            Ok(patched)
        }
        PatchKind::Strategic => {
            let place = Place::of(resource).ok_or_else(|| PatchKind::unsupported(resource))?;
            // Of these alone Kubernetes does not say that it was decoding the patch.
            let patch = object(patch).map_err(Status::bad_request)?;
            let mut patched = current.clone();
            strategic::merge(&mut patched, patch, &place)?;
            Ok(patched)
        }
        PatchKind::Apply => Err(PatchKind::unsupported(resource)),
    }
}

fn object(patch: &[u8]) -> Result<Map<String, Value>, String> {
    match parse(patch)? {
        Value::Object(fields) => Ok(fields),
        other => Err(mistaken(&other, "map[string]interface {}")),
    }
}

fn parse(patch: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(patch).map_err(|error| match error.classify() {
        Category::Eof => "unexpected end of JSON input".to_owned(),
        _ => error.to_string(),
    })
}

/// What Go says of a value where another type was meant.
fn mistaken(found: &Value, wanted: &str) -> String {
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

fn malformed(why: impl std::fmt::Display) -> Status {
    Status::bad_request(format!("error decoding patch: {why}"))
}
