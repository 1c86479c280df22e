//! A cluster in a variable: the embedding facade.
//!
//! A [`Builder`] is given the ports that are not to be the default (a store, nodes with a runtime and a network, kinds
//! of one's own) and starts the whole: API server, scheduler, controllers, an agent and a proxy for each node. The
//! [`Cluster`] hands out clients, and can stop and start each part by itself.

mod bootstrap;
mod builder;
mod fork;
mod part;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

pub use builder::{Builder, Node, StartError};
pub use fork::Fork;
pub use part::Component;

use crate::api::{Client, Server, Service, User};
use crate::clock::SharedClock;
use crate::control::Metrics;
use crate::node::Directory;
use crate::scheduler::Configuration;
use crate::supervise::Task;
use crate::webhook::Webhooks;
use part::Part;

/// A running cluster.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use orchestra_core::cluster::Cluster;
/// use orchestra_core::k8s_openapi::api::core::v1::Namespace;
///
/// let cluster = Cluster::builder().fake_nodes(3).start().await?;
/// let namespaces = cluster.client().cluster::<Namespace>().list().await?;
/// assert!(namespaces.iter().any(|namespace| namespace.metadata.name.as_deref() == Some("default")));
/// cluster.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Cluster {
    server: Arc<Server>,
    parts: BTreeMap<Component, Part>,
    directory: Directory,
    webhooks: Webhooks,
    metrics: Metrics,
    scheduler: Option<Configuration>,
    stop: CancellationToken,
    _forgetting: Option<Task>,
    /// Ends what follows the definitions of custom kinds, before the caches close.
    following: CancellationToken,
    extensions: Mutex<Option<Task>>,
    /// What says that this master lives, if there are others, and what ends it.
    announced: Mutex<Option<(CancellationToken, Task)>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("parts", &self.parts.keys()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.client_as(User::admin())
    }

    /// A client of one user.
    pub fn client_as(&self, user: User) -> Client {
        self.server.client(user)
    }

    /// The API server, for a host that serves it to others.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// How the scheduler was told to place pods, if it was.
    pub fn scheduler(&self) -> Option<&Configuration> {
        self.scheduler.as_ref()
    }

    /// Where the nodes' agents are reached, for logs and the like.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What asks webhooks, as [`Builder::webhooks`] says.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// How the controllers keep up, by their names.
    pub fn controller_metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The cluster's clock.
    pub fn clock(&self) -> &SharedClock {
        self.server.clock()
    }

    /// The parts that can be stopped and started by themselves.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.parts.keys()
    }

    /// Whether a part is running.
    pub fn is_running(&self, component: &Component) -> bool {
        self.parts.get(component).is_some_and(Part::is_running)
    }

    /// Starts a part; nothing, if it is running. Returns whether there is such a part.
    pub fn start(&self, component: &Component) -> bool {
        let part = self.parts.get(component);
        part.inspect(|part| part.start()).is_some()
    }

    /// Stops a part and waits until it has stopped. What it looked after stays as it is. Returns whether there is such
    /// a part.
    pub async fn stop(&self, component: &Component) -> bool {
        match self.parts.get(component) {
            Some(part) => {
                part.stop().await;
                true
            }
            None => false,
        }
    }

    /// Ends a part at its next await, as a process is that is killed: it finishes nothing. Returns whether there is such
    /// a part.
    pub fn kill(&self, component: &Component) -> bool {
        let part = self.parts.get(component);
        part.inspect(|part| part.kill()).is_some()
    }

    /// Stops everything, and lets go of the store, which can be opened again when this returns. Containers run on, and
    /// are adopted when a cluster with the same store and runtime starts.
    pub async fn shutdown(self) {
        self.stop_all().await;
    }

    /// [`Cluster::shutdown`] for one that is shared. What is asked of it afterwards is refused.
    pub async fn stop_all(&self) {
        futures::future::join_all(self.parts.values().map(Part::stop)).await;
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, announcing)) = announced {
            stop.cancel();
            announcing.ended().await;
        }
        self.following.cancel();
        let extensions = self.extensions.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(extensions) = extensions {
            extensions.ended().await;
        }
        self.server.close().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for part in self.parts.values() {
            part.cancel();
        }
        self.stop.cancel();
        self.directory.clear();
    }
}
