//! The admissions that every cluster has: what only the cluster knows is filled in, what may not be is refused.
//!
//! | file | what |
//! | --- | --- |
//! | `certificates` | who asks for a certificate, and when what became of it |
//! | `event_rate` | new Events are bounded, of one source and in all |
//! | `namespace` | nothing is made in a namespace that is not there or is going |
//! | `pod` | service account, priority, tolerations of failing nodes, topology labels; the default PriorityClass |
//! | `pod_security` | pods keep to the pod security standard of their namespace |
//! | `selectors` | warnings of selectors that overlap |
//! | `service` | cluster IPs and node ports, each given to one service at a time |

mod certificates;
mod event_rate;
mod namespace;
mod pod;
mod pod_security;
mod selectors;
mod service;

use std::sync::Arc;

use crate::api::Caches;
use crate::api::admission::Admission;
use crate::clock::SharedClock;
pub use certificates::CertificateRequests;
pub use event_rate::EventRateLimit;
pub use namespace::NamespaceLifecycle;
pub use pod::PodDefaults;
pub use pod_security::PodSecurity;
pub use selectors::SelectorWarnings;
pub use service::{InvalidRange, ServiceAllocation, ServiceRanges};

/// The admissions of a cluster with these ranges for services, in order.
pub fn standard(caches: &Caches, clock: &SharedClock, ranges: ServiceRanges) -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(NamespaceLifecycle::new(caches)),
        Arc::new(EventRateLimit::new(Arc::clone(clock))),
        Arc::new(CertificateRequests::new(Arc::clone(clock))),
        Arc::new(PodDefaults::new(caches)),
        Arc::new(PodSecurity::new(caches)),
        Arc::new(SelectorWarnings::new(caches)),
        Arc::new(ServiceAllocation::new(caches, Arc::clone(clock), ranges)),
    ]
}
