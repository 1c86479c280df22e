//! One object: what it is, its YAML, its events, what it has been, what it belongs with, and its logs.

mod facts;
mod history;
mod logs;
mod pod;
pub(crate) mod related;
mod summary;
mod terminal;
mod yaml;

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::parts::{self, button, guard, hidden};
use super::{View, notice, what_if};
use crate::api::{Failure, items, revision, with};
use crate::kinds::{Kind, Kinds};
use crate::live::Follow;
use crate::route::{self, Query, Spot};
use crate::tell::{self, text};
use crate::visit::Visit;

pub(crate) use yaml::{diff, shown_as_yaml};

/// An object that is shown.
pub(crate) struct Shown<'v> {
    pub(crate) visit: &'v Visit<'v>,
    pub(crate) kinds: &'v Kinds,
    pub(crate) kind: &'v Kind,
    pub(crate) spot: Spot,
    pub(crate) object: Value,
    pub(crate) now: Timestamp,
}

impl Shown<'_> {
    pub(crate) fn is(&self, group: &str, resource: &str) -> bool {
        self.spot.place.group == group && self.spot.place.resource == resource
    }

    fn is_pod(&self) -> bool {
        self.is("", "pods")
    }

    /// The labels by which it selects pods, as the API takes them.
    pub(crate) fn selector(&self) -> Option<String> {
        let selector = &self.object["spec"]["selector"];
        let (labels, expressions) = match self.is("", "services") || self.is("", "replicationcontrollers") {
            true => (selector, &Value::Null),
            false => (&selector["matchLabels"], &selector["matchExpressions"]),
        };
        let pairs = labels.as_object().into_iter().flatten();
        let mut words: Vec<String> =
            pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        for expression in expressions.as_array().into_iter().flatten() {
            let key = text(expression, "/key");
            let values: Vec<&str> =
                tell::list(expression, "/values").iter().filter_map(Value::as_str).collect();
            words.push(match text(expression, "/operator") {
                "In" => format!("{key} in ({})", values.join(",")),
                "NotIn" => format!("{key} notin ({})", values.join(",")),
                "Exists" => key.to_owned(),
                _ => format!("!{key}"),
            });
        }
        Some(words.join(",")).filter(|words| !words.is_empty())
    }

    /// The path of the events about it.
    fn events_path(&self) -> String {
        let namespace = if self.spot.namespace.is_empty() { "" } else { &self.spot.namespace };
        with(
            &route::core("events").path(namespace),
            &Query::default().with("fieldSelector", self.event_fields()),
        )
    }

    fn event_fields(&self) -> String {
        format!("involvedObject.name={},involvedObject.kind={}", self.spot.name, self.kind.kind)
    }
}

pub(crate) async fn page(visit: &Visit<'_>) -> Result<View, Failure> {
    let asked = Spot::of(&visit.query);
    if !asked.is_sound() {
        return Err(Failure::new(404, "No object is named."));
    }
    let kinds = Kinds::discover(&visit.asker).await?;
    let unknown = || Failure::new(404, format!("The cluster serves no kind {:?}.", asked.place.resource));
    let kind = kinds.at(&asked.place).ok_or_else(unknown)?;
    // In the version that the server prefers.
    let namespace = if kind.is_namespaced { asked.namespace } else { String::new() };
    let spot = Spot { place: kind.place.clone(), namespace, name: asked.name };
    let tab = visit.query.get("tab");
    let object = match visit.asker.get(&spot.path()).await {
        Ok(object) => object,
        // What is gone still has a past.
        Err(failure) if failure.code == 404 && tab != "history" => return Ok(gone(&spot, &failure)),
        Err(failure) if failure.code == 404 => Value::Null,
        Err(failure) => return Err(failure),
    };
    let at = text(&object, "/metadata/resourceVersion").to_owned();
    let shown = Shown { visit, kinds: &kinds, kind, spot, object, now: Timestamp::now() };
    let (body, follows) = match tab {
        "yaml" => (yaml::page(&shown), Vec::new()),
        "events" => (events(&shown).await, vec![follow_events(&shown)]),
        "history" => (history::page(&shown).await?, Vec::new()),
        "related" => (related::page(&shown).await, Vec::new()),
        "logs" if shown.is_pod() => (logs::page(&shown).await, Vec::new()),
        "terminal" if shown.is_pod() => (terminal::page(&shown), Vec::new()),
        _ => (summary::page(&shown).await, summary::follows(&shown)),
    };
    let title = format!("{} {}", shown.spot.name, shown.kind.kind);
    let view = View::new(title, html! { (head(&shown, tab)) (body) });
    Ok(if follows.is_empty() { view } else { view.following(follows, &at) })
}

fn gone(spot: &Spot, failure: &Failure) -> View {
    let body = html! {
        h1 { (spot.name) }
        (notice(failure))
        p { "If it was deleted, its history may still know it: " a href=(spot.tab("history")) { "what it was" } "." }
    };
    View::new(spot.name.clone(), body)
}

fn follow_events(shown: &Shown<'_>) -> Follow {
    Follow::all(&route::core("events"), &shown.spot.namespace).selected("", &shown.event_fields())
}

async fn events(shown: &Shown<'_>) -> Markup {
    match shown.visit.asker.get(&shown.events_path()).await {
        Ok(list) => {
            let _ = revision(&list);
            parts::events(items(Some(&list)), shown.kinds, shown.now, 200)
        }
        Err(failure) => notice(&failure),
    }
}

fn head(shown: &Shown<'_>, tab: &str) -> Markup {
    let Shown { kind, spot, object, .. } = shown;
    let made = text(object, "/metadata/creationTimestamp");
    html! {
        nav.crumbs aria-label="Where this is" {
            a href=(kind.link(&spot.namespace)) { (kind.kind) }
            @if !spot.namespace.is_empty() {
                " in " a href={ "table?" (kind.place.query().with("in", &*spot.namespace)) } { (spot.namespace) }
            }
        }
        div.heading {
            h1 { (spot.name) }
            @if shown.is_pod() {
                @let state = parts::pod_state(object);
                (tell::toned(&state.word, parts::pod_tone(object)))
            }
            @if !text(object, "/metadata/deletionTimestamp").is_empty() && !shown.is_pod() {
                (tell::toned("Terminating", tell::Tone::Busy))
            }
            @if !made.is_empty() { span.quiet { (tell::when(made, shown.now)) " old" } }
            @if !object.is_null() { (actions(shown)) }
        }
        (tabs(shown, tab))
    }
}

fn tabs(shown: &Shown<'_>, tab: &str) -> Markup {
    let mut all = vec![
        ("", "Summary"),
        ("yaml", "YAML"),
        ("events", "Events"),
        ("history", "History"),
        ("related", "Related"),
    ];
    if shown.is_pod() {
        all.extend([("logs", "Logs"), ("terminal", "Terminal")]);
    }
    html! {
        nav.tabs aria-label="Parts" {
            @for (name, label) in all {
                a href=(shown.spot.tab(name)) aria-current=[(name == tab).then_some("page")] { (label) }
            }
        }
    }
}

/// What can be done to the object, of what the API has for its kind. Whether who looks may, the API says when asked.
fn actions(shown: &Shown<'_>) -> Markup {
    let Shown { visit, kind, spot, object, .. } = shown;
    let is_template = matches!(&*spot.place.resource, "deployments" | "statefulsets" | "daemonsets")
        && spot.place.group == "apps";
    let is_node = shown.is("", "nodes");
    let owners = tell::list(object, "/metadata/ownerReferences");
    let is_version =
        shown.is("apps", "replicasets") && owners.iter().any(|owner| text(owner, "/kind") == "Deployment");
    let suspends = matches!(&*spot.place.resource, "cronjobs" | "jobs") && spot.place.group == "batch";
    html! {
        div.actions {
            @if kind.has("scale") && !is_version { (scale(shown)) }
            @if is_template { (button(visit, spot, "restart", "Restart")) }
            @if is_version { (button(visit, spot, "roll-back", "Roll back to this")) }
            @if is_node {
                @if object["spec"]["unschedulable"] == true { (button(visit, spot, "uncordon", "Uncordon")) }
                @else { (button(visit, spot, "cordon", "Cordon")) }
                a.button href={ "drain?" (spot.query()) } { "Drain…" }
                (what_if::about_node(visit, spot, object["spec"]["unschedulable"] == true))
            }
            @if suspends {
                @if object["spec"]["suspend"] == true { (button(visit, spot, "resume", "Resume")) }
                @else { (button(visit, spot, "suspend", "Suspend")) }
            }
            @if shown.is("batch", "cronjobs") { (button(visit, spot, "run", "Run now")) }
            @if kind.can("delete") { a.button.danger href={ "delete?" (spot.query()) } { "Delete…" } }
        }
    }
}

fn scale(shown: &Shown<'_>) -> Markup {
    let replicas = tell::number(&shown.object, "/spec/replicas");
    html! {
        form.scale method="post" action="do" {
            (guard(shown.visit)) (hidden(&shown.spot.query()))
            input type="hidden" name="act" value="scale";
            label.sr for="replicas" { "Replicas" }
            input #replicas name="replicas" type="number" min="0" max="10000" value=(replicas) data-keep;
            button { "Scale" }
            button.asks name="what" value="scale" formaction="what-if" title="What would happen if it was scaled" { "What if?" }
        }
    }
}
