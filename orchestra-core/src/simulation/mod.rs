//! Whole clusters in virtual time, and what goes wrong in them.
//!
//! A [`Simulation`] is one life: the store, the API, scheduler, every controller, the nodes' agents on machines that run in
//! name only, and what the embedder adds, in one thread and in [virtual time](crate::clock::run_virtual). Everything in it
//! follows from its seed, to the byte: every call of the API takes some microseconds by chance, so that another seed is
//! another order of what happens at a time.
//!
//! A [`Scenario`] says what the cluster is, what people do with it, what must be true after every commit
//! ([`always`](Scenario::always)), and what must come true in the end and stay so ([`eventually`](Scenario::eventually)). A
//! [`FaultPlan`] says what goes wrong and when. [`Explore`] lives a scenario many times, on all cores, with plans that its
//! [`Strategy`]s make of each seed; when an invariant does not hold it finds the least faults that do it, and shows the
//! story and the line that replays it.
//!
//! ```
//! use std::time::Duration;
//! use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
//! use orchestra_core::k8s_openapi::api::core::v1::Pod;
//! use orchestra_core::simulation::{Explore, Scenario, Strategy};
//! use serde_json::json;
//!
//! let scenario = Scenario::new("two pods")
//!     .nodes(1)
//!     .script(|world| async move {
//!         let web = json!({"metadata": {"name": "web"}, "spec": {
//!             "replicas": 2,
//!             "selector": {"matchLabels": {"app": "web"}},
//!             "template": {
//!                 "metadata": {"labels": {"app": "web"}},
//!                 "spec": {"containers": [{"name": "web", "image": "web:1"}]},
//!             },
//!         }});
//!         let web: Deployment = serde_json::from_value(web).unwrap();
//!         world.client().api("default").create(&web).await?;
//!         world.sleep(Duration::from_secs(5)).await;
//!         Ok(())
//!     })
//!     .always("never more than four", |state| match state.objects::<Pod>().count() {
//!         0..=4 => Ok(()),
//!         count => Err(format!("{count} pods")),
//!     })
//!     .eventually("two pods", |state| match state.objects::<Pod>().count() {
//!         2 => Ok(()),
//!         count => Err(format!("{count} pods")),
//!     });
//! let explore = Explore::new(scenario).strategies(Strategy::sieve("replicaset-controller")).seeds(3);
//! if let Err(found) = explore.run() {
//!     panic!("{found}");
//! }
//! ```
//!
//! It is always compiled, without the feature `testing`: it needs nothing of tokio's means for tests, and a program may try
//! a plan or an operator by it as well as a test does.
//!
//! | module | what |
//! | --- | --- |
//! | `scenario` | what is simulated |
//! | `prepared` | with what all lives of a scenario begin |
//! | `world` | a simulated cluster that runs: what scripts and faults act on |
//! | `machine` | its machines |
//! | `names` | names and connections, as a pod has them |
//! | `wire` | what lies between a client and the API: time, faults, the story |
//! | `replica` | what a client sees that sees late, not all, or the past |
//! | `skewed` | what time it is for a client |
//! | `fault` | faults and plans of them, as values and as text |
//! | `strategy` | plans from a seed |
//! | `state` | the cluster after one commit, as invariants see it |
//! | `run`, `watched` | one life, and its judgement |
//! | `explore` | many, and the least that does harm |
//! | `story` | the table of what happened |
//! | `trace` | what happened to a real cluster, recorded and lived again |

mod explore;
mod fault;
mod machine;
mod names;
mod prepared;
mod replica;
mod run;
mod scenario;
mod skewed;
mod state;
mod story;
mod strategy;
pub mod trace;
mod watched;
mod wire;
mod world;

pub use explore::{Explore, Explored, Found};
pub use fault::{Fault, FaultKind, FaultPlan, PlanError};
pub use machine::{Machine, Running};
pub use names::Unreached;
pub use run::{Outcome, Simulation};
pub use scenario::Scenario;
pub use state::State;
pub use story::{Line, Story};
pub use strategy::{Outline, Strategy};
pub use trace::{Figures, Replay, ReplayError, Replayed, Trace, TraceError, TraceEvent, TraceWriter, record};
pub use watched::Violation;
pub use world::World;

pub use crate::clock::Chance;
