//! Whom a call believes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use orchestra_core::webhook::CallError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

use crate::pki::Issued;
use crate::tls::ClientTls;

/// TLS that believes these authorities, or those of the machine.
pub(crate) fn client(
    trust: Option<&Bytes>,
    certificate: Option<&(Bytes, Bytes)>,
) -> Result<ClientTls, CallError> {
    let (roots, given) = match trust {
        Some(bundle) => bundle_roots(bundle)?,
        None => (machine_roots(), Vec::new()),
    };
    let identity = certificate.map(|(chain, key)| Issued {
        certificate: String::from_utf8_lossy(chain).into_owned(),
        key: String::from_utf8_lossy(key).into_owned(),
    });
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |error: &dyn std::fmt::Display| CallError::Config(error.to_string());
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| unusable(&format!("unable to load root certificates: {error}")))?;
    let verifier = Arc::new(Verifier { inner, given });
    ClientTls::verifying(verifier, identity.as_ref()).map_err(|error| unusable(&error))
}

/// The authorities of a bundle. As in Go, what of it cannot be read is passed over.
fn bundle_roots(bundle: &Bytes) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), CallError> {
    let given: Vec<_> = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(given.clone());
    if added == 0 {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        return Err(CallError::Config(why.to_owned()));
    }
    Ok((Arc::new(roots), given))
}

/// The authorities that the machine believes, read once.
fn machine_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// Believes what its authorities have signed; and, as Go does, a server that shows one of their own certificates, which is
/// how webhooks are often set up: by `openssl req -x509`, with what that makes as the bundle.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(shown, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.given.contains(shown) => {
                check_validity(shown, now)?;
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let seconds = i64::try_from(now.as_secs()).map_err(|_| unreadable())?;
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| unreadable())?;
    if now > parsed.validity().not_after {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    if now < parsed.validity().not_before {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    Ok(())
}
