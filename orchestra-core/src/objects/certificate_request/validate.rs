use std::collections::HashSet;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use serde_json::Value;

use super::check::{self, shown};
use super::{DECISIONS, names, pem};
use crate::api::field::{Errors, Path, Problem};

/// The name under which requests went to any signer, before signers had names.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// The shortest time, in seconds, for which a certificate may be asked.
const SHORTEST: i32 = 600;
/// The most bytes of a signer's domain, and of the path in it.
const MAX_DOMAIN: usize = 253;
const MAX_PATH: usize = 253 + 63 + 1;

/// What certificates are for, in order of the alphabet.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(super) fn request(object: &CertificateSigningRequest, errors: &mut Errors) {
    let (spec, path) = (&object.spec, Path::new("spec"));
    if let Some(fault) = pem::fault_of_request(&spec.request.0) {
        let given = if spec.request.0.is_empty() { Value::Null } else { shown(&spec.request) };
        errors.invalid(&path.child("request"), given, fault);
    }
    usages(spec, &path.child("usages"), errors);
    signer(&spec.signer_name, &path.child("signerName"), errors);
    if let Some(seconds) = spec.expiration_seconds.filter(|seconds| *seconds < SHORTEST) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), seconds, detail);
    }
    conditions(conditions_of(object), &Path::new("status.conditions"), errors);
    let certificate = certificate_of(object);
    if let Some(fault) = (!certificate.is_empty()).then(|| pem::fault_of_certificates(certificate)).flatten()
    {
        errors.invalid(&Path::new("status.certificate"), "<certificate data>", fault);
    }
}

fn conditions_of(object: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    object.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn certificate_of(object: &CertificateSigningRequest) -> &[u8] {
    let certificate = object.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.map(|certificate| certificate.0.as_slice()).unwrap_or_default()
}

fn usages(spec: &CertificateSigningRequestSpec, path: &Path, errors: &mut Errors) {
    let usages = spec.usages.as_deref().unwrap_or_default();
    if usages.is_empty() {
        errors.required(path, "");
    }
    let mut seen = HashSet::new();
    for (index, usage) in usages.iter().enumerate() {
        check::supported(errors, &path.index(index), usage, &USAGES);
        check::unique(errors, &mut seen, &path.index(index), usage);
    }
}

/// A signer is named by a domain and a path in it.
fn signer(name: &str, path: &Path, errors: &mut Errors) {
    if name == LEGACY_SIGNER {
        errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
        return;
    }
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path, name, detail);
        return;
    };
    if domain.len() > MAX_DOMAIN {
        errors.push(path, Problem::TooLong(MAX_DOMAIN));
    }
    let each = |text: &str, rule: fn(&str) -> Vec<String>, errors: &mut Errors| {
        for label in text.split('.') {
            for fault in rule(label) {
                errors.invalid(path, text, format!("validating label {label:?}: {fault}"));
            }
        }
    };
    each(domain, names::label, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.invalid(path, domain, detail);
    }
    each(rest, names::subdomain, errors);
    if rest.len() > MAX_PATH {
        errors.push(path, Problem::TooLong(MAX_PATH));
    }
}

fn conditions(list: &[CertificateSigningRequestCondition], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, condition) in list.iter().enumerate() {
        let at = path.index(index);
        let kind = condition.type_.as_str();
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
        let supported: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        check::one_of(errors, &at.child("status"), &condition.status, supported);
        let other = DECISIONS.iter().find(|decision| **decision != kind);
        if DECISIONS.contains(&kind) && other.is_some_and(|other| seen.contains(other)) {
            errors.invalid(path, kind, "Approved and Denied conditions are mutually exclusive");
        }
        check::unique(errors, &mut seen, &at.child("type"), kind);
    }
}

fn of_type<'c>(
    object: &'c CertificateSigningRequest,
    kind: &str,
) -> Vec<&'c CertificateSigningRequestCondition> {
    conditions_of(object).iter().filter(|condition| condition.type_ == kind).collect()
}

/// What has been decided or has failed is not undone.
pub(super) fn none_removed(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut Errors,
) {
    for kind in ["Approved", "Denied", "Failed"] {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            let detail = format!("updates may not remove a condition of type {kind:?}");
            errors.forbidden(&Path::new("status.conditions"), detail);
        }
    }
}

/// Only an approval decides.
pub(super) fn decisions_kept(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut Errors,
) {
    none_removed(new, old, errors);
    let path = Path::new("status.conditions");
    for kind in DECISIONS {
        let (now, before) = (of_type(new, kind), of_type(old, kind));
        if now.len() > before.len() {
            errors.forbidden(&path, format!("updates may not add a condition of type {kind:?}"));
        } else if now.len() == before.len() && now != before {
            errors.forbidden(&path, format!("updates may not modify a condition of type {kind:?}"));
        }
    }
}

/// What was issued is not issued anew.
pub(super) fn certificate_kept(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut Errors,
) {
    let (now, before) = (certificate_of(new), certificate_of(old));
    if now != before && !before.is_empty() {
        let detail = "updates may not modify existing certificate content";
        errors.forbidden(&Path::new("status.certificate"), detail);
    }
}
