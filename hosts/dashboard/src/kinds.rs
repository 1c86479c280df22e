//! Which kinds there are, as the API's discovery says.

use std::collections::BTreeMap;

use futures::future::join;
use serde_json::Value;

use crate::api::{Asker, Failure, items};
use crate::route::{Place, Query};

/// A kind whose objects can be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) place: Place,
    pub(crate) kind: String,
    pub(crate) is_namespaced: bool,
    pub(crate) verbs: Vec<String>,
    pub(crate) short_names: Vec<String>,
    pub(crate) subresources: Vec<String>,
}

impl Kind {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|held| held == verb)
    }

    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|held| held == subresource)
    }

    /// Its table.
    pub(crate) fn link(&self, namespace: &str) -> String {
        let namespace = if self.is_namespaced { namespace } else { "" };
        format!("table?{}", self.place.query().with("in", namespace))
    }
}

/// The kinds of an API, each in the version that the server prefers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds(pub(crate) Vec<Kind>);

impl Kinds {
    pub(crate) async fn discover(asker: &Asker<'_>) -> Result<Self, Failure> {
        let (core, others) = join(asker.discovery("/api"), asker.discovery("/apis")).await;
        Ok(Self::read(&[core?, others?]))
    }

    fn read(documents: &[Value]) -> Self {
        let mut found: BTreeMap<(String, String), Kind> = BTreeMap::new();
        let groups = documents.iter().flat_map(|document| items(Some(document)));
        for group in groups {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in list(&group["versions"]) {
                for resource in list(&version["resources"]) {
                    if let Some(kind) = kind(name, version, resource) {
                        // The first version is the one that the server prefers.
                        let key = (name.to_owned(), kind.place.resource.clone());
                        found.entry(key).or_insert(kind);
                    }
                }
            }
        }
        Self(found.into_values().collect())
    }

    /// The kind at a place, whatever the version.
    pub(crate) fn at(&self, place: &Place) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.place.group == place.group && kind.place.resource == place.resource)
    }

    /// The kind of an owner reference and the like.
    pub(crate) fn named(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.0.iter().find(|held| held.place.group == group && held.kind == kind)
    }

    /// The kind that a word means, as kubectl takes it: a plural, a kind, a short name, or `plural.group`.
    pub(crate) fn meant(&self, word: &str) -> Option<&Kind> {
        let word = word.to_lowercase();
        let plain = |kind: &&Kind| {
            kind.place.resource == word
                || kind.kind.to_lowercase() == word
                || kind.short_names.contains(&word)
                || format!("{}.{}", kind.place.resource, kind.place.group) == word
        };
        let mut all: Vec<&Kind> = self.0.iter().filter(plain).collect();
        // Events and the like are in two groups; what is asked for is Kubernetes' older one.
        all.sort_by_key(|kind| (!kind.place.group.is_empty(), kind.place.group.contains('.')));
        all.first().copied()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(|text| text.as_str()).map(str::to_owned).collect()
}

fn kind(group: &str, version: &Value, resource: &Value) -> Option<Kind> {
    let verbs = texts(&resource["verbs"]);
    if !verbs.iter().any(|verb| verb == "list") {
        return None;
    }
    let parts = list(&resource["subresources"]).iter();
    Some(Kind {
        place: Place::new(group, version["version"].as_str()?, resource["resource"].as_str()?),
        kind: resource["responseKind"]["kind"].as_str()?.to_owned(),
        is_namespaced: resource["scope"] == "Namespaced",
        verbs,
        short_names: texts(&resource["shortNames"]),
        subresources: parts.filter_map(|part| part["subresource"].as_str()).map(str::to_owned).collect(),
    })
}

/// The namespaces that who looks may list.
pub(crate) async fn namespaces(asker: &Asker<'_>) -> Vec<String> {
    let list = asker.metadata("/api/v1/namespaces").await.ok();
    let names = items(list.as_ref()).iter().filter_map(|item| item["metadata"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// What is in the menu: a heading, and the built-in kinds below it as group, version, plural and label.
pub(crate) type Section = (&'static str, &'static [(&'static str, &'static str, &'static str, &'static str)]);

pub(crate) const MENU: &[Section] = &[
    (
        "Workloads",
        &[
            ("", "v1", "pods", "Pods"),
            ("apps", "v1", "deployments", "Deployments"),
            ("apps", "v1", "statefulsets", "StatefulSets"),
            ("apps", "v1", "daemonsets", "DaemonSets"),
            ("batch", "v1", "jobs", "Jobs"),
            ("batch", "v1", "cronjobs", "CronJobs"),
        ],
    ),
    (
        "Network",
        &[
            ("", "v1", "services", "Services"),
            ("networking.k8s.io", "v1", "ingresses", "Ingresses"),
            ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicies"),
        ],
    ),
    (
        "Config and storage",
        &[
            ("", "v1", "configmaps", "ConfigMaps"),
            ("", "v1", "secrets", "Secrets"),
            ("", "v1", "persistentvolumeclaims", "Volume claims"),
        ],
    ),
    (
        "Cluster",
        &[
            ("", "v1", "nodes", "Nodes"),
            ("", "v1", "namespaces", "Namespaces"),
            ("", "v1", "events", "Events"),
        ],
    ),
];

/// Whether a query is about a kind of the menu.
pub(crate) fn is_current(query: &Query, group: &str, resource: &str) -> bool {
    query.get("r") == resource && query.get("g") == group
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_known_by_any_of_its_names() {
        let resource = |plural: &str, kind: &str, short: &[&str], verbs: &[&str]| {
            json!({"resource": plural, "responseKind": {"kind": kind}, "scope": "Namespaced", "shortNames": short,
                   "verbs": verbs, "subresources": [{"subresource": "scale"}]})
        };
        let group = |name: &str, versions: &[(&str, Value)]| {
            let versions: Vec<_> =
                versions.iter().map(|(name, r)| json!({"version": name, "resources": [r]})).collect();
            json!({"metadata": {"name": name}, "versions": versions})
        };
        let all = ["get", "list"];
        let document = json!({"items": [
            group("events.k8s.io", &[("v1", resource("events", "Event", &["ev"], &all))]),
            group("", &[("v1", resource("events", "Event", &["ev"], &all))]),
            group("a.com", &[("v2", resource("things", "Thing", &[], &all)), ("v1", resource("things", "Thing", &[], &all))]),
            group("", &[("v1", resource("bindings", "Binding", &[], &["create"]))]),
        ]});
        let kinds = Kinds::read(&[document]);
        let place = |word: &str| kinds.meant(word).map(|kind| kind.place.clone());
        assert_eq!(place("ev"), Some(Place::new("", "v1", "events")));
        assert_eq!(place("Thing"), Some(Place::new("a.com", "v2", "things")));
        assert_eq!(place("things.a.com"), Some(Place::new("a.com", "v2", "things")));
        assert_eq!(place("bindings"), None);
        assert!(kinds.named("a.com/v1", "Thing").unwrap().has("scale"));
    }
}
