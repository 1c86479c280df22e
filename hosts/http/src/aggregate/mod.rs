//! APIs that others serve: groups and versions for which an APIService names a service of the cluster.
//!
//! A request for one is passed on as whoever sent it, whom the headers `X-Remote-…` name; the certificate of this server
//! says that they may be believed. Whether the service answers is found out again and again, and is the condition
//! `Available` of its APIService; what it serves is shown among what this server serves.
//!
//! | file | what |
//! | --- | --- |
//! | `apis` | what APIServices say |
//! | `available` | whether they answer; pure but for its loop |
//! | `connect` | a connection to a service |
//! | `forward` | a request, passed on |
//! | `merge` | one discovery out of several; pure |

mod apis;
mod available;
mod connect;
mod forward;
mod merge;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use orchestra_core::api::{Server, Service as _};
use orchestra_core::webhook::Services;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use apis::Api;
pub(crate) use forward::{OF_CONNECTION, Passing, passed};

use crate::pki::Issued;
use crate::tls::ClientTls;

/// By what the servers of others know this one.
#[derive(Clone, Debug)]
pub struct Aggregation {
    /// The certificate that this server shows.
    pub identity: Issued,
    /// The certificate of the authority that it comes from, in PEM form.
    pub authority: String,
    /// The certificate of the authority of this server's clients, in PEM form.
    pub clients: String,
}

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub(crate) struct Aggregator(Arc<Shared>);

struct Shared {
    server: Arc<Server>,
    services: Services,
    identity: Issued,
    /// What each API said of itself last, by the name of its APIService.
    documents: Mutex<HashMap<String, Arc<Value>>>,
    /// How services are known, by what is said of their authorities.
    trusted: Mutex<HashMap<(Bytes, bool), ClientTls>>,
    _stop: DropGuard,
}

impl fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregator").finish_non_exhaustive()
    }
}

impl Aggregator {
    /// Begins to look after the APIs that others serve. Must be called within a tokio runtime.
    pub(crate) fn start(server: &Arc<Server>, aggregation: Aggregation) -> Self {
        let stop = CancellationToken::new();
        let aggregator = Self(Arc::new(Shared {
            server: Arc::clone(server),
            services: Services::new(server.caches()),
            identity: aggregation.identity.clone(),
            documents: Mutex::default(),
            trusted: Mutex::default(),
            _stop: stop.clone().drop_guard(),
        }));
        let looking = available::run(Arc::downgrade(&aggregator.0), Arc::clone(server.clock()), aggregation);
        tokio::spawn(stop.run_until_cancelled_owned(looking));
        aggregator
    }

    /// The API of a group and version, if another serves it.
    pub(crate) fn find(&self, group: &str, version: &str) -> Option<Api> {
        apis::find(self.0.server.caches(), group, version)
    }

    /// `/apis` with the groups of others.
    pub(crate) fn groups(&self, own: Value) -> Value {
        merge::groups(own, &apis::all(self.0.server.caches()))
    }

    /// `/apis/GROUP` of a group that others serve.
    pub(crate) fn group(&self, own: Option<Value>, group: &str) -> Option<Value> {
        merge::group(own, group, &apis::all(self.0.server.caches()))
    }

    /// The aggregated `/apis` with what others serve.
    pub(crate) fn aggregated(&self, own: Value) -> Value {
        let documents = self.0.documents.lock().unwrap_or_else(PoisonError::into_inner);
        merge::aggregated(own, &apis::all(self.0.server.caches()), &documents)
    }

    /// The index of OpenAPI documents with those of others.
    /// `None` if there are none.
    pub(crate) fn openapi_index(&self, own: &[u8]) -> Option<Vec<u8>> {
        let apis = apis::all(self.0.server.caches());
        let own = serde_json::from_slice(own).ok().filter(|_| !apis.is_empty())?;
        serde_json::to_vec(&merge::openapi_index(own, &apis)).ok()
    }
}
