//! Which APIServices there are to be: pure.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::watch::Entry;

/// The label of what this controller made.
pub(super) const AUTOMATIC: &str = "kube-aggregator.kubernetes.io/automanaged";

/// The priorities of Kubernetes' own groups: clients list their kinds in this order.
const GROUPS: &[(&str, i32)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];
/// The priorities of versions that are not the usual 15.
const VERSIONS: &[(&str, &str, i32)] = &[
    ("", "v1", 1),
    ("autoscaling", "v2", 30),
    ("flowcontrol.apiserver.k8s.io", "v1", 21),
    ("resource.k8s.io", "v1", 21),
];
/// The priorities of groups and versions that somebody added.
const ADDED: (i32, i32) = (1000, 100);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Next {
    Create(Value),
    Delete(Arc<Entry>),
}

/// Makes what is missing, and takes away what this controller made and nobody serves any more. What it did not make is
/// somebody else's.
pub(super) fn next(served: &[(Arc<str>, Arc<str>)], held: &[Arc<Entry>]) -> Vec<Next> {
    let names: HashSet<&str> = held.iter().map(|entry| entry.name().name()).collect();
    let wanted: HashSet<String> = served.iter().map(|(group, version)| name(group, version)).collect();
    let missing = served
        .iter()
        .filter(|(group, version)| !names.contains(&*name(group, version)) && is_current(group, version));
    let gone = held.iter().filter(|entry| {
        let ours = entry.labels().get(AUTOMATIC).is_some() && !entry.is_deleting();
        ours && !wanted.contains(entry.name().name())
    });
    missing
        .map(|(group, version)| Next::Create(object(group, version)))
        .chain(gone.cloned().map(Next::Delete))
        .collect()
}

fn name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

/// Versions that Kubernetes no longer serves are served here for old manifests, and not shown.
fn is_current(group: &str, version: &str) -> bool {
    let own = group == "extensions" || GROUPS.iter().any(|(known, _)| *known == group);
    !own || !(version.contains("alpha") || version.contains("beta"))
}

fn object(group: &str, version: &str) -> Value {
    let known = GROUPS.iter().find(|(known, _)| *known == group);
    let (group_priority, usual) = known.map_or(ADDED, |(_, priority)| (*priority, 15));
    let special = VERSIONS.iter().find(|(of, known, _)| *of == group && *known == version);
    // What comes while the server runs can go as well.
    let managed = if known.is_some() { "onstart" } else { "true" };
    json!({
        "metadata": { "name": name(group, version), "labels": { AUTOMATIC: managed } },
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": group_priority,
            "versionPriority": special.map_or(usual, |(_, _, priority)| *priority),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::entry;

    fn served(all: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
        all.iter().map(|(group, version)| (Arc::from(*group), Arc::from(*version))).collect()
    }

    fn held(name: &str, label: Option<&str>) -> Arc<Entry> {
        let mut object = json!({ "metadata": { "name": name, "uid": name } });
        if let Some(label) = label {
            object["metadata"]["labels"] = json!({ AUTOMATIC: label });
        }
        entry(&object)
    }

    #[test]
    fn there_is_one_for_each_version_that_is_served_and_none_for_what_went() {
        let all = served(&[("", "v1"), ("apps", "v1"), ("apps", "v1beta1"), ("example.org", "v1beta1")]);
        let there = [
            held("v1.apps", Some("onstart")),
            held("v1.gone.org", Some("true")),
            held("v1.metrics.org", None),
        ];
        let (mut made, mut deleted) = (Vec::new(), Vec::new());
        for next in next(&all, &there) {
            match next {
                Next::Create(object) => made.push(object),
                Next::Delete(entry) => deleted.push(entry.name().name().to_owned()),
            }
        }
        assert_eq!(deleted, ["v1.gone.org"], "what an administrator registered stays");
        let names: Vec<_> = made.iter().map(|object| object["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["v1.", "v1beta1.example.org"]);
        assert_eq!(
            made[0]["spec"],
            json!({ "group": "", "version": "v1", "groupPriorityMinimum": 18_000, "versionPriority": 1 })
        );
        assert_eq!(made[1]["metadata"]["labels"][AUTOMATIC], "true");
        assert_eq!(made[1]["spec"]["groupPriorityMinimum"], 1000);
    }
}
