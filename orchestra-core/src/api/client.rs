use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use serde_json::Value;

use super::request::{
    Body, DeleteOptions, ListOptions, Operation, PatchKind, Reply, Response, Service, Target, User,
    WatchEvent, WatchOptions, WriteOptions,
};
use super::{Reason, Status};
use crate::clock::SharedClock;
use crate::meta::{Object, Revision};
use crate::watch::{Cache, Entry};

/// A way into a cluster, embedded or remote, as one user. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    service: Arc<dyn Service>,
    user: Arc<User>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client of {:?} as {}", self.service, self.user.name)
    }
}

impl Client {
    /// A client of a service, as a user.
    pub fn new(service: Arc<dyn Service>, user: User) -> Self {
        Self { service, user: Arc::new(user) }
    }

    /// The same cluster as another user.
    #[must_use]
    pub fn as_user(&self, user: User) -> Self {
        Self { service: Arc::clone(&self.service), user: Arc::new(user) }
    }

    /// The objects of a kind in a namespace.
    pub fn api<K: Object>(&self, namespace: &str) -> Api<K> {
        Api { client: self.clone(), target: Target::of::<K>(Some(namespace)), kind: PhantomData }
    }

    /// The objects of a kind in the whole cluster: those of a cluster-wide kind, or those of all namespaces.
    pub fn cluster<K: Object>(&self) -> Api<K> {
        Api { client: self.clone(), target: Target::of::<K>(None), kind: PhantomData }
    }

    /// A cache of a kind, filled.
    ///
    /// # Errors
    /// When there is no such kind, or it may not be read.
    pub async fn cache<K: Object>(&self) -> Result<Cache, Status> {
        self.service.cache(&Target::of::<K>(None)).await
    }

    /// Does one thing, with the kind given as a value.
    ///
    /// # Errors
    /// What the API says.
    pub async fn call(&self, target: Target, operation: Operation) -> Result<Response, Status> {
        self.service.call(&self.user, target, operation).await
    }

    /// Watches, with the kind given as a value.
    ///
    /// # Errors
    /// What the API says.
    pub async fn watch(
        &self,
        target: Target,
        options: WatchOptions,
    ) -> Result<super::request::WatchStream, Status> {
        self.service.watch(&self.user, target, options).await
    }

    /// The service behind it.
    pub fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    /// As whom it calls.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The cluster's clock.
    pub fn clock(&self) -> &SharedClock {
        self.service.clock()
    }
}

/// A change to an object.
#[derive(Clone, Debug)]
pub enum Patch {
    /// A list of operations (RFC 6902).
    Json(Value),
    /// An object laid over the old one (RFC 7396). Works for every kind.
    Merge(Value),
    /// A merge that knows which lists are keyed sets. For built-in kinds.
    Strategic(Value),
}

/// A typed event of a watch.
#[derive(Clone, Debug)]
pub enum Watched<K> {
    /// An object came to be, or came to match.
    Added(K),
    /// An object changed.
    Modified(K),
    /// An object is gone, or no longer matches.
    Deleted(K),
    /// Everything up to a revision has been seen.
    Bookmark(Revision),
}

/// The objects of one kind, as values of its Rust type.
pub struct Api<K> {
    client: Client,
    target: Target,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), target: self.target.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl<K: Object> Api<K> {
    /// One object.
    ///
    /// # Errors
    /// What the API says; [not found](Status::is_not_found) when there is none.
    pub async fn get(&self, name: &str) -> Result<K, Status> {
        self.object(self.target.clone().named(name), Operation::GET).await
    }

    /// One object, if there is one.
    ///
    /// # Errors
    /// What the API says.
    pub async fn find(&self, name: &str) -> Result<Option<K>, Status> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// All objects.
    ///
    /// # Errors
    /// What the API says.
    pub async fn list(&self) -> Result<Vec<K>, Status> {
        self.list_with(ListOptions::default()).await
    }

    /// The objects that match.
    ///
    /// # Errors
    /// What the API says.
    pub async fn list_with(&self, options: ListOptions) -> Result<Vec<K>, Status> {
        match self.client.call(self.target.clone(), Operation::List(options)).await?.reply {
            Reply::List(list) => list.objects.iter().map(|entry| decode(entry)).collect(),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a new object. It comes back as it was stored, with its uid and defaults.
    ///
    /// # Errors
    /// What the API says; [already exists](Status::is_already_exists) when there is one of that name.
    pub async fn create(&self, object: &K) -> Result<K, Status> {
        let operation = Operation::Create { body: body(object)?, options: WriteOptions::default() };
        self.object(self.target.clone(), operation).await
    }

    /// Replaces an object. Its `resourceVersion`, if set, must be the latest.
    ///
    /// # Errors
    /// What the API says; [a conflict](Status::is_conflict) when the object has changed since it was read.
    pub async fn update(&self, object: &K) -> Result<K, Status> {
        let target = self.target.clone().named(name_of(object)?);
        self.object(target, Operation::Update { body: body(object)?, options: WriteOptions::default() }).await
    }

    /// Replaces an object's status, and nothing else of it.
    ///
    /// # Errors
    /// As [`Api::update`].
    pub async fn update_status(&self, object: &K) -> Result<K, Status> {
        let target = self.target.clone().named(name_of(object)?).status();
        self.object(target, Operation::Update { body: body(object)?, options: WriteOptions::default() }).await
    }

    /// Changes an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch(&self, name: &str, patch: Patch) -> Result<K, Status> {
        self.patch_target(self.target.clone().named(name), patch).await
    }

    /// Changes an object's status, and nothing else of it.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch_status(&self, name: &str, patch: Patch) -> Result<K, Status> {
        self.patch_target(self.target.clone().named(name).status(), patch).await
    }

    async fn patch_target(&self, target: Target, patch: Patch) -> Result<K, Status> {
        self.object(target, patch.operation()).await
    }

    /// Sets how many replicas are wanted, through the `scale` subresource.
    ///
    /// # Errors
    /// What the API says.
    pub async fn scale(&self, name: &str, replicas: i32) -> Result<(), Status> {
        let patch = Patch::Merge(serde_json::json!({"spec": {"replicas": replicas}}));
        let target = self.target.clone().named(name).scale();
        self.client.call(target, patch.operation()).await.map(drop)
    }

    /// Creates a subresource of an object, such as a `binding`.
    ///
    /// # Errors
    /// What the API says.
    pub async fn create_sub(&self, name: &str, subresource: &str, value: Value) -> Result<(), Status> {
        let target = self.target.clone().named(name).sub(subresource);
        let operation = Operation::Create { body: Body::Value(value), options: WriteOptions::default() };
        self.client.call(target, operation).await.map(drop)
    }

    /// Removes an object, its dependents in the background.
    ///
    /// # Errors
    /// What the API says.
    pub async fn delete(&self, name: &str) -> Result<(), Status> {
        self.delete_with(name, DeleteOptions::default()).await
    }

    /// Removes an object.
    ///
    /// # Errors
    /// What the API says; [a conflict](Status::is_conflict) when a precondition does not hold.
    pub async fn delete_with(&self, name: &str, options: DeleteOptions) -> Result<(), Status> {
        self.client.call(self.target.clone().named(name), Operation::Delete(options)).await.map(drop)
    }

    /// Removes the objects that match.
    ///
    /// # Errors
    /// What the API says.
    pub async fn delete_collection(&self, list: ListOptions, options: DeleteOptions) -> Result<(), Status> {
        self.client.call(self.target.clone(), Operation::DeleteCollection(list, options)).await.map(drop)
    }

    /// Watches the objects.
    ///
    /// # Errors
    /// What the API says, now or in the stream.
    pub async fn watch(
        &self,
        options: WatchOptions,
    ) -> Result<impl Stream<Item = Result<Watched<K>, Status>> + Send + Unpin + 'static, Status> {
        let events = self.client.watch(self.target.clone(), options).await?;
        Ok(events.and_then(|event| std::future::ready(typed(event))).boxed())
    }

    async fn object(&self, target: Target, operation: Operation) -> Result<K, Status> {
        match self.client.call(target, operation).await?.reply {
            Reply::Object(entry) => decode(&entry),
            other => Err(unexpected(&other)),
        }
    }
}

impl Patch {
    /// The operation that applies it.
    pub fn operation(self) -> Operation {
        let (kind, patch) = match self {
            Self::Json(patch) => (PatchKind::Json, patch),
            Self::Merge(patch) => (PatchKind::Merge, patch),
            Self::Strategic(patch) => (PatchKind::Strategic, patch),
        };
        let patch = Bytes::from(patch.to_string());
        Operation::Patch { kind, patch, force: false, options: WriteOptions::default() }
    }
}

fn typed<K: Object>(event: WatchEvent) -> Result<Watched<K>, Status> {
    Ok(match event {
        WatchEvent::Added(entry) => Watched::Added(decode(&entry)?),
        WatchEvent::Modified(entry) => Watched::Modified(decode(&entry)?),
        WatchEvent::Deleted(entry) => Watched::Deleted(decode(&entry)?),
        WatchEvent::Bookmark { revision, .. } => Watched::Bookmark(revision),
    })
}

fn decode<K: Object>(entry: &Entry) -> Result<K, Status> {
    entry.decode().map_err(|error| {
        Status::internal(format!("{} {} does not fit the Rust type: {error}", K::KIND, entry.name()))
    })
}

fn body<K: Object>(object: &K) -> Result<Body, Status> {
    let mut value = serde_json::to_value(object)
        .map_err(|error| Status::bad_request(format!("the {} cannot be encoded: {error}", K::KIND)))?;
    if let Value::Object(fields) = &mut value {
        fields.insert("apiVersion".to_owned(), K::api_version().into());
        fields.insert("kind".to_owned(), K::KIND.into());
    }
    Ok(Body::Value(value))
}

fn name_of<K: Object>(object: &K) -> Result<String, Status> {
    object.meta().name.clone().ok_or_else(|| {
        Status::bad_request(format!("the {} has no name; set metadata.name to say which to update", K::KIND))
    })
}

fn unexpected(reply: &Reply) -> Status {
    let got = match reply {
        Reply::Object(_) => "an object",
        Reply::List(_) => "a list",
        Reply::Value(_) => "a value of another kind",
    };
    Status::new(Reason::InternalError, format!("the API answered with {got}"))
}
