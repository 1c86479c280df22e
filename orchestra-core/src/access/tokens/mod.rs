//! Tokens of service accounts: JSON Web Tokens that a cluster signs, and knows again.
//!
//! What a token says, when it is made and when it still counts is decided here. Signing and verifying is behind the port
//! [`SigningKeys`], so that the keys stay where the embedder keeps them. A token may be bound to a Pod, a Secret or a
//! Node, and ends with it; every token ends with its service account.

mod authenticator;
mod claims;
mod jwt;
mod request;
#[cfg(test)]
mod tests;

pub use authenticator::ServiceAccountTokens;
pub use claims::{Bound, SECRET_ISSUER};
pub use jwt::{Malformed, Parsed, parse};
pub use request::TokenRequests;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::api::Status;

/// The keys by which tokens are signed and known again. One signs; all verify, so that a key can be replaced while tokens
/// of the old one still count.
pub trait SigningKeys: Send + Sync + fmt::Debug + 'static {
    /// The algorithm of the key that signs, as tokens name it, such as `ES256`.
    fn algorithm(&self) -> &str;

    /// The name of the key that signs.
    fn key_id(&self) -> &str;

    /// Signs.
    ///
    /// # Errors
    /// When the key cannot.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Status>;

    /// Whether a message was signed by one of the keys: by the one of that name, if one is given.
    fn verify(&self, algorithm: &str, key_id: Option<&str>, message: &[u8], signature: &[u8]) -> bool;

    /// The public parts of all keys, as a JSON Web Key Set.
    fn public(&self) -> Value;
}

impl<K: SigningKeys + ?Sized> SigningKeys for Arc<K> {
    fn algorithm(&self) -> &str {
        (**self).algorithm()
    }

    fn key_id(&self) -> &str {
        (**self).key_id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        (**self).sign(message)
    }

    fn verify(&self, algorithm: &str, key_id: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        (**self).verify(algorithm, key_id, message, signature)
    }

    fn public(&self) -> Value {
        (**self).public()
    }
}

/// The token of an account that stands in a Secret.
pub(crate) fn for_secret(
    keys: &dyn SigningKeys,
    namespace: &str,
    secret: &str,
    account: &Bound,
) -> Result<String, Status> {
    sign(keys, &claims::of_secret(namespace, secret, account))
}

/// A token that says this.
fn sign(keys: &dyn SigningKeys, claims: &Value) -> Result<String, Status> {
    let header = json!({"alg": keys.algorithm(), "kid": keys.key_id()});
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(claims));
    let signature = keys.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// A key that anybody has, for tests of what is around it.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Unsigned;

#[cfg(test)]
impl SigningKeys for Unsigned {
    fn algorithm(&self) -> &str {
        "test"
    }

    fn key_id(&self) -> &str {
        "k"
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        Ok(message.iter().rev().copied().collect())
    }

    fn verify(&self, algorithm: &str, _: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        algorithm == "test" && message.iter().rev().eq(signature)
    }

    fn public(&self) -> Value {
        json!({"keys": []})
    }
}
