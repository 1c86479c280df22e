//! Who asks: from a client certificate or a bearer token to a user.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
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

/// The user of a verified client certificate: its common name, in the groups that its organizations name.
pub(crate) fn certified(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok())?;
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    Some(groups.fold(User::named(name), User::in_group))
}

/// Who sends a request: the bearer of its token, else the owner of the connection's certificate, else nobody known.
///
/// # Errors
/// 401 for a token that is nobody's.
pub(crate) fn authenticate(
    headers: &HeaderMap,
    certificate: Option<&User>,
    tokens: &Tokens,
) -> Result<User, Status> {
    let unauthorized = || Status::new(Reason::Unauthorized, "Unauthorized");
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(certificate.cloned().unwrap_or_else(User::anonymous));
    };
    let header = header.to_str().map_err(|_| unauthorized())?;
    let (scheme, token) = header.split_once(' ').ok_or_else(unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthorized());
    }
    tokens.find(token.trim()).ok_or_else(unauthorized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_token_is_worse_than_none() {
        let tokens = Tokens::new();
        tokens.insert("secret", User::admin());
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            authenticate(&headers, None, &tokens)
        };
        assert_eq!(with("Bearer secret").unwrap(), User::admin());
        assert_eq!(with("Bearer wrong").unwrap_err().code(), 401);
        assert_eq!(with("Basic c2VjcmV0").unwrap_err().code(), 401);
        assert_eq!(authenticate(&HeaderMap::new(), None, &tokens).unwrap(), User::anonymous());
    }
}
