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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::admission::{Asked, Attributes, WriteVerb};
    use crate::api::{User, Verb, WriteOptions};
    use crate::clock::TokioClock;
    use crate::meta::ObjectName;
    use crate::store::Txn;
    use crate::testing::TestServer;

    /// An object that has something of whatever any admission looks at.
    fn object(namespaced: bool) -> Value {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i",
            "securityContext": {"privileged": true}}]}});
        let mut spec = template["spec"].clone();
        spec["template"] = template;
        spec["selector"] = json!({"matchLabels": {"a": "b"}});
        spec["signerName"] = "kubernetes.io/kube-apiserver-client".into();
        let mut object = json!({"metadata": {"name": "o", "uid": "u", "labels": {"a": "b"}}, "spec": spec,
            "globalDefault": true, "reason": "r"});
        if namespaced {
            object["metadata"]["namespace"] = "default".into();
        }
        object
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_admission_does_not_concern_it_leaves_alone() {
        let server = TestServer::start().await;
        let (caches, clock) = (server.server().caches(), TokioClock::simulated(1));
        let authorizer = server.server().authorizer();
        let webhooks = Webhooks::new(None, caches, &clock);
        let all = standard(caches, &clock, ServiceRanges::default(), true, (authorizer, &webhooks));
        let user = User::named("someone");
        let options = WriteOptions::default();
        let (mut left, mut asked) = (0, 0);
        for resource in server.server().kinds().iter() {
            let name = ObjectName::new(resource.is_namespaced().then_some("default"), "o");
            for admission in &all {
                if admission.concerns(resource) {
                    asked += 1;
                    continue;
                }
                for verb in [WriteVerb::Create, WriteVerb::Update, WriteVerb::Delete] {
                    for subresource in [None, Some("status"), Some("eviction"), Some("resize")] {
                        let old = object(resource.is_namespaced());
                        let attributes = Attributes {
                            user: &user,
                            resource,
                            name: &name,
                            subresource,
                            verb,
                            old: (verb != WriteVerb::Create).then_some(&old),
                            revision: None,
                            dry_run: false,
                            again: false,
                            spoken: (&resource.id.group, &resource.version),
                            options: Asked::Write(Verb::Update, &options),
                            body: None,
                            scale: None,
                        };
                        let (mut new, mut txn) = (old.clone(), Txn::new());
                        let said = [
                            admission.mutate(&attributes, &mut new).await,
                            admission.validate(&attributes, Some(&new)).await,
                            admission.check(&attributes, Some(&new), &mut txn).await,
                            admission.check(&attributes, None, &mut txn).await,
                        ];
                        let silent = said.iter().all(|said| said.as_ref().is_ok_and(Vec::is_empty));
                        assert!(
                            silent && new == old && txn.writes.is_empty() && txn.guards.is_empty(),
                            "{admission:?} {} {verb:?}",
                            resource.id
                        );
                        left += 1;
                    }
                }
            }
        }
        assert!(left > asked && asked > 0, "{left} {asked}");
    }
}
