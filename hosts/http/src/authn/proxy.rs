//! A proxy in front of the API that knows who its clients are, and says so in headers. It is believed for its certificate
//! alone, which another authority has signed than those of clients.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use orchestra_core::api::User;
use orchestra_core::api::access::AUTHENTICATED;
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pki::{PkiError, roots};

/// Which proxies are believed, and in which headers they say for whom they ask.
#[derive(Clone)]
pub struct FrontProxy {
    authority: String,
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
    user: Vec<HeaderName>,
    uid: Vec<HeaderName>,
    groups: Vec<HeaderName>,
    extra: Vec<String>,
}

impl fmt::Debug for FrontProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontProxy").field("names", &self.names).finish_non_exhaustive()
    }
}

/// That a connection is one of a proxy that is believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proxied(());

impl FrontProxy {
    /// Believes the proxies whose certificates this authority has signed, in PEM form, and reads the headers
    /// `X-Remote-User`, `X-Remote-Group`, `X-Remote-Uid` and those that begin with `X-Remote-Extra-`.
    ///
    /// # Errors
    /// When the certificates are none.
    pub fn new(authority: &str) -> Result<Self, PkiError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider)
            .build()
            .map_err(|error| PkiError::Tls(error.into()))?;
        let named = |name| vec![HeaderName::from_static(name)];
        Ok(Self {
            authority: authority.to_owned(),
            verifier,
            names: Vec::new(),
            user: named("x-remote-user"),
            uid: named("x-remote-uid"),
            groups: named("x-remote-group"),
            extra: vec!["x-remote-extra-".to_owned()],
        })
    }

    /// Only those of these common names.
    #[must_use]
    pub fn names(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }

    /// The headers that name the user, the uid and the groups, and what those of everything else begin with. A list that is
    /// empty stays as it was.
    #[must_use]
    pub fn headers(
        mut self,
        user: Vec<HeaderName>,
        uid: Vec<HeaderName>,
        groups: Vec<HeaderName>,
        extra: &[String],
    ) -> Self {
        for (held, given) in [(&mut self.user, user), (&mut self.uid, uid), (&mut self.groups, groups)] {
            if !given.is_empty() {
                *held = given;
            }
        }
        if !extra.is_empty() {
            self.extra = extra.iter().map(|prefix| prefix.to_ascii_lowercase()).collect();
        }
        self
    }

    /// The authority, whose certificates a server must take so that proxies can show them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the authority of proxies has signed these certificates.
    pub(crate) fn has_signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, others)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(leaf, others, UnixTime::now()).is_ok()
    }

    /// Whether a connection with these certificates is one of a proxy that is believed.
    pub(crate) fn knows(&self, chain: &[CertificateDer<'_>]) -> Option<Proxied> {
        let leaf = chain.first().filter(|_| self.has_signed(chain))?;
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let mut names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let allowed = self.names.is_empty() || names.any(|name| self.names.iter().any(|held| held == name));
        allowed.then_some(Proxied(()))
    }

    /// For whom a proxy asks; `None` if it does not say.
    pub(crate) fn user(&self, _: Proxied, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[HeaderName]| {
            let values = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
            values.map(str::trim).find(|value| !value.is_empty()).map(str::to_owned)
        };
        let name = first(&self.user)?;
        let all = |name: &HeaderName| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut groups: Vec<String> = self.groups.iter().flat_map(all).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        let mut extra = BTreeMap::<String, Vec<String>>::new();
        for header in headers.keys() {
            let key = self.extra.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                let key = percent_decode_str(key).decode_utf8().map_or(key.into(), |key| key);
                extra.entry(key.into_owned()).or_default().extend(all(header));
            }
        }
        Some(User { name, groups, uid: first(&self.uid).unwrap_or_default(), extra })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;
    use rustls::pki_types::pem::PemObject as _;

    fn chain(authority: &Authority, name: &str) -> Vec<CertificateDer<'static>> {
        let issued = authority.issue_client(name, &[]).unwrap();
        CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect()
    }

    #[test]
    fn a_proxy_is_known_by_its_certificate_and_its_name() {
        let (ours, other) = (Authority::new().unwrap(), Authority::new().unwrap());
        let any = FrontProxy::new(ours.certificate()).unwrap();
        let one = any.clone().names(vec!["aggregator".to_owned()]);
        for (authority, name, by_any, by_one) in [
            (&ours, "aggregator", true, true),
            (&ours, "stranger", true, false),
            (&other, "aggregator", false, false),
        ] {
            let chain = chain(authority, name);
            assert_eq!(
                (any.knows(&chain).is_some(), one.knows(&chain).is_some()),
                (by_any, by_one),
                "{name}"
            );
        }
        assert!(any.knows(&[]).is_none());
    }

    #[test]
    fn its_headers_say_for_whom_it_asks() {
        let proxy = FrontProxy::new(Authority::new().unwrap().certificate()).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(proxy.user(Proxied(()), &headers), None);
        for (name, value) in [
            ("x-remote-user", "ann"),
            ("x-remote-group", "devs"),
            ("x-remote-group", "ops"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("x-other", "no"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let user = proxy.user(Proxied(()), &headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "7"));
        assert_eq!(user.groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(user.extra, [("acme.com/project".to_owned(), vec!["p".to_owned()])].into());
        let other =
            proxy.headers(vec![HeaderName::from_static("x-other")], vec![], vec![], &["X-Attr-".to_owned()]);
        let user = other.user(Proxied(()), &headers).unwrap();
        assert_eq!((user.name.as_str(), user.extra.len()), ("no", 0));
    }
}
