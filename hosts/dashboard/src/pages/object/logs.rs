//! The logs of a pod: the last lines at once, and what follows as it comes.

use maud::{Markup, html};
use serde_json::Value;

use super::Shown;
use crate::live::log_path;
use crate::pages::notice;
use crate::pages::parts::hidden;
use crate::route::Query;
use crate::tell::{list, text};

pub(super) async fn page(shown: &Shown<'_>) -> Markup {
    let query = with_container(shown);
    let follow = shown.spot.query().with("c", query.get("c")).with("previous", query.get("previous"));
    let follow = follow.with("times", query.get("times")).with("lines", query.get("lines"));
    let told = shown.visit.asker.text(&log_path(&shown.spot, &query, false)).await;
    html! {
        (choices(shown, &query))
        @match told {
            Ok(log) => {
                pre.log #log tabindex="0" role="log" aria-live="off" aria-label="Log" data-follow={ "log?" (follow) } data-keep { (log) }
                @if log.is_empty() { p.quiet.empty-log { "It has written nothing yet." } }
            },
            Err(failure) => (notice(&failure)),
        }
    }
}

/// What is asked for, with a container: the pod's default one if none is named.
pub(super) fn with_container(shown: &Shown<'_>) -> Query {
    let query = &shown.visit.query;
    if query.is_set("c") {
        return query.clone();
    }
    let named = &shown.object["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
    let first = list(&shown.object, "/spec/containers").first().map(|first| text(first, "/name"));
    query.clone().with("c", named.as_str().or(first).unwrap_or_default())
}

fn choices(shown: &Shown<'_>, query: &Query) -> Markup {
    let parts = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    let names: Vec<&str> = parts
        .iter()
        .flat_map(|part| list(&shown.object, part))
        .map(|container| text(container, "/name"))
        .collect();
    let lines = if query.is_set("lines") { query.get("lines") } else { "500" };
    let has_ended = |status: &Value| status["restartCount"].as_i64().unwrap_or(0) > 0;
    let has_previous = list(&shown.object, "/status/containerStatuses").iter().any(has_ended);
    html! {
        form.choices action="object" data-submit-on-change {
            (hidden(&shown.spot.query().with("tab", "logs")))
            label { "Container "
                select name="c" { @for name in &names { option selected[*name == query.get("c")] { (name) } } }
            }
            label { "Last "
                select name="lines" { @for count in ["100", "500", "5000", "100000"] { option value=(count) selected[count == lines] { (count) " lines" } } }
            }
            label { input type="checkbox" name="times" value="1" checked[query.is_set("times")]; " Times" }
            @if has_previous || query.is_set("previous") {
                label { input type="checkbox" name="previous" value="1" checked[query.is_set("previous")]; " Before the last restart" }
            }
            label hidden data-needs-script { input #wrap type="checkbox" checked; " Wrap" }
            label hidden data-needs-script { input #tail type="checkbox" checked; " Follow" }
            label hidden data-needs-script { span.sr { "Lines with" } input #find type="search" placeholder="Lines with…"; }
            noscript { button { "Show" } }
        }
    }
}
