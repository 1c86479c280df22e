//! The node agent: what runs a node's pods.
//!
//! [`Agent`] is the one type to begin with. It registers its node, says that it lives, watches the pods that are bound
//! to the node, and runs one loop for each:
//!
//! ```text
//! API ──watch──► Agent ──mailbox──► PodLoop: observe ─► plan ─► apply ─► report
//! Runtime ─events─►┘                          ▲ Runtime::list   │ Runtime, Network, VolumeHost
//! probes ─────────────────────────────────────┴─────────────────┘
//! ```
//!
//! * [`plan`] decides what to do next and [`status`] what to say; both are pure. So are [`env`](mod@env), [`volumes`],
//!   [`fields`], [`translate`] and [`backoff`].
//! * `apply`, `start`, `kill` and `mounts` carry out what was decided, and can be given up between any two steps.
//! * Nothing is kept on disk. What an agent must know after it restarted is in the labels of the runtime's objects; the
//!   rest ([`model::Memory`]) it can do without.
//! * The world beside runtime and network is behind [`VolumeHost`] and [`Prober`].

mod agent;
mod apply;
pub mod backoff;
mod config;
mod context;
mod directory;
pub mod env;
pub mod expand;
pub mod fake;
pub mod fields;
pub mod handlers;
mod images;
mod kill;
mod mailbox;
mod messages;
pub mod model;
mod mounts;
mod no_host;
pub mod object;
mod orphans;
pub mod plan;
mod pod_loop;
mod ports;
mod probe;
mod register;
mod report;
pub mod resources;
mod service;
pub mod sources;
mod start;
pub mod status;
pub mod translate;
mod unsupported;
pub mod volumes;

pub use agent::Agent;
pub use config::Config;
pub use directory::{Dialer, Directory, LogQuery};
pub use images::{PullPolicy, pull_policy};
pub use ports::{
    EmptyDir, FileSet, HostError, HttpAnswer, HttpProbe, PodFile, ProbeError, Prober, SubPath, VolumeHost,
};
pub use probe::{Counter, ProbeKind};
pub use service::{LocalNode, LogRequest, NodeService};
