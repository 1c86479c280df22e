//! Why a pod waits, node by node, and the smallest changes that would place it.
//!
//! All is worked out here, from what the API shows of the cluster: it can be asked of a cluster elsewhere too, and of
//! one that has another scheduler. How that was configured is told by its file.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use orchestra_core::api::Client;
use orchestra_core::meta::ObjectName;
use orchestra_core::scheduler::{
    Configuration, DEFAULT_SCHEDULER, Explanation, PodInfo, Profile, Reason, Snapshot, explain_by, observe,
};

/// Why a pod has no node, as our own rules have it or as the scheduler of a configuration has; `None` if it has one, or there
/// is none of that name.
pub(crate) async fn placing(
    client: &Client,
    name: &ObjectName,
    configuration: Option<&Configuration>,
) -> anyhow::Result<Option<String>> {
    let snapshot = observe(client).await?;
    let Some(entry) = client.cache::<Pod>().await?.get(name) else { return Ok(None) };
    let pod = PodInfo::from_entry(&entry)?;
    let profiles = configuration.map_or(&[][..], |configuration| &configuration.profiles);
    Ok(pod.node.is_none().then(|| of_profiles(&pod, profiles, &snapshot)))
}

/// By the profile that the pod asks for, if there is one, else by the default rules.
fn of_profiles(pod: &PodInfo, profiles: &[Profile], snapshot: &Snapshot) -> String {
    let profile = profiles.iter().find(|profile| profile.name == pod.scheduler);
    let is_known = profile.is_some() || *pod.scheduler == *DEFAULT_SCHEDULER;
    let explanation = explain_by(profile.unwrap_or(&Profile::default()), snapshot, pod);
    told(pod, is_known, &explanation)
}

fn told(pod: &PodInfo, is_known: bool, explanation: &Explanation) -> String {
    let name = &pod.name;
    if let Some(node) = &pod.node {
        return format!("{name} is on the node {node}.\n");
    }
    let mut text = String::new();
    if !is_known {
        let _ = writeln!(
            text,
            "{name} is for the scheduler {:?}; what follows is by our own rules.",
            pod.scheduler
        );
    }
    if !pod.gates.is_empty() {
        let _ =
            writeln!(text, "{name} is held until its scheduling gates are lifted: {}.", pod.gates.join(", "));
    }
    if !explanation.fits.is_empty() {
        let nodes: Vec<&str> = explanation.fits.iter().map(|node| &**node).collect();
        let _ = writeln!(text, "{name} fits on {}; no scheduler has placed it yet.", nodes.join(", "));
    } else {
        let _ = writeln!(text, "{name} waits: {}", explanation.summary);
    }
    for (node, verdicts) in &explanation.faults {
        let _ = writeln!(text, "\n  {node}");
        for verdict in verdicts {
            for reason in &verdict.reasons {
                let _ = writeln!(text, "    {}: {}", verdict.filter, detail(reason));
            }
        }
    }
    if !explanation.remedies.is_empty() {
        let _ = writeln!(text, "\nAny of these would place it:");
        for remedy in &explanation.remedies {
            let _ = writeln!(text, "  {remedy}");
        }
    }
    text
}

/// A reason with the values that Kubernetes' sentence leaves out.
fn detail(reason: &Reason) -> String {
    match reason {
        Reason::Taint { key, value, effect } if value.is_empty() => {
            format!("the taint {key}:{effect} is not tolerated")
        }
        Reason::Taint { key, value, effect } => format!("the taint {key}={value}:{effect} is not tolerated"),
        Reason::Insufficient { resource, requested, used, capacity } => {
            let unit = if &**resource == "cpu" { "m" } else { "" };
            let free = capacity - used;
            format!(
                "{requested}{unit} of {resource} are asked for, {free}{unit} of {capacity}{unit} are free"
            )
        }
        Reason::TooManyPods { limit } => format!("it has all the {limit} pods that it takes"),
        Reason::SpreadLabel { topology_key } => format!("it has no label {topology_key} to spread by"),
        Reason::Spread { topology_key, skew, max_skew } => {
            format!(
                "its {topology_key} would have {skew} pods more than the emptiest, {max_skew} are allowed"
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::scheduler::NodeSpec;
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: &Value) -> PodInfo {
        let mut pod = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "a", "resources": {"requests": {"cpu": "2"}}}]},
        });
        for (key, value) in change.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        PodInfo::from_json(pod.to_string().as_bytes()).unwrap()
    }

    fn cluster() -> Snapshot {
        let mut snapshot = Snapshot::new();
        for (name, cpu, taints) in
            [("a", "1", json!([])), ("b", "4", json!([{"key": "k", "effect": "NoSchedule"}]))]
        {
            let node = json!({
                "metadata": {"name": name}, "spec": {"taints": taints},
                "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}},
            });
            snapshot.set_node(NodeSpec::from_json(node.to_string().as_bytes()).unwrap());
        }
        snapshot
    }

    #[test]
    fn each_node_has_its_reasons_and_the_smallest_change_comes_first() {
        let pod = pod(&json!({}));
        let expected = "\
default/web waits: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).

  a
    NodeResourcesFit: 2000m of cpu are asked for, 1000m of 1000m are free

  b
    TaintToleration: the taint k:NoSchedule is not tolerated

Any of these would place it:
  b: tolerate k:NoSchedule
  a: request 1000m of cpu instead of 2000m
";
        assert_eq!(of_profiles(&pod, &[], &cluster()), expected);
    }

    #[test]
    fn a_pod_is_explained_by_the_profile_that_it_asks_for() {
        let file = br#"{
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "profiles": [{"schedulerName": "blind", "plugins": {"multiPoint": {"disabled": [{"name": "TaintToleration"}]}}}]
        }"#;
        let profiles = Configuration::parse(file).unwrap().profiles;
        let explained = |scheduler: &str, profiles: &[Profile]| {
            of_profiles(&pod(&json!({"schedulerName": scheduler})), profiles, &cluster())
        };
        let expected = "\
default/web fits on b; no scheduler has placed it yet.

  a
    NodeResourcesFit: 2000m of cpu are asked for, 1000m of 1000m are free
";
        assert_eq!(explained("blind", &profiles), expected);
        let by_our_own = "default/web is for the scheduler \"blind\"; what follows is by our own rules.\n";
        assert!(explained("blind", &[]).starts_with(by_our_own));
        assert!(
            explained("default-scheduler", &profiles)
                .starts_with("default/web waits: 0/2 nodes are available")
        );
    }

    #[test]
    fn a_pod_that_does_not_wait_for_a_node_says_what_it_waits_for() {
        let explained = |change: Value| {
            let pod = pod(&change);
            of_profiles(&pod, &[], &cluster())
        };
        assert_eq!(explained(json!({"nodeName": "a"})), "default/web is on the node a.\n");
        let gated =
            explained(json!({"schedulingGates": [{"name": "x/y"}], "tolerations": [{"operator": "Exists"}]}));
        assert!(
            gated.starts_with("default/web is held until its scheduling gates are lifted: x/y.\n"),
            "{gated}"
        );
        assert!(gated.contains("default/web fits on b; no scheduler has placed it yet.\n"), "{gated}");
    }
}
