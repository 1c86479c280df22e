//! Who asks: what a request shows, and the authenticators of client certificates and fixed tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use orchestra_core::api::access::{Authenticator, Certificate, Credentials};
use orchestra_core::api::{Reason, Status, User};
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

/// Who sends a request; anonymous, if it shows nothing.
///
/// # Errors
/// 401 for credentials that are nobody's.
pub(crate) async fn authenticate(
    authenticator: &dyn Authenticator,
    headers: &HeaderMap,
    certificate: Option<&Certificate>,
) -> Result<User, Status> {
    let token = bearer(headers)?;
    match authenticator.authenticate(&Credentials::new(certificate, token)).await? {
        Some(user) => Ok(user),
        None if token.is_some() => Err(Status::unauthorized()),
        None => Ok(User::anonymous()),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let header = header.to_str().map_err(|_| Status::unauthorized())?;
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Status::unauthorized()),
    }
}

/// Refuses a request to be taken for another user's: done in the name of the one who sends it, it would do what that
/// other may not.
///
/// # Errors
/// 403 when a header asks for it.
pub(crate) fn refuse_impersonation(headers: &HeaderMap, user: &User) -> Result<(), Status> {
    let Some(name) = headers.keys().find(|name| name.as_str().starts_with("impersonate-")) else {
        return Ok(());
    };
    let message = format!(
        "User \"{}\" cannot impersonate: this server does not support impersonation; send the request without the \
         header {name}",
        user.name
    );
    Err(Status::new(Reason::Forbidden, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_token_is_worse_than_none() {
        let tokens = Tokens::new();
        tokens.insert("secret", User::admin());
        let with = async |value: Option<&str>| {
            let headers = value.map(|value| (AUTHORIZATION, value.parse().unwrap())).into_iter().collect();
            authenticate(&tokens, &headers, None).await
        };
        assert_eq!(with(Some("Bearer secret")).await.unwrap(), User::admin());
        assert_eq!(with(Some("Bearer wrong")).await.unwrap_err().code(), 401);
        assert_eq!(with(Some("Basic c2VjcmV0")).await.unwrap_err().code(), 401);
        assert_eq!(with(None).await.unwrap(), User::anonymous());
    }

    #[tokio::test]
    async fn a_certificate_says_who_it_is_whatever_the_token() {
        let tokens = Tokens::new();
        tokens.insert("secret", User::admin());
        let both: Vec<Arc<dyn Authenticator>> = vec![Arc::new(Certificates), Arc::new(tokens)];
        let node = Certificate { user: User::named("system:node:a"), der: Vec::new() };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer secret".parse().unwrap())]);
        assert_eq!(authenticate(&both, &headers, Some(&node)).await.unwrap().name, "system:node:a");
        assert_eq!(authenticate(&both, &headers, None).await.unwrap(), User::admin());
    }
}
