//! Fencing: what a leader writes is refused once another leads.
//!
//! A leader that is stopped for longer than its term (a frozen machine, a debugger) goes on in the middle of what it
//! was doing, before it can know that another has taken over. So each leader, before it begins, writes a record of its
//! own, in a transaction that holds only while the Lease is as it was when it was seen to be its own; and every
//! transaction of its client holds only while that record is the last one. Clocks have no part in it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::Server;
use crate::api::request::{Kind, Operation, Response, Service, Target, User, WatchOptions, WatchStream};
use crate::api::{Client, Reason, Status};
use crate::clock::SharedClock;
use crate::store::{Expect, Guard, Key, StoreError, Txn};
use crate::watch::{Cache, Entry};

/// How often it is tried to write the record while the leader itself renews the Lease.
const TRIES: usize = 10;

tokio::task_local! {
    /// The guard of the call that runs.
    static FENCE: Guard;
}

/// The right to write as a leader, until another has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence(Guard);

impl Server {
    /// Takes the right to write as the leader from whoever has it. `lease` is the object that says who leads, and
    /// `is_held` whether it says that the caller does.
    ///
    /// # Errors
    /// A conflict when the caller does not lead; what the store says.
    pub async fn fence(
        &self,
        lease: &Target,
        is_held: impl Fn(&Entry) -> bool + Send + Sync,
    ) -> Result<Fence, Status> {
        let resource = self.kind(lease)?;
        let name = lease.object_name().ok_or_else(Status::method_not_allowed)?;
        let key = resource.key(&name);
        let fence = Key::new(format!("/orchestra/fences{key}"));
        for _ in 0..TRIES {
            let store = self.store()?;
            let Some(record) = store.get(&key, None).await? else { break };
            let entry = Entry::read(record.value.clone(), record.modified, &resource.fields);
            if !is_held(&entry.map_err(Status::internal)?) {
                break;
            }
            let txn = Txn::new().expect(key.clone(), Expect::At(record.modified));
            match store.commit(txn.put(fence.clone(), name.to_string())).await {
                Ok(committed) => {
                    return Ok(Fence(Guard { key: fence, expect: Expect::At(committed.revision) }));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Status::new(Reason::Conflict, format!("{name} is not held any more")))
    }

    /// A client whose writes are refused once another has taken the fence.
    pub fn fenced_client(self: &Arc<Self>, fence: Fence, user: User) -> Client {
        Client::new(Arc::new(Fenced { server: Arc::clone(self), fence }), user)
    }
}

/// Adds the guard of the call that runs, if it has one.
pub(super) fn guarded(txn: Txn) -> Txn {
    match FENCE.try_with(Guard::clone) {
        Ok(Guard { key, expect }) => txn.expect(key, expect),
        Err(_) => txn,
    }
}

/// Tells a transaction that came too late from one that was decided on an old state.
pub(super) fn explained(error: StoreError) -> StoreError {
    match &error {
        StoreError::Conflict { key, .. } if FENCE.try_with(|fence| fence.key == *key).unwrap_or(false) => {
            StoreError::Unavailable("another leads".into())
        }
        _ => error,
    }
}

#[derive(Debug)]
struct Fenced {
    server: Arc<Server>,
    fence: Fence,
}

#[async_trait]
impl Service for Fenced {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        FENCE.scope(self.fence.0.clone(), self.server.call(user, target, operation)).await
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        self.server.watch(user, target, options).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        self.server.cache(target).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        Service::kinds(&*self.server).await
    }

    fn kinds_changed(&self) -> Option<BoxFuture<'static, ()>> {
        self.server.kinds_changed()
    }

    async fn group_versions(&self) -> Result<Vec<(Arc<str>, Arc<str>)>, Status> {
        self.server.group_versions().await
    }

    fn clock(&self) -> &SharedClock {
        self.server.clock()
    }
}
