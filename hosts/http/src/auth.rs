//! Who asks: what a request shows, and the authenticators of client certificates and fixed tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use orchestra_core::api::access::{Authenticator, Certificate, Credentials};
use orchestra_core::api::{Status, User};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Bearer tokens and whose they are. Cheap to clone; changes are seen by all clones.
#[derive(Clone, Default)]
pub struct Tokens(Arc<RwLock<HashMap<String, User>>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tokens are secrets; not even their number is anyone's business.
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// No tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the bearer of a token be a user.
    pub fn insert(&self, token: impl Into<String>, user: User) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token.into(), user);
    }

    fn find(&self, token: &str) -> Option<User> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        Ok(credentials.token.and_then(|token| self.find(token)))
    }
}

/// Believes the certificate of the connection, which an authority of the cluster has signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Certificates;

#[async_trait]
impl Authenticator for Certificates {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        Ok(credentials.certificate.map(|certificate| certificate.user.clone()))
    }
}

/// A verified client certificate and whom it names: the common name, in the groups that the organizations name.
pub(crate) fn certificate(der: &[u8]) -> Option<Certificate> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok())?;
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    Some(Certificate { user: groups.fold(User::named(name), User::in_group), der: der.to_vec() })
}

/// Where a request is answered that does not say who sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Wherever `system:anonymous` may do what is asked, which the authorizer says.
    #[default]
    Everywhere,
    /// For these paths only, if `system:anonymous` may read them; for all others one must say who one is.
    Paths(Vec<String>),
}

impl Anonymous {
    /// Who asks for a path without saying so.
    ///
    /// # Errors
    /// 401 where one must say who one is.
    pub(crate) fn at(&self, path: &str) -> Result<User, Status> {
        match self {
            Self::Paths(paths) if !paths.iter().any(|held| held == path) => Err(Status::unauthorized()),
            _ => Ok(User::anonymous()),
        }
    }
}

/// Who sends a request; `None` if it does not say so.
///
/// # Errors
/// 401 for credentials that are nobody's.
pub(crate) async fn authenticate(
    authenticators: &Vec<Arc<dyn Authenticator>>,
    headers: &HeaderMap,
    certificate: Option<&Certificate>,
) -> Result<Option<User>, Status> {
    let token = bearer(headers)?;
    match authenticators.authenticate(&Credentials::new(certificate, token)).await {
        Ok(None) if token.is_some() => Err(Status::unauthorized()),
        Ok(known) => Ok(known),
        // Why, is nobody's business but the log's.
        Err(status) if status.code() == 401 => Err(Status::unauthorized()),
        Err(status) => Err(status),
    }
}

/// The bearer token; other ways to say who one is are none here, as in Kubernetes.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let header = header.to_str().map_err(|_| Status::unauthorized())?;
    match header.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim()).filter(|token| !token.is_empty()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_token_is_worse_than_none() {
        let tokens = Tokens::new();
        tokens.insert("secret", User::admin());
        let tokens: Vec<Arc<dyn Authenticator>> = vec![Arc::new(tokens)];
        let with = async |value: Option<&str>| {
            let headers = value.map(|value| (AUTHORIZATION, value.parse().unwrap())).into_iter().collect();
            authenticate(&tokens, &headers, None).await.map_err(|status| status.code())
        };
        assert_eq!(with(Some("Bearer secret")).await, Ok(Some(User::admin())));
        assert_eq!(with(Some("Bearer wrong")).await, Err(401));
        for none in [Some("Basic c2VjcmV0"), Some("Bearer "), Some("Bearer"), None] {
            assert_eq!(with(none).await, Ok(None), "{none:?}");
        }
    }

    #[test]
    fn who_does_not_say_who_they_are_is_let_in_where_the_host_says() {
        let paths = Anonymous::Paths(vec!["/readyz".to_owned()]);
        let at = |anonymous: &Anonymous, path| anonymous.at(path).map_err(|status| status.code());
        assert_eq!(at(&paths, "/readyz"), Ok(User::anonymous()));
        assert_eq!(at(&paths, "/readyz/etcd"), Err(401));
        assert_eq!(at(&Anonymous::Everywhere, "/api"), Ok(User::anonymous()));
    }

    #[tokio::test]
    async fn a_certificate_says_who_it_is_whatever_the_token() {
        let tokens = Tokens::new();
        tokens.insert("secret", User::admin());
        let both: Vec<Arc<dyn Authenticator>> = vec![Arc::new(Certificates), Arc::new(tokens)];
        let node = Certificate { user: User::named("system:node:a"), der: Vec::new() };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer secret".parse().unwrap())]);
        assert_eq!(authenticate(&both, &headers, Some(&node)).await.unwrap(), Some(node.user));
        assert_eq!(authenticate(&both, &headers, None).await.unwrap(), Some(User::admin()));
    }
}
