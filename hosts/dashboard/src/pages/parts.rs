//! What pages are made of.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use crate::kinds::Kinds;
use crate::route::{Query, Spot};
use crate::tell::{self, list, number, text};
use crate::visit::Visit;

/// The secret of a form.
pub(crate) fn guard(visit: &Visit<'_>) -> Markup {
    html! { input type="hidden" name="guard" value=(visit.session.guard); }
}

/// The words of a query as hidden fields.
pub(crate) fn hidden(query: &Query) -> Markup {
    html! { @for (name, value) in query.iter() { input type="hidden" name=(name) value=(value); } }
}

/// A form of one button that does something to an object.
pub(crate) fn button(visit: &Visit<'_>, spot: &Spot, act: &str, label: &str) -> Markup {
    html! {
        form method="post" action="do" {
            (guard(visit)) (hidden(&spot.query()))
            input type="hidden" name="act" value=(act);
            button { (label) }
        }
    }
}

/// A link to an object, by kind and name.
pub(crate) fn link(spot: &Spot) -> Markup {
    html! { a href=(spot.link()) { (spot.name) } }
}

/// The link to a port of a pod or a service, if a browser may find a page there.
pub(crate) fn port_link(visit: &Visit<'_>, spot: &Spot, port: &Value, field: &str) -> Option<String> {
    let number = number(port, field);
    let words = [text(port, "/name"), text(port, "/appProtocol")];
    let is_tls = matches!(number, 443 | 8443) || words.iter().any(|word| word.starts_with("https"));
    let is_tcp = matches!(text(port, "/protocol"), "" | "TCP");
    is_tcp.then(|| visit.ports.link(&visit.session, spot, &number.to_string(), is_tls)).flatten()
}

/// Where the object of a reference is: an owner, or what an event is about.
pub(crate) fn referred(kinds: &Kinds, reference: &Value, namespace: &str) -> Option<Spot> {
    let kind = kinds.named(text(reference, "/apiVersion"), text(reference, "/kind"))?;
    let namespace = if kind.is_namespaced { namespace } else { "" };
    Some(Spot::new(kind.place.clone(), namespace, text(reference, "/name")))
}

/// What a bar is about: whether it is well when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bar {
    /// Room that is used: to be full is to be short of it.
    Room,
    /// What is done of what is to be done.
    Progress,
}

impl Bar {
    fn class(self, share: f64) -> &'static str {
        match self {
            Self::Room if share >= 90.0 => "full",
            Self::Room if share >= 75.0 => "high",
            Self::Progress if share < 100.0 => "high",
            _ => "",
        }
    }
}

/// A share as a bar, with words for those who do not see it. Drawn as SVG, since the policy allows no styles in a page.
pub(crate) fn bar(kind: Bar, used: f64, whole: f64, told: &str) -> Markup {
    let share = if whole > 0.0 { (used / whole * 100.0).clamp(0.0, 100.0) } else { 100.0 };
    let share = if kind == Bar::Room && whole <= 0.0 { 0.0 } else { share };
    html! {
        div.bar {
            svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                rect.room width="100" height="4" {}
                rect class={ "used " (kind.class(share)) } width=(format!("{share:.1}")) height="4" {}
            }
            span.told { (told) }
        }
    }
}

/// Events, the latest first. Of which object they are is said where they are of several.
pub(crate) fn events(events: &[Value], kinds: &Kinds, now: Timestamp, most: usize) -> Markup {
    let mut sorted: Vec<&Value> = events.iter().collect();
    sorted.sort_by_cached_key(|event| std::cmp::Reverse(seen(event)));
    let about = |event: &Value| {
        (text(event, "/involvedObject/kind").to_owned(), text(event, "/involvedObject/name").to_owned())
    };
    let of_several = sorted.windows(2).any(|pair| about(pair[0]) != about(pair[1]));
    html! {
        @if sorted.is_empty() { p.quiet { "No events." } }
        @else {
            div.scroll {
                table.events {
                    thead { tr { th { "Last seen" } th { "Type" } th { "Reason" } @if of_several { th { "Object" } } th { "Message" } } }
                    tbody { @for event in sorted.into_iter().take(most) { (event_row(event, kinds, now, of_several)) } }
                }
            }
        }
    }
}

fn event_row(event: &Value, kinds: &Kinds, now: Timestamp, of_several: bool) -> Markup {
    let about = &event["involvedObject"];
    let namespace = text(about, "/namespace");
    let count = number(event, "/count").max(number(event, "/series/count"));
    let told = format!("{}/{}", text(about, "/kind").to_lowercase(), text(about, "/name"));
    html! {
        tr data-key=(text(event, "/metadata/uid")) {
            td.num { (tell::when(seen(event), now)) @if count > 1 { span.quiet { " ×" (count) } } }
            td { (tell::state(text(event, "/type"))) }
            td { (text(event, "/reason")) }
            @if of_several {
                td {
                    @match referred(kinds, about, namespace) {
                        Some(spot) => a href=(spot.link()) { (told) },
                        None => (told),
                    }
                }
            }
            td.message { (text(event, "/message")) }
        }
    }
}

/// When an event was last seen.
pub(crate) fn seen(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().map(|path| text(event, path)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// What is looked at of many events.
pub(crate) const EVENT: &[&str] = &[
    "/count",
    "/eventTime",
    "/involvedObject",
    "/lastTimestamp",
    "/message",
    "/metadata/creationTimestamp",
    "/metadata/uid",
    "/reason",
    "/series",
    "/type",
];

/// What is looked at of many pods to tell how they do.
pub(crate) const POD: &[&str] = &[
    "/metadata/deletionTimestamp",
    "/spec/containers/resources/requests",
    "/spec/nodeName",
    "/status/containerStatuses/ready",
    "/status/containerStatuses/restartCount",
    "/status/containerStatuses/state",
    "/status/initContainerStatuses/ready",
    "/status/initContainerStatuses/started",
    "/status/initContainerStatuses/state",
    "/status/phase",
    "/status/reason",
];

/// What is looked at of many nodes.
pub(crate) const NODE: &[&str] = &[
    "/metadata/creationTimestamp",
    "/metadata/name",
    "/metadata/uid",
    "/spec/unschedulable",
    "/status/allocatable",
    "/status/conditions/status",
    "/status/conditions/type",
];

/// What a pod is doing, in the word that kubectl has for it, and how many of its containers are ready and restarted.
pub(crate) struct PodState {
    pub(crate) word: String,
    pub(crate) ready: String,
    pub(crate) restarts: i64,
}

pub(crate) fn pod_state(pod: &Value) -> PodState {
    let statuses = list(pod, "/status/containerStatuses");
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let restarts = statuses.iter().map(|status| number(status, "/restartCount")).sum();
    let waiting = |status: &Value| {
        let reason = text(status, "/state/waiting/reason");
        let ended = text(status, "/state/terminated/reason");
        Some(if reason.is_empty() { ended } else { reason }.to_owned()).filter(|reason| !reason.is_empty())
    };
    let initial = list(pod, "/status/initContainerStatuses").iter();
    let initial = initial.filter(|status| status["ready"] != true && status["started"] != true);
    let word = if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        "Terminating".to_owned()
    } else if !text(pod, "/status/reason").is_empty() {
        text(pod, "/status/reason").to_owned()
    } else if let Some(reason) =
        initial.filter_map(waiting).find(|word| word != "PodInitializing" && word != "Completed")
    {
        format!("Init:{reason}")
    } else if let Some(reason) = statuses.iter().find_map(waiting) {
        reason
    } else {
        text(pod, "/status/phase").to_owned()
    };
    PodState { word, ready: format!("{ready}/{}", list(pod, "/spec/containers").len()), restarts }
}

/// How a pod looks: whether it serves, is on its way, or is in trouble.
pub(crate) fn pod_tone(pod: &Value) -> tell::Tone {
    let state = pod_state(pod);
    match tell::Tone::of(&state.word) {
        tell::Tone::Good
            if state.word == "Running" && tell::Tone::of_share(&state.ready) != tell::Tone::Plain =>
        {
            tell::Tone::Busy
        }
        tone => tone,
    }
}
