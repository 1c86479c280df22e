//! Tokens of other issuers: JSON Web Tokens that are known by the keys that their issuers publish (OpenID Connect).
//!
//! | file | what |
//! | --- | --- |
//! | `file` | which issuers are believed, as a file says it |
//! | `claims` | from what a token says to a user; pure |
//! | `jwk` | keys, and what they have signed; pure |
//! | `keys` | the keys of an issuer, fetched when they are needed |

mod claims;
mod file;
mod jwk;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use orchestra_core::access::tokens::parse;
use orchestra_core::api::access::{API_AUDIENCE, Authenticator, Credentials, Known};
use orchestra_core::api::{Reason, Status, User};
use orchestra_core::clock::SharedClock;

pub use claims::Issuer;
pub use file::AuthenticationFile;
use keys::Keys;

/// Why an issuer cannot be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// What was said of it cannot be.
    #[error("{at}: {why}")]
    Invalid {
        /// Where it was said.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file cannot be read as one.
    #[error("the authentication configuration cannot be read: {0}")]
    Unreadable(String),
    /// It is not known how to reach it.
    #[error(transparent)]
    Endpoint(#[from] crate::endpoint::EndpointError),
    /// There is no certificate by which it could be known.
    #[error("{at}: this machine has no list of authorities: name one")]
    NoAuthority {
        /// Where one could be named.
        at: String,
    },
}

impl OidcError {
    fn invalid(at: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Invalid { at: at.into(), why: why.to_string() }
    }
}

/// Knows the tokens of an issuer.
#[derive(Debug)]
pub struct OidcTokens {
    issuer: Issuer,
    keys: Keys,
    clock: SharedClock,
}

impl OidcTokens {
    /// Of this issuer. Its keys are fetched when the first token comes.
    ///
    /// # Errors
    /// When it is not known how to reach it.
    pub fn new(issuer: Issuer, clock: &SharedClock) -> Result<Self, OidcError> {
        let keys = Keys::new(&issuer, clock)?;
        Ok(Self { issuer, keys, clock: clock.clone() })
    }

    async fn known(&self, token: &str) -> Result<Option<User>, Status> {
        let Ok(parsed) = parse(token) else { return Ok(None) };
        if parsed.claims["iss"].as_str() != Some(self.issuer.url.as_str()) {
            return Ok(None);
        }
        let (key, message) = (parsed.key_id.as_deref(), parsed.message.as_bytes());
        if !self.keys.have_signed(&parsed.algorithm, key, message, &parsed.signature).await? {
            return Err(refused("the signature of the token is not by a key of its issuer"));
        }
        self.issuer.user(&parsed.claims, self.clock.now().as_second()).map(Some).map_err(refused)
    }
}

fn refused(why: impl Into<String>) -> Status {
    Status::new(Reason::Unauthorized, format!("oidc: {}", why.into()))
}

#[async_trait]
impl Authenticator for OidcTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        match credentials.token {
            Some(token) => self.known(token).await,
            None => Ok(None),
        }
    }

    /// What such a token is for is its issuer's matter: it is believed for the API alone.
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        if !audiences.is_empty() && !audiences.iter().any(|audience| audience == API_AUDIENCE) {
            return Ok(None);
        }
        let user = self.known(token).await?;
        Ok(user.map(|user| Known { user, audiences: vec![API_AUDIENCE.to_owned()] }))
    }
}
