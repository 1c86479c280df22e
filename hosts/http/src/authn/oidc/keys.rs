//! The keys of an issuer, fetched over HTTPS when they are needed.

use std::fmt;
use std::fs;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use orchestra_core::api::{Reason, Status};
use orchestra_core::clock::SharedClock;
use serde_json::Value;
use tokio::sync::Mutex;

use super::OidcError;
use super::claims::Issuer;
use super::jwk::{self, Jwk};
use crate::endpoint::Endpoint;
use crate::kubeconfig::Place;

/// How long keys are not fetched again, whatever strangers send.
const PAUSE: Duration = Duration::from_secs(10);
/// How long an issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where machines have the authorities that they believe.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// See the [module](self).
pub(super) struct Keys {
    authority: String,
    url: String,
    discovery: Endpoint,
    clock: SharedClock,
    held: RwLock<Arc<Vec<Jwk>>>,
    /// When they were last fetched, or it was tried. One fetches at a time.
    fetched: Mutex<Option<Duration>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(issuer: &Issuer, clock: &SharedClock) -> Result<Self, OidcError> {
        let at = || format!("issuer {:?}", issuer.url);
        let authority = match &issuer.authority {
            Some(authority) => authority.clone(),
            None => system().ok_or_else(|| OidcError::NoAuthority { at: at() })?,
        };
        let discovery = match &issuer.discovery_url {
            Some(url) => url.clone(),
            None => format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')),
        };
        Ok(Self {
            discovery: endpoint(&discovery, &authority)?,
            authority,
            url: issuer.url.clone(),
            clock: clock.clone(),
            held: RwLock::default(),
            fetched: Mutex::default(),
        })
    }

    fn held(&self) -> Arc<Vec<Jwk>> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether one of the keys has signed a message. If none of those that are known has, they are fetched again: the
    /// issuer may have a new one.
    pub(super) async fn have_signed(
        &self,
        algorithm: &str,
        id: Option<&str>,
        message: &[u8],
        signed: &[u8],
    ) -> Result<bool, Status> {
        let have = |keys: &[Jwk]| jwk::have_signed(keys, algorithm, id, message, signed);
        let held = self.held();
        if have(&held) {
            return Ok(true);
        }
        let mut fetched = self.fetched.lock().await;
        let now = self.clock.elapsed();
        let latest = self.held();
        if !Arc::ptr_eq(&held, &latest) {
            // Another has fetched them meanwhile.
            return Ok(have(&latest));
        }
        if fetched.is_some_and(|last| now.saturating_sub(last) < PAUSE) {
            return Ok(false);
        }
        *fetched = Some(now);
        let keys = Arc::new(self.fetch().await?);
        let have = have(&keys);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(have)
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, Status> {
        let failed =
            |why: String| Status::new(Reason::InternalError, format!("oidc: issuer {:?}: {why}", self.url));
        let document = read(&self.discovery).await?;
        if document["issuer"].as_str() != Some(self.url.as_str()) {
            return Err(failed(format!("it says that it is {}", document["issuer"])));
        }
        let url = document["jwks_uri"].as_str().ok_or_else(|| failed("it has no jwks_uri".to_owned()))?;
        let keys = endpoint(url, &self.authority).map_err(|error| failed(error.to_string()))?;
        Ok(jwk::read(&read(&keys).await?))
    }
}

fn endpoint(url: &str, authority: &str) -> Result<Endpoint, OidcError> {
    let place = Place { url: url.to_owned(), authority: Some(authority.to_owned()), ..Place::default() };
    Ok(Endpoint::at(&place)?.patience(PATIENCE))
}

async fn read(endpoint: &Endpoint) -> Result<Value, Status> {
    serde_json::from_slice(&endpoint.get().await?).map_err(|error| {
        Status::new(Reason::InternalError, format!("oidc: what {endpoint:?} answers is no JSON: {error}"))
    })
}

/// The authorities that this machine believes, in PEM form.
fn system() -> Option<String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let all = named.into_iter().chain(SYSTEM.map(std::path::PathBuf::from));
    all.into_iter().find_map(|path| fs::read_to_string(path).ok())
}
