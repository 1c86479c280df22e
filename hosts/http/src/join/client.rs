use std::fs;
use std::io;
use std::path::Path;

use http::Method;
use orchestra_core::api::Status;
use orchestra_core::proxy;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AUTHORITY_PATH, Answer, JOIN_PATH, JoinToken, Request};
use crate::pki::{Issued, PkiError, make_private_directory, write_private};
use crate::remote::{Call, Channel, ConnectError, Masters};
use crate::tls::ClientTls;

/// A certificate that ends sooner is not used any more.
const RENEW_BEFORE: Duration = Duration::days(30);

/// Why a node does not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The master's address is none.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another cluster's master answers, or somebody pretends to be it.
    #[error(
        "the server at {url} is not the master that this token is for: its authority has another fingerprint; take the \
         join line from the right master"
    )]
    Impostor {
        /// Where it answered.
        url: String,
    },
    /// The master says no, or nothing: see whether it [is transient](Status::is_transient).
    #[error("the master at {url} did not let this node join: {status}")]
    Refused {
        /// Where it is.
        url: String,
        /// What it says.
        status: Status,
    },
}

impl JoinError {
    /// Whether the master is away, and may let the node join later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_transient())
    }
}

impl From<PkiError> for JoinError {
    fn from(error: PkiError) -> Self {
        Self::Connect(error.into())
    }
}

/// What a node knows its master by, and is known by.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate of the cluster's authority, in PEM form.
    pub authority: String,
    /// The node's own.
    pub issued: Issued,
    /// That of what carries services, names and policies on the node.
    pub proxy: Issued,
}

/// Joins the cluster of these masters as the node of a name.
///
/// # Errors
/// When the master that answers is not the one that the token is for, or does not accept it, or all are away.
pub async fn join(masters: &Masters, token: &JoinToken, name: &str) -> Result<Identity, JoinError> {
    let url = || format!("{masters:?}");
    let refused = |status| JoinError::Refused { url: url(), status };
    let stranger = channel(masters, &ClientTls::credulous()?);
    let (_, _, body) = stranger.call(Call::get(AUTHORITY_PATH), "*/*").await.map_err(refused)?;
    let authority = String::from_utf8_lossy(&body).into_owned();
    if !token.knows(&authority) {
        return Err(JoinError::Impostor { url: url() });
    }
    let master = channel(masters, &ClientTls::new(&authority, None)?);
    let key = KeyPair::generate().map_err(PkiError::from)?;
    let request =
        Request { token: token.to_string(), name: name.to_owned(), public_key: key.public_key_pem() };
    let body = serde_json::to_vec(&request).map_err(|error| refused(Status::internal(error)))?;
    let call = Call {
        method: Method::POST,
        path: JOIN_PATH.to_owned(),
        content_type: "application/json",
        body: body.into(),
    };
    let (_, _, body) = master.call(call, "application/json").await.map_err(refused)?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| refused(Status::internal(error)))?;
    let with_key = |certificate| Issued { certificate, key: key.serialize_pem() };
    Ok(Identity {
        authority,
        issued: with_key(answer.certificate),
        proxy: with_key(answer.proxy_certificate),
    })
}

fn channel(masters: &Masters, tls: &ClientTls) -> Channel {
    Channel::to(masters.clone(), tls, None, None)
}

impl Identity {
    /// The identity that was kept in a directory; `None` if there is none, or it is another node's, another cluster's or
    /// about to end, so that the node must join anew. Without a token, any cluster's will do.
    pub fn load(directory: &Path, token: Option<&JoinToken>, name: &str) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(directory.join(file)).ok();
        let key = read("node.key")?;
        let issued = Issued { certificate: read("node.crt")?, key: key.clone() };
        let proxy = Issued { certificate: read("proxy.crt")?, key };
        let identity = Self { authority: read("ca.crt")?, issued, proxy };
        let known = token.is_none_or(|token| token.knows(&identity.authority));
        (known && identity.is_good(name)).then_some(identity)
    }

    fn is_good(&self, name: &str) -> bool {
        is_of(&self.issued, &format!("system:node:{name}")) && is_of(&self.proxy, proxy::USER)
    }

    /// Keeps the identity in a directory, the key readable by its owner only.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        make_private_directory(directory)?;
        write_private(&directory.join("node.key"), &self.issued.key)?;
        fs::write(directory.join("node.crt"), &self.issued.certificate)?;
        fs::write(directory.join("proxy.crt"), &self.proxy.certificate)?;
        fs::write(directory.join("ca.crt"), &self.authority)
    }
}

/// Whether a certificate is a user's, and does not end soon.
fn is_of(issued: &Issued, user: &str) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(issued.certificate.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    let mut names = certificate.subject().iter_common_name();
    let end = certificate.validity().not_after.to_datetime();
    names.any(|held| held.as_str().is_ok_and(|held| held == user))
        && end - RENEW_BEFORE > OffsetDateTime::now_utc()
}
