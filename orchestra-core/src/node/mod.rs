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
//! * `plan` decides what to do next and `status` what to say; both are pure. So are `admission`, `preempt`, `env`, `volumes`,
//!   `fields`, `resize`, `translate`, `unsupported` and `backoff`.
//! * `apply` carries out what was decided, with `start`, `kill`, `mounts` and `address`, each of which can be given up
//!   between any two steps.
//! * Nothing is kept on disk but which devices a pod has (`ledger`), which is a file of the pod's. What an agent must know
//!   after it restarted is in the labels of the runtime's objects; the rest (`model::Memory`) it can do without.
//! * `room` is what the pods of the node have of it: a pod that is bound to it and does not fit, or that the node is not one for
//!   (`admission`), is rejected before anything of it begins, and one that asks for more waits until there is so much.
//! * The world beside runtime and network is behind [`VolumeHost`], [`Prober`], [`Manifests`] and [`DevicePlugins`].
//!
//! What runs until the end, all of it owned by the agent and begun again after a panic:
//!
//! | task | takes in | gives out |
//! | --- | --- | --- |
//! | heartbeat (`register`) | the node's object, the runtime's health, how full the machine is, its drivers of volumes | its status, lease and CSINode; mail to a pod that is evicted |
//! | `pods` | the watch of the node's pods, manifests, the runtime's events | mail to the loops; new loops, also for leftovers |
//! | `collect` | how full the disk is, which images are used | images that go |
//! | one `pod_loop` a pod | its mailbox, what the runtime shows | steps, the pod's status |
//! | one `probe` a probe | the pod's address | verdicts, and a nudge to the loop |
//! | one watch an object that pods refer to (`followed`) | its changes | a nudge to the loops |

mod address;
mod admission;
mod agent;
mod apply;
mod attached;
mod backoff;
mod changes;
mod claimed;
mod collect;
mod config;
mod connect;
mod context;
mod csi;
mod csi_volume;
mod devices;
mod directory;
mod drivers;
mod env;
mod evict;
mod expand;
pub mod fake;
mod fields;
pub mod figures;
mod followed;
mod garbage;
mod growth;
mod handlers;
mod images;
mod in_use;
mod kill;
mod ledger;
mod leftovers;
mod mailbox;
mod manifests;
mod messages;
mod metrics;
mod mirror;
mod model;
mod mounts;
mod no_host;
mod object;
mod own_node;
mod plan;
mod plugins;
mod pod_loop;
mod pods;
mod ports;
mod preempt;
mod pressure;
mod probe;
mod probe_counts;
mod pulling;
mod register;
mod report;
mod residents;
mod resize;
mod resources;
mod room;
mod service;
mod shutdown;
mod sources;
mod start;
mod static_pods;
mod status;
mod stop;
mod storage;
mod thresholds;
mod tokens;
mod translate;
mod unsupported;
mod volumes;

pub use agent::Agent;
pub use config::{Config, Shutdown};
pub use connect::Connections;
pub use csi_volume::{Confidential, Csi, CsiGroup, CsiSecrets};
pub use directory::{ContainerPlace, Dialer, Directory, PodPlace};
pub use garbage::ImageCollection;
pub use metrics::FiguresOfUse;
pub use plugins::{Choice, DeviceError, DevicePlugins, Devices, Given, GivenMount};
pub use ports::{
    CsiDriver, FileSet, HostError, HttpAnswer, HttpProbe, Manifest, Manifests, PodFile, ProbeError, Prober,
    ShownVolume, SubPath, VolumeHost, VolumeUsage,
};
pub use service::{LocalNode, LogRequest, NodeService};
pub use static_pods::{ManifestError, check_manifest};
pub use thresholds::{ThresholdError, Thresholds};
pub use translate::ClusterDns;
pub use volumes::{EmptyDir, FileContent, Files, Nfs};
