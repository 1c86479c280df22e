//! Certificates of requests, signed by the cluster's authority.
//!
//! The subject and the key stand in the certificate byte for byte as in the request, so that whoever asks as a user of
//! several groups is one. Of its extensions only the names are taken over: what a certificate may be used for is said by
//! the approved specification.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::Pem;

use super::der;
use super::plan::Validity;
use super::request::{Names, Request};

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256.
    EcdsaSha256,
    /// ECDSA with SHA-384.
    EcdsaSha384,
    /// ECDSA with SHA-512.
    EcdsaSha512,
    /// Ed25519.
    Ed25519,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    RsaSha256,
}

impl SignatureAlgorithm {
    fn identifier(self) -> Vec<u8> {
        let null: &[u8] = &[0x05, 0x00];
        match self {
            Self::EcdsaSha256 => der::sequence([der::object(&[1, 2, 840, 10045, 4, 3, 2])]),
            Self::EcdsaSha384 => der::sequence([der::object(&[1, 2, 840, 10045, 4, 3, 3])]),
            Self::EcdsaSha512 => der::sequence([der::object(&[1, 2, 840, 10045, 4, 3, 4])]),
            Self::Ed25519 => der::sequence([der::object(&[1, 3, 101, 112])]),
            Self::RsaSha256 => der::sequence([der::object(&[1, 2, 840, 113_549, 1, 1, 11]), null.to_vec()]),
        }
    }
}

/// The authority whose certificates the cluster believes. Its key stays where the host keeps it: what is signed is
/// decided here.
pub trait CertificateAuthority: Send + Sync + fmt::Debug + 'static {
    /// Its certificate, in PEM.
    fn certificate(&self) -> &str;

    /// How its key signs.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Signs.
    ///
    /// # Errors
    /// When the key cannot.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

const KEY_USAGE: [u32; 4] = [2, 5, 29, 15];
const SUBJECT_NAMES: [u32; 4] = [2, 5, 29, 17];
const BASIC_CONSTRAINTS: [u32; 4] = [2, 5, 29, 19];
const AUTHORITY_KEY: [u32; 4] = [2, 5, 29, 35];
const EXTENDED_USAGE: [u32; 4] = [2, 5, 29, 37];

/// The certificate that a request gets, in PEM. `serial` is a number that no other has.
pub(super) fn issue(
    authority: &dyn CertificateAuthority,
    request: &Request,
    usages: &[String],
    validity: Validity,
    serial: u128,
) -> Result<String, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(authority.certificate().as_bytes())
        .map_err(|error| format!("the authority's certificate cannot be read: {error}"))?;
    let own =
        pem.parse_x509().map_err(|error| format!("the authority's certificate cannot be read: {error}"))?;
    let ends =
        Timestamp::from_second(own.validity().not_after.timestamp()).map_err(|error| error.to_string())?;
    if validity.from.checked_add(SignedDuration::from_mins(5)).is_ok_and(|now| now >= ends) {
        return Err(format!("refusing to sign a certificate that expired in the past: NotAfter={ends}"));
    }
    let issuer_key = own.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    let algorithm = authority.algorithm().identifier();
    let to_be_signed = der::sequence([
        der::context(0, true, &der::unsigned(&[2])),
        der::unsigned(&serial.to_be_bytes()),
        algorithm.clone(),
        own.subject().as_raw().to_vec(),
        der::sequence([der::time(validity.from), der::time(validity.to.min(ends))]),
        request.subject.clone(),
        request.key.clone(),
        der::context(3, true, &extensions(request, usages, issuer_key.as_deref())?),
    ]);
    let signature = authority.sign(&to_be_signed)?;
    Ok(in_pem(&der::sequence([to_be_signed, algorithm, der::bits(&signature, 0)])))
}

fn in_pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// When a certificate in PEM ends.
pub(super) fn expires(pem: &[u8]) -> Option<Timestamp> {
    let block = Pem::iter_from_buffer(pem).next()?.ok()?;
    Timestamp::from_second(block.parse_x509().ok()?.validity().not_after.timestamp()).ok()
}

fn extensions(request: &Request, usages: &[String], issuer_key: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let (key, extended) = purposes(usages)?;
    let mut all = Vec::new();
    if key != 0 {
        let bytes = key.to_be_bytes();
        let used = if bytes[1] == 0 { &bytes[..1] } else { &bytes[..] };
        let unused = used.last().map_or(0, |last| last.trailing_zeros());
        let unused = u8::try_from(unused).unwrap_or_default();
        all.push(extension(&KEY_USAGE, true, &der::bits(used, unused)));
    }
    if !extended.is_empty() {
        all.push(extension(&EXTENDED_USAGE, false, &der::sequence(extended)));
    }
    all.push(extension(&BASIC_CONSTRAINTS, true, &der::sequence::<&[u8]>([])));
    if let Some(id) = issuer_key {
        all.push(extension(&AUTHORITY_KEY, false, &der::sequence([der::context(0, false, id)])));
    }
    if !request.names.is_empty() {
        // Whoever has no subject is known by these alone.
        let critical = request.subject.len() <= 2;
        all.push(extension(&SUBJECT_NAMES, critical, &names(&request.names)));
    }
    Ok(der::sequence(all))
}

fn extension(kind: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { der::tagged(der::BOOLEAN, &[0xff]) } else { Vec::new() };
    der::sequence([der::object(kind), critical, der::tagged(der::OCTET_STRING, value)])
}

fn names(names: &Names) -> Vec<u8> {
    let of = |number: u8, all: &[String]| -> Vec<Vec<u8>> {
        all.iter().map(|name| der::context(number, false, name.as_bytes())).collect()
    };
    let addresses = names.addresses.iter().map(|address| der::context(7, false, address)).collect();
    der::sequence([of(2, &names.dns), of(1, &names.emails), addresses, of(6, &names.uris)].concat())
}

/// What usages mean: bits of the key usage, the first the highest, and names of extended ones.
fn purposes(usages: &[String]) -> Result<(u16, Vec<Vec<u8>>), String> {
    let (mut key, mut extended, mut unknown) = (0u16, Vec::new(), Vec::new());
    let purpose = |last: u32| Some(der::object(&[1, 3, 6, 1, 5, 5, 7, 3, last]));
    for usage in usages {
        let (bit, name) = match usage.as_str() {
            "signing" | "digital signature" => (Some(0), None),
            "content commitment" => (Some(1), None),
            "key encipherment" => (Some(2), None),
            "data encipherment" => (Some(3), None),
            "key agreement" => (Some(4), None),
            "cert sign" => (Some(5), None),
            "crl sign" => (Some(6), None),
            "encipher only" => (Some(7), None),
            "decipher only" => (Some(8), None),
            "any" => (None, Some(der::object(&[2, 5, 29, 37, 0]))),
            "server auth" => (None, purpose(1)),
            "client auth" => (None, purpose(2)),
            "code signing" => (None, purpose(3)),
            "email protection" | "s/mime" => (None, purpose(4)),
            "ipsec end system" => (None, purpose(5)),
            "ipsec tunnel" => (None, purpose(6)),
            "ipsec user" => (None, purpose(7)),
            "timestamping" => (None, purpose(8)),
            "ocsp signing" => (None, purpose(9)),
            "microsoft sgc" => (None, Some(der::object(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]))),
            "netscape sgc" => (None, Some(der::object(&[2, 16, 840, 1, 113_730, 4, 1]))),
            _ => {
                unknown.push(format!("\"{usage}\""));
                continue;
            }
        };
        key |= bit.map_or(0, |bit: u32| 0x8000 >> bit);
        extended.extend(name.filter(|name| !extended.contains(name)));
    }
    match unknown.is_empty() {
        true => Ok((key, extended)),
        false => Err(format!("unrecognized usage values: [{}]", unknown.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::certificates::request;
    use crate::controllers::testing::at;
    use crate::objects::certificate_request::SAMPLE;

    /// An authority that signs nothing: what is signed is looked at.
    #[derive(Debug)]
    struct Fake(String);

    impl CertificateAuthority for Fake {
        fn certificate(&self) -> &str {
            &self.0
        }
        fn algorithm(&self) -> SignatureAlgorithm {
            SignatureAlgorithm::EcdsaSha256
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, String> {
            Ok(vec![1, 2, 3])
        }
    }

    const AUTHORITY: &str = include_str!("authority.pem");

    #[test]
    fn a_certificate_says_what_was_asked_and_approved() {
        let mut asked = request::read(&BASE64_STANDARD.decode(SAMPLE).unwrap()).unwrap();
        asked.names.dns = vec!["a.example".into()];
        asked.names.addresses = vec![vec![10, 0, 0, 1]];
        let usages = ["digital signature", "key encipherment", "client auth"].map(str::to_owned);
        let validity = Validity { from: at(0), to: at(3600) };
        let pem = issue(&Fake(AUTHORITY.to_owned()), &asked, &usages, validity, 1 << 127).unwrap();
        assert_eq!(expires(pem.as_bytes()), Some(at(3600)));
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let read = block.parse_x509().unwrap();
        assert_eq!(read.subject().as_raw(), asked.subject);
        assert_eq!(read.public_key().raw, asked.key);
        assert_eq!(read.subject().to_string(), "O=system:masters, CN=u");
        assert!(!read.is_ca());
        let key = read.key_usage().unwrap().unwrap().value;
        assert!(key.digital_signature() && key.key_encipherment() && !key.key_cert_sign());
        let extended = read.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.server_auth);
        let names = read.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 2);
    }

    #[test]
    fn a_certificate_ends_with_its_authority_and_has_only_known_usages() {
        let asked = request::read(&BASE64_STANDARD.decode(SAMPLE).unwrap()).unwrap();
        let authority = Fake(AUTHORITY.to_owned());
        let far = Validity { from: at(0), to: "2200-01-01T00:00:00Z".parse().unwrap() };
        let pem = issue(&authority, &asked, &[], far, 1).unwrap();
        assert_eq!(expires(pem.as_bytes()), expires(AUTHORITY.as_bytes()));
        let late = Validity { from: far.to, to: far.to };
        assert!(issue(&authority, &asked, &[], late, 1).unwrap_err().starts_with("refusing to sign"));
        let refused = issue(&authority, &asked, &["magic".to_owned()], far, 1).unwrap_err();
        assert_eq!(refused, "unrecognized usage values: [\"magic\"]");
    }
}
