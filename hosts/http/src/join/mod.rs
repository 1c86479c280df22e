//! How a node joins: with one line that the master prints, and no file.
//!
//! A [`JoinToken`] holds the fingerprint of the cluster's authority and a secret. The node asks the master for the
//! authority's certificate, checks it by the fingerprint, and from then on knows the master; then it shows the secret and
//! its public key, and gets two certificates: as a node, which reads little but its own, and as what carries services
//! (`system:kube-proxy`), which reads services, nodes and policies but no Secret. Its private key never leaves it.

mod client;
mod enrol;
mod token;

pub use client::{Identity, JoinError, join};
pub use enrol::{Enrolment, EnrolmentError};
pub use token::{JoinToken, TokenError};

use serde::{Deserialize, Serialize};

/// Where the authority's certificate is.
const AUTHORITY_PATH: &str = "/orchestra/v1/ca";
/// Where nodes join.
const JOIN_PATH: &str = "/orchestra/v1/join";

/// What a node sends.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    token: String,
    name: String,
    public_key: String,
}

/// What it gets: certificates of its key.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// As the node.
    certificate: String,
    /// As what carries services on it.
    proxy_certificate: String,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Authority;

    #[test]
    fn only_the_right_token_and_a_node_name_get_a_certificate() {
        let enrolment = Enrolment::new(Arc::new(Authority::new().unwrap()), "0123456789abcdef").unwrap();
        let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
        let ask = |token: &str, name: &str, public_key: &str| {
            let request =
                Request { token: token.to_owned(), name: name.to_owned(), public_key: public_key.to_owned() };
            enrolment.admit(&serde_json::to_vec(&request).unwrap()).map(drop).map_err(|status| status.code())
        };
        let token = enrolment.token().to_string();
        assert_eq!(ask(&token, "node-1", &key), Ok(()));
        assert_eq!(ask(&token.replace("0123", "3210"), "node-1", &key), Err(401));
        assert_eq!(ask("", "node-1", &key), Err(401));
        for name in ["", "Node", "a/b", "-a", "a..b", "kubernetes,O=system:masters"] {
            assert_eq!(ask(&token, name, &key), Err(400), "{name}");
        }
        assert_eq!(ask(&token, "node-1", "no key"), Err(400));
        assert_eq!(enrolment.admit(b"{").map(drop).unwrap_err().code(), 400);
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let enrolment = Enrolment::new(Arc::new(Authority::new().unwrap()), "0123456789abcdef").unwrap();
        let token = enrolment.token();
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), *token);
        assert!(token.knows(enrolment.authority()));
        assert!(!token.knows(Authority::new().unwrap().certificate()));
        assert!(!format!("{token:?}").contains("0123456789abcdef"));
        let text = token.to_string();
        for wrong in
            ["", "orc1", &text[1..], &text[..30], &text.replace("orc1", "orc2"), &format!("{text}.x")]
        {
            assert!(wrong.parse::<JoinToken>().is_err(), "{wrong}");
        }
        assert!(Enrolment::new(Arc::new(Authority::new().unwrap()), "short").is_err());
    }
}
