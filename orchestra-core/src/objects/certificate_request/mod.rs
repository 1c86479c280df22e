//! Requests for certificates: who asks, for what, and what became of it.

mod pem;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde::Deserialize as _;
use serde_json::Value;

use super::json::{Fields, keep};
use super::{check, names};
use crate::api::field::Errors;
use crate::api::{Column, NameRule, Rules, Subresource, table};
use crate::watch::IndexedField;

/// The groups that a request in PEM, as it stands in an object, is for.
pub(crate) fn organizations(request: &str) -> Vec<String> {
    let bytes = k8s_openapi::ByteString::deserialize(&Value::from(request));
    bytes.map(|bytes| pem::organizations(&bytes.0)).unwrap_or_default()
}

/// The conditions that say whether a request is granted.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// The rules of CertificateSigningRequest objects. Who asks is admission's to write down, and when a condition came.
pub(super) struct CertificateRequestRules;

impl Rules for CertificateRequestRules {
    type Object = CertificateSigningRequest;

    const SHORT_NAMES: &'static [&'static str] = &["csr"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::part("approval")];
    const NAME: NameRule = NameRule::PathSegment;
    const FIELDS: &'static [IndexedField] = &[IndexedField::new("spec.signerName")];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::AGE,
        Column::new("SignerName", "Who is to sign."),
        Column::new("Requestor", "Who asks."),
        Column::new("RequestedDuration", "How long the certificate is to be good for."),
        Column::new("Condition", "Whether it is granted, and whether it is done."),
    ];

    fn prepare_update(new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    /// What was decided stays as it was decided.
    fn prepare_status(new: &mut Value, old: &Value) {
        for decision in DECISIONS {
            let held: Vec<Value> = of_type(old, decision).cloned().collect();
            if of_type(new, decision).count() != held.len() {
                continue;
            }
            let list = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
            let same = list.into_iter().flatten().filter(|condition| condition["type"] == decision);
            for (condition, held) in same.zip(held) {
                *condition = held;
            }
        }
    }

    /// An approval sets conditions and nothing else.
    fn prepare_part(_part: &str, new: &mut Value, old: &Value) {
        let conditions = new.pointer("/status/conditions").cloned();
        keep(new, old, "spec");
        keep(new, old, "status");
        let Some(status) = new.as_object_mut().and_then(|fields| fields.object_or_new("status")) else {
            return;
        };
        match conditions {
            Some(conditions) => drop(status.insert("conditions".to_owned(), conditions)),
            None => drop(status.remove("conditions")),
        }
    }

    fn validate(object: &CertificateSigningRequest, errors: &mut Errors) {
        validate::request(object, errors);
    }

    fn validate_update(
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
        errors: &mut Errors,
    ) {
        validate::decisions_kept(new, old, errors);
    }

    fn validate_status(
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
        errors: &mut Errors,
    ) {
        validate::request(new, errors);
        validate::decisions_kept(new, old, errors);
        validate::certificate_kept(new, old, errors);
    }

    fn validate_part(
        _part: &str,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
        errors: &mut Errors,
    ) {
        validate::request(new, errors);
        validate::none_removed(new, old, errors);
    }

    fn cells(object: &CertificateSigningRequest, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        let seconds = spec.expiration_seconds.map(|seconds| table::duration(i64::from(seconds)));
        let signer = Some(spec.signer_name.clone()).filter(|name| !name.is_empty());
        let none = || "<none>".to_owned();
        vec![
            object.metadata.name.clone().into(),
            table::age(&object.metadata, now).into(),
            signer.unwrap_or_else(none).into(),
            spec.username.clone().unwrap_or_default().into(),
            seconds.unwrap_or_else(none).into(),
            condition(object).into(),
        ]
    }
}

/// The conditions of a type.
fn of_type<'v>(object: &'v Value, kind: &'v str) -> impl Iterator<Item = &'v Value> {
    let list = object.pointer("/status/conditions").and_then(Value::as_array);
    list.into_iter().flatten().filter(move |condition| condition["type"] == kind)
}

fn condition(object: &CertificateSigningRequest) -> String {
    let status = object.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let has = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind);
    let decision = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = status.certificate.is_some_and(|certificate| !certificate.0.is_empty());
    format!("{decision}{failed}{}", if issued { ",Issued" } else { "" })
}

/// For tests: a request of a user in the group `system:masters`, with a key of its own, in PEM in base64.
#[cfg(test)]
pub(crate) const SAMPLE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIaE1JR0hBZ0VBTUNVeEZ6QVZCZ05WQkFvTURuTjVjM1JsYlRwdFlYTjBaWEp6TVFvd0NBWURWUVFEREFGMQpNRmt3RXdZSEtvWkl6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVhWjNlWWtUVWFMQ0dscmxlbjVkKzJ1a0pmcFRhCjZQVHdwN3E1NUhHYVp2VkZpSnFNd05ndlRhWjh6eGxJc2lDdjlFaHdXOEZJM0pocWNWdlo0Nm5oamFBQU1Bb0cKQ0NxR1NNNDlCQU1DQTBrQU1FWUNJUUQ1VlFlcURsS0pjQXZJdFFZbTFKd3o1NlNTUmd2dEFLQUd1bDFCZUtLRQpKZ0loQUp2YUlIalYrTFBGTkRXUmVkd2RHMSt3SmRSZzdNRVZBMUVzSmZJRGd2V2gKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";
