use std::fmt;

use jiff::Timestamp;

use super::{Builder, Cluster};
use crate::api::{Resource, Server, Service, Status};
use crate::objects;
use crate::scheduler::Configuration;
use crate::store::memory::MemoryStore;

/// What a cluster held at one moment, to go on from as another cluster: what happens there, the first never learns of.
#[derive(Clone)]
pub struct Fork {
    store: MemoryStore,
    kinds: Vec<Resource>,
    scheduler: Option<Configuration>,
    at: Timestamp,
}

impl fmt::Debug for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fork").finish_non_exhaustive()
    }
}

impl Fork {
    /// What a store holds, of a cluster that has no kinds but the built-in and the custom ones, as it was at a time of day.
    pub fn of_store(store: MemoryStore, at: Timestamp) -> Self {
        Self { store, kinds: Vec::new(), scheduler: None, at }
    }

    /// What the cluster of a server holds now. The server does not know how pods are placed there:
    /// [`scheduler`](Self::scheduler) says it.
    ///
    /// # Errors
    /// When its store cannot be read.
    pub async fn of_server(server: &Server) -> Result<Self, Status> {
        let store = server.store()?;
        let store = MemoryStore::copy_of(&*store).await.map_err(Status::internal)?;
        let builtin = objects::builtin();
        let is_own = |row: &Resource| builtin.get(&row.id).is_none() && !row.custom;
        let kinds = server.kinds().iter().filter(|row| is_own(row)).map(|row| Resource::clone(row)).collect();
        Ok(Self { store, kinds, scheduler: None, at: server.clock().now() })
    }

    /// Has pods be placed as by the scheduler of the cluster, where it was told how.
    #[must_use]
    pub fn scheduler(self, configuration: Configuration) -> Self {
        Self { scheduler: Some(configuration), ..self }
    }

    /// A cluster that begins with what was held, each time anew. It has none of the nodes: what is to run its pods is said
    /// as of any other. Nor has it the first one's admissions and parts of the embedder's own.
    pub fn builder(&self) -> Builder {
        let builder = Cluster::builder().store(self.store.fork());
        let builder = self.scheduler.iter().cloned().fold(builder, Builder::scheduler);
        self.kinds.iter().cloned().fold(builder, Builder::kind)
    }

    /// The time of day of the state.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The state itself.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }
}

impl Cluster {
    /// What the cluster holds now, to go on from as another one. Of a store in memory nothing is copied, of any other the
    /// records are read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn fork(&self) -> Result<Fork, Status> {
        let fork = Fork::of_server(self.server()).await?;
        Ok(self.scheduler().cloned().into_iter().fold(fork, Fork::scheduler))
    }
}
