//! What a request for a certificate says, as far as signers go by it.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

/// A request that is signed with the key it is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Request {
    /// The subject as it is encoded.
    pub(super) subject: Vec<u8>,
    /// The public key as it is encoded.
    pub(super) key: Vec<u8>,
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) names: Names,
}

/// By what else the subject is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    pub(super) dns: Vec<String>,
    pub(super) emails: Vec<String>,
    pub(super) uris: Vec<String>,
    /// Of 4 or 16 bytes.
    pub(super) addresses: Vec<Vec<u8>>,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.emails.is_empty() && self.uris.is_empty() && self.addresses.is_empty()
    }
}

/// Reads a request in PEM.
pub(super) fn read(pem: &[u8]) -> Result<Request, String> {
    let block = Pem::iter_from_buffer(pem).next().and_then(Result::ok);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let parsed = X509CertificationRequest::from_der(&block.contents);
    let (_, request) = parsed.map_err(|error| format!("asn1: structure error: {error}"))?;
    request
        .verify_signature()
        .map_err(|error| format!("unable to verify certificate request signature: {error}"))?;
    let info = &request.certification_request_info;
    let text = |it: &AttributeTypeAndValue<'_>| it.as_str().map(str::to_owned).ok();
    Ok(Request {
        subject: info.subject.as_raw().to_vec(),
        key: info.subject_pki.raw.to_vec(),
        common_name: info.subject.iter_common_name().filter_map(text).last().unwrap_or_default(),
        organizations: info.subject.iter_organization().filter_map(text).collect(),
        names: names(&request),
    })
}

fn names(request: &X509CertificationRequest<'_>) -> Names {
    let mut names = Names::default();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(all) = extension else { continue };
        for name in &all.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => names.emails.push((*name).to_owned()),
                GeneralName::URI(name) => names.uris.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) if matches!(bytes.len(), 4 | 16) => {
                    names.addresses.push(bytes.to_vec());
                }
                _ => {}
            }
        }
    }
    names
}
