//! The four ways to change a part of an object: JSON patch, merge patch, strategic merge patch and applied
//! configuration.
//!
//! [`apply`] is a pure function from a document and a patch to the changed document. What may be changed, and by
//! whom, is for the verbs to say: they take the outcome for what an update would have sent.

pub(crate) mod json;
mod list;
pub(crate) mod merge;
mod refusal;
pub(crate) mod strategic;
#[cfg(test)]
mod tests;
pub(crate) mod unstructured;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde_json::Value;

use self::refusal::Refusal;
pub(crate) use self::refusal::{go, mistaken};
use super::document::Decoded;
use super::schema::{Place, Type};
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

    /// The forms that objects of a kind can be changed with.
    pub fn accepted(resource: &Resource) -> Vec<Self> {
        let mut kinds = vec![Self::Json, Self::Merge];
        if Place::of(resource).is_some() {
            kinds.push(Self::Strategic);
        }
        kinds.push(Self::Apply);
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

/// Applies a patch to an object and returns what becomes of it. `current` has the version that the request speaks. What a
/// configuration makes of an object depends on who owns its fields: see [`ownership`](crate::api::ownership).
///
/// # Errors
/// - 400 when the patch cannot be read, or gives directives that contradict each other;
/// - 413 when it is a JSON patch of more than 10,000 operations;
/// - 415 when the kind takes no patches of this form: a custom kind has no strategic merge;
/// - 422 when it can be read but not applied, as when a `test` fails or a path leads nowhere;
/// - 500 when a strategic patch does not fit the object in some of the ways in which it may not. That is Kubernetes' code.
pub fn apply(resource: &Resource, kind: PatchKind, current: Value, patch: &[u8]) -> Result<Value, Status> {
    Ok(patched(resource, kind, current, patch)?.value)
}

/// [`apply`], and the keys that stand twice in the patch, of which the last counted. Of a JSON patch, whose keys are those of
/// operations, there are none.
pub(super) fn patched(
    resource: &Resource,
    kind: PatchKind,
    current: Value,
    patch: &[u8],
) -> Result<Decoded, Status> {
    match kind {
        PatchKind::Json => Ok(Decoded { value: json::apply(current, patch)?, repeated: Vec::new() }),
        PatchKind::Merge => Ok(merge::apply(current, patch)?),
        PatchKind::Strategic => {
            let place = spoken(resource, &current).ok_or_else(|| PatchKind::unsupported(resource))?;
            Ok(strategic::apply(place, current, patch)?)
        }
        PatchKind::Apply => Err(PatchKind::unsupported(resource)),
    }
}

/// The place of a document in the version that it is in, which need not be the one that is stored.
pub(crate) fn spoken(resource: &Resource, document: &Value) -> Option<Place> {
    let version = document.get("apiVersion").and_then(Value::as_str);
    let served = version.and_then(|version| Type::find(version, &resource.kind)).map(Place::Type);
    Place::of(resource).map(|stored| served.unwrap_or(stored))
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let code = match refusal {
            Refusal::Malformed(_) => return Self::bad_request(message),
            Refusal::TooLong { .. } => return Self::new(Reason::RequestEntityTooLarge, message),
            Refusal::Unfit => 422,
            Refusal::Unforeseen(_) => 500,
        };
        Self::from_object(metav1::Status {
            code: Some(code),
            reason: (code == 422).then(|| Reason::Invalid.as_str().to_owned()),
            message: Some(message),
            details: (code == 422).then(metav1::StatusDetails::default),
            ..Default::default()
        })
    }
}
