//! What the API offers, as clients find it out: groups, versions and resources, derived from the table of kinds.
//!
//! [`Discovery`] has the documents of `/api`, `/apis` and what is below them, in the plain form and in the
//! aggregated one, which has everything in two answers. None of it lists a kind: a row of [`Kinds`] is enough.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Kinds, Resource, Subresource, Verb, api_version};

/// The version of Kubernetes whose API this is, as `/version` has it.
pub const MINOR: &str = "36";
/// The oldest minor version with which a server of this one works beside it.
const COMPATIBLE_MINOR: &str = "35";

/// The version of the aggregated form that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    /// As clients from 1.30 on ask for it.
    V2,
    /// As those before do.
    V2Beta1,
}

impl Aggregated {
    /// The version that an `Accept` header prefers; `None` if the plain form is to be sent.
    pub fn negotiate(accept: &str) -> Option<Self> {
        accept.split(',').find_map(|media| {
            let mut parts = media.split(';').map(str::trim);
            let base = parts.next()?;
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            match (base, parameter("as"), parameter("g"), parameter("v")) {
                ("application/json", Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), version) => {
                    let known = [Self::V2, Self::V2Beta1].into_iter();
                    known.map(Some).find(|known| known.map(Self::version) == version)
                }
                ("application/json" | "*/*", None, ..) => Some(None),
                _ => None,
            }
        })?
    }

    /// The version's name.
    pub fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> String {
        format!("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.version())
    }
}

/// The documents of discovery for a table of kinds.
#[derive(Clone, Copy, Debug)]
pub struct Discovery<'k> {
    kinds: &'k Kinds,
}

impl<'k> Discovery<'k> {
    /// The documents for these kinds.
    pub fn new(kinds: &'k Kinds) -> Self {
        Self { kinds }
    }

    /// Every group with its versions, the preferred one first. Groups that kinds are stored in come before those
    /// that only serve them too, so that clients take the former when they may choose.
    pub fn group_versions(&self) -> Vec<(&'k str, Vec<&'k str>)> {
        let stored = self.kinds.iter().filter_map(|row| row.served().next());
        let also = self.kinds.iter().flat_map(|row| row.served().skip(1));
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for (group, version) in stored.chain(also) {
            match groups.iter_mut().find(|(held, _)| *held == group) {
                None => groups.push((group, vec![version])),
                Some((_, versions)) if versions.contains(&version) => {}
                Some((_, versions)) => versions.push(version),
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by_key(|version| Reverse(priority(version)));
        }
        groups
    }

    /// Every group with its versions, but those that Kubernetes serves no longer: `kubectl` finds them in the aggregated
    /// form, and clients that choose a version by the name of a kind out of the plain one are not offered them.
    fn current(&self) -> Vec<(&'k str, Vec<&'k str>)> {
        let retired =
            |group: &str, version: &str| self.kinds.iter().any(|row| row.is_retired(group, version));
        let mut groups = self.group_versions();
        for (group, versions) in &mut groups {
            versions.retain(|version| !retired(group, version));
        }
        groups.retain(|(_, versions)| !versions.is_empty());
        groups
    }

    /// The kinds that a group and version serves.
    pub fn served(&self, group: &str, version: &str) -> impl Iterator<Item = &'k Resource> {
        let kinds = self.kinds.iter().map(AsRef::as_ref);
        kinds.filter(move |row: &&Resource| row.served().any(|served| served == (group, version)))
    }

    /// The document of `/api`. `address` is where clients reach this server, as `host:port`.
    pub fn core(&self, address: &str) -> Value {
        let groups = self.group_versions();
        let core = groups.into_iter().find(|(group, _)| group.is_empty());
        json!({
            "kind": "APIVersions",
            "versions": core.map(|(_, versions)| versions).unwrap_or_default(),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        })
    }

    /// The document of `/apis`.
    pub fn groups(&self) -> Value {
        let named = self.current().into_iter().filter(|(group, _)| !group.is_empty());
        let groups: Vec<Value> = named.map(|(group, versions)| group_document(group, &versions)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// The document of `/apis/GROUP`; `None` if there is no such group.
    pub fn group(&self, group: &str) -> Option<Value> {
        let mut groups = self.current().into_iter().chain(self.group_versions());
        let (group, versions) = groups.find(|(held, _)| *held == group && !held.is_empty())?;
        let mut document = group_document(group, &versions);
        document["kind"] = "APIGroup".into();
        document["apiVersion"] = "v1".into();
        Some(document)
    }

    /// The document of `/api/VERSION` or `/apis/GROUP/VERSION`; `None` if nothing is served there.
    pub fn resources(&self, group: &str, version: &str) -> Option<Value> {
        let mut resources: Vec<Value> = self
            .served(group, version)
            .flat_map(|row| plain_entries(row.spoken(group, version), group, version))
            .collect();
        resources.sort_by(|left, right| left["name"].as_str().cmp(&right["name"].as_str()));
        (!resources.is_empty()).then(|| {
            let mut list = json!({
                "kind": "APIResourceList",
                "groupVersion": api_version(group, version),
                "resources": resources,
            });
            // The first group's lists have had no version of their own since before there were others.
            if !group.is_empty() {
                list["apiVersion"] = "v1".into();
            }
            list
        })
    }

    /// The aggregated document of `/api` (`core`) or `/apis`.
    pub fn aggregated(&self, core: bool, form: Aggregated) -> Value {
        let groups = self.group_versions().into_iter().filter(|(group, _)| group.is_empty() == core);
        let items: Vec<Value> = groups
            .map(|(group, versions)| {
                let versions: Vec<Value> =
                    versions.iter().map(|version| self.aggregated_version(group, version)).collect();
                let metadata = if core { json!({}) } else { json!({"name": group}) };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": format!("apidiscovery.k8s.io/{}", form.version()),
            "metadata": {},
            "items": items,
        })
    }

    fn aggregated_version(&self, group: &str, version: &str) -> Value {
        let mut resources: Vec<Value> = self
            .served(group, version)
            .map(|row| aggregated_entry(row.spoken(group, version), group, version))
            .collect();
        resources.sort_by(|left, right| left["resource"].as_str().cmp(&right["resource"].as_str()));
        json!({"version": version, "freshness": "Current", "resources": resources})
    }

    /// The document of `/`: every path that is worth looking at. `others` are those that the host serves besides.
    pub fn paths(&self, others: &[&str]) -> Value {
        let fixed =
            ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
        let mut paths: Vec<String> = fixed.iter().chain(others).map(ToString::to_string).collect();
        for (group, versions) in self.current() {
            if !group.is_empty() {
                paths.push(format!("/apis/{group}"));
            }
            paths.extend(versions.into_iter().map(|version| format!("/{}", root(group, version))));
        }
        paths.sort();
        paths.dedup();
        json!({"paths": paths})
    }
}

/// The path below which a group and version is served, without the first slash.
pub fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The document of `/version`.
pub fn version() -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": COMPATIBLE_MINOR,
        "gitVersion": format!("v1.{MINOR}.0+orchestra"),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{architecture}", std::env::consts::OS),
    })
}

/// How versions are preferred: stable ones before beta before alpha, the higher before the lower.
fn priority(version: &str) -> (u8, u32, u32) {
    let numbers = version.strip_prefix('v').unwrap_or_default();
    let (major, stage, minor) = match (numbers.split_once("beta"), numbers.split_once("alpha")) {
        (Some((major, minor)), _) => (major, 2, minor),
        (None, Some((major, minor))) => (major, 1, minor),
        (None, None) => (numbers, 3, "0"),
    };
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => (stage, major, minor),
        _ => (0, 0, 0),
    }
}

fn group_document(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": api_version(group, version), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// The subresources of a kind that are listed.
fn subresources(row: &Resource) -> impl Iterator<Item = &Subresource<Arc<str>>> {
    row.subresources.iter().filter(|sub| sub.is_listed())
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

/// Adds the names by which a kind is asked for together with others, or in short. Only the group that it is stored in
/// has categories: `kubectl` would list their objects twice. Nor has a version short names that Kubernetes serves no longer:
/// of a name that two groups have, `kubectl` warns each time.
fn add_names(entry: &mut Value, row: &Resource, (group, version): (&str, &str)) {
    if !row.short_names.is_empty() && !row.is_retired(group, version) {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() && group == &*row.id.group {
        entry["categories"] = json!(row.categories);
    }
}

/// What tells the version that objects are kept in from any other: clients see by it when that changes.
fn storage_version_hash(row: &Resource) -> String {
    use base64::Engine as _;
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(format!("{}/{}/{}", row.id.group, row.version, row.kind).as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hasher.finish().to_be_bytes())
}

fn plain_entries(row: &Resource, group: &str, version: &str) -> Vec<Value> {
    let mut main = json!({
        "name": row.id.resource,
        "singularName": row.singular,
        "namespaced": row.is_namespaced(),
        "kind": row.kind,
        "verbs": verbs(&row.verbs),
    });
    add_names(&mut main, row, (group, version));
    if [Verb::Create, Verb::Get].iter().all(|verb| row.verbs.contains(verb)) {
        main["storageVersionHash"] = storage_version_hash(row).into();
    }
    let below = subresources(row).map(|sub| {
        let mut entry = json!({
            "name": format!("{}/{}", row.id.resource, sub.name),
            "singularName": "",
            "namespaced": row.is_namespaced(),
            "kind": sub.body.as_ref().map_or(&row.kind, |body| &body.kind),
            "verbs": verbs(sub.verbs),
        });
        if let Some(body) =
            sub.body.as_ref().filter(|body| (&*body.group, &*body.version) != (group, version))
        {
            if !body.group.is_empty() {
                entry["group"] = json!(body.group);
            }
            entry["version"] = json!(body.version);
        }
        entry
    });
    let below: Vec<Value> = below.collect();
    std::iter::once(main).chain(below).collect()
}

fn aggregated_entry(row: &Resource, group: &str, version: &str) -> Value {
    // Kubernetes leaves out a group and version that are those of the list, but for custom kinds.
    let kind = |of: &str, at: &str, kind: &str| match (of, at) == (group, version) && !row.custom {
        true => json!({"group": "", "version": "", "kind": kind}),
        false => json!({"group": of, "version": at, "kind": kind}),
    };
    let mut entry = json!({
        "resource": row.id.resource,
        "responseKind": kind(group, version, &row.kind),
        "scope": if row.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": verbs(&row.verbs),
    });
    add_names(&mut entry, row, (group, version));
    let mut below: Vec<Value> = subresources(row)
        .map(|sub| {
            let response = match &sub.body {
                None => kind(group, version, &row.kind),
                Some(body) => kind(&body.group, &body.version, &body.kind),
            };
            json!({"subresource": sub.name, "responseKind": response, "verbs": verbs(sub.verbs)})
        })
        .collect();
    below.sort_by(|left, right| left["subresource"].as_str().cmp(&right["subresource"].as_str()));
    if !below.is_empty() {
        entry["subresources"] = below.into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &Value, entries: &str, name: &str) -> Vec<String> {
        let entries = list[entries].as_array().into_iter().flatten();
        entries.filter_map(|entry| entry[name].as_str()).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn stored_groups_and_stable_versions_come_first() {
        let kinds = crate::objects::builtin();
        let discovery = Discovery::new(&kinds);
        let all = discovery.group_versions();
        let place = |group: &str| all.iter().position(|(held, _)| *held == group).unwrap();
        assert!(place("apps") < place("extensions"));
        let apps = discovery.group("apps").unwrap();
        assert_eq!(apps["preferredVersion"]["groupVersion"], "apps/v1");
        assert!(discovery.group("").is_none() && discovery.group("nothing.example.org").is_none());
    }

    #[test]
    fn what_kubernetes_serves_no_longer_is_found_in_the_aggregated_form_alone() {
        let kinds = crate::objects::builtin();
        let discovery = Discovery::new(&kinds);
        let groups = names(&discovery.groups(), "groups", "name");
        assert!(groups.iter().all(|group| group != "extensions"), "{groups:?}");
        assert_eq!(names(&discovery.group("apps").unwrap(), "versions", "version"), ["v1"]);
        assert!(discovery.group("extensions").is_some() && discovery.resources("apps", "v1beta1").is_some());
        let aggregated = discovery.aggregated(false, Aggregated::V2);
        let apps =
            aggregated["items"].as_array().unwrap().iter().find(|group| group["metadata"]["name"] == "apps");
        assert_eq!(names(apps.unwrap(), "versions", "version"), ["v1", "v1beta2", "v1beta1"]);
        let short = |group: &str, version: &str| {
            let mut entries = discovery.aggregated_version(group, version)["resources"].take();
            let mut entries = entries.as_array_mut().unwrap().iter_mut();
            entries.find(|entry| entry["resource"] == "deployments").unwrap()["shortNames"].take()
        };
        assert_eq!((short("apps", "v1"), short("extensions", "v1beta1")), (json!(["deploy"]), json!(null)));
    }

    #[test]
    fn resources_carry_what_their_rows_say() {
        let kinds = crate::objects::builtin();
        let list = Discovery::new(&kinds).resources("apps", "v1").unwrap();
        let found = |name: &str| {
            let entries = list["resources"].as_array().unwrap();
            entries.iter().find(|entry| entry["name"] == name).cloned().unwrap()
        };
        assert_eq!(found("deployments")["shortNames"], json!(["deploy"]));
        assert_eq!(found("deployments")["singularName"], "deployment");
        assert_eq!(found("deployments/status")["kind"], "Deployment");
        assert_eq!(found("deployments/scale")["kind"], "Scale");
        assert_eq!(found("deployments/scale")["group"], "autoscaling");
        let kinds_of = |group: &str, version: &str| {
            let list = Discovery::new(&kinds).resources(group, version).unwrap();
            let rows = list["resources"].as_array().unwrap().clone().into_iter();
            rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let pods: Vec<String> =
            kinds_of("", "v1").into_iter().filter(|name| name.starts_with("pods/")).collect();
        let own = [
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status",
        ];
        assert_eq!(pods, own.map(|part| format!("pods/{part}")));
        assert!(Discovery::new(&kinds).resources("apps", "v7").is_none());
        let core = Discovery::new(&kinds).resources("", "v1").unwrap();
        let verbs = |name: &str| {
            let mut entries = core["resources"].as_array().unwrap().iter();
            entries.find(|entry| entry["name"] == name).unwrap()["verbs"].clone()
        };
        assert_eq!(
            verbs("namespaces"),
            json!(["create", "delete", "get", "list", "patch", "update", "watch"])
        );
        assert!(verbs("services").as_array().unwrap().contains(&"deletecollection".into()));
    }

    #[test]
    fn versions_are_told_where_kubernetes_tells_them() {
        let kinds = crate::objects::builtin();
        let discovery = Discovery::new(&kinds);
        assert_eq!(discovery.resources("", "v1").unwrap().get("apiVersion"), None);
        assert_eq!(
            discovery.resources("events.k8s.io", "v1").unwrap()["resources"][0]["shortNames"][0],
            "ev"
        );
        let aggregated = discovery.aggregated_version("apps", "v1");
        let entries = aggregated["resources"].as_array().unwrap();
        let deployments = entries.iter().find(|entry| entry["resource"] == "deployments").unwrap();
        let own = json!({"group": "", "version": "", "kind": "Deployment"});
        let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        assert_eq!(deployments["responseKind"], own);
        let below = deployments["subresources"].as_array().unwrap();
        assert_eq!(below[0]["responseKind"], scale);
        assert_eq!(below[1]["responseKind"], own);
    }

    #[test]
    fn both_forms_tell_the_same() {
        let kinds = crate::objects::builtin();
        let discovery = Discovery::new(&kinds);
        let documents = [true, false].map(|core| discovery.aggregated(core, Aggregated::V2));
        for group in documents.iter().flat_map(|document| document["items"].as_array().unwrap()) {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().unwrap() {
                let plain = discovery.resources(name, version["version"].as_str().unwrap()).unwrap();
                let mut aggregated = Vec::new();
                for resource in version["resources"].as_array().unwrap() {
                    let plural = resource["resource"].as_str().unwrap();
                    aggregated.push(plural.to_owned());
                    let below = names(resource, "subresources", "subresource");
                    aggregated.extend(below.into_iter().map(|sub| format!("{plural}/{sub}")));
                }
                aggregated.sort();
                assert_eq!(aggregated, names(&plain, "resources", "name"), "{name}");
            }
        }
    }

    #[test]
    fn clients_get_the_form_they_ask_for() {
        let modern = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let older =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList, application/json";
        for (accept, form) in [
            (modern, Some(Aggregated::V2)),
            (older, Some(Aggregated::V2Beta1)),
            ("application/json", None),
            ("*/*", None),
            ("", None),
        ] {
            assert_eq!(Aggregated::negotiate(accept), form, "{accept}");
        }
    }

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = ["v1alpha1", "v2", "foo", "v1beta2", "v1", "v1beta10", "v10"];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
    }
}
