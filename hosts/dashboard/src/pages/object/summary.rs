//! What an object is and how it fares, the most telling first.

use maud::{Markup, html};
use serde_json::Value;

use super::{Shown, facts, follow_events, pod};
use crate::act::pods_on;
use crate::api::items;
use crate::live::Follow;
use crate::pages::parts::{self, referred};
use crate::pages::room::{asked, room};
use crate::pages::{story, table};
use crate::route::pods;
use crate::tell::{self, Tone, labels, list, text};

pub(super) fn follows(shown: &Shown<'_>) -> Vec<Follow> {
    let mut follows = vec![Follow::one(&shown.spot), follow_events(shown)];
    if let Some(selector) = shown.selector() {
        follows.push(Follow::all(&pods(), &shown.spot.namespace).selected(&selector, ""));
    }
    if shown.is("", "nodes") {
        follows.push(Follow::all(&pods(), "").selected("", &on_node(shown)));
    }
    follows
}

fn on_node(shown: &Shown<'_>) -> String {
    format!("spec.nodeName={}", shown.spot.name)
}

pub(super) async fn page(shown: &Shown<'_>) -> Markup {
    let events_path = shown.events_path();
    let (why, pods, events) = futures::join!(
        story::why(shown.visit, &shown.spot),
        members(shown),
        shown.visit.asker.get(&events_path)
    );
    let events = events.ok();
    let events = items(events.as_ref());
    html! {
        (why)
        div.columns {
            section.facts { (metadata(shown)) (room_of(shown).await) (facts::of(shown)) }
            section.wide {
                @if shown.is_pod() { (pod::containers(shown)) }
                (pods)
                (conditions(shown))
                (data(shown))
                (generic(shown))
                @if !events.is_empty() {
                    h2 { "Events" }
                    (parts::events(events, shown.kinds, shown.now, 8))
                }
            }
        }
    }
}

/// What a node has room for.
async fn room_of(shown: &Shown<'_>) -> Markup {
    if !shown.is("", "nodes") {
        return html! {};
    }
    let pods = pods_on(shown.visit, &shown.spot.name).await.ok();
    let used =
        pods.as_ref().map(|pods| asked(items(Some(pods))).remove(&*shown.spot.name).unwrap_or_default());
    html! { dl.facts { @for (name, bar) in room(&shown.object, used) { div { dt { (name) } dd { (bar) } } } } }
}

fn metadata(shown: &Shown<'_>) -> Markup {
    let metadata = &shown.object["metadata"];
    let owners = list(metadata, "/ownerReferences");
    html! {
        dl.facts {
            @if !owners.is_empty() {
                div { dt { "Owned by" } dd {
                    @for owner in owners {
                        @let told = format!("{} {}", text(owner, "/kind"), text(owner, "/name"));
                        @match referred(shown.kinds, owner, &shown.spot.namespace) {
                            Some(spot) => a href=(spot.link()) { (told) },
                            None => (told),
                        }
                        " "
                    }
                } }
            }
            (words(shown, "Labels", &metadata["labels"], true))
            (words(shown, "Annotations", &metadata["annotations"], false))
        }
    }
}

/// Labels or annotations. A label leads to all objects of the kind that have it.
fn words(shown: &Shown<'_>, heading: &str, value: &Value, selects: bool) -> Markup {
    let words = labels(value);
    let is_noise = |key: &str| key == "kubectl.kubernetes.io/last-applied-configuration";
    html! {
        @if !words.is_empty() {
            div { dt { (heading) } dd.chips {
                @for (key, value) in words.iter().filter(|(key, _)| !is_noise(key)) {
                    @if selects {
                        @let query = shown.spot.place.query().with("in", &*shown.spot.namespace);
                        a.chip href={ "table?" (query.with("l", format!("{key}={value}"))) } { span.key { (key) } "=" (value) }
                    } @else {
                        span.chip { span.key { (key) } "=" (value) }
                    }
                }
            } }
        }
    }
}

/// The pods that belong to the object, as the API selects them.
async fn members(shown: &Shown<'_>) -> Markup {
    let (visit, asker) = (shown.visit, &shown.visit.asker);
    let (namespace, selected) = match shown.selector() {
        _ if shown.is("", "nodes") => ("", (String::new(), on_node(shown))),
        Some(selector) if shown.kind.is_namespaced && takes_pods(shown) => {
            (&*shown.spot.namespace, (selector, String::new()))
        }
        _ => return html! {},
    };
    let place = pods();
    let selected = (&*selected.0, &*selected.1);
    let table = table::within(visit, asker, shown.kinds, &place, namespace, selected).await;
    html! { h2 { "Pods" } (table) }
}

fn takes_pods(shown: &Shown<'_>) -> bool {
    matches!(
        (&*shown.spot.place.group, &*shown.spot.place.resource),
        ("", "services" | "replicationcontrollers")
            | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
            | ("batch", "jobs")
            | ("policy", "poddisruptionbudgets")
    )
}

fn conditions(shown: &Shown<'_>) -> Markup {
    let conditions = list(&shown.object, "/status/conditions");
    html! {
        @if !conditions.is_empty() {
            h2 { "Conditions" }
            div.scroll { table {
                thead { tr { th { "Type" } th { "Status" } th { "Since" } th { "Reason" } th { "Message" } } }
                tbody {
                    @for condition in conditions {
                        tr {
                            td { (text(condition, "/type")) }
                            td { (tell::toned(text(condition, "/status"), tone(condition))) }
                            td.num { (tell::when(text(condition, "/lastTransitionTime"), shown.now)) }
                            td { (text(condition, "/reason")) }
                            td.message { (text(condition, "/message")) }
                        }
                    }
                }
            } }
        }
    }
}

/// Whether a condition is as one wishes: of most, that is to be true; of those that name a trouble, to be false.
fn tone(condition: &Value) -> Tone {
    let names_trouble = ["Pressure", "Unavailable", "Failure", "Failed", "Stuck", "Limited"];
    let kind = text(condition, "/type");
    let wished = if names_trouble.iter().any(|word| kind.contains(word)) { "False" } else { "True" };
    match text(condition, "/status") {
        "Unknown" => Tone::Busy,
        status if status == wished => Tone::Good,
        _ if kind == "Suspended" || kind == "DisruptionTarget" => Tone::Plain,
        _ => Tone::Bad,
    }
}

/// What ConfigMaps and Secrets hold. Of a Secret, only how much: its YAML shows what.
fn data(shown: &Shown<'_>) -> Markup {
    let is_secret = shown.is("", "secrets");
    if !is_secret && !shown.is("", "configmaps") {
        return html! {};
    }
    let pairs: Vec<_> = ["data", "binaryData"]
        .into_iter()
        .flat_map(|field| shown.object[field].as_object().into_iter().flatten())
        .collect();
    html! {
        h2 { "Data" }
        @if pairs.is_empty() { p.quiet { "Nothing." } }
        @for (key, value) in pairs {
            @let value = value.as_str().unwrap_or_default();
            @if is_secret {
                p { code { (key) } " " span.quiet { (tell::bytes((value.len() / 4 * 3) as f64)) } }
            } @else {
                h3 { (key) }
                pre.data { (value) }
            }
        }
    }
}

/// The fields of kinds that no page knows more about, such as custom ones.
fn generic(shown: &Shown<'_>) -> Markup {
    let built_in = |group: &str| !group.contains('.') || group.ends_with(".k8s.io");
    if built_in(&shown.spot.place.group) && facts::knows(shown) {
        return html! {};
    }
    html! {
        @for field in ["spec", "status", "rules", "subjects", "roleRef", "webhooks", "endpoints", "parameters", "value"] {
            @if let Some(value) = shown.object.get(field).filter(|value| !value.is_null()) {
                h2 { (field) }
                (tree(value, 0))
            }
        }
    }
}

/// How deep a tree is shown.
const DEPTH: usize = 8;

fn tree(value: &Value, depth: usize) -> Markup {
    match value {
        _ if depth >= DEPTH => html! { span.quiet { "…" } },
        Value::Object(map) => html! {
            dl.tree {
                @for (key, value) in map.iter().filter(|(key, _)| *key != "conditions") {
                    div { dt { (key) } dd { (tree(value, depth + 1)) } }
                }
            }
        },
        Value::Array(list) if list.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let words: Vec<String> = list.iter().map(tell::plain).collect();
            html! { (words.join(", ")) }
        }
        Value::Array(list) => html! { ol.tree { @for item in list { li { (tree(item, depth + 1)) } } } },
        scalar => html! { (tell::plain(scalar)) },
    }
}
