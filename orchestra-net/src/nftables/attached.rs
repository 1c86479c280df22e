//! The pods that are connected, and the policies for them. Pure.
//!
//! The cluster learns of a pod's addresses from its agent, after the network. So for pods that are connected the network
//! goes by the addresses that it knows itself: no rule comes late, and none is for an address that is another pod's by now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use orchestra_core::network::{AttachRequest, PodPolicy, PolicyPlan, SandboxId};

/// The pods that are connected: for each sandbox the uid of its pod, and its addresses.
#[derive(Debug, Default)]
pub(super) struct Attached(BTreeMap<SandboxId, (String, Vec<IpAddr>)>);

impl Attached {
    pub(super) fn add(&mut self, request: &AttachRequest, ips: &[IpAddr]) {
        self.0.insert(request.sandbox.clone(), (request.pod.uid.clone(), ips.to_vec()));
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, sandbox: &SandboxId) -> bool {
        self.0.remove(sandbox).is_some()
    }

    pub(super) fn retain(&mut self, sandboxes: &[SandboxId]) {
        self.0.retain(|sandbox, _| sandboxes.contains(sandbox));
    }

    /// What a plan says, for the addresses that pods have; and that those of which it does not know receive and send nothing.
    pub(super) fn policies(&self, plan: &PolicyPlan) -> PolicyPlan {
        let mut by_pod: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        for (uid, ips) in self.0.values() {
            by_pod.entry(uid).or_default().extend(ips);
        }
        let taken: BTreeSet<IpAddr> = by_pod.values().flatten().copied().collect();
        let known = plan.pods.iter().map(|pod| {
            let free = || pod.ips.iter().filter(|ip| !taken.contains(ip)).copied().collect();
            let ips = by_pod.get(pod.uid.as_str()).cloned().unwrap_or_else(free);
            PodPolicy { ips, ..pod.clone() }
        });
        let mut pods: Vec<PodPolicy> = known.collect();
        for (uid, ips) in by_pod.into_iter().filter(|(uid, _)| !plan.knows(uid)) {
            let (pod, uid) = (uid.to_owned(), uid.to_owned());
            pods.push(PodPolicy { pod, uid, ips, ingress: Some(Vec::new()), egress: Some(Vec::new()) });
        }
        PolicyPlan { pods, known: None }
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::network::PodRef;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn request(sandbox: &str, uid: &str) -> AttachRequest {
        AttachRequest {
            sandbox: SandboxId::from(sandbox),
            pod: PodRef { namespace: "shop".into(), name: "web".into(), uid: uid.into() },
            netns: None,
            runtime_ips: vec![],
            known_ips: vec![],
            host_ports: vec![],
            annotations: Default::default(),
        }
    }

    #[test]
    fn rules_are_for_the_addresses_that_pods_have_and_nobody_reaches_who_is_not_known() {
        let told = |uid: &str, ips: &[&str]| PodPolicy {
            pod: format!("shop/{uid}"),
            uid: uid.into(),
            ips: ips.iter().map(|text| ip(text)).collect(),
            ingress: Some(vec![]),
            egress: None,
        };
        // One of which the cluster has no address yet, one whose address is another's by now, and one of another life.
        let plan = PolicyPlan {
            pods: vec![told("new", &[]), told("gone", &["10.0.0.2"]), told("old", &["10.0.0.9"])],
            known: Some(["new", "gone", "old", "open"].map(str::to_owned).into()),
        };
        let mut attached = Attached::default();
        for (sandbox, uid, address) in
            [("s1", "new", "10.0.0.1"), ("s2", "open", "10.0.0.2"), ("s3", "unknown", "10.0.0.3")]
        {
            attached.add(&request(sandbox, uid), &[ip(address)]);
        }
        let shown = |attached: &Attached, plan: &PolicyPlan| -> Vec<(String, Vec<IpAddr>, bool)> {
            let pods = attached.policies(plan).pods.into_iter();
            pods.map(|pod| (pod.uid, pod.ips, pod.egress.is_some())).collect()
        };
        let of = |uid: &str, ips: &[&str], closed| {
            (uid.to_owned(), ips.iter().map(|text| ip(text)).collect::<Vec<_>>(), closed)
        };
        assert_eq!(
            shown(&attached, &plan),
            [
                of("new", &["10.0.0.1"], false),
                of("gone", &[], false),
                of("old", &["10.0.0.9"], false),
                of("unknown", &["10.0.0.3"], true),
            ]
        );
        assert!(shown(&attached, &PolicyPlan::default()).is_empty(), "nobody says that there are policies");
        attached.retain(&[SandboxId::from("s1")]);
        assert!(attached.remove(&SandboxId::from("s1")) && !attached.remove(&SandboxId::from("s1")));
        assert_eq!(shown(&attached, &plan)[0], of("new", &[], false));
    }
}
