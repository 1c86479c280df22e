//! Objects of a kind that is known by value only, for programs that work on kinds without a Rust type.

use std::sync::Arc;

use serde_json::Value;

use super::request::{
    Body, DeleteOptions, Kind, ListOptions, Operation, Reply, Target, WatchOptions, WatchStream, WriteOptions,
};
use super::{Client, Patch, Status};
use crate::watch::{Cache, Entry};

/// The objects of a kind, in a namespace or everywhere: what [`Api`](super::Api) is for a Rust type.
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

    /// One object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn get(&self, name: &str) -> Result<Arc<Entry>, Status> {
        self.one(self.target.clone().named(name), Operation::GET).await
    }

    /// The objects that match.
    ///
    /// # Errors
    /// What the API says.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Arc<Entry>>, Status> {
        match self.client.call(self.target.clone(), Operation::List(options)).await?.reply {
            Reply::List(list) => Ok(list.objects),
            Reply::Object(_) | Reply::Value(_) => Err(Status::internal("a list was answered with no list")),
        }
    }

    /// Makes an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn create(&self, object: Value) -> Result<Arc<Entry>, Status> {
        let options = WriteOptions::default();
        self.one(self.target.clone(), Operation::Create { body: Body::Value(object), options }).await
    }

    /// Changes an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch(&self, name: &str, patch: Patch) -> Result<Arc<Entry>, Status> {
        self.one(self.target.clone().named(name), patch.operation()).await
    }

    /// Removes an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn delete(&self, name: &str, options: DeleteOptions) -> Result<(), Status> {
        self.client.call(self.target.clone().named(name), Operation::Delete(options)).await.map(drop)
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

    async fn one(&self, target: Target, operation: Operation) -> Result<Arc<Entry>, Status> {
        match self.client.call(target, operation).await?.reply {
            Reply::Object(entry) => Ok(entry),
            Reply::List(_) | Reply::Value(_) => Err(Status::internal("an object was answered with none")),
        }
    }
}
