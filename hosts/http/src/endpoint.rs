//! Servers that this one asks or tells: where they are, as a file in the form of a kubeconfig says it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use orchestra_core::api::{Reason, Status};

use crate::body::Bounds;
use crate::kubeconfig::{Kubeconfig, KubeconfigError, Place};
use crate::pki::PkiError;
use crate::remote::{AddressError, Bearer, BearerError, Call, Channel};
use crate::tls::ClientTls;

const JSON: &str = "application/json";
/// How large an answer may be. Reviews are small.
const LARGEST: usize = 1024 * 1024;
/// How long an answer may take unless it is said otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why it is not known how to reach a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The file does not say it.
    #[error(transparent)]
    File(#[from] KubeconfigError),
    /// The URL is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The certificates are none.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] BearerError),
}

/// A server that is asked by POST, over HTTPS. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Endpoint {
    channel: Channel,
    path: String,
    bounds: Bounds,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.channel, self.path)
    }
}

impl Endpoint {
    /// The server that a file names, in the form of a kubeconfig.
    ///
    /// # Errors
    /// When the file does not say where it is, or by which authority it is known.
    pub fn read(path: &Path) -> Result<Self, EndpointError> {
        Self::at(&Kubeconfig::place(path)?)
    }

    pub(crate) fn at(place: &Place) -> Result<Self, EndpointError> {
        let tls = match &place.authority {
            Some(authority) => ClientTls::new(authority, place.identity.as_ref())?,
            None => ClientTls::credulous()?,
        };
        let bearer = place.token.as_ref().map(Bearer::of).transpose()?.flatten();
        let channel = Channel::new(&place.url, &tls, None, bearer)?;
        let path = place.url.parse::<http::Uri>().ok();
        let path = path.as_ref().and_then(http::Uri::path_and_query).map_or("/", |path| path.as_str());
        Ok(Self { channel, path: path.to_owned(), bounds: Bounds { bytes: LARGEST, time: PATIENCE } })
    }

    /// How long it may take to answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.bounds.time = patience;
        self
    }

    /// Sends JSON, and returns what is answered.
    ///
    /// # Errors
    /// When it cannot be reached, does not answer in time, answers too much or that it failed.
    pub async fn post(&self, body: impl Into<Bytes>) -> Result<Bytes, Status> {
        let call =
            Call { method: Method::POST, path: self.path.clone(), content_type: JSON, body: body.into() };
        self.send(call).await
    }

    /// Reads it.
    ///
    /// # Errors
    /// As [`Endpoint::post`].
    pub(crate) async fn get(&self) -> Result<Bytes, Status> {
        self.send(Call::get(self.path.clone())).await
    }

    async fn send(&self, call: Call) -> Result<Bytes, Status> {
        let (code, answer) = self.channel.exchange(call, JSON, self.bounds).await?;
        match code.is_success() {
            true => Ok(answer),
            false => Err(Status::new(
                Reason::InternalError,
                format!("the server at {self:?} answered with {}", code.as_u16()),
            )),
        }
    }
}
