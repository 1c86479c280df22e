//! Which certificate a client is shown: by the name that it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::Routing;
use crate::table::plain;

/// Certificates with their keys, by hosts: a name, a wildcard as `*.example.com`, or nothing for all others.
#[derive(Debug, Default)]
pub(crate) struct Certificates(BTreeMap<String, Arc<CertifiedKey>>);

impl Certificates {
    pub(crate) fn put(&mut self, host: &str, key: Arc<CertifiedKey>) {
        self.0.insert(host.to_owned(), key);
    }

    /// The one for a name that a client asks for, if it asks for any.
    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = plain(name);
            let wildcard = name.find('.').map(|dot| format!("*{}", &name[dot..]));
            self.0.get(&name).or_else(|| self.0.get(&wildcard?))
        });
        named.or_else(|| self.0.get(""))
    }
}

/// Reads a certificate with its chain, and its key, both in PEM.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    if chain.is_empty() {
        return Err("tls.crt has no certificate".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key: {error}"))?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| format!("tls.key: {error}"))?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match().map_err(|error| format!("tls.key is not that of tls.crt: {error}"))?;
    Ok(pair)
}

/// Shows what the routing of the moment has.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) Arc<Routing>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.now.load().certificates.find(hello.server_name()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn the_name_that_is_asked_for_says_which() {
        let mut all = Certificates::default();
        let [named, wildcard, rest] = ["a.example.com", "*.example.com", ""].map(|host| {
            let (certificate, key) = made("x");
            let pair = Arc::new(read(certificate.as_bytes(), key.as_bytes()).unwrap());
            all.put(host, Arc::clone(&pair));
            pair
        });
        for (name, wanted) in [
            (Some("A.example.com"), &named),
            (Some("b.example.com"), &wildcard),
            (Some("a.b.example.com"), &rest),
            (Some("example.com"), &rest),
            (None, &rest),
        ] {
            assert!(all.find(name).is_some_and(|found| Arc::ptr_eq(found, wanted)), "{name:?}");
        }
        assert!(Certificates::default().find(None).is_none());
    }

    #[test]
    fn what_is_no_pair_is_said() {
        let ((certificate, key), (_, other)) = (made("a"), made("b"));
        let fault = |certificate: &str, key: &str| read(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(fault("", &key).contains("tls.crt"));
        assert!(fault(&certificate, "x").contains("tls.key"));
        assert!(fault(&certificate, &other).contains("not that of"));
    }
}
