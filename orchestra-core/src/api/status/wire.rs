//! A `Status` as its bytes are: k8s-openapi sorts the fields by name, Kubernetes does not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'s> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata<'s>,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'s str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct Metadata<'s> {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<&'s str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'s str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<i32>,
}

#[derive(Serialize)]
struct Cause<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'s str>,
}

impl<'s> Details<'s> {
    fn of(details: &'s metav1::StatusDetails) -> Self {
        let cause = |cause: &'s metav1::StatusCause| Cause {
            reason: cause.reason.as_deref(),
            message: cause.message.as_deref(),
            field: cause.field.as_deref(),
        };
        Self {
            name: details.name.as_deref(),
            group: details.group.as_deref(),
            kind: details.kind.as_deref(),
            uid: details.uid.as_deref(),
            causes: details.causes.iter().flatten().map(cause).collect(),
            retry_after_seconds: details.retry_after_seconds,
        }
    }
}

/// The bytes of a failure.
pub(super) fn failure(
    message: &str,
    reason: &str,
    details: Option<&metav1::StatusDetails>,
    code: u16,
    continue_token: Option<&str>,
) -> Vec<u8> {
    write(&Wire {
        kind: "Status",
        api_version: "v1",
        metadata: Metadata { continue_token },
        status: "Failure",
        message,
        reason,
        details: details.map(Details::of),
        code: Some(code),
    })
}

fn write(wire: &Wire<'_>) -> Vec<u8> {
    // Strings and numbers: there is nothing that cannot be written.
    serde_json::to_vec(wire).unwrap_or_default()
}
