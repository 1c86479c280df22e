//! One discovery out of several. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;

/// The versions of each group that others serve, the preferred one first.
fn by_group(apis: &[Api]) -> Vec<(&str, Vec<&Api>)> {
    let mut groups = BTreeMap::<&str, Vec<&Api>>::new();
    for api in apis {
        groups.entry(&api.group).or_default().push(api);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, versions) in &mut groups {
        versions.sort_by(|a, b| b.priority.1.cmp(&a.priority.1).then_with(|| b.version.cmp(&a.version)));
    }
    groups.sort_by_key(|(_, versions)| Reverse(versions.iter().map(|api| api.priority.0).max()));
    groups
}

fn version(group: &str, version: &str) -> Value {
    json!({ "groupVersion": format!("{group}/{version}"), "version": version })
}

/// `/apis` with the groups of others, after this server's own.
pub(super) fn groups(mut own: Value, apis: &[Api]) -> Value {
    for (name, versions) in by_group(apis) {
        let all = own["groups"].as_array_mut();
        let Some(all) = all else { break };
        let versions: Vec<Value> = versions.iter().map(|api| version(name, &api.version)).collect();
        match all.iter_mut().find(|held| held["name"] == name) {
            Some(held) => add(&mut held["versions"], versions),
            None => all.push(json!({ "name": name, "preferredVersion": versions[0], "versions": versions })),
        }
    }
    own
}

/// Adds versions, in the place of this server's own of that name: requests for them go to the others.
fn add(held: &mut Value, more: Vec<Value>) {
    if let Some(held) = held.as_array_mut() {
        held.retain(|own| !more.iter().any(|other| other["version"] == own["version"]));
        held.extend(more);
    }
}

/// `/apis/GROUP`; `None` if nobody serves it.
pub(super) fn group(own: Option<Value>, name: &str, apis: &[Api]) -> Option<Value> {
    let Some((_, versions)) = by_group(apis).into_iter().find(|(group, _)| *group == name) else {
        return own;
    };
    let versions: Vec<Value> = versions.iter().map(|api| version(name, &api.version)).collect();
    match own {
        Some(mut own) => {
            add(&mut own["versions"], versions);
            Some(own)
        }
        None => Some(json!({
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": name,
            "preferredVersion": versions[0],
            "versions": versions,
        })),
    }
}

/// The aggregated `/apis`, with what each API said of itself last; one that does not answer now is stale.
pub(super) fn aggregated(mut own: Value, apis: &[Api], documents: &HashMap<String, Arc<Value>>) -> Value {
    for (name, versions) in by_group(apis) {
        let Some(all) = own["items"].as_array_mut() else { break };
        let versions = versions.iter().map(|api| {
            let resources = documents.get(&api.name).map(|document| resources(document, api));
            let freshness = if api.available == Some(true) { "Current" } else { "Stale" };
            json!({ "version": api.version, "freshness": freshness, "resources": resources.unwrap_or_default() })
        });
        let versions: Vec<Value> = versions.collect();
        match all.iter_mut().find(|held| held["metadata"]["name"] == name) {
            Some(held) => add(&mut held["versions"], versions),
            None => all.push(json!({ "metadata": { "name": name }, "versions": versions })),
        }
    }
    own
}

/// The entries of an `APIResourceList`, in the aggregated form.
fn resources(document: &Value, api: &Api) -> Vec<Value> {
    let all = document["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |entry: &Value| {
        let or = |field: &str, usual: &str| {
            entry[field].as_str().filter(|text| !text.is_empty()).unwrap_or(usual).to_owned()
        };
        json!({ "group": or("group", &api.group), "version": or("version", &api.version), "kind": entry["kind"] })
    };
    let split = |entry: &Value| {
        let name = entry["name"].as_str().unwrap_or_default().to_owned();
        name.split_once('/').map(|(of, sub)| (of.to_owned(), sub.to_owned()))
    };
    let whole = all.iter().filter(|entry| entry["name"].as_str().is_some_and(|name| !name.contains('/')));
    let entry = |entry: &Value| {
        let name = entry["name"].as_str().unwrap_or_default();
        let mut found = json!({
            "resource": name,
            "responseKind": kind(entry),
            "scope": if entry["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": entry["singularName"].as_str().unwrap_or_default(),
            "verbs": entry["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                found[field] = entry[field].clone();
            }
        }
        let subs = all.iter().filter_map(|part| {
            let (of, sub) = split(part)?;
            (of == name)
                .then(|| json!({ "subresource": sub, "responseKind": kind(part), "verbs": part["verbs"] }))
        });
        let subs: Vec<Value> = subs.collect();
        if !subs.is_empty() {
            found["subresources"] = subs.into();
        }
        found
    };
    whole.map(entry).collect()
}

/// The index of OpenAPI documents. Those of others have no hash: what they say now is asked for.
pub(super) fn openapi_index(mut own: Value, apis: &[Api]) -> Value {
    for api in apis.iter().filter(|api| api.available == Some(true)) {
        let path = format!("apis/{}/{}", api.group, api.version);
        if own["paths"].get(&path).is_none() {
            let url = format!("/openapi/v3/{path}");
            own["paths"][path] = json!({ "serverRelativeURL": url });
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(group: &str, version: &str, priority: (i32, i32), available: bool) -> Api {
        Api {
            name: format!("{version}.{group}"),
            group: group.to_owned(),
            version: version.to_owned(),
            available: Some(available),
            priority,
            ..Api::default()
        }
    }

    #[test]
    fn groups_of_others_are_shown_after_ours_in_the_order_of_their_priorities() {
        let apis = [
            api("low.io", "v1", (10, 1), true),
            api("high.io", "v1beta1", (100, 5), true),
            api("high.io", "v1", (100, 15), true),
            api("apps", "v9", (10, 1), true),
        ];
        let own = json!({ "groups": [{ "name": "apps", "versions": [version("apps", "v1")] }] });
        let all = groups(own, &apis);
        let shown: Vec<String> = all["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                let versions = group["versions"].as_array().unwrap();
                let versions: Vec<_> =
                    versions.iter().map(|version| version["version"].as_str().unwrap()).collect();
                format!("{} {}", group["name"].as_str().unwrap(), versions.join(","))
            })
            .collect();
        assert_eq!(shown, ["apps v1,v9", "high.io v1,v1beta1", "low.io v1"]);
        let own = json!({ "versions": [version("apps", "v1"), version("apps", "v9")] });
        let versions = group(Some(own), "apps", &apis).unwrap()["versions"].take();
        assert_eq!(versions, json!([version("apps", "v1"), version("apps", "v9")]), "each once");
        assert_eq!(group(None, "high.io", &apis).unwrap()["preferredVersion"]["version"], "v1");
        assert_eq!(group(None, "none.io", &apis), None);
    }

    #[test]
    fn what_others_serve_is_shown_in_the_aggregated_form() {
        let document = json!({ "resources": [
            { "name": "pods", "kind": "PodMetrics", "namespaced": true, "singularName": "pod", "verbs": ["get"], "shortNames": ["p"] },
            { "name": "pods/raw", "kind": "Raw", "verbs": ["get"], "group": "other.io", "version": "v2" },
        ]});
        let documents = HashMap::from([("v1.m.io".to_owned(), Arc::new(document))]);
        let apis = [api("m.io", "v1", (1, 1), true), api("n.io", "v1", (0, 1), false)];
        let all = aggregated(json!({ "items": [] }), &apis, &documents);
        assert_eq!(
            all["items"][0]["versions"][0],
            json!({
                "version": "v1",
                "freshness": "Current",
                "resources": [{
                    "resource": "pods",
                    "responseKind": { "group": "m.io", "version": "v1", "kind": "PodMetrics" },
                    "scope": "Namespaced",
                    "singularResource": "pod",
                    "shortNames": ["p"],
                    "verbs": ["get"],
                    "subresources": [{
                        "subresource": "raw",
                        "responseKind": { "group": "other.io", "version": "v2", "kind": "Raw" },
                        "verbs": ["get"],
                    }],
                }],
            })
        );
        assert_eq!(
            all["items"][1]["versions"][0],
            json!({ "version": "v1", "freshness": "Stale", "resources": [] })
        );
        let index = openapi_index(json!({ "paths": {} }), &apis);
        assert_eq!(
            index["paths"],
            json!({ "apis/m.io/v1": { "serverRelativeURL": "/openapi/v3/apis/m.io/v1" } })
        );
    }
}
