//! Objects of one kind as values of its Rust type.

use std::fmt;
use std::marker::PhantomData;

use futures::{Stream, StreamExt, TryStreamExt};
use serde_json::Value;

use super::request::{DeleteOptions, Kind, ListOptions, WatchEvent, WatchOptions, WriteOptions};
use super::{Client, Objects, Patch, Status};
use crate::meta::{Object, ObjectName, Revision};
use crate::watch::Entry;

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

/// A list, or one page of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct List<K> {
    /// The objects, in order of namespace and name.
    pub items: Vec<K>,
    /// Objects of the list that do not fit the Rust type, and why: others wrote them, perhaps with a newer schema.
    pub unreadable: Vec<(ObjectName, Status)>,
    /// The revision of the whole; a watch goes on after it.
    pub revision: Revision,
    /// Where the next page begins, for [`ListOptions::continue_token`]; `None` at the end.
    pub continue_token: Option<String>,
    /// How many objects follow, when that is known.
    pub remaining: Option<u64>,
}

/// The objects of one kind, as values of its Rust type.
///
/// Each verb has a plain form with the options that `kubectl` uses by default, and a form `…_with` that takes them: dry
/// run, field manager and field validation of writes, preconditions and propagation of deletions.
pub struct Api<K> {
    objects: Objects,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self { objects: self.objects.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.target().fmt(f)
    }
}

impl Client {
    /// The objects of a kind in a namespace.
    pub fn api<K: Object>(&self, namespace: &str) -> Api<K> {
        Api { objects: self.objects(&Kind::of::<K>(), Some(namespace)), kind: PhantomData }
    }

    /// The objects of a kind in the whole cluster: those of a cluster-wide kind, or those of all namespaces.
    pub fn cluster<K: Object>(&self) -> Api<K> {
        Api { objects: self.objects(&Kind::of::<K>(), None), kind: PhantomData }
    }
}

impl<K: Object> Api<K> {
    /// The same objects, as they are stored.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// One object.
    ///
    /// # Errors
    /// What the API says; [not found](Status::is_not_found) when there is none.
    pub async fn get(&self, name: &str) -> Result<K, Status> {
        decode(&*self.objects.get(name).await?)
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
    /// What the API says; and when one of them does not fit the Rust type ([`Api::list_with`] tells it from the others).
    pub async fn list(&self) -> Result<Vec<K>, Status> {
        let list = self.list_with(ListOptions::default()).await?;
        match list.unreadable.into_iter().next() {
            Some((_, status)) => Err(status),
            None => Ok(list.items),
        }
    }

    /// The objects that match, or the first of them when `options` has a limit.
    ///
    /// # Errors
    /// What the API says.
    pub async fn list_with(&self, options: ListOptions) -> Result<List<K>, Status> {
        let list = self.objects.list(options).await?;
        let (mut items, mut unreadable) = (Vec::with_capacity(list.objects.len()), Vec::new());
        for entry in &list.objects {
            match decode(entry) {
                Ok(object) => items.push(object),
                Err(status) => unreadable.push((entry.name().clone(), status)),
            }
        }
        let (revision, remaining) = (list.revision, list.remaining);
        Ok(List { items, unreadable, revision, continue_token: list.continue_token, remaining })
    }

    /// Makes a new object. It comes back as it was stored, with its uid and defaults.
    ///
    /// # Errors
    /// What the API says; [already exists](Status::is_already_exists) when there is one of that name.
    pub async fn create(&self, object: &K) -> Result<K, Status> {
        self.create_with(object, WriteOptions::default()).await
    }

    /// As [`create`](Self::create), with options.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_with(&self, object: &K, options: WriteOptions) -> Result<K, Status> {
        decode(&*self.objects.create(value(object)?, options).await?)
    }

    /// Replaces an object. Its `resourceVersion`, if set, must be the latest.
    ///
    /// # Errors
    /// What the API says; [a conflict](Status::is_conflict) when the object has changed since it was read.
    pub async fn update(&self, object: &K) -> Result<K, Status> {
        self.update_with(object, WriteOptions::default()).await
    }

    /// As [`update`](Self::update), with options.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn update_with(&self, object: &K, options: WriteOptions) -> Result<K, Status> {
        decode(&*self.objects.update(&name_of(object)?, value(object)?, options).await?)
    }

    /// Replaces an object's status, and nothing else of it.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn update_status(&self, object: &K) -> Result<K, Status> {
        self.update_status_with(object, WriteOptions::default()).await
    }

    /// As [`update_status`](Self::update_status), with options.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn update_status_with(&self, object: &K, options: WriteOptions) -> Result<K, Status> {
        decode(&*self.objects.update_status(&name_of(object)?, value(object)?, options).await?)
    }

    /// Changes an object.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch(&self, name: &str, patch: Patch) -> Result<K, Status> {
        self.patch_with(name, patch, WriteOptions::default()).await
    }

    /// As [`patch`](Self::patch), with options.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch_with(&self, name: &str, patch: Patch, options: WriteOptions) -> Result<K, Status> {
        decode(&*self.objects.patch(name, patch, options).await?)
    }

    /// Changes an object's status, and nothing else of it.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch_status(&self, name: &str, patch: Patch) -> Result<K, Status> {
        self.patch_status_with(name, patch, WriteOptions::default()).await
    }

    /// As [`patch_status`](Self::patch_status), with options.
    ///
    /// # Errors
    /// What the API says.
    pub async fn patch_status_with(
        &self,
        name: &str,
        patch: Patch,
        options: WriteOptions,
    ) -> Result<K, Status> {
        decode(&*self.objects.patch_status(name, patch, options).await?)
    }

    /// Sets how many replicas are wanted, through the `scale` subresource.
    ///
    /// # Errors
    /// What the API says.
    pub async fn scale(&self, name: &str, replicas: i32) -> Result<(), Status> {
        self.objects.scale(name, replicas, WriteOptions::default()).await
    }

    /// Creates a subresource of an object, such as a `binding`.
    ///
    /// # Errors
    /// What the API says.
    pub async fn create_sub(&self, name: &str, subresource: &str, value: Value) -> Result<(), Status> {
        self.objects.create_sub(name, subresource, value, WriteOptions::default()).await.map(drop)
    }

    /// Removes an object, its dependents in the background.
    ///
    /// # Errors
    /// What the API says.
    pub async fn delete(&self, name: &str) -> Result<(), Status> {
        self.delete_with(name, DeleteOptions::default()).await
    }

    /// Removes an object, with options.
    ///
    /// # Errors
    /// What the API says; [a conflict](Status::is_conflict) when a precondition does not hold.
    pub async fn delete_with(&self, name: &str, options: DeleteOptions) -> Result<(), Status> {
        self.objects.delete(name, options).await
    }

    /// Removes the objects that match.
    ///
    /// # Errors
    /// What the API says.
    pub async fn delete_collection(&self, list: ListOptions, options: DeleteOptions) -> Result<(), Status> {
        self.objects.delete_collection(list, options).await
    }

    /// Watches the objects. An object that does not fit the Rust type is an error in the stream, which goes on.
    ///
    /// # Errors
    /// What the API says, now or in the stream.
    pub async fn watch(
        &self,
        options: WatchOptions,
    ) -> Result<impl Stream<Item = Result<Watched<K>, Status>> + Send + Unpin + 'static, Status> {
        let events = self.objects.watch(options).await?;
        Ok(events.and_then(|event| std::future::ready(typed(event))).boxed())
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

/// An object as a value that says of which kind it is.
fn value<K: Object>(object: &K) -> Result<Value, Status> {
    let mut value = serde_json::to_value(object)
        .map_err(|error| Status::bad_request(format!("the {} cannot be encoded: {error}", K::KIND)))?;
    if let Value::Object(fields) = &mut value {
        fields.insert("apiVersion".to_owned(), K::api_version().into());
        fields.insert("kind".to_owned(), K::KIND.into());
    }
    Ok(value)
}

fn name_of<K: Object>(object: &K) -> Result<String, Status> {
    object.meta().name.clone().ok_or_else(|| {
        Status::bad_request(format!("the {} has no name; set metadata.name to say which to update", K::KIND))
    })
}
