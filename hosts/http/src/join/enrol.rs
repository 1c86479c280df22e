use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
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

/// Why nodes cannot be let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The secret is none, or none can be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The secret cannot be kept.
    #[error("the join secret cannot be kept in {path}")]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        source: io::Error,
    },
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

    /// The same with the secret that is kept in a directory beside the authority, made at random if there is none.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub fn open(authority: Arc<Authority>, directory: &Path) -> Result<Self, EnrolmentError> {
        let path = directory.join("join-secret");
        let random = JoinToken::random_secret()?;
        let secret =
            kept_secret(directory, &path, &random).map_err(|source| EnrolmentError::File { path, source })?;
        Ok(Self::new(authority, &secret)?)
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
        let unfit = |error| Status::bad_request(format!("no certificate can be made for this key: {error}"));
        Ok(Answer {
            certificate: self.authority.issue_node(&request.name, &request.public_key).map_err(unfit)?,
            proxy_certificate: self.authority.issue_proxy(&request.public_key).map_err(unfit)?,
        })
    }
}

fn kept_secret(directory: &Path, path: &Path, random: &str) -> io::Result<String> {
    // Another master of the same directory may be about to make it too.
    let lock = fs::File::open(directory)?;
    lock.lock()?;
    match fs::read_to_string(path) {
        Ok(secret) => return Ok(secret.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(random.as_bytes())?;
    fs::rename(&draft, path)?;
    Ok(random.to_owned())
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
