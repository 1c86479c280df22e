//! Calls of webhooks over HTTPS: the [`Caller`] of the core.
//!
//! One pool of connections is kept for each place that is called with each set of certificates, so that connections are
//! used again, and never for a webhook that trusts others or is elsewhere by now. A pool that is not used ends its
//! connections by itself; of pools, only so many are kept.

mod connect;
pub(crate) mod trust;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use orchestra_core::webhook::{Call, CallError, Caller, Connect, Credentials};

use connect::Connector;

/// How many pools are kept.
const POOLS: usize = 128;
/// How long a connection is kept that is not used, and how many of them a pool keeps.
const IDLE: (Duration, usize) = (Duration::from_secs(30), 16);
/// How much is read of an answer that is none.
const MAX_ERROR: usize = 1024;

type Pool = Client<Connector, Full<Bytes>>;

/// Calls webhooks over HTTPS. Cheap to clone; clones share connections.
#[derive(Clone, Default)]
pub struct WebhookCaller {
    pools: Arc<Mutex<Pools>>,
}

impl fmt::Debug for WebhookCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookCaller").finish_non_exhaustive()
    }
}

/// What two calls must have in common to share connections, beside the host.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    connect: Connect,
    trust: Option<Bytes>,
    certificate: Option<(Bytes, Bytes)>,
}

#[derive(Default)]
struct Pools {
    by_key: HashMap<Key, (Pool, u64)>,
    /// Counts uses, so that what was used longest ago goes first.
    uses: u64,
}

impl Pools {
    fn get(&mut self, key: Key) -> Result<Pool, CallError> {
        self.uses += 1;
        if let Some((pool, used)) = self.by_key.get_mut(&key) {
            *used = self.uses;
            return Ok(pool.clone());
        }
        let tls = trust::client(key.trust.as_ref(), key.certificate.as_ref())?;
        let pool = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE.0)
            .pool_max_idle_per_host(IDLE.1)
            .build(Connector::new(tls, key.connect.clone()));
        if self.by_key.len() >= POOLS
            && let Some(oldest) =
                self.by_key.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone())
        {
            self.by_key.remove(&oldest);
        }
        self.by_key.insert(key, (pool.clone(), self.uses));
        Ok(pool)
    }
}

impl WebhookCaller {
    /// One without connections.
    pub fn new() -> Self {
        Self::default()
    }

    fn pool(&self, call: &Call) -> Result<Pool, CallError> {
        let key = Key {
            connect: call.connect.clone(),
            trust: call.trust.clone(),
            certificate: call.credentials.certificate.clone(),
        };
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    async fn exchange(&self, call: &Call) -> Result<Bytes, CallError> {
        let request = request(call)?;
        let response = self.pool(call)?.request(request).await.map_err(|error| failure(&error))?;
        let (head, body) = response.into_parts();
        let most = if head.status == StatusCode::OK { call.max_answer } else { MAX_ERROR };
        let body = read(body, most, head.status).await?;
        if head.status == StatusCode::OK {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        Err(CallError::Status { code: head.status.as_u16(), text })
    }
}

#[async_trait]
impl Caller for WebhookCaller {
    async fn call(&self, call: &Call) -> Result<Bytes, CallError> {
        match tokio::time::timeout(call.timeout, self.exchange(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout),
        }
    }
}

/// Reads a body up to a bound. Of one that only explains a failure, what is beyond the bound is of no interest.
async fn read(body: hyper::body::Incoming, most: usize, status: StatusCode) -> Result<Bytes, CallError> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() && status == StatusCode::OK => {
            Err(CallError::TooLarge(most))
        }
        Err(error) if error.is::<LengthLimitError>() => Ok(Bytes::new()),
        Err(error) => Err(failure(&*error)),
    }
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>, CallError> {
    let wrong = |error: &dyn fmt::Display| CallError::Config(format!("{}: {error}", call.url));
    let uri: Uri = call.url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error))?;
    if uri.scheme_str() != Some("https") || uri.host().is_none() {
        return Err(wrong(&"it is not an address as https://host:port/path"));
    }
    let mut request = Request::post(uri).body(Full::new(call.body.clone())).map_err(|error| wrong(&error))?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("orchestra/", env!("CARGO_PKG_VERSION"))));
    headers.extend(authorization(&call.credentials)?.map(|value| (AUTHORIZATION, value)));
    Ok(request)
}

fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>, CallError> {
    let Some(token) = &credentials.token else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| CallError::Config("the token has letters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What a failure comes from: the certificate, or anything else about the connection.
fn failure(error: &(dyn StdError + 'static)) -> CallError {
    let mut cause = error;
    loop {
        if let Some(rustls::Error::InvalidCertificate(why)) = cause.downcast_ref::<rustls::Error>() {
            return CallError::Certificate(why.to_string());
        }
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let next = match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
        match next {
            Some(next) => cause = next,
            None => return CallError::Connection(cause.to_string()),
        }
    }
}
