//! What is wrong with how objects are converted between versions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{list, text};
use crate::api::check::one_of;
use crate::api::field::{Errors, Path};
use crate::api::names;
use crate::objects::admission_registration::client;

/// Says what is wrong with a conversion.
pub(super) fn check(given: &Value, path: &Path, errors: &mut Errors) {
    if given.is_null() {
        return;
    }
    let strategy = text(given, "strategy");
    one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    let webhook = &given["webhook"];
    let (client, reviews) = (&webhook["clientConfig"], list(webhook, "conversionReviewVersions"));
    let (client_path, reviews_path) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if !client.is_null() {
            errors.forbidden(&client_path, detail);
        }
        if !reviews.is_empty() {
            errors.forbidden(&reviews_path, detail);
        }
        return;
    }
    if client.is_null() {
        errors.required(&client_path, "required when strategy is set to Webhook");
    } else {
        check_client(client, &client_path, errors);
    }
    review_versions(reviews, &reviews_path, errors);
}

fn check_client(given: &Value, path: &Path, errors: &mut Errors) {
    match (given["url"].as_str(), &given["service"]) {
        (Some(url), Value::Null) => client::at_url(url, &path.child("url"), errors),
        (None, service @ Value::Object(_)) => check_service(service, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
    let bundle = text(given, "caBundle");
    if !bundle.is_empty() && !has_certificate(bundle) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.invalid(&path.child("caBundle"), bundle, why);
    }
}

fn check_service(service: &Value, path: &Path, errors: &mut Errors) {
    // Kubernetes tells of each that the other is missing.
    for (field, told) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, field).is_empty() {
            errors.required(&path.child(told), "");
        }
    }
    let port = service["port"].as_i64().and_then(|port| i32::try_from(port).ok()).unwrap_or_default();
    client::at_port(port, &path.child("port"), errors);
    client::at_path(text(service, "path"), &path.child("path"), errors);
}

/// Whether a bundle has a block of PEM that is a certificate. One of nothing but space is as none.
fn has_certificate(bundle: &str) -> bool {
    let Ok(pem) = STANDARD.decode(bundle) else { return false };
    let pem = String::from_utf8_lossy(&pem);
    let mut blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    pem.trim().is_empty()
        || blocks.any(|block| {
            let Some((inside, _)) = block.split_once("-----END CERTIFICATE-----") else { return false };
            let inside: String = inside.split_whitespace().collect();
            STANDARD.decode(inside).is_ok_and(|der| der.first() == Some(&0x30))
        })
}

fn review_versions(given: &[Value], path: &Path, errors: &mut Errors) {
    const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];
    if given.is_empty() {
        return errors.required(path, "");
    }
    let names: Vec<&str> = given.iter().filter_map(Value::as_str).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            errors.invalid(&path.index(index), *name, "duplicate version");
            continue;
        }
        for wrong in names::label_1035(name) {
            errors.invalid(&path.index(index), *name, wrong);
        }
    }
    if !names.iter().any(|name| ACCEPTED.contains(name)) {
        let detail = format!("must include at least one of {}", ACCEPTED.join(", "));
        errors.invalid(path, Value::from(names), detail);
    }
}
