//! The embedded API server: one generic path for every verb of every kind.
//!
//! A request is authorized, then goes to the verb's function with the row of its kind. Reads are answered from the
//! caches, once they have seen everything that was acknowledged. A write decodes strictly, defaults, admits, validates,
//! encodes once and commits with a precondition; it is answered when the caches have seen it.
//!
//! | file | what |
//! | --- | --- |
//! | `caches` | the table of kinds with the cache of each, as a request sees it |
//! | `feeder` | from the store's watch to the caches; opens and closes those of kinds that come and go |
//! | `held` | the store, until the server is closed |
//! | `permit` | what was authorized, and nothing else, is done |
//! | `respond` | what is created to be answered, and is not kept |
//! | `fence` | what a leader writes is refused once another leads |
//! | `read`, `watch` | get, list, watch |
//! | `convert`, `conversions` | versions that only a converter knows |
//! | `spoken` | selecting by the fields of such a version |
//! | `draft` | from a request's body to an object of the kind |
//! | `write`, `prepare` | the one way of a write, and its pure steps |
//! | `create`, `update`, `apply`, `delete`, `sub`, `scale` | what each verb and subresource makes of the object as it is |
//! | `owners` | who owns which fields of an object |
//! | `written` | from the write to the caches, past the parser |

mod apply;
mod caches;
mod computed;
mod conversions;
mod convert;
mod create;
mod current;
mod delete;
mod draft;
mod feeder;
mod fence;
mod given;
mod held;
mod meta;
mod owners;
mod permit;
mod prepare;
mod read;
mod respond;
mod scale;
mod spoken;
mod sub;
#[cfg(test)]
mod tests;
mod update;
mod watch;
mod write;
mod written;

use super::discovery::Discovery;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use caches::{Caches, Open, Table};
use draft::Part;
pub(crate) use feeder::read as entry_of;
use feeder::{Fed, TableChange};
pub use fence::Fence;
pub use held::Borrowed;
use held::Held;
pub use permit::{Permit, Refusal};
use written::Written;

use super::access::{Authenticators, Authorizer};
use super::admission::Admission;
use super::connect::{Connect, Connection};
use super::connector::Connector;
use super::request::{
    Kind, Operation, PatchKind, Response, Service, Target, User, Verb, WatchOptions, WatchStream,
};
use super::{Client, Kinds, Reason, Resource, Responders, Status};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, Revision};
use crate::store::{Store, StoreError, Txn};
use crate::supervise::Task;
use crate::watch::Cache;

/// The API over a store, in this process. See the [module](self).
pub struct Server {
    store: Held,
    caches: Caches,
    changes: mpsc::Sender<TableChange>,
    written: Arc<Written>,
    feeder: Mutex<Option<Task>>,
    stop: CancellationToken,
    clock: SharedClock,
    admission: Vec<Arc<dyn Admission>>,
    authorizer: Arc<dyn Authorizer>,
    responders: Responders,
    authenticators: Authenticators,
    serving: AtomicBool,
    /// Who connects clients to what runs behind objects.
    connector: OnceLock<Arc<dyn Connector>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the embedded API server")
    }
}

/// Makes the admissions of a server, which read its caches and may ask its authorizer.
pub type AdmissionFactory = Box<dyn FnOnce(&Caches, &Arc<dyn Authorizer>) -> Vec<Arc<dyn Admission>> + Send>;

/// Makes the authorizer of a server, which reads its caches.
pub type AuthorizerFactory = Box<dyn FnOnce(&Caches) -> Arc<dyn Authorizer> + Send>;

/// Makes those who answer for a server, which read its caches and may ask its authorizer and its authenticators.
pub type ResponderFactory =
    Box<dyn FnOnce(&Caches, &Arc<dyn Authorizer>, &Authenticators) -> Responders + Send>;

/// What a [`Server`] is made of.
pub struct ServerConfig {
    /// Where the state is.
    pub store: Arc<dyn Store>,
    /// The kinds it serves.
    pub kinds: Arc<Kinds>,
    /// Time and chance.
    pub clock: SharedClock,
    /// Makes what is asked, in this order, before a write.
    pub admission: AdmissionFactory,
    /// Makes what says who may do what; see [`access::standard`](super::access::standard).
    pub authorizer: AuthorizerFactory,
    /// Makes what answers what is created and not kept.
    pub responders: ResponderFactory,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server: loads the caches and follows the store until `shutdown`, or until it is [closed](Self::close).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(config: ServerConfig, shutdown: CancellationToken) -> Result<Arc<Self>, StoreError> {
        let ServerConfig { store, kinds, clock, admission, authorizer, responders } = config;
        let stop = shutdown.clone();
        let written = Arc::<Written>::default();
        let Fed { caches, changes, task } =
            feeder::start(Arc::clone(&store), kinds, Arc::clone(&clock), Arc::clone(&written), shutdown)
                .await?;
        let authorizer = authorizer(&caches);
        let admission = admission(&caches, &authorizer);
        let authenticators = Authenticators::default();
        let responders = responders(&caches, &authorizer, &authenticators);
        let (serving, store) = (AtomicBool::new(true), Held::new(store));
        let feeder = Mutex::new(Some(task));
        Ok(Arc::new(Self {
            store,
            caches,
            changes,
            written,
            feeder,
            stop,
            clock,
            admission,
            authorizer,
            responders,
            authenticators,
            serving,
            connector: OnceLock::new(),
        }))
    }

    /// Says who connects clients to what runs behind objects; once.
    pub fn connect_by(&self, connector: Arc<dyn Connector>) {
        let _ = self.connector.set(connector);
    }

    /// A client of this server.
    pub fn client(self: &Arc<Self>, user: User) -> Client {
        Client::new(Arc::clone(self) as Arc<dyn Service>, user)
    }

    /// The table of kinds as it is now.
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.caches.table().kinds)
    }

    /// Adds a kind while the server runs, or changes the one of the same group and plural. When this returns, it is
    /// served, with whatever objects of it the store holds.
    ///
    /// # Errors
    /// When the store cannot be read, or the server is closed.
    pub async fn put_kind(&self, row: Resource) -> Result<(), Status> {
        self.put_kinds(vec![row]).await
    }

    /// [`Server::put_kind`] for several at once, which costs little more than for one.
    ///
    /// # Errors
    /// As there.
    pub async fn put_kinds(&self, rows: Vec<Resource>) -> Result<(), Status> {
        if rows.is_empty() {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        self.changes.send(TableChange::Put(rows, done)).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?.map_err(Into::into)
    }

    /// Takes a kind out of the table while the server runs; answers whether it was there. Its watches end, and later
    /// requests find no such kind. Its objects stay in the store, to be served again when the kind comes back: who wants
    /// them gone deletes them first.
    ///
    /// # Errors
    /// When the server is closed.
    pub async fn remove_kind(&self, id: &GroupResource) -> Result<bool, Status> {
        let (done, outcome) = oneshot::channel();
        self.changes.send(TableChange::Remove(id.clone(), done)).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())
    }

    /// The caches of all kinds.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    /// What finds out who sends a request, beside the certificate of its connection: a host adds what it knows, so that
    /// reviews of tokens know it too.
    pub fn authenticators(&self) -> &Authenticators {
        &self.authenticators
    }

    /// What says who may do what.
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    /// The store behind it.
    ///
    /// # Errors
    /// 503 when the server is closed.
    pub fn store(&self) -> Result<Borrowed, Status> {
        self.store.borrow().ok_or_else(stopped)
    }

    /// Ends the server and lets go of its store, which can be opened again when this returns, unless the embedder
    /// has a handle of its own. Calls under way are finished or refused; later ones are refused, whoever still holds
    /// a client.
    pub async fn close(&self) {
        self.stop.cancel();
        let feeder = self.feeder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(feeder) = feeder {
            feeder.ended().await;
        }
        self.store.release().await;
    }

    /// Refuses every request from now on, or takes them again. What is under way goes on.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    fn check_serving(&self) -> Result<(), Status> {
        if self.serving.load(Ordering::Relaxed) && !self.stop.is_cancelled() {
            return Ok(());
        }
        Err(stopped())
    }

    /// The kind that a request is about, with its cache: what the request sees of the table from here on.
    pub(crate) fn kind(&self, target: &Target) -> Result<Open, Status> {
        let table = self.caches.table.load();
        table.served(&target.group, &target.version, &target.resource).ok_or_else(Status::no_such_resource)
    }

    /// Waits until the caches hold every write that was acknowledged to anyone.
    async fn catch_up(&self) -> Result<(), Status> {
        let latest = self.store()?.revision().await?;
        if self.reached(latest).await { Ok(()) } else { Err(stopped()) }
    }

    /// Commits, and waits until the caches hold it.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let store = self.store.borrow().ok_or(StoreError::Closed)?;
        let committed = store.commit(fence::guarded(txn)).await.map_err(fence::explained)?;
        let revision = committed.revision;
        drop(store);
        // What is committed stays so, though a server that is closed does not see it any more.
        self.reached(revision).await;
        Ok(revision)
    }

    /// The verb's function.
    async fn dispatch(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        operation: Operation,
    ) -> Result<Response, Status> {
        let computed = !kind.stored && self.responders.computes(&kind.id).is_some();
        if !kind.stored && !computed && target.name.is_some() {
            // There is never one of them.
            return Err(Status::no_such_resource());
        }
        let part = match &target.subresource {
            None => None,
            Some(name) => Some(kind.subresource(name).ok_or_else(|| no_subresource(kind, target))?),
        };
        let served = match part {
            Some(part) => part.verbs.contains(&operation.verb()),
            None => kind.serves(operation.verb(), target),
        };
        if !served {
            return Err(Status::method_not_allowed());
        }
        if let Some(part) = part.filter(|part| !part.is_whole()) {
            return self.subresource(user, kind, part, target, operation).await;
        }
        if let (false, Operation::Create { body, options }) = (kind.stored, &operation) {
            return self.respond(user, kind, target, body.clone(), options).await;
        }
        if computed {
            return self.compute(kind, target, operation).await;
        }
        let response = self.whole(user, kind, part, target, operation).await?;
        convert::response(kind, response).await
    }

    /// The verb's function for an object as a whole, or its status. What it answers is as it is stored.
    async fn whole(
        &self,
        user: &User,
        kind: &Open,
        part: Part<'_>,
        target: &Target,
        operation: Operation,
    ) -> Result<Response, Status> {
        match operation {
            Operation::Get { revision, revision_match } => {
                self.get(kind, target, revision, revision_match).await
            }
            Operation::List(options) => self.list(kind, target, options).await,
            Operation::Create { body, options } => self.create(user, kind, target, body, options).await,
            Operation::Update { body, options } => self.update(user, kind, target, part, body, options).await,
            Operation::Patch { kind: PatchKind::Apply, patch, force, options } => {
                self.apply(user, kind, target, part, &patch, force, options).await
            }
            Operation::Patch { kind: form, patch, options, .. } => {
                self.patch(user, kind, target, part, form, &patch, options).await
            }
            Operation::Delete(options) => self.delete(user, kind, target, options).await,
            Operation::DeleteCollection(list, options) => {
                self.delete_collection(user, kind, target, list, options).await
            }
        }
    }

    /// Waits until the caches are at a revision; `false` if they will never be, because the server is closed.
    async fn reached(&self, revision: Revision) -> bool {
        tokio::select! {
            biased;
            () = self.caches.reached(revision) => true,
            () = self.stop.cancelled() => false,
        }
    }
}

/// Of a custom kind, a subresource that it has not is an object that there is not.
fn no_subresource(kind: &Resource, target: &Target) -> Status {
    match target.name.as_deref() {
        Some(name) if kind.custom => Status::not_found(&kind.id, name),
        _ => Status::no_such_resource(),
    }
}

fn stopped() -> Status {
    Status::new(Reason::ServiceUnavailable, "the API server is stopped").retry_after(1)
}

#[async_trait]
impl Service for Server {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        let permit = self.permit(user, operation.verb(), target, operation.selected()).await?;
        self.perform(permit, operation).await
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        let permit = self.permit(user, Verb::Watch, target, options.fields.as_ref()).await?;
        self.open_watch(permit, options).await
    }

    async fn connect(&self, user: &User, target: Target, connect: Connect) -> Result<Connection, Status> {
        self.connect_to(user, target, connect).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        // What is not watched is not kept: it is made up as it is asked for.
        let is_kept = |row: &&Arc<Resource>| row.stored && row.verbs.contains(&Verb::Watch);
        Ok(self.kinds().iter().filter(is_kept).map(|row| row.info()).collect())
    }

    fn kinds_changed(&self) -> Option<BoxFuture<'static, ()>> {
        Some(Box::pin(Arc::clone(&self.caches.published).notified_owned()))
    }

    async fn group_versions(&self) -> Result<Vec<(Arc<str>, Arc<str>)>, Status> {
        let (kinds, mut all) = (self.kinds(), Vec::new());
        for (group, versions) in Discovery::new(&kinds).group_versions() {
            all.extend(versions.into_iter().map(|version| (Arc::from(group), Arc::from(version))));
        }
        Ok(all)
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        Ok(self.kind(target)?.cache)
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

/// A namespace where the kind has none, or none where one object is meant, is a request for something else.
fn check_scope(resource: &Resource, target: &Target) -> Result<(), Status> {
    let fits = match target.namespace {
        Some(_) => resource.is_namespaced(),
        None => !resource.is_namespaced() || target.name.is_none(),
    };
    if fits {
        return Ok(());
    }
    if resource.is_namespaced() {
        return Err(Status::bad_request(
            "an empty namespace may not be set when a resource name is provided",
        ));
    }
    Err(Status::no_such_resource())
}
