//! Objects of a kind that is known by value only, for programs that work on kinds without a Rust type.

use std::sync::Arc;

use serde_json::Value;

use super::connect::{Connect, Connection};
use super::request::{
    Body, DeleteOptions, Kind, ListOptions, ObjectList, Operation, Reply, Response, Target, WatchOptions,
    WatchStream, WriteOptions,
};
use super::{Client, Patch, Status};
use crate::watch::{Cache, Entry};

/// The objects of a kind, in a namespace or everywhere: what [`Api`](super::Api) is for a Rust type. Each verb takes all
/// its options; the default of each is what `kubectl` does.
#[derive(Clone, Debug)]
pub struct Objects {
    client: Client,
    kind: Kind,
    target: Target,
}

impl Client {
    /// The objects of a kind given as a value.
    pub fn objects(&self, kind: &Kind, namespace: Option<&str>) -> Objects {
        Objects { client: self.clone(), kind: kind.clone(), target: kind.target(namespace) }
    }
}

impl Objects {
    /// The kind.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The client that they are asked through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The collection, as the target of a call.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// One object.
    ///
    /// # Errors
    /// What the API says; [not found](Status::is_not_found) when there is none.
    pub async fn get(&self, name: &str) -> Result<Arc<Entry>, Status> {
        self.object(self.target.clone().named(name), Operation::GET).await
    }

    /// The objects that match, or the first of them when `options` has a limit: then the list says where to go on.
    ///
    /// # Errors
    /// What the API says.
    pub async fn list(&self, options: ListOptions) -> Result<ObjectList, Status> {
        match self.client.call(self.target.clone(), Operation::List(options)).await?.reply {
            Reply::List(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes an object.
    ///
    /// # Errors
    /// What the API says; [already exists](Status::is_already_exists) when there is one of that name.
    pub async fn create(&self, object: Value, options: WriteOptions) -> Result<Arc<Entry>, Status> {
        self.object(self.target.clone(), Operation::Create { body: Body::Value(object), options }).await
    }

    /// Replaces an object. Its `resourceVersion`, if set, must be the latest.
    ///
    /// # Errors
    /// What the API says; [a conflict](Status::is_conflict) when the object has changed since it was read.
    pub async fn update(
        &self,
        name: &str,
        object: Value,
        options: WriteOptions,
    ) -> Result<Arc<Entry>, Status> {
        let operation = Operation::Update { body: Body::Value(object), options };
        self.object(self.target.clone().named(name), operation).await
    }

    /// Replaces an object's status, and nothing else of it.
    ///
    /// # Errors
    /// As [`Objects::update`].
    pub async fn update_status(
        &self,
        name: &str,
        object: Value,
        options: WriteOptions,
    ) -> Result<Arc<Entry>, Status> {
        let operation = Operation::Update { body: Body::Value(object), options };
        self.object(self.target.clone().named(name).status(), operation).await
    }

    /// Changes an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch(&self, name: &str, patch: Patch, options: WriteOptions) -> Result<Arc<Entry>, Status> {
        self.object(self.target.clone().named(name), patch.with(options)).await
    }

    /// Changes an object's status, and nothing else of it.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch_status(
        &self,
        name: &str,
        patch: Patch,
        options: WriteOptions,
    ) -> Result<Arc<Entry>, Status> {
        self.object(self.target.clone().named(name).status(), patch.with(options)).await
    }

    /// Sets how many replicas are wanted, through the `scale` subresource.
    ///
    /// # Errors
    /// What the API says.
    pub async fn scale(&self, name: &str, replicas: i32, options: WriteOptions) -> Result<(), Status> {
        let patch = Patch::Merge(serde_json::json!({"spec": {"replicas": replicas}}));
        self.client.call(self.target.clone().named(name).scale(), patch.with(options)).await.map(drop)
    }

    /// Creates a subresource of an object, such as a `binding`.
    ///
    /// # Errors
    /// What the API says.
    pub async fn create_sub(
        &self,
        name: &str,
        subresource: &str,
        value: Value,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let target = self.target.clone().named(name).sub(subresource);
        self.client.call(target, Operation::Create { body: Body::Value(value), options }).await
    }

    /// Connects to what runs behind an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn connect(&self, name: &str, connect: Connect) -> Result<Connection, Status> {
        self.client.connect(self.target.clone().named(name), connect).await
    }

    /// Removes an object.
    ///
    /// # Errors
    /// What the API says; [a conflict](Status::is_conflict) when a precondition does not hold.
    pub async fn delete(&self, name: &str, options: DeleteOptions) -> Result<(), Status> {
        self.client.call(self.target.clone().named(name), Operation::Delete(options)).await.map(drop)
    }

    /// Removes the objects that match.
    ///
    /// # Errors
    /// What the API says.
    pub async fn delete_collection(&self, list: ListOptions, options: DeleteOptions) -> Result<(), Status> {
        self.client.call(self.target.clone(), Operation::DeleteCollection(list, options)).await.map(drop)
    }

    /// Watches the objects. The stream ends when the kind is served no more.
    ///
    /// # Errors
    /// What the API says.
    pub async fn watch(&self, options: WatchOptions) -> Result<WatchStream, Status> {
        self.client.watch(self.target.clone(), options).await
    }

    /// A cache of the kind, filled.
    ///
    /// # Errors
    /// What the API says.
    pub async fn cache(&self) -> Result<Cache, Status> {
        self.client.service().cache(&self.target).await
    }

    async fn object(&self, target: Target, operation: Operation) -> Result<Arc<Entry>, Status> {
        match self.client.call(target, operation).await?.reply {
            Reply::Object(entry) => Ok(entry),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(reply: &Reply) -> Status {
    let got = match reply {
        Reply::Object(_) => "an object",
        Reply::List(_) => "a list",
        Reply::Value(_) => "a value of another kind",
    };
    Status::internal(format!("the API answered with {got}"))
}
