use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::MAX_ANSWER;

/// What sends calls: a host's HTTP client.
///
/// It sends a `POST` with the body as `application/json` to [`Call::url`], over HTTP/1.1 or 2 and TLS; connects as
/// [`Call::connect`] says; believes a server whose certificate is of [`Call::trust`] and for the host of the URL; follows
/// no redirect; and reads no more than [`Call::max_answer`] bytes. The call ends when its future is dropped.
#[async_trait]
pub trait Caller: Send + Sync + fmt::Debug + 'static {
    /// Sends a call, and answers the body of a response with the status 200.
    ///
    /// # Errors
    /// Why there is none.
    async fn call(&self, call: &Call) -> Result<Bytes, CallError>;
}

#[async_trait]
impl<C: Caller + ?Sized> Caller for Arc<C> {
    async fn call(&self, call: &Call) -> Result<Bytes, CallError> {
        (**self).call(call).await
    }
}

/// What to send, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// Where to, as `https://hooks.default.svc:443/check?timeout=10s`. Its host is the name of the server's certificate.
    pub url: String,
    /// What to connect to.
    pub connect: Connect,
    /// The certificates in PEM form of the authorities to believe; `None` for those that the machine believes.
    pub trust: Option<Bytes>,
    /// What this side shows of itself.
    pub credentials: Credentials,
    /// What to send.
    pub body: Bytes,
    /// How long it may take, from looking up the host to the end of the answer.
    pub timeout: Duration,
    /// The most bytes that the answer may have.
    pub max_answer: usize,
}

impl Call {
    /// A call of a URL, with an empty body.
    pub fn new(url: impl Into<String>, timeout: Duration) -> Self {
        Self {
            url: url.into(),
            connect: Connect::Url,
            trust: None,
            credentials: Credentials::default(),
            body: Bytes::new(),
            timeout,
            max_answer: MAX_ANSWER,
        }
    }

    /// Connects to another place than the URL says. The certificate must still be for the URL's host.
    #[must_use]
    pub fn connect(mut self, connect: Connect) -> Self {
        self.connect = connect;
        self
    }

    /// Believes these authorities only, in PEM form.
    #[must_use]
    pub fn trust(mut self, authorities: impl Into<Bytes>) -> Self {
        self.trust = Some(authorities.into());
        self
    }

    /// Shows these credentials.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sends this.
    #[must_use]
    pub fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// What to connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Connect {
    /// The host and port of the URL.
    #[default]
    Url,
    /// The first of these addresses that can be connected to.
    Addresses(Vec<SocketAddr>),
    /// Another host and port, to be looked up.
    Host(String, u16),
}

/// What a caller shows of itself.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// A certificate with its key, both in PEM form.
    pub certificate: Option<(Bytes, Bytes)>,
    /// A bearer token.
    pub token: Option<String>,
}

impl Credentials {
    /// A certificate with its key, both in PEM form.
    #[must_use]
    pub fn certificate(mut self, chain: impl Into<Bytes>, key: impl Into<Bytes>) -> Self {
        self.certificate = Some((chain.into(), key.into()));
        self
    }

    /// A bearer token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}

/// Says which there are, and nothing of what is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate.is_some())
            .field("token", &self.token.is_some())
            .finish()
    }
}

/// Why a webhook gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The embedder gave the cluster nothing that calls webhooks.
    #[error("this cluster cannot call webhooks: it was started without a webhook caller")]
    NoCaller,
    /// The configuration names no place that can be called.
    #[error("{0}")]
    Config(String),
    /// There is no such service, or none of its addresses serves the port.
    #[error("{0}")]
    NoService(String),
    /// It took too long.
    #[error("context deadline exceeded")]
    Timeout,
    /// It could not be connected to, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// Its certificate is not believed.
    #[error("tls: failed to verify certificate: {0}")]
    Certificate(String),
    /// It answered something other than 200, with the beginning of what it said.
    #[error("the server responded with the status code {code}: {text}")]
    Status {
        /// The status.
        code: u16,
        /// What it said.
        text: String,
    },
    /// Its answer is larger than it may be.
    #[error("the response is larger than the limit of {0} bytes")]
    TooLarge(usize),
    /// One of these, of a call of a URL.
    #[error("Post \"{url}\": {error}")]
    At {
        /// The URL.
        url: String,
        /// What happened.
        error: Box<Self>,
    },
}

impl CallError {
    /// Says what was called, where Kubernetes does.
    pub(super) fn at(self, url: &str) -> Self {
        match self {
            Self::NoService(_) | Self::Timeout | Self::Connection(_) | Self::Certificate(_) => {
                Self::At { url: url.to_owned(), error: Box::new(self) }
            }
            error => error,
        }
    }

    /// What happened, whatever was called.
    pub fn cause(&self) -> &Self {
        match self {
            Self::At { error, .. } => error.cause(),
            error => error,
        }
    }
}
