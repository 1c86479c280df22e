//! The documents by which others know the tokens that this cluster issues, as OpenID Connect has them.

use std::fmt;
use std::net::SocketAddr;

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

/// Where those who check tokens find the keys of a server that listens on an address. Nobody else reaches the loopback of
/// this machine: pods reach the server there by the name of its service, which is that of the issuer.
pub fn issuer_url(listens: SocketAddr) -> String {
    if listens.ip().is_loopback() { API_AUDIENCE.to_owned() } else { format!("https://{listens}") }
}

/// A document that anybody may keep for an hour.
fn public(content_type: &str, text: String) -> Response<Body> {
    let mut response = reply::bytes(200, content_type, text);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

#[cfg(test)]
mod tests {
    use super::issuer_url;

    #[test]
    fn keys_are_where_pods_find_them() {
        for (listens, url) in [
            ("10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("[fd00::1]:6443", "https://[fd00::1]:6443"),
            ("127.0.0.1:6443", "https://kubernetes.default.svc.cluster.local"),
            ("[::1]:6443", "https://kubernetes.default.svc.cluster.local"),
        ] {
            assert_eq!(issuer_url(listens.parse().unwrap()), url);
        }
    }
}
