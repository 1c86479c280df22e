//! What an object has been: its versions, who made each, what changed with it, and the way back.

use maud::{Markup, html};
use serde_json::Value;

use super::{Shown, diff, shown_as_yaml};
use crate::api::Failure;
use crate::pages::parts::{guard, hidden};
use crate::tell::{self, list, text};

pub(super) async fn page(shown: &Shown<'_>) -> Result<Markup, Failure> {
    let history = match shown.visit.asker.get(&format!("{}/history", shown.spot.path())).await {
        Ok(history) => history,
        Err(failure) if failure.code == 404 => {
            return Ok(
                html! { p.quiet { "Nothing is remembered of it. Only orchestra's own API server keeps a history." } },
            );
        }
        Err(failure) => return Err(failure),
    };
    let versions = list(&history, "/versions");
    let shows_all = shown.visit.query.is_set("all");
    let kept: Vec<(usize, &Value)> =
        versions.iter().enumerate().filter(|(_, version)| shows_all || !is_status_alone(version)).collect();
    let asked = shown.visit.query.get("at").parse::<u64>().ok();
    let at =
        asked.and_then(|at| versions.iter().position(|version| version["revision"].as_u64() == Some(at)));
    Ok(html! {
        (slider(shown, &kept, at))
        div.columns.even {
            section { (table(shown, &kept, at, versions.len() - kept.len(), shows_all)) }
            @if let Some(at) = at { section.wide { (version(shown, versions, at).await) } }
        }
    })
}

fn is_status_alone(version: &Value) -> bool {
    let fields = list(version, "/fields");
    let of_status = |field: &Value| {
        field.as_str().is_some_and(|f| f.trim_start_matches(['+', '-']).starts_with("status"))
    };
    version["change"] == "Changed" && !fields.is_empty() && fields.iter().all(of_status)
}

/// A slider through time; without scripts, the table does the same.
fn slider(shown: &Shown<'_>, versions: &[(usize, &Value)], at: Option<usize>) -> Markup {
    if versions.len() < 2 {
        return html! {};
    }
    let links: Vec<String> = versions.iter().map(|(_, version)| link(shown, version)).collect();
    let chosen =
        at.and_then(|at| versions.iter().position(|(index, _)| *index == at)).unwrap_or(versions.len() - 1);
    html! {
        label.slider hidden data-needs-script {
            span { "Through time" }
            input type="range" min="0" max=(versions.len() - 1) value=(chosen) data-links=(links.join("\n"));
        }
    }
}

fn link(shown: &Shown<'_>, version: &Value) -> String {
    let all = shown.visit.query.get("all");
    let query = shown.spot.query().with("tab", "history").with("all", all);
    format!("object?{}", query.with("at", version["revision"].to_string()))
}

fn table(
    shown: &Shown<'_>,
    versions: &[(usize, &Value)],
    at: Option<usize>,
    hidden: usize,
    all: bool,
) -> Markup {
    html! {
        div.scroll { table.list data-rows {
            thead { tr { th { "Revision" } th { "When" } th { "Who" } th { "What" } } }
            tbody {
                @for (index, version) in versions.iter().rev() {
                    tr aria-current=[(at == Some(*index)).then_some("true")] {
                        td.num { a.name href=(link(shown, version)) { (version["revision"].to_string()) } }
                        td.num { (tell::when(text(version, "/time"), shown.now)) }
                        td { (text(version, "/manager")) }
                        td.message { (what(version)) }
                    }
                }
            }
        } }
        p.more {
            @let query = shown.spot.query().with("tab", "history");
            @if hidden > 0 { a href={ "object?" (query.with("all", "1")) } { "and " (hidden) " changes of its status alone" } }
            @else if all { a href={ "object?" (query) } { "Without changes of its status alone" } }
        }
    }
}

fn what(version: &Value) -> String {
    let fields: Vec<&str> = list(version, "/fields").iter().filter_map(Value::as_str).collect();
    match text(version, "/change") {
        "Created" => "created".to_owned(),
        "Kept" => "as it was before what is remembered".to_owned(),
        "Deleted" => "deleted".to_owned(),
        _ if fields.is_empty() => "nothing but who wrote it".to_owned(),
        _ => fields.join(", "),
    }
}

/// One version: what it changed, the whole of it, and a way back.
async fn version(shown: &Shown<'_>, versions: &[Value], at: usize) -> Markup {
    let read = async |version: Option<&Value>| match version {
        Some(version) if version["change"] != "Deleted" => {
            shown.visit.asker.get(&format!("{}?asOf={}", shown.spot.path(), version["revision"])).await.ok()
        }
        _ => None,
    };
    let chosen = &versions[at];
    let before = at.checked_sub(1).and_then(|before| versions.get(before));
    let (old, new) = (read(before).await, read(Some(chosen)).await);
    let told = |object: &Option<Value>| object.as_ref().map(shown_as_yaml).unwrap_or_default();
    let is_latest = at + 1 == versions.len();
    html! {
        h2 { "Revision " (chosen["revision"].to_string()) }
        @if new.is_some() && !is_latest {
            form method="post" action="do" {
                (guard(shown.visit)) (hidden(&shown.spot.query()))
                input type="hidden" name="act" value="restore";
                input type="hidden" name="revision" value=(chosen["revision"].to_string());
                button { "Put it back to this" }
            }
        }
        @if before.is_some() { (diff(&told(&old), &told(&new))) }
        @if new.is_some() { details open[before.is_none()] { summary { "The whole of it" } pre.data { (told(&new)) } } }
    }
}
