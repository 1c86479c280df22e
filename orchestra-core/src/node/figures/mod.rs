//! Figures of use: what a node, its pods and their containers take of its processors, memory and disk.
//!
//! Nothing is sampled until somebody asks. Use of processors is an average over time, so whoever asks first waits for a
//! second look; who asks again within a minute is answered by one, and all who ask at once by the same.
//!
//! | file | what |
//! | --- | --- |
//! | `collect` | looks, and remembers the last look |
//! | `rates` | from processor time to use; pure |
//! | `summary` | the figures as they are written and read |
//! | `text`, `cadvisor` | the same for Prometheus, by two sets of names; pure |

mod cadvisor;
mod collect;
mod rates;
mod summary;
mod text;

pub use cadvisor::cadvisor_metrics;
pub(super) use collect::Figures;
pub use summary::{
    ContainerFigures, CpuStats, FsStats, MemoryStats, NodeStats, PodReference, PodStats, RlimitStats,
    Summary, VolumeStats,
};
pub use text::resource_metrics;
