//! A master elsewhere, made to look like one here.
//!
//! ```text
//! Operation ─► request ─► channel ══ HTTPS ══► answer ─► Reply
//!                                            └ events ─► WatchStream ─► reflector ─► Cache
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `request`, `answer` | to HTTP and back; pure |
//! | `connect` | connections to what runs behind objects |
//! | `session`, `forward` | commands and ports, on connections that have stopped being HTTP's |
//! | `upgrade` | connections that stop being HTTP's |
//! | `channel` | connections, and what becomes of it when they fail |
//! | `bearer` | the token that requests carry |
//! | `config` | where a master is, and who asks |
//! | `masters` | where the masters are, and which of them is spoken to |
//! | `events` | the lines of a watch |
//! | `reflector` | the caches |

mod answer;
mod bearer;
mod channel;
mod config;
mod connect;
mod events;
pub(crate) mod forward;
mod masters;
mod reflector;
mod request;
pub(crate) mod session;
mod upgrade;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use orchestra_core::api::{
    Client, Connect, Connection as Reached, Kind, Kinds, Operation, Resource, Response, Service, Status,
    Target, User, WatchOptions, WatchStream,
};
use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::meta::{GroupResource, Scope};
use orchestra_core::objects;
use orchestra_core::store::backup::{self, BackupError, Summary};
use orchestra_core::watch::{Cache, IndexedFields};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::reply::{self, Body};
use crate::streams::upgrade::Raw;
use crate::tls::ClientTls;
use answer::Reader;
pub(crate) use answer::failure;
pub(crate) use bearer::Bearer;
pub use bearer::BearerError;
pub(crate) use channel::Channel;
pub use config::{ConnectError, Credential, RemoteConfig};
pub use masters::{AddressError, Masters};
use reflector::Reflector;
pub(crate) use request::{Call, escape};

/// Where a master gives a backup.
const BACKUP: &str = "/orchestra/v1/backup";
const JSON: &str = "application/json";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A [`Service`] that is a master elsewhere, over HTTPS.
///
/// Who calls is whoever the credential belongs to; the user that a call names is not sent. Caches are shared: there is
/// one list and one watch of a kind, however many ask for it, until the `Remote` is dropped.
///
/// ```no_run
/// # fn example(kubeconfig: orchestra_http::RemoteConfig) -> Result<(), orchestra_http::ConnectError> {
/// use orchestra_http::{Remote, RemoteConfig};
///
/// let client = Remote::connect(kubeconfig)?.client();
/// // In a pod of the cluster:
/// let client = Remote::connect(RemoteConfig::in_cluster()?)?.client();
/// # Ok(()) }
/// ```
pub struct Remote {
    connection: Connection,
    clock: SharedClock,
    caches: Mutex<HashMap<GroupResource, Arc<OnceCell<Cache>>>>,
    stop: CancellationToken,
    _stop_with_this: DropGuard,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server at {:?}", self.connection.channel)
    }
}

impl Remote {
    /// A master. Connections are made when they are needed, so this succeeds while it is away. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the address or the certificates are not what they should be.
    pub fn connect(config: RemoteConfig) -> Result<Arc<Self>, ConnectError> {
        Self::with_kinds(config, [])
    }

    /// The same, for a program that has kinds of its own: by their rows caches know by which fields their objects are
    /// selected. Of a kind that is known to the master alone, caches know names and namespaces, and refuse other fields.
    ///
    /// # Errors
    /// As [`Remote::connect`].
    pub fn with_kinds(
        config: RemoteConfig,
        own: impl IntoIterator<Item = Resource>,
    ) -> Result<Arc<Self>, ConnectError> {
        Self::to(Masters::new([&config.url])?, &config.authority, &config.credential, own)
    }

    /// The masters of one cluster as if they were one: see [`Masters`]. What was being asked when the one that was spoken to
    /// goes fails, and may be asked again; caches go on with another from where they were.
    ///
    /// # Errors
    /// As [`Remote::connect`].
    pub fn of_any(
        masters: Masters,
        authority: &str,
        credential: &Credential,
    ) -> Result<Arc<Self>, ConnectError> {
        Self::to(masters, authority, credential, [])
    }

    fn to(
        masters: Masters,
        authority: &str,
        credential: &Credential,
        own: impl IntoIterator<Item = Resource>,
    ) -> Result<Arc<Self>, ConnectError> {
        let mut kinds = objects::builtin();
        kinds.add_all(own);
        let identity = match credential {
            Credential::Certificate(identity) => Some(identity),
            Credential::Token(_) | Credential::TokenFile(_) => None,
        };
        let tls = ClientTls::new(authority, identity)?;
        let channel = Channel::to(masters, &tls, None, Bearer::of(credential)?);
        let stop = CancellationToken::new();
        Ok(Arc::new(Self {
            connection: Connection { channel, kinds: Arc::new(kinds) },
            clock: TokioClock::system(),
            caches: Mutex::default(),
            _stop_with_this: stop.clone().drop_guard(),
            stop,
        }))
    }

    /// A client of this master.
    pub fn client(self: &Arc<Self>) -> Client {
        Client::new(Arc::clone(self) as Arc<dyn Service>, User::default())
    }

    /// Writes all that the master's store holds, as it is now, to a file, which appears when it was found whole.
    ///
    /// # Errors
    /// When the master cannot be reached or refuses, or the file cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<Summary, BackupError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| BackupError::Source(error);
        let answer = self.connection.channel.open(Call::get(BACKUP), "application/octet-stream").await;
        let body = answer.map_err(|status| failed(status.into()))?.into_body();
        backup::save(body.into_data_stream().map_err(|error| failed(error.into())), to).await
    }

    /// What the master answers at a path.
    pub(crate) async fn read(&self, path: String) -> Result<Bytes, Status> {
        let (_, _, body) = self.connection.channel.call(Call::get(path), "application/json").await?;
        Ok(body)
    }

    /// Passes a request on to the master, and its answer back as it comes.
    pub(crate) async fn pass(&self, request: http::Request<Bytes>) -> http::Response<Body> {
        let channel = self.connection.channel.clone();
        match channel.pass(request).await {
            Ok(answer) => answer.map(|body| {
                let pieces = body.into_data_stream().filter_map(move |piece| {
                    // The channel comes along: a pool that is dropped takes its connections with it.
                    let _held = &channel;
                    // A body that breaks off ends: what it was of is asked for again.
                    std::future::ready(piece.ok().map(|data| Ok(Frame::data(data))))
                });
                StreamBody::new(pieces).boxed_unsync()
            }),
            Err(status) => reply::failed(&status),
        }
    }

    /// Asks the master for a WebSocket, and returns what it said and the connection.
    pub(crate) async fn upgraded(
        &self,
        path: String,
        headers: HeaderMap,
    ) -> Result<(HeaderMap, Raw), Status> {
        self.connection.channel.upgrade(Call::get(path), "websocket", headers).await
    }

    async fn reflect(&self, target: Target) -> Result<Cache, Status> {
        let indexed = self.connection.indexed(&target);
        let filling = Reflector::fill(self.connection.clone(), Arc::clone(&self.clock), target, &indexed);
        let reflector = filling.await?;
        let cache = reflector.cache().clone();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(reflector.run()));
        Ok(cache)
    }
}

#[async_trait]
impl Service for Remote {
    async fn call(&self, _: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        self.connection.call(&target, operation).await
    }

    async fn watch(&self, _: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        self.connection.watch(&target, &options).await
    }

    async fn connect(&self, _: &User, target: Target, connect: Connect) -> Result<Reached, Status> {
        self.connection.connect(target, connect).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        let cell = {
            let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(caches.entry(target.id()).or_default())
        };
        let collection = Target { namespace: None, name: None, subresource: None, ..target.clone() };
        cell.get_or_try_init(|| self.reflect(collection)).await.cloned()
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        let mut kinds = Vec::new();
        for path in ["/api", "/apis"] {
            let (_, _, body) = self.connection.channel.call(Call::get(path), DISCOVERY).await?;
            let document: Value = serde_json::from_slice(&body).map_err(answer::unreadable)?;
            self.connection.discovered(&document, &mut kinds);
        }
        Ok(kinds)
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

/// A channel to a master, with what is known of its kinds beforehand.
#[derive(Clone, Debug)]
struct Connection {
    channel: Channel,
    kinds: Arc<Kinds>,
}

impl Connection {
    /// What is indexed of a kind here: nothing, of kinds that only the server knows.
    fn indexed(&self, target: &Target) -> IndexedFields {
        let row = self.kinds.served(&target.group, &target.version, &target.resource);
        row.map_or_else(IndexedFields::none, |row| row.fields.clone())
    }

    fn reader(&self, target: &Target) -> Reader {
        Reader::new(target, self.indexed(target))
    }

    async fn call(&self, target: &Target, operation: Operation) -> Result<Response, Status> {
        let (code, headers, body) = self.channel.call(Call::of(target, operation), JSON).await?;
        let reply = self.reader(target).reply(&body)?;
        Ok(Response {
            reply,
            warnings: answer::warnings(&headers),
            created: code == http::StatusCode::CREATED,
        })
    }

    async fn watch(&self, target: &Target, options: &WatchOptions) -> Result<WatchStream, Status> {
        let response = self.channel.open(Call::watch(target, options), JSON).await?;
        Ok(events::events(self.channel.clone(), response.into_body(), self.reader(target)))
    }

    /// Adds the kinds of an aggregated discovery document, each in the version that the server prefers, and not those
    /// that are known to be another group's under an old name.
    fn discovered(&self, document: &Value, kinds: &mut Vec<Kind>) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for group in list(&document["items"]) {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            let mut seen = BTreeSet::new();
            for version in list(&group["versions"]) {
                for resource in list(&version["resources"]) {
                    let Some(kind) = discovered(name, &version["version"], &resource) else { continue };
                    let row = self.kinds.served(name, &kind.version, &kind.id.resource);
                    let elsewhere = row.is_some_and(|row| row.id != kind.id);
                    if !elsewhere && seen.insert(kind.id.resource.clone()) {
                        kinds.push(kind);
                    }
                }
            }
        }
    }
}

/// A kind of a discovery document, if its objects can be followed: what is listed and not watched is made up as it is asked
/// for, as are the component statuses and the figures of use.
fn discovered(group: &str, version: &Value, resource: &Value) -> Option<Kind> {
    let verbs = resource["verbs"].as_array()?;
    if !["list", "watch"].iter().all(|needed| verbs.iter().any(|verb| verb == needed)) {
        return None;
    }
    Some(Kind {
        id: GroupResource::new(group, resource["resource"].as_str()?),
        version: version.as_str()?.into(),
        kind: resource["responseKind"]["kind"].as_str()?.into(),
        scope: if resource["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
    })
}
