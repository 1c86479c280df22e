//! An Ingress controller: it leads HTTP and TLS from outside to the pods of a cluster.
//!
//! [`Controller`] serves the Ingresses of classes whose controller is [`CONTROLLER`], and makes one such class if there is
//! none. Which backend a request is for is decided by a [`Table`](table::Table), which is pure; it is made anew whenever
//! something changes that it is made of, and put in place at once.
//!
//! It may run on several nodes. Each says in its Node where it is reached, by the annotation [`ADDRESSES`], and every one
//! finds the addresses that Ingresses show out of the Nodes that all see: so they agree, and tell each other nothing.
//!
//! Tasks: one a connection, which end with the controller, one a connection to an endpoint and one a stream of a
//! WebSocket, which end by themselves.

mod certificates;
mod message;
mod plan;
mod serve;
mod status;
pub mod table;
#[cfg(test)]
mod tests;
mod upstream;
mod view;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use orchestra_core::api::{Client, Status};
use orchestra_core::meta::ObjectName;
use orchestra_core::watch::{Cache, Cursor, Entry, Query};
use tokio::net::TcpListener;

use certificates::Certificates;
pub use plan::CONTROLLER;
use plan::{Backend, Cluster, Plan};
pub use status::ADDRESSES;
use table::Table;
use upstream::Upstreams;
use view::{ClassView, IngressView, NodeView, ServiceView, SliceView};

/// The class that is made if there is none of ours.
pub const CLASS: &str = "orchestra";
/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How soon what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Where requests go, as of now.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    pub(crate) now: ArcSwap<Now>,
    pub(crate) upstreams: Upstreams,
}

/// What is looked up for a request.
#[derive(Debug, Default)]
pub(crate) struct Now {
    pub(crate) table: Table<Backend>,
    pub(crate) certificates: Certificates,
}

/// Leads requests from outside to pods.
#[derive(Debug, Clone)]
pub struct Controller {
    http: Option<Arc<std::net::TcpListener>>,
    https: Option<Arc<std::net::TcpListener>>,
    addresses: Vec<IpAddr>,
}

/// What is followed.
struct Caches {
    ingresses: Cache,
    classes: Cache,
    services: Cache,
    slices: Cache,
    secrets: Cache,
    nodes: Cache,
}

impl Controller {
    /// One that is reached at these addresses. Ingresses show them where no node says that it serves Ingresses; else those of
    /// the nodes that do.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { http: None, https: None, addresses: addresses.into_iter().collect() }
    }

    /// Takes plain HTTP there.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn http(mut self, address: SocketAddr) -> std::io::Result<Self> {
        self.http = Some(listen(address)?);
        Ok(self)
    }

    /// Takes TLS there, with the certificates of the Ingresses.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn https(mut self, address: SocketAddr) -> std::io::Result<Self> {
        self.https = Some(listen(address)?);
        Ok(self)
    }

    /// Where it listens: for plain HTTP, and for TLS.
    pub fn listens(&self) -> [Option<SocketAddr>; 2] {
        [&self.http, &self.https].map(|listener| listener.as_ref()?.local_addr().ok())
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// When the cluster does not have the kinds, or they may not be read; or a listener cannot be used.
    pub async fn run(&self, client: Client, shutdown: impl Future<Output = ()>) -> Result<(), Status> {
        let caches = Caches {
            ingresses: client.cache::<Ingress>().await?,
            classes: client.cache::<IngressClass>().await?,
            services: client.cache::<Service>().await?,
            slices: client.cache::<EndpointSlice>().await?,
            secrets: client.cache::<Secret>().await?,
            nodes: client.cache::<Node>().await?,
        };
        status::ensure_class(&client, &caches.classes).await?;
        let routing = Arc::new(Routing::default());
        let tls = serve::tls(&routing).map_err(Status::internal)?;
        let (http, https) = (own(self.http.as_ref())?, own(self.https.as_ref())?);
        let plain = async {
            match http {
                Some(listener) => serve::accept(listener, None, Arc::clone(&routing)).await,
                None => std::future::pending().await,
            }
        };
        let encrypted = async {
            match https {
                Some(listener) => serve::accept(listener, Some(tls), Arc::clone(&routing)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.follow(&client, &caches, &routing) => {}
            () = plain => {}
            () = encrypted => {}
        }
        Ok(())
    }

    async fn follow(&self, client: &Client, caches: &Caches, routing: &Routing) {
        let mut faults = BTreeSet::new();
        loop {
            let (ingresses, mut of_ingresses) = caches.ingresses.list_and_watch(&Query::all());
            let (classes, mut of_classes) = caches.classes.list_and_watch(&Query::all());
            let (services, mut of_services) = caches.services.list_and_watch(&Query::all());
            let (slices, mut of_slices) = caches.slices.list_and_watch(&Query::all());
            let (_, mut of_secrets) = caches.secrets.list_and_watch(&Query::all());
            let (nodes, mut of_nodes) = caches.nodes.list_and_watch(&Query::all());
            let plan = planned(&ingresses, &classes, &services, &slices);
            let (certificates, told) = certified(&plan, &caches.secrets);
            for fault in told.difference(&faults) {
                tracing::warn!(fault, "hosts of an Ingress have no certificate");
            }
            faults = told;
            routing.now.store(Arc::new(Now { table: plan.table, certificates }));
            routing.upstreams.retain(|_| true);
            let nodes = views::<NodeView>(&nodes);
            let shown = status::shown(nodes.iter().map(|view| &**view), &self.addresses);
            let written = status::write(client, &ingresses, &plan.ours, &shown).await;
            let again = written.is_err().then_some(RETRY);
            let of_rest = [&mut of_services, &mut of_slices, &mut of_secrets, &mut of_nodes];
            changed(client, [&mut of_ingresses, &mut of_classes], of_rest, again).await;
            client.clock().sleep(GATHER).await;
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<Arc<std::net::TcpListener>> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Arc::new(listener))
}

/// A listener for one run: it is begun again when it was stopped.
fn own(listener: Option<&Arc<std::net::TcpListener>>) -> Result<Option<TcpListener>, Status> {
    let own = |listener: &Arc<std::net::TcpListener>| TcpListener::from_std(listener.try_clone()?);
    listener.map(own).transpose().map_err(Status::internal)
}

fn planned(
    ingresses: &[Arc<Entry>],
    classes: &[Arc<Entry>],
    services: &[Arc<Entry>],
    slices: &[Arc<Entry>],
) -> Plan {
    let (ingresses, classes) = (views::<IngressView>(ingresses), views::<ClassView>(classes));
    let (services, slices) = (views::<ServiceView>(services), views::<SliceView>(slices));
    plan::plan(&Cluster {
        ingresses: ingresses.iter().map(|view| &**view).collect(),
        classes: classes.iter().map(|view| &**view).collect(),
        services: services.iter().map(|view| &**view).collect(),
        slices: slices.iter().map(|view| &**view).collect(),
    })
}

fn views<V: serde::de::DeserializeOwned + Send + Sync + 'static>(entries: &[Arc<Entry>]) -> Vec<Arc<V>> {
    entries.iter().filter_map(|entry| entry.view::<V>().ok()).collect()
}

/// The certificates that a plan names, and what is wrong with those that cannot be had.
fn certified(plan: &Plan, secrets: &Cache) -> (Certificates, BTreeSet<String>) {
    let (mut certificates, mut faults) = (Certificates::default(), BTreeSet::new());
    for (host, (namespace, name)) in &plan.certificates {
        match certificate(secrets, namespace, name) {
            Ok(key) => certificates.put(host, Arc::new(key)),
            Err(why) => drop(faults.insert(format!("Secret {namespace}/{name} for host {host:?}: {why}"))),
        }
    }
    (certificates, faults)
}

fn certificate(secrets: &Cache, namespace: &str, name: &str) -> Result<rustls::sign::CertifiedKey, String> {
    let entry = secrets.get(&ObjectName::namespaced(namespace, name)).ok_or("there is none")?;
    let secret = entry.decode::<Secret>().map_err(|error| error.to_string())?;
    let part = |key: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| bytes.0.clone()).ok_or_else(|| format!("it has no {key}"))
    };
    certificates::read(&part("tls.crt")?, &part("tls.key")?)
}

/// Waits for a change of anything, or for the time to try again.
async fn changed(
    client: &Client,
    [ingresses, classes]: [&mut Cursor; 2],
    [services, slices, secrets, nodes]: [&mut Cursor; 4],
    again: Option<Duration>,
) {
    let due = async {
        match again {
            Some(wait) => client.clock().sleep(wait).await,
            None => std::future::pending().await,
        }
    };
    // Having fallen behind is a reason to look again, like any other.
    tokio::select! {
        biased;
        _ = ingresses.next() => {}
        _ = classes.next() => {}
        _ = services.next() => {}
        _ = slices.next() => {}
        _ = secrets.next() => {}
        _ = nodes.next() => {}
        () = due => {}
    }
}
