//! The containers of a pod.

use maud::{Markup, html};
use serde_json::Value;

use super::Shown;
use crate::pages::parts;
use crate::route::Query;
use crate::tell::{self, Tone, list, number, plain, text};

pub(super) fn containers(shown: &Shown<'_>) -> Markup {
    let pod = &shown.object;
    let parts = [
        ("/spec/initContainers", "/status/initContainerStatuses", "init"),
        ("/spec/containers", "/status/containerStatuses", ""),
        ("/spec/ephemeralContainers", "/status/ephemeralContainerStatuses", "ephemeral"),
    ];
    html! {
        h2 { "Containers" }
        div.scroll { table {
            thead { tr { th { "Name" } th { "State" } th.num { "Restarts" } th { "Image" } th { "Asks for" } th { "Ports" } th { "" } } }
            tbody {
                @for (specs, statuses, sort) in parts {
                    @for spec in list(pod, specs) {
                        @let name = text(spec, "/name");
                        @let status = list(pod, statuses).iter().find(|status| status["name"] == name);
                        (row(shown, spec, status.unwrap_or(&Value::Null), sort))
                    }
                }
            }
        } }
    }
}

fn row(shown: &Shown<'_>, spec: &Value, status: &Value, sort: &str) -> Markup {
    let name = text(spec, "/name");
    let logs: Query = shown.spot.query().with("tab", "logs").with("c", name);
    let ports = list(spec, "/ports").iter().map(|port| {
        let link = parts::port_link(shown.visit, &shown.spot, port, "/containerPort");
        (number(port, "/containerPort"), link)
    });
    let requests = tell::labels(&spec["resources"]["requests"]);
    let requests: Vec<String> = requests.iter().map(|(key, value)| format!("{key} {value}")).collect();
    html! {
        tr {
            td { (name) @if !sort.is_empty() { " " span.quiet { (sort) } } }
            td { (state(shown, status)) }
            td.num { (number(status, "/restartCount")) }
            td.image { (text(spec, "/image")) }
            td { (requests.join(", ")) }
            td {
                @for (number, link) in ports {
                    @match link {
                        Some(link) => a href=(link) target="_blank" rel="noopener" title="Open it through the API" { (number) },
                        None => (number),
                    }
                    " "
                }
            }
            td { a href={ "object?" (logs) } { "Logs" } " " a href={ "object?" (logs.clone().with("tab", "terminal")) } { "Terminal" } }
        }
    }
}

/// What a container does, and how it ended last.
fn state(shown: &Shown<'_>, status: &Value) -> Markup {
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    let ended = |ended: &Value| {
        let reason = text(ended, "/reason");
        format!(
            "{} (exit code {})",
            if reason.is_empty() { "ended" } else { reason },
            plain(&ended["exitCode"])
        )
    };
    html! {
        @if let Some(running) = state.get("running") {
            (tell::toned("Running", if status["ready"] == true { Tone::Good } else { Tone::Busy }))
            " " span.quiet { "for " (tell::when(text(running, "/startedAt"), shown.now)) @if status["ready"] != true { ", not ready" } }
        } @else if let Some(waiting) = state.get("waiting") {
            (tell::state(text(waiting, "/reason")))
            @if !text(waiting, "/message").is_empty() { div.quiet { (text(waiting, "/message")) } }
        } @else if let Some(gone) = state.get("terminated") {
            (tell::toned(&ended(gone), if number(gone, "/exitCode") == 0 { Tone::Good } else { Tone::Bad }))
            @if !text(gone, "/message").is_empty() { pre.data { (text(gone, "/message")) } }
        } @else { span.quiet { "not begun" } }
        @if !last.is_null() {
            div.quiet { "before that: " (ended(last)) " " (tell::when(text(last, "/finishedAt"), shown.now)) " ago" }
            @if !text(last, "/message").is_empty() { pre.data { (text(last, "/message")) } }
        }
    }
}
