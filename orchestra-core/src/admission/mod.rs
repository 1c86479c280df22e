//! The admissions that every cluster has: what only the cluster knows is filled in, what may not be is refused.
//!
//! | file | what |
//! | --- | --- |
//! | `certificates` | who asks for a certificate, and when what became of it |
//! | `disruption` | evictions keep to the disruption budgets of their pods |
//! | `event_rate` | new Events are bounded, of one source and in all |
//! | `ingress_class` | ingresses that name no class are of the default one |
//! | `limit_range` | requests and limits of pods and claims: what is not named is given, what is out of range refused |
//! | `namespace` | nothing is made in a namespace that is not there or is going |
//! | `node_taint` | no pods for a node before it is known to be ready |
//! | `policy` | what policies say may not be is refused, what they change is changed |
//! | `pod` | priority, tolerations of failing nodes, topology labels; the default PriorityClass |
//! | `pod_security` | pods keep to the pod security standard of their namespace |
//! | `quota` | what is used of quotas is counted in the transaction of each write, and never passes them |
//! | `runtime_class` | pods have the overhead, the nodes and the tolerations of their RuntimeClass |
//! | `selectors` | warnings of selectors that overlap |
//! | `service_account` | a pod's account, and its token |
//! | `service` | cluster IPs and node ports (of `service_ranges`), each given to one service at a time |
//! | `review` | which requests webhooks and policies are about, and what they are told |
//! | `storage_class` | the default StorageClass of claims that name none |
//! | `storage_protection` | the finalizers that keep claims, volumes and their classes while they are in use |
//! | `volume_growth` | claims ask for more only where their volume may grow |
//! | `webhooks` | webhooks, asked about what is written |

mod amounts;
mod certificates;
mod disruption;
mod event_rate;
mod ingress_class;
mod limit_range;
mod namespace;
mod node_taint;
mod pod;
mod pod_security;
mod policy;
pub(crate) mod quota;
mod review;
mod runtime_class;
mod selectors;
mod service;
mod service_account;
mod service_ranges;
mod storage_class;
mod storage_protection;
mod volume_growth;
mod webhooks;

use std::sync::Arc;

use crate::api::admission::Admission;
use crate::api::{Authorizer, Caches};
use crate::clock::SharedClock;
use crate::webhook::Webhooks;
pub(crate) use amounts::{Amounts, add as add_amounts};
pub use certificates::CertificateRequests;
pub use disruption::DisruptionBudgets;
pub use event_rate::EventRateLimit;
pub use ingress_class::DefaultIngressClass;
pub use limit_range::LimitRanges;
pub use namespace::NamespaceLifecycle;
pub use node_taint::NodeTaint;
pub use pod::PodDefaults;
pub use pod_security::PodSecurity;
pub use policy::{MutatingPolicies, ValidatingPolicies};
pub use quota::Quotas;
pub use runtime_class::RuntimeClasses;
pub use selectors::SelectorWarnings;
pub use service::ServiceAllocation;
pub use service_account::ServiceAccounts;
pub use service_ranges::{InvalidRange, ServiceRanges};
pub use storage_class::DefaultStorageClass;
pub use storage_protection::StorageProtection;
pub(crate) use storage_protection::{CLAIM_PROTECTION, CLASS_PROTECTION, VOLUME_PROTECTION};
pub use volume_growth::VolumeGrowth;
pub use webhooks::{MutatingWebhooks, ValidatingWebhooks};

/// The admissions of a cluster with these ranges for services, in order. `tokens` says whether pods get tokens of their
/// service accounts. Policies ask the authorizer, and webhooks are asked as the last.
pub fn standard(
    caches: &Caches,
    clock: &SharedClock,
    ranges: ServiceRanges,
    tokens: bool,
    (authorizer, webhooks): (&Arc<dyn Authorizer>, &Webhooks),
) -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(NamespaceLifecycle::new(caches)),
        Arc::new(EventRateLimit::new(Arc::clone(clock))),
        Arc::new(ServiceAccounts::new(caches, Arc::clone(clock), tokens)),
        Arc::new(NodeTaint),
        Arc::new(CertificateRequests::new(Arc::clone(clock))),
        Arc::new(PodDefaults::new(caches)),
        Arc::new(LimitRanges::new(caches)),
        Arc::new(DefaultStorageClass::new(caches)),
        Arc::new(StorageProtection),
        Arc::new(VolumeGrowth::new(caches)),
        Arc::new(RuntimeClasses::new(caches)),
        Arc::new(PodSecurity::new(caches)),
        Arc::new(DefaultIngressClass::new(caches)),
        Arc::new(SelectorWarnings::new(caches)),
        Arc::new(ServiceAllocation::new(caches, Arc::clone(clock), ranges)),
        Arc::new(DisruptionBudgets::new(caches, Arc::clone(clock))),
        // Others have their say once the cluster itself has had its own.
        Arc::new(MutatingPolicies::new(caches, authorizer)),
        Arc::new(MutatingWebhooks::new(caches, authorizer, webhooks, clock)),
        Arc::new(ValidatingPolicies::new(caches, authorizer)),
        Arc::new(ValidatingWebhooks::new(caches, authorizer, webhooks, clock)),
        // Last, so that nothing is counted which another refuses.
        Arc::new(Quotas::new(caches)),
    ]
}
