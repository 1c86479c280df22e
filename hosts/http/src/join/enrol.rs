use std::fmt;
use std::sync::Arc;

use http::{Method, Response};
use orchestra_core::api::{Reason, Status};

use super::token::{JoinToken, TokenError};
use super::{AUTHORITY_PATH, Answer, JOIN_PATH, Request};
use crate::pki::Authority;
use crate::reply::{self, Body};

/// The master's side of joining: it gives certificates to nodes that show the token.
pub struct Enrolment {
    authority: Arc<Authority>,
    token: JoinToken,
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment").field("token", &self.token).finish_non_exhaustive()
    }
}

impl Enrolment {
    /// Nodes join the cluster of this authority with this secret.
    ///
    /// # Errors
    /// When the secret is too short, or has other letters than ASCII ones and digits.
    pub fn new(authority: Arc<Authority>, secret: &str) -> Result<Self, TokenError> {
        let token = JoinToken::new(authority.certificate(), secret)?;
        Ok(Self { authority, token })
    }

    /// What a node must show.
    pub fn token(&self) -> &JoinToken {
        &self.token
    }

    /// The certificate of the cluster's authority.
    pub(crate) fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// Whether a path is one of those that nodes join by.
    pub(crate) fn is_asked(path: &str) -> bool {
        matches!(path, AUTHORITY_PATH | JOIN_PATH)
    }

    /// Answers a request of a node that is not known yet.
    pub(crate) fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Result<Response<Body>, Status> {
        match (method, path) {
            (&Method::GET, AUTHORITY_PATH) => Ok(reply::text(200, self.authority())),
            (&Method::POST, JOIN_PATH) => {
                let answer = serde_json::to_vec(&self.admit(body)?).map_err(Status::internal)?;
                Ok(reply::bytes(201, reply::JSON, answer))
            }
            _ => Err(Status::new(Reason::MethodNotAllowed, "nodes join by POST")),
        }
    }

    pub(super) fn admit(&self, body: &[u8]) -> Result<Answer, Status> {
        let request: Request = serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("this is no request to join: {error}")))?;
        if !self.token.is(&request.token) {
            let message = "the join token is not the one of this cluster; its master prints the right one when it starts";
            return Err(Status::new(Reason::Unauthorized, message));
        }
        if !is_node_name(&request.name) {
            return Err(Status::bad_request(format!(
                "{:?} cannot be the name of a node: it must be lower case letters, digits, '-' and '.', and begin and \
                 end with a letter or digit",
                request.name
            )));
        }
        let issued = self.authority.issue_node(&request.name, &request.public_key);
        let certificate = issued.map_err(|error| {
            Status::bad_request(format!("no certificate can be made for this key: {error}"))
        })?;
        Ok(Answer { certificate })
    }
}

/// Whether a name is a DNS subdomain, as names of nodes are. It becomes part of a user's name.
fn is_node_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().zip(bytes.last());
        ends.is_some_and(|(first, last)| inner(*first) && inner(*last))
            && bytes.len() <= 63
            && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
    };
    name.len() <= 200 && name.split('.').all(label)
}
