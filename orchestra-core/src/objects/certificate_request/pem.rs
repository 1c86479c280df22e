//! What is wrong with requests and certificates in PEM, which strangers send: they are parsed and nothing more.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

/// What is wrong with a request for a certificate: it is one, and signed with the key that it is for.
pub(super) fn fault_of_request(bytes: &[u8]) -> Option<String> {
    let first = Pem::iter_from_buffer(bytes).next().and_then(Result::ok);
    let Some(block) = first.filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    match X509CertificationRequest::from_der(&block.contents) {
        Err(error) => Some(format!("asn1: structure error: {error}")),
        Ok((rest, _)) if !rest.is_empty() => Some("asn1: syntax error: trailing data".to_owned()),
        Ok((_, request)) => request.verify_signature().err().map(|error| format!("x509: {error}")),
    }
}

/// What is wrong with certificates, of which there must be one or more, and nothing else.
pub(super) fn fault_of_certificates(bytes: &[u8]) -> Option<String> {
    let mut count = 0;
    for block in Pem::iter_from_buffer(bytes).map_while(Result::ok) {
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        if let Err(error) = block.parse_x509() {
            return Some(format!("x509: malformed certificate: {error}"));
        }
        count += 1;
    }
    (count == 0).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

/// The organizations that the subject of a request is in, which are a user's groups.
pub(super) fn organizations(bytes: &[u8]) -> Vec<String> {
    let block = Pem::iter_from_buffer(bytes).next().and_then(Result::ok);
    let Some(block) = block else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&block.contents) else { return Vec::new() };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect()
}
