//! AdmissionReview: what a webhook is sent, and what it answers. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::review::View;
use crate::api::{PatchKind, Resource, Status, patch};

const GROUP: &str = "admission.k8s.io";
/// As many warnings of one answer are told, each of so many bytes at most. Kubernetes bounds what an answer holds of them.
const MAX_WARNINGS: usize = 64;
const MAX_WARNING: usize = 4096;

/// What is sent.
pub(super) fn question(view: &View, version: &str, uid: &str) -> Value {
    let mut request = Map::new();
    request.insert("uid".to_owned(), uid.into());
    request.extend(view.request().as_object().cloned().unwrap_or_default());
    for (field, value) in [("object", view.object()), ("oldObject", view.old())] {
        request.insert(field.to_owned(), value.clone());
    }
    json!({"kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{version}"), "request": request})
}

/// What came back.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Review {
    kind: String,
    api_version: String,
    response: Option<Response>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<metav1::Status>,
    patch: Option<String>,
    patch_type: Option<String>,
    warnings: Option<Vec<String>>,
    audit_annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// What a webhook says.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Why the request is refused, if it is.
    pub(super) refused: Option<metav1::Status>,
    /// Operations of RFC 6902, as text.
    pub(super) patch: Option<Vec<u8>>,
    pub(super) warnings: Vec<String>,
    /// What it notes of the request for the audit log.
    pub(super) notes: Vec<(String, String)>,
}

/// Reads an answer.
///
/// # Errors
/// Why it is none.
pub(super) fn read(bytes: &[u8], version: &str, uid: &str, mutating: bool) -> Result<Answer, String> {
    let review: Review = serde_json::from_slice(bytes)
        .map_err(|error| format!("couldn't decode the response as an AdmissionReview: {error}"))?;
    let wanted = format!("{GROUP}/{version}");
    if review.kind != "AdmissionReview" || review.api_version != wanted {
        return Err(format!(
            "expected webhook response of {wanted}, Kind=AdmissionReview, got {}, Kind={}",
            review.api_version, review.kind
        ));
    }
    let Some(response) = review.response else { return Err("webhook response was absent".to_owned()) };
    // The first version of reviews need not say which question is answered.
    if version == "v1" && response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    let (patch, patch_type) = (response.patch, response.patch_type);
    let patch = match (patch.filter(|patch| !patch.is_empty()), patch_type.as_deref()) {
        (None, None) => None,
        (None, Some(_)) if version == "v1" => {
            return Err("webhook returned response.patchType but not response.patch".to_owned());
        }
        (Some(_), _) if !mutating => return Err("webhook response.patch is not allowed".to_owned()),
        (Some(_), None) if version == "v1" => {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        (Some(_), Some(other)) if other != "JSONPatch" => {
            return Err(format!("invalid webhook response.patchType of {other:?}, expected \"JSONPatch\""));
        }
        (Some(patch), _) => {
            let decoded = STANDARD.decode(patch);
            Some(decoded.map_err(|error| format!("response.patch is not base64: {error}"))?)
        }
        (None, _) => None,
    };
    let warnings = response.warnings.unwrap_or_default().into_iter().take(MAX_WARNINGS);
    Ok(Answer {
        refused: (!response.allowed).then(|| response.status.unwrap_or_default()),
        patch,
        warnings: warnings.map(shortened).collect(),
        notes: response.audit_annotations.unwrap_or_default().into_iter().collect(),
    })
}

fn shortened(mut warning: String) -> String {
    let end = (0..=MAX_WARNING.min(warning.len())).rev().find(|end| warning.is_char_boundary(*end));
    warning.truncate(end.unwrap_or(0));
    warning
}

/// The refusal of a request in the words of a webhook, or in Kubernetes'.
pub(super) fn refusal(name: &str, said: &metav1::Status) -> Status {
    let reason = said.reason.clone().filter(|reason| !reason.is_empty());
    let message = said.message.clone().filter(|message| !message.is_empty());
    let denied = format!("admission webhook \"{name}\" denied the request");
    let message = match (message, &reason) {
        (Some(message), _) => format!("{denied}: {message}"),
        (None, Some(reason)) => format!("{denied}: {reason}"),
        (None, None) => format!("{denied} without explanation"),
    };
    // A refusal that says that it is none would be taken for one by nobody.
    let code = said.code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    Status::from_object(metav1::Status {
        status: Some("Failure".to_owned()),
        message: Some(message),
        reason,
        code: Some(code),
        details: said.details.clone(),
        ..Default::default()
    })
}

/// The object with a webhook's patch applied, in the version that the webhook speaks.
///
/// # Errors
/// Why it cannot be.
pub(super) fn patched(resource: &Resource, object: &Value, patch: &[u8]) -> Result<Value, String> {
    patch::apply(resource, PatchKind::Json, object.clone(), patch)
        .map_err(|status| status.message().to_owned())
}

/// What is told when a webhook has no answer and nothing may be done without it.
pub(super) fn unanswered(name: &str, why: &str) -> Status {
    Status::internal(format!("failed calling webhook \"{name}\": {why}"))
}

/// What is told when a webhook may not be asked because nothing will be written.
pub(super) fn side_effects(name: &str) -> Status {
    Status::bad_request(format!("admission webhook \"{name}\" does not support dry run"))
}
