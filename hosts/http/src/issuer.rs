//! The documents by which others know the tokens that this cluster issues, as OpenID Connect has them.

use std::fmt;

use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};
use orchestra_core::access::tokens::SigningKeys;
use orchestra_core::api::access::API_AUDIENCE;
use serde_json::json;

use crate::reply::{self, Body, JSON};

/// Who issues tokens, and by which keys they are known.
pub(crate) struct Issuer {
    configuration: String,
    keys: Box<dyn SigningKeys>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.keys).finish()
    }
}

impl Issuer {
    pub(crate) fn new(keys: impl SigningKeys, url: String) -> Self {
        let configuration = json!({
            "issuer": API_AUDIENCE,
            "jwks_uri": format!("{url}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [keys.algorithm()],
        });
        Self { configuration: configuration.to_string(), keys: Box::new(keys) }
    }

    /// Who issues, and where the keys are.
    pub(crate) fn configuration(&self) -> Response<Body> {
        public(JSON, self.configuration.clone())
    }

    /// The keys.
    pub(crate) fn keys(&self) -> Response<Body> {
        public("application/jwk-set+json", self.keys.public().to_string())
    }
}

/// A document that anybody may keep for an hour.
fn public(content_type: &str, text: String) -> Response<Body> {
    let mut response = reply::bytes(200, content_type, text);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
