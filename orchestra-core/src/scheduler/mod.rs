//! Which pod runs on which node.
//!
//! Begin with [`plan`]: a pure function of a [`Snapshot`] and a pod to a [`Plan`], which is a node or the reasons
//! by node. Around it, from the inside out:
//!
//! - [`PodInfo`] and [`NodeSpec`] are what the scheduler reads of a pod and of a node;
//! - [`Snapshot`] is the state of the cluster, kept up to date one object at a time;
//! - `filter` holds the rules that decide which nodes can take a pod, `score` those that decide which of them
//!   suits it best, one file a rule; a [`Profile`] says which of them hold for the pods of a `schedulerName`, and a
//!   [`Plugin`] is one that a program adds; a [`Configuration`] makes profiles of Kubernetes' file;
//! - [`Budget`] is a disruption budget, which making room spares where it can;
//! - [`Diagnosis`] says why no node can, in Kubernetes' words, and [`preempt`] which pods would have to go;
//! - [`explain`], and [`explain_by`] for a profile, says it all: every rule that every node fails, and the smallest change
//!   that would place the pod;
//! - `queue` holds the pods that wait, `relevance` says which change may help which of them, and `state` puts
//!   these together: all of it synchronous, with the time as an argument;
//! - [`Scheduler`] is the one part that waits: it feeds the state from the caches and does what it decides, through
//!   the API and with preconditions, so that it can be killed at any point and another goes on.

mod budget;
mod class;
mod configuration;
pub(crate) mod devices;
mod diagnosis;
mod disk;
mod driver;
mod explain;
mod feeds;
mod filter;
mod group;
mod node;
mod plan;
mod plugin;
mod pod;
mod preempt;
mod profile;
mod queue;
mod relevance;
mod resizing;
mod resources;
mod rules;
mod score;
mod snapshot;
mod state;
mod suits;
#[cfg(test)]
mod tests;
mod topology;
mod view;
pub(crate) mod volumes;
mod work;

pub use budget::Budget;
pub use configuration::{Configuration, ConfigurationError};
pub use diagnosis::Diagnosis;
pub use driver::Scheduler;
pub use explain::{Explanation, Remedy, Step, explain, explain_by};
pub use feeds::observe;
pub(crate) use filter::untolerated_with;
pub use filter::{Reason, Verdict};
pub use node::{NodeInfo, NodeSpec};
pub use plan::{Plan, plan};
pub use plugin::{Filter, Plugin, Score};
pub use pod::{DEFAULT_SCHEDULER, HostPort, InvalidInput, PodInfo};
pub use preempt::{Preemption, preempt};
pub use profile::{Candidates, Fit, IgnoredResources, Packing, Profile, Spreading};
pub use resources::{Requests, Resources};
pub use rules::{AddedAffinity, InvalidRule, NodeRule, PodTerm, PreferredNodes, Rules, Spread, SpreadTerms};
pub use snapshot::{HOSTNAME, Snapshot, ZONE};
pub(crate) use suits::{Suits, suits};
