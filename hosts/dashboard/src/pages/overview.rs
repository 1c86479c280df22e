//! How the cluster is at a glance: what is wrong first, then its nodes with their room, what runs, and what happened last.

use std::collections::BTreeMap;

use futures::future::join;
use jiff::Timestamp;
use maud::{Markup, html};
use orchestra_core::explain::{Severity, Story};
use serde_json::Value;

use super::parts::{self, EVENT, NODE, POD, pod_tone};
use super::room::{Asked, asked, room};
use super::story::chain;
use super::{View, notice};
use crate::api::{Failure, items, revision};
use crate::explained::{self, Wrong};
use crate::kinds::Kinds;
use crate::live::Follow;
use crate::route::{self, Place, Query, Spot, core};
use crate::tell::{self, Tone, number, text};
use crate::visit::Visit;

/// What is looked at of workloads.
const WORKLOAD: &[&str] =
    &["/spec/replicas", "/status/desiredNumberScheduled", "/status/numberReady", "/status/readyReplicas"];
/// How many events are shown.
const EVENTS: usize = 12;

pub(crate) async fn page(visit: &Visit<'_>) -> Result<View, Failure> {
    let namespace = visit.query.get("in");
    let apps = |resource: &str| Place::new("apps", "v1", resource);
    let workloads = [apps("deployments"), apps("statefulsets"), apps("daemonsets")];
    let paths: Vec<String> = workloads.iter().map(|place| place.path(namespace)).collect();
    let (pods_path, events_path) = (route::pods().path(namespace), core("events").path(namespace));
    let reads = visit.asker.lists([
        ("/api/v1/nodes", &[NODE]),
        (&pods_path, &[POD]),
        (&events_path, &[EVENT]),
        (&paths[0], &[WORKLOAD]),
        (&paths[1], &[WORKLOAD]),
        (&paths[2], &[WORKLOAD]),
    ]);
    let (kinds, (wrong, [nodes, pods, events, deployments, sets, daemons])) =
        join(Kinds::discover(&visit.asker), join(explained::stories(&visit.asker, namespace), reads)).await;
    let (kinds, now) = (kinds?, Timestamp::now());
    let at =
        [&pods, &events, &nodes].into_iter().flatten().map(revision).next().unwrap_or_default().to_owned();
    let counts = [
        (&workloads[0], "Deployments", &deployments),
        (&workloads[1], "StatefulSets", &sets),
        (&workloads[2], "DaemonSets", &daemons),
    ];
    // What pods ask for is known of whole nodes only when all pods are.
    let all_pods = if namespace.is_empty() { pods.as_ref() } else { None };
    let body = html! {
        div.heading { h1 { (if namespace.is_empty() { "Overview" } else { namespace }) } }
        (wrong_list(&wrong))
        div.tiles {
            @if let Some(pods) = &pods { (pod_tile(items(Some(pods)), namespace)) }
            @for (place, label, list) in counts {
                @if let Some(list) = list { (tile(place, label, items(Some(list)), namespace)) }
            }
        }
        @if let Some(nodes) = &nodes {
            h2 { "Nodes" }
            (node_table(items(Some(nodes)), all_pods, now))
        }
        @if let Some(events) = &events {
            h2 { "Recent events" }
            (parts::events(items(Some(events)), &kinds, now, EVENTS))
        }
        @if pods.is_none() && nodes.is_none() && events.is_none() {
            p.notice { "You may not see pods, nodes or events here. Choose a namespace that you may look into, or a kind from the menu." }
        }
    };
    let mut follows = vec![Follow::all(&route::pods(), namespace), Follow::all(&core("events"), namespace)];
    follows.push(Follow::all(&core("nodes"), "").selected("", ""));
    follows.extend(workloads.iter().map(|place| Follow::all(place, namespace)));
    Ok(View::new("Overview", body).following(follows, &at))
}

fn wrong_list(wrong: &Result<Wrong, Failure>) -> Markup {
    match wrong {
        Err(failure) => notice(failure),
        Ok(wrong) if wrong.stories.is_empty() => html! {
            p.health.good role="status" { span.dot aria-hidden="true" {} "Nothing is wrong." }
            (unread(wrong))
        },
        Ok(wrong) => {
            let stories = &wrong.stories;
            let bad = stories.iter().filter(|story| story.severity < Severity::Minor).count();
            let class = if bad > 0 { "bad" } else { "busy" };
            let told = match (bad, stories.len()) {
                (0, 1) => "One thing to look at.".to_owned(),
                (0, count) => format!("{count} things to look at."),
                (1, _) => "One thing is wrong.".to_owned(),
                (bad, _) => format!("{bad} things are wrong."),
            };
            html! {
                p class={ "health " (class) } role="status" { span.dot aria-hidden="true" {} (told) }
                ol.wrong aria-label="What is wrong, the worst first" { @for story in stories { (told_story(story)) } }
                (unread(wrong))
            }
        }
    }
}

/// What could be wrong besides, and who looks may not see.
fn unread(wrong: &Wrong) -> Markup {
    html! {
        @if !wrong.unread.is_empty() {
            p.quiet { "Not looked at, as you may not see them: " (wrong.unread.join(", ")) "." }
        }
    }
}

fn told_story(story: &Story) -> Markup {
    let class = match story.severity {
        Severity::Critical => "bad",
        Severity::Serious => "busy",
        Severity::Minor => "plain",
    };
    let where_ = &story.about.namespace;
    html! {
        li class=(class) data-key={ (story.about.resource) "/" (where_) "/" (story.about.name) } {
            details {
                summary {
                    span.what { (story.summary) }
                    @if !where_.is_empty() { span.quiet { (where_) } }
                }
                (chain(story))
            }
        }
    }
}

fn pod_tile(pods: &[Value], namespace: &str) -> Markup {
    let mut tones: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        let tone = if text(pod, "/status/phase") == "Succeeded" { Tone::Plain } else { pod_tone(pod) };
        *tones.entry(tone.class()).or_default() += 1;
    }
    let count = |class: &str| tones.get(class).copied().unwrap_or(0);
    let query = route::pods().query().with("in", namespace);
    html! {
        a.tile href={ "table?" (query) } {
            span.label { "Pods" }
            span.figure { (pods.len()) }
            span.split {
                @for (class, word) in [("good", "serve"), ("busy", "on their way"), ("bad", "in trouble"), ("plain", "ended")] {
                    @if count(class) > 0 { span class={ "state " (class) } { (count(class)) " " (word) } }
                }
            }
        }
    }
}

fn tile(place: &Place, label: &str, all: &[Value], namespace: &str) -> Markup {
    let is_short = |object: &&Value| {
        let wanted = object["spec"]["replicas"]
            .as_i64()
            .unwrap_or_else(|| number(object, "/status/desiredNumberScheduled"));
        number(object, "/status/readyReplicas") + number(object, "/status/numberReady") < wanted
    };
    let short = all.iter().filter(is_short).count();
    let query: Query = place.query().with("in", namespace);
    html! {
        a.tile href={ "table?" (query) } {
            span.label { (label) }
            span.figure { (all.len()) }
            span.split {
                @if short > 0 { span.state.busy { (short) " short of pods" } }
                @else if !all.is_empty() { span.state.good { "all ready" } }
            }
        }
    }
}

fn node_table(nodes: &[Value], pods: Option<&Value>, now: Timestamp) -> Markup {
    let asked = pods.map(|pods| asked(items(Some(pods))));
    html! {
        div.scroll {
            table.nodes data-rows {
                thead { tr { th { "Name" } th { "State" } th { "CPU asked for" } th { "Memory asked for" } th { "Pods" } th { "Age" } } }
                tbody { @for node in nodes { (node_row(node, asked.as_ref(), now)) } }
            }
        }
    }
}

fn node_row(node: &Value, asked: Option<&BTreeMap<&str, Asked>>, now: Timestamp) -> Markup {
    let name = text(node, "/metadata/name");
    let conditions = tell::list(node, "/status/conditions");
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
    let used = asked.map(|asked| asked.get(name).copied().unwrap_or_default());
    html! {
        tr data-key=(text(node, "/metadata/uid")) {
            td { a.name href=(Spot::new(core("nodes"), "", name).link()) { (name) } }
            td {
                (tell::toned(if is_ready { "Ready" } else { "NotReady" }, if is_ready { Tone::Good } else { Tone::Bad }))
                @if node["spec"]["unschedulable"] == true { " " (tell::toned("cordoned", Tone::Busy)) }
            }
            @for (_, bar) in room(node, used) { td { (bar) } }
            td.num { (tell::when(text(node, "/metadata/creationTimestamp"), now)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parts::{EVENT, NODE, POD};
    use super::super::topology;
    use super::*;
    use crate::wanted::Wanted;

    /// A list of items that have more than any page shows, and what is read of it.
    fn lists(fields: &[&[&str]], items: Vec<Value>) -> (Value, Value) {
        let whole = json!({"kind": "List", "metadata": {"resourceVersion": "7"}, "items": items});
        let read = Wanted::of_items(fields).read(whole.to_string().as_bytes()).unwrap();
        assert_ne!(whole, read);
        (whole, read)
    }

    fn pods() -> Vec<Value> {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let status = |phase: &str, ready: bool, state: Value| {
            json!({
                "phase": phase,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "x"}],
                "containerStatuses": [
                    {"name": "c", "ready": ready, "started": true, "restartCount": 3, "state": state, "imageID": "i"},
                ],
            })
        };
        let mut initial = status("Pending", false, waiting("PodInitializing"));
        initial["initContainerStatuses"] =
            json!([{"ready": false, "started": false, "state": waiting("ImagePullBackOff")}]);
        let mut evicted = status("Failed", false, json!({}));
        evicted["reason"] = json!("Evicted");
        let states = [
            status("Running", true, json!({"running": {}})),
            status("Running", false, json!({"running": {}})),
            status("Running", false, waiting("CrashLoopBackOff")),
            status("Failed", false, json!({"terminated": {"reason": "Error"}})),
            status("Succeeded", false, json!({"terminated": {"reason": "Completed"}})),
            initial,
            evicted,
        ];
        let pod = |(index, status): (usize, Value)| {
            let mut pod = json!({
                "metadata": {
                    "name": format!("p{index}"), "namespace": "shop", "uid": format!("u{index}"), "labels": {"app": "web"},
                    "managedFields": [{"manager": "m"}],
                },
                "spec": {"nodeName": if index == 1 { Value::Null } else { "n".into() }, "containers": [
                    {"name": "c", "image": "i", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {}}},
                ]},
                "status": status,
            });
            if index == 2 {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            pod
        };
        states.into_iter().enumerate().map(pod).collect()
    }

    fn nodes() -> Vec<Value> {
        let node = |(name, ready, cordoned): (&str, &str, bool)| {
            json!({
                "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "b"}},
                "spec": {"unschedulable": cordoned, "podCIDR": "10.0.0.0/24"},
                "status": {
                    "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                    "conditions": [{"type": "Ready", "status": ready, "message": "m"}],
                    "images": [],
                },
            })
        };
        [("n", "True", false), ("m", "Unknown", false), ("o", "True", true)].map(node).into()
    }

    #[test]
    fn a_page_shows_the_same_of_what_it_reads_as_of_whole_objects() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        let (pods, pods_read) = lists(&[POD], pods());
        let (nodes, nodes_read) = lists(&[NODE], nodes());
        let tile = |pods: &Value| pod_tile(items(Some(pods)), "shop").into_string();
        assert_eq!(tile(&pods), tile(&pods_read));
        assert!(tile(&pods).contains("in trouble") && tile(&pods).contains("ended"), "{}", tile(&pods));
        let table =
            |nodes: &Value, pods: &Value| node_table(items(Some(nodes)), Some(pods), now).into_string();
        assert_eq!(table(&nodes, &pods), table(&nodes_read, &pods_read));
        assert!(table(&nodes, &pods).contains("cordoned"));

        let event = |index: usize| {
            let mut event = json!({
                "metadata": {"name": "e", "uid": format!("u{index}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
                "involvedObject": {"kind": "Pod", "name": format!("p{index}"), "namespace": "shop", "apiVersion": "v1"},
                "type": "Warning", "reason": "BackOff", "message": format!("again {index}"), "source": {"component": "kubelet"},
            });
            match index {
                0 => event["series"] = json!({"count": 9, "lastObservedTime": "2026-01-05T00:00:00.000000Z"}),
                1 => event["lastTimestamp"] = json!("2026-01-04T00:00:00Z"),
                2 => event["eventTime"] = json!("2026-01-06T00:00:00.000000Z"),
                _ => event["count"] = json!(4),
            }
            event
        };
        let (events, events_read) = lists(&[EVENT], (0..4).map(event).collect());
        let told =
            |events: &Value| parts::events(items(Some(events)), &Kinds::default(), now, 3).into_string();
        assert_eq!(told(&events), told(&events_read));
        let at = |message: &str| told(&events).find(message).unwrap_or(usize::MAX);
        assert!(at("again 2") < at("again 0") && at("again 0") < at("again 1"), "{}", told(&events));
        assert_eq!(at("again 3"), usize::MAX, "the oldest has no place");

        let service = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "s", "labels": {"a": "b"}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        let (services, services_read) = lists(&[topology::SERVICE], vec![service]);
        let pods_drawn = lists(&[POD, topology::PLACED], self::pods()).1;
        let drawn = |nodes: &Value, pods: &Value, services: &Value| {
            topology::drawing(items(Some(nodes)), items(Some(pods)), items(Some(services))).into_string()
        };
        assert_eq!(drawn(&nodes, &pods, &services), drawn(&nodes_read, &pods_drawn, &services_read));
        assert!(drawn(&nodes, &pods, &services).contains("selects 7 pods"));

        let deployment = |ready: i64| json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "template": {}}, "status": {"readyReplicas": ready}});
        let set = json!({"metadata": {"name": "d"}, "status": {"desiredNumberScheduled": 3, "numberReady": 2, "currentNumberScheduled": 3}});
        let (all, all_read) = lists(&[WORKLOAD], vec![deployment(1), deployment(2), set]);
        let short = |all: &Value| {
            super::tile(&Place::new("apps", "v1", "deployments"), "Deployments", items(Some(all)), "shop")
                .into_string()
        };
        assert_eq!(short(&all), short(&all_read));
        assert!(short(&all).contains("2 short of pods"), "{}", short(&all));
    }
}
