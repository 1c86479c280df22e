//! Kubernetes as a library: a whole container cluster that another program can hold in a variable.
//!
//! This crate is everything that decides. It opens no socket, starts no process and reads no clock of its own: what
//! touches the world is a port, with an implementation in memory here and real ones in `orchestra-runtime`
//! (Docker, processes), `orchestra-net` (a service proxy) and the host programs (the API over HTTPS).
//!
//! # A cluster in a variable
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use orchestra_core::cluster::Cluster;
//! use orchestra_core::k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
//!
//! let cluster = Cluster::builder().fake_nodes(3).start().await?;
//! let deployments = cluster.client().api::<Deployment>("default");
//! deployments
//!     .create(&serde_json::from_value(serde_json::json!({
//!         "metadata": {"name": "web"},
//!         "spec": {
//!             "replicas": 3,
//!             "selector": {"matchLabels": {"app": "web"}},
//!             "template": {
//!                 "metadata": {"labels": {"app": "web"}},
//!                 "spec": {"containers": [{"name": "web", "image": "web:1"}]},
//!             },
//!         },
//!     }))?)
//!     .await?;
//! let ready = |web: &Deployment| web.status.as_ref().and_then(|status| status.ready_replicas);
//! deployments.until("web", |web| web.and_then(ready) == Some(3)).await?;
//! assert_eq!(cluster.client().api::<Pod>("default").list().await?.len(), 3);
//! cluster.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # The tour
//!
//! Read in this order; each module's own page says how it works and why.
//!
//! 1. [`cluster`] puts everything together: [`Cluster::builder`](cluster::Cluster::builder) takes the ports that are
//!    not to be the default, and the running [`Cluster`](cluster::Cluster) hands out clients and stops and starts its
//!    parts.
//! 2. [`api`] is the Kubernetes API without HTTP: one path for every verb of every kind, and [`Client`](api::Client)
//!    with [`Api<K>`](api::Api), by which everything else reads, writes and watches. [`objects`] are the kinds: what
//!    each defaults, refuses and prints. [`admission`] is what a write is checked against that is not in the object.
//! 3. [`store`] is where the state is: a port, with memory, one file (`redb`) and etcd behind it. [`watch`] turns its
//!    changes into caches and event logs that thousands may follow.
//! 4. [`selector`] finds objects by their labels, and selectors by an object's labels, without looking at the others.
//! 5. [`control`] is for writing controllers: give it a function that brings one object closer to what is wanted.
//!    [`controllers`] are those of Kubernetes, written against it; [`scheduler`] chooses nodes.
//! 6. [`node`] is the agent that makes pods real by way of a [`runtime::Runtime`], a [`network::Network`] and the
//!    two small ports beside them; [`proxy`] says what a node's network should do for services.
//! 7. [`legacy`] makes manifests of versions that are no more what a cluster of today takes.
//! 8. [`meta`], [`quantity`], [`cron`], [`clock`] and [`supervise`] are the words the rest is written in. `testing`, with the feature of that
//!    name, has the suites that an implementation of a port must pass.
//!
//! # What runs
//!
//! Each of these is a task that goes on for as long as what it belongs to, is begun again by its owner when it panics,
//! and ends when its owner is dropped ([`supervise`]). None talks to another but through the API and the caches.
//!
//! | task | belongs to | takes in | gives out |
//! | --- | --- | --- | --- |
//! | feeder | [`api::Server`] | the store's watch | the caches of all kinds and their logs |
//! | forgetting | [`cluster::Cluster`], if asked for | the store's revision, time | compactions |
//! | election | a part of one of several masters | the Lease, time | renewals; starts and drops the part's work |
//! | trigger, one a watched kind | [`control::Controller`] | a cache's objects and events | keys in the controller's [queue](control::queue) |
//! | run, one a key at a time | [`control::Controller`] | a key | writes; when the key is due again |
//! | writer of events | [`control::events::Recorder`] | what a component records | Events |
//! | scheduler | [`scheduler::Scheduler`] | namespaces, services, nodes, pods | decisions, each carried out by a task of its own: a binding, or a report |
//! | registrar | [`node::Agent`] | the runtime, time | the Node's status and Lease |
//! | follower | [`node::Agent`] | the node's pods, the runtime's events | messages to the loops of pods |
//! | pod loop, one a pod | [`node::Agent`] | messages, what the runtime shows, time | calls of runtime, network and volumes; the pod's status |
//! | probe, one a container and kind of probe | a pod loop | time | verdicts |
//! | proxy | [`proxy::run`] | services and their endpoints | plans for the [`network::Network`] |
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `redb` | [`store::redb`](store), the state in one file |
//! | `etcd` | [`store::etcd`](store), the state in an etcd cluster that several masters share |
//! | `openapi` | OpenAPI with the descriptions of every field, which `kubectl explain` shows |
//! | `testing` | `testing`: an API server for tests of controllers, fakes that fail on request, the contract suites of the ports |

// Where documentation is built with every feature, each item says which one it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Time is the Clock's and every task has an owner, by clippy.toml; a test may do what it likes.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

// The macros of this crate name it by its name, also when they are used inside it.
extern crate self as orchestra_core;

// What stands in the signatures of this crate, in the versions that it is built with.
#[doc(no_inline)]
pub use {async_trait, bytes, futures, jiff, k8s_openapi, serde_json, tokio_util, tracing};

pub mod access;
pub mod admission;
pub mod api;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod controllers;
pub mod cron;
pub mod explain;
pub mod expression;
pub mod extensions;
mod image_name;
pub mod legacy;
pub mod meta;
pub mod network;
pub mod node;
pub mod objects;
pub mod proxy;
pub mod quantity;
pub mod runtime;
pub mod scheduler;
pub mod selector;
mod signal;
pub mod simulation;
pub mod store;
pub mod stream;
pub mod supervise;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod watch;
pub mod webhook;
pub mod what_if;
