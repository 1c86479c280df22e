//! Requests for certificates.

use serde_json::{Value, json};

use super::cells::cells;
use super::refused;
use super::stored;
use super::updates::changed;
use crate::api::field::Errors;
use crate::objects::certificate_request::SAMPLE;

/// A request for the user `u` in the group `system:masters`, with a key of its own, in PEM in base64.
const REQUEST: &str = SAMPLE;

/// A certificate, in PEM in base64.
const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJiakNDQVJXZ0F3SUJBZ0lVY1dOVmJ5ZXVDSVNxVDBXb09XeVVhRExWTW9vd0NnWUlLb1pJemowRUF3SXcKRERFS01BZ0dBMVVFQXd3QmRUQWdGdzB5TmpFeE1qZ3dNVEU0TURGYUdBOHlNVEkyTVRFd05EQXhNVGd3TVZvdwpEREVLTUFnR0ExVUVBd3dCZFRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OUF3RUhBMElBQkdtZDNtSkUxR2l3CmhwYTVYcCtYZnRycENYNlUydWowOEtlNnVlUnhtbWIxUllpYWpNRFlMMDJtZk04WlNMSWdyL1JJY0Z2QlNOeVkKYW5GYjJlT3A0WTJqVXpCUk1CMEdBMVVkRGdRV0JCUmUyU2dhM1ZJN3J0WjdBTW9EcVVNWEN4WFl2REFmQmdOVgpIU01FR0RBV2dCUmUyU2dhM1ZJN3J0WjdBTW9EcVVNWEN4WFl2REFQQmdOVkhSTUJBZjhFQlRBREFRSC9NQW9HCkNDcUdTTTQ5QkFNQ0EwY0FNRVFDSUVuZUU4dHUzQ0F0N1dicDJOVEhnaUhpS2EwUnBRS0xmT2RjRFBZb2RSeDQKQWlCeVhaN054bm15dG1ER0IreUFFVU9DSjdFbVgzSW9lZE8vTTNuY3RhR3VPUT09Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

fn request(fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": { "name": "r" },
        "spec": { "request": REQUEST, "signerName": "example.com/s", "usages": ["client auth"] },
    });
    super::merge(&mut object["spec"], fields);
    object
}

/// The same, with a status.
fn with(conditions: Value, certificate: Option<&str>) -> Value {
    let mut object = request(json!({}));
    object["status"] = json!({ "conditions": conditions });
    if let Some(certificate) = certificate {
        object["status"]["certificate"] = certificate.into();
    }
    object
}

fn condition(kind: &str) -> Value {
    json!({ "type": kind, "status": "True" })
}

#[test]
fn what_is_asked_is_checked() {
    let request_path = |detail: &str| format!("spec.request: Invalid value: \"bm90IFBFTQ==\": {detail}");
    // One bit of the name is another, so that the signature is of something else.
    let forged = REQUEST.replacen("dFlYTjBaWEp6", "dFlYTjBaWEow", 1);
    assert_ne!(forged, REQUEST);
    let found = super::faults(&request(json!({ "request": forged })));
    assert!(found.len() == 1 && found[0].contains(": x509: "), "{found:?}");
    refused([
        (request(json!({})), vec![]),
        (
            request(json!({ "request": "bm90IFBFTQ==" })),
            vec![&*request_path("PEM block type must be CERTIFICATE REQUEST")],
        ),
        (request(json!({ "usages": [] })), vec!["spec.usages: Required value"]),
        (
            request(json!({ "usages": ["client auth", "client auth"] })),
            vec!["spec.usages[1]: Duplicate value: \"client auth\""],
        ),
        (
            request(json!({ "expirationSeconds": 599 })),
            vec![
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 \
                 minutes)",
            ],
        ),
        (request(json!({ "signerName": "" })), vec!["spec.signerName: Required value"]),
        (
            request(json!({ "signerName": "kubernetes.io/legacy-unknown" })),
            vec![
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not \
                 allowed via this API version",
            ],
        ),
        (
            request(json!({ "signerName": "a/b/c" })),
            vec![
                "spec.signerName: Invalid value: \"a/b/c\": must be a fully qualified domain and path of the form \
                 'example.com/signer-name'",
            ],
        ),
        (
            request(json!({ "signerName": "local/b" })),
            vec![
                "spec.signerName: Invalid value: \"local\": should be a domain with at least two segments separated by \
                 dots",
            ],
        ),
    ]);
}

/// What is wrong with a change through the status or the approval.
fn through(part: &str, new: &Value, old: &Value) -> (Value, Vec<String>) {
    let row = super::row(old);
    let (mut new, mut errors) = (new.clone(), Errors::new());
    if part == "status" {
        row.rules.prepare_status(&mut new, old);
        row.rules.validate_status(&new, old, &mut errors).unwrap();
    } else {
        row.rules.prepare_part(part, &mut new, old);
        row.rules.validate_part(part, &new, old, &mut errors).unwrap();
    }
    (new, errors.iter().map(ToString::to_string).collect())
}

#[test]
fn only_an_approval_decides_and_nothing_is_undone() {
    let (asked, approved) = (with(json!([]), None), with(json!([condition("Approved")]), None));
    let forbidden = |what: &str| format!("status.conditions: Forbidden: updates may not {what}");
    let none = Vec::<String>::new();
    let (new, faults) = through("approval", &approved, &asked);
    assert_eq!((new["status"]["conditions"].clone(), faults), (json!([condition("Approved")]), none.clone()));
    let (_, faults) = through("approval", &asked, &approved);
    assert_eq!(faults, [forbidden("remove a condition of type \"Approved\"")]);
    let (_, faults) =
        through("approval", &with(json!([condition("Approved"), condition("Denied")]), None), &asked);
    assert_eq!(
        faults,
        [
            "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
        ]
    );
    let (_, faults) = through("status", &approved, &asked);
    assert_eq!(faults, [forbidden("add a condition of type \"Approved\"")]);
    let mut changed_reason = approved.clone();
    changed_reason["status"]["conditions"][0]["reason"] = json!("other");
    let (new, faults) = through("status", &changed_reason, &approved);
    assert_eq!((&new["status"], faults), (&approved["status"], none.clone()), "what was decided stays so");
    let (_, faults) = through("status", &with(json!([condition("Failed"), condition("Odd")]), None), &asked);
    assert_eq!(faults, none);
    let unsure = json!([{ "type": "Failed", "status": "False" }]);
    let (_, faults) = through("status", &with(unsure, None), &asked);
    assert_eq!(
        faults,
        ["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""]
    );
}

#[test]
fn a_certificate_is_issued_once_and_through_the_status() {
    let decided = json!([condition("Approved")]);
    let (approved, issued) = (with(decided.clone(), None), with(decided.clone(), Some(CERTIFICATE)));
    let none = Vec::<String>::new();
    let (new, faults) = through("status", &issued, &approved);
    assert_eq!((new["status"]["certificate"].as_str(), faults), (Some(CERTIFICATE), none.clone()));
    let (new, faults) = through("approval", &issued, &approved);
    assert_eq!((new["status"].get("certificate"), faults), (None, none), "an approval sets conditions only");
    let (_, faults) = through("status", &approved, &issued);
    assert_eq!(
        faults,
        ["status.certificate: Forbidden: updates may not modify existing certificate content"]
    );
    for (text, fault) in [
        (REQUEST, "only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\""),
        ("bm90IFBFTQ==", "must contain at least one CERTIFICATE PEM block"),
    ] {
        let (_, faults) = through("status", &with(decided.clone(), Some(text)), &approved);
        assert_eq!(faults, [format!("status.certificate: Invalid value: \"<certificate data>\": {fault}")]);
    }
}

#[test]
fn what_was_asked_stays_and_is_shown() {
    let old = stored(&request(json!({ "username": "admin" })));
    let (new, faults) = changed(&old, |object| object["spec"]["signerName"] = json!("example.com/other"));
    assert_eq!((&new["spec"], faults), (&old["spec"], Vec::new()));
    let row = |object: &Value| cells(object)[2..].to_vec();
    let shown = [json!("example.com/s"), json!("admin"), json!("<none>"), json!("Pending")];
    assert_eq!(row(&old), shown);
    let mut issued = with(json!([condition("Approved"), condition("Failed")]), Some(CERTIFICATE));
    issued["spec"]["expirationSeconds"] = json!(3600);
    assert_eq!(row(&issued)[2..], [json!("60m"), json!("Approved,Failed,Issued")]);
    assert_eq!(
        crate::objects::certificate_request::organizations(REQUEST),
        ["system:masters"],
        "the groups of who would have the certificate"
    );
}
