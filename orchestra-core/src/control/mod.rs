//! The reconcile framework: controllers of one's own in a few lines, and the ones of the cluster.
//!
//! Begin with [`Controller`]. It wires three parts that work alone:
//!
//! ```text
//! Cache ─► trigger ─► Queue ─► runner ─► Reconciler
//!  ▲    what leads    keys,    one run    observe, plan, apply
//!  │    to which key  once     a key            │
//!  └─────────────── Client ◄────────────────────┘
//! ```
//!
//! - a [`Trigger`] follows the cache of one kind, of every kind, or a stream of names, and maps what happens to the
//!   objects to be looked at, those that own it, select it, or whatever a function says; [`predicate`]s hold back what
//!   does not matter;
//! - the [`queue`] holds names and nothing else, each once;
//! - a *runner* takes names out, calls the [`Reconciler`] in a span of its own, waits until the caches have seen what
//!   it wrote, and puts the name back if there is reason to.
//!
//! Triggers and runs are tasks of a [`Supervisor`](supervise::Supervisor): one that panics is begun again, and all end
//! with the controller. [`Metrics`] say how a controller keeps up.
//!
//! [`write`](mod@write) and [`claim`] are what every controller writes again: guarded patches of objects and their status, children as
//! they are wanted, adopting and releasing.
//!
//! The contract of a reconciler, retries and all, is the comment of [`Reconciler`]. [`events`] has the recorder with
//! which a controller tells people what it did.
//!
//! ```no_run
//! # use orchestra_core::{api::Client, control::{Action, Context, Controller, Error}};
//! # use orchestra_core::k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
//! async fn reconcile(context: Context) -> Result<Action, Error> {
//!     let Some(config) = context.object::<ConfigMap>().await? else { return Ok(Action::Done) };
//!     // … compare with what there is, write through context.api() …
//!     # let _ = config;
//!     Ok(Action::Done)
//! }
//!
//! # type Ended = Result<(), orchestra_core::api::Status>;
//! # async fn example(client: Client, shutdown: impl Future<Output = ()> + Send) -> Ended {
//! Controller::new::<ConfigMap>(client).owns::<Deployment>().run(reconcile, shutdown).await
//! # }
//! ```

pub mod claim;
mod controller;
pub mod events;
mod every_kind;
mod key;
pub mod leader;
mod metrics;
pub mod owner_reference;
pub mod predicate;
pub mod queue;
mod reconciler;
mod runner;
mod stats;
mod trigger;
pub mod write;
mod writes;

pub use crate::supervise;
pub use controller::Controller;
pub use every_kind::EveryKind;
pub use key::Key;
pub use metrics::Metrics;
pub use reconciler::{Action, Context, Error, Reconciler, Terminal};
pub use stats::{Latency, QueueStats};
pub use trigger::{Seen, Trigger};

#[cfg(test)]
mod tests;
