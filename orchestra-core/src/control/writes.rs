//! What a run wrote, and waiting until the caches have seen it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::reconciler::ReadCaches;
use crate::api::{
    Kind, Operation, Reply, Response, Service, Status, Target, User, WatchOptions, WatchStream,
};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, ObjectName, Revision};
use crate::watch::{Cache, TooOld};

/// A service that remembers what was written through it.
pub(super) struct Tracked {
    service: Arc<dyn Service>,
    caches: Arc<ReadCaches>,
    writes: Mutex<Vec<(GroupResource, Written)>>,
}

/// How a cache shows that it has seen a write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    /// It has reached the revision of the write.
    At(Revision),
    /// It no longer holds the object, or holds it as one that is being deleted. The answer to a deletion does not
    /// always say its revision.
    Deleted(ObjectName, Option<String>),
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)
    }
}

impl Tracked {
    pub(super) fn new(service: Arc<dyn Service>, caches: Arc<ReadCaches>) -> Arc<Self> {
        Arc::new(Self { service, caches, writes: Mutex::default() })
    }

    /// Waits until every cache that the controller reads has seen what was written to its kind.
    pub(super) async fn settled(&self) {
        let writes = std::mem::take(&mut *self.writes.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, written) in writes {
            let Some(cache) = self.caches.held(&id) else { continue };
            let seen = async {
                match written {
                    Written::At(revision) => cache.reached(revision).await,
                    Written::Deleted(name, uid) => gone(&cache, &name, uid.as_deref()).await,
                }
            };
            tokio::select! {
                biased;
                () = seen => {}
                // The kind is served no more: there is nothing to see.
                () = cache.closed() => {}
            }
        }
    }

    fn record(&self, target: &Target, delete: Option<Option<String>>, reply: &Reply) {
        let revision = match reply {
            Reply::Object(entry) => Some(entry.revision()),
            Reply::List(_) => None,
            Reply::Value(value) => {
                value["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok())
            }
        };
        let written = match (revision, delete, target.object_name()) {
            (Some(revision), ..) => Written::At(revision),
            (None, Some(uid), Some(name)) => Written::Deleted(name, uid),
            _ => return,
        };
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push((target.id(), written));
    }

    /// For a deletion: which object of the name it is meant for, as far as that is known.
    fn deletes(&self, target: &Target, operation: &Operation) -> Option<Option<String>> {
        let Operation::Delete(options) = operation else { return None };
        let held = || {
            let entry = self.caches.held(&target.id())?.get(&target.object_name()?)?;
            Some(entry.uid().to_string())
        };
        Some(options.uid.clone().or_else(held))
    }
}

async fn gone(cache: &Cache, name: &ObjectName, uid: Option<&str>) {
    let seen =
        || cache.get(name).is_none_or(|entry| entry.is_deleting() || Some(entry.uid().as_str()) != uid);
    while !seen() {
        let Ok(mut cursor) = cache.watch(cache.revision()) else { continue };
        // It may have gone between the look and the watch.
        while !seen() {
            if let Err(TooOld { .. }) = cursor.next().await {
                break;
            }
        }
    }
}

#[async_trait]
impl Service for Tracked {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        let reads = matches!(operation, Operation::Get { .. } | Operation::List(_));
        let delete = self.deletes(&target, &operation);
        let response = self.service.call(user, target.clone(), operation).await?;
        if !reads {
            self.record(&target, delete, &response.reply);
        }
        Ok(response)
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        self.service.watch(user, target, options).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        self.caches.get(target.clone()).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        self.service.kinds().await
    }

    fn kinds_changed(&self) -> Option<BoxFuture<'static, ()>> {
        self.service.kinds_changed()
    }

    async fn group_versions(&self) -> Result<Vec<(Arc<str>, Arc<str>)>, Status> {
        self.service.group_versions().await
    }

    fn clock(&self) -> &SharedClock {
        self.service.clock()
    }
}
