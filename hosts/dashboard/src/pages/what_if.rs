//! What would happen if: a question asked by a form, and what the API foretells of it.

use http::Method;
use maud::{Markup, html};
use orchestra_core::api::yaml;
use serde_json::{Map, Value, json};

use super::parts::{guard, hidden};
use super::{View, notice};
use crate::api::{Failure, Write};
use crate::explained;
use crate::route::{self, Query, Spot};
use crate::tell::{self, Tone, list, text};
use crate::visit::Visit;

const PATH: &str = "/orchestra/v1/what-if";

pub(crate) async fn page(visit: &Visit<'_>, form: &Query) -> Result<View, Failure> {
    let spot = Spot::of(form);
    if !spot.is_sound() {
        return Err(Failure::new(400, "No object is named."));
    }
    if form.get("what") == "help" {
        return Ok(help(visit, &spot).await);
    }
    let change = change(form, &spot)?;
    let asked = visit.asker.write(Write::json(Method::POST, PATH, &json!({"changes": [change]}))).await;
    let title = format!("What if: {}", spot.name);
    let body = html! {
        nav.crumbs { a href=(spot.link()) { (spot.name) } }
        h1 { "What would happen" }
        @match &asked {
            Ok(answer) => (told(answer)),
            Err(failure) if failure.code == 404 => p.notice { "Only orchestra's own API server can tell." },
            Err(failure) => (notice(failure)),
        }
        div.bar-below {
            (in_earnest(visit, form, &spot))
            a.button href=(spot.link()) { "Leave it as it is" }
        }
    };
    Ok(View::new(title, body))
}

/// Which small change helps the object.
async fn help(visit: &Visit<'_>, spot: &Spot) -> View {
    let helps = explained::helps(&visit.asker, spot).await;
    let body = html! {
        nav.crumbs { a href=(spot.link()) { (spot.name) } }
        h1 { "What would help" }
        @match &helps {
            Ok(Value::Null) => p.notice { "None of the small changes that were tried in a copy of the cluster helps." },
            Ok(remedy) => (told_remedy(remedy)),
            Err(failure) if failure.code == 404 => p.notice { "Only orchestra's own API server can tell." },
            Err(failure) => (notice(failure)),
        }
        div.bar-below { a.button href=(spot.link()) { "Back to it" } }
    };
    View::new(format!("What would help: {}", spot.name), body)
}

fn told_remedy(remedy: &Value) -> Markup {
    let when = match remedy["seconds"].as_i64() {
        None | Some(0) => "at once".to_owned(),
        Some(seconds) => format!("{} later", tell::span(seconds)),
    };
    html! {
        p.notice.good { "To " strong { (text(remedy, "/does")) } ": "
            @match remedy["left"].as_str() {
                None => { "nothing was the matter any more " (when) "." },
                Some(left) => { (when) " there was less the matter: " (left) },
            }
        }
        p.quiet { "It was tried in a copy of the cluster, in a time of its own; nothing was changed here." }
    }
}

/// What is asked about, as the API takes it.
fn change(form: &Query, spot: &Spot) -> Result<Value, Failure> {
    let node = |word: &str| match spot.place == route::core("nodes") {
        true => Ok(json!({word: spot.name})),
        false => Err(Failure::new(400, "No node is named.")),
    };
    let kind = match &*spot.place.group {
        "" => spot.place.resource.clone(),
        group => format!("{}.{group}", spot.place.resource),
    };
    let object = json!({"kind": kind, "namespace": spot.namespace, "name": spot.name});
    match form.get("what") {
        "lose" => node("loseNode"),
        "drain" => node("drain"),
        "cordon" => node("cordon"),
        "uncordon" => node("uncordon"),
        "upgrade" => node("upgrade"),
        "delete" => Ok(json!({"delete": object})),
        "scale" => {
            let wrong = || Failure::new(400, format!("{:?} is no number of replicas.", form.get("replicas")));
            let replicas: u32 = form.get("replicas").trim().parse().map_err(|_| wrong())?;
            let mut object = object;
            object["replicas"] = json!(replicas);
            Ok(json!({"scale": object}))
        }
        "yaml" => {
            let wrong = |why: &dyn std::fmt::Display| Failure::new(400, format!("That is no object: {why}."));
            let read = yaml::read(form.get("yaml").replace("\r\n", "\n").as_bytes());
            match read.map_err(|error| wrong(&error))?.as_slice() {
                [object] => Ok(json!({"replace": object})),
                all => Err(wrong(&format!("there are {} documents", all.len()))),
            }
        }
        other => Err(Failure::new(400, format!("{other:?} is nothing that can be foretold."))),
    }
}

/// The way to do it, where somebody can.
fn in_earnest(visit: &Visit<'_>, form: &Query, spot: &Spot) -> Markup {
    let act = |act: &str, label: &str| {
        html! {
            form method="post" action="do" {
                (guard(visit)) (hidden(&spot.query()))
                input type="hidden" name="act" value=(act);
                @if act == "scale" { input type="hidden" name="replicas" value=(form.get("replicas")); }
                button.primary { (label) }
            }
        }
    };
    match form.get("what") {
        "drain" => html! { a.button href={ "drain?" (spot.query()) } { "Drain it…" } },
        "delete" => html! { a.button.danger href={ "delete?" (spot.query()) } { "Delete it…" } },
        "cordon" => act("cordon", "Cordon it"),
        "uncordon" => act("uncordon", "Uncordon it"),
        "scale" => act("scale", &format!("Scale it to {}", form.get("replicas").trim())),
        "yaml" => html! {
            form method="post" action="edit" {
                (guard(visit)) (hidden(&spot.query()))
                textarea.sr name="yaml" aria-label="YAML" tabindex="-1" readonly { "\n" (form.get("yaml")) }
                button.primary name="step" value="try" { "Review the change…" }
            }
        },
        _ => html! {},
    }
}

/// An answer of the API.
fn told(answer: &Value) -> Markup {
    let difference = &answer["difference"];
    let (workloads, nodes) = (list(difference, "/workloads"), fields(&difference["nodes"]));
    let (waiting, broken) = (fields(&difference["waiting"]), fields(&difference["broken_budgets"]));
    let fewest = fields(&answer["fewest_ready"]);
    let quotas = list(difference, "/quotas");
    let changes: Vec<&str> = list(answer, "/changes").iter().filter_map(Value::as_str).collect();
    let seconds = answer["seconds"].as_i64().unwrap_or(0);
    let is_calm = workloads.is_empty() && waiting.is_empty() && broken.is_empty() && nodes.is_empty();
    html! {
        p { "If you " strong { (changes.join(", then ")) } ": " (took(answer, seconds)) }
        @if is_calm && quotas.is_empty() { p.notice.good { "Nothing else would be other than it is." } }
        @for undone in list(answer, "/undone") { p.notice.bad { "Left undone: " (tell::plain(undone)) "." } }
        @if !waiting.is_empty() {
            h2 { "Pods that would find no node" }
            (table(&["Pod", "Why"], &waiting.iter().map(|(pod, why)| {
                vec![html! { (pod) }, html! { span.message { (tell::plain(why)) } }]
            }).collect::<Vec<_>>()))
        }
        @if !broken.is_empty() {
            h2 { "Budgets that would be broken" }
            (table(&["Budget", "Healthy", "Must be"], &broken.iter().map(|(name, counts)| {
                vec![html! { (name) }, html! { (tell::toned(&counts[0].to_string(), Tone::Bad)) }, html! { (counts[1]) }]
            }).collect::<Vec<_>>()))
        }
        @if !workloads.is_empty() {
            h2 { "Where pods would be" }
            (table(&["Workload", "Node", "Now", "Then", "Ready", "Made anew"], &workloads.iter().flat_map(|one| workload(one, &fewest)).collect::<Vec<_>>()))
        }
        @if !nodes.is_empty() {
            h2 { "Nodes" }
            (table(&["Node", "", "CPU asked for", "Memory asked for"], &nodes.iter().map(|(name, pair)| node(name, pair)).collect::<Vec<_>>()))
        }
        @if !quotas.is_empty() {
            h2 { "Quotas" }
            (table(&["Quota", "Resource", "Used now", "Then", "Bound"], &quotas.iter().map(|quota| {
                ["/quota", "/resource", "/before", "/after", "/hard"].map(|field| html! { (text(quota, field)) }).to_vec()
            }).collect::<Vec<_>>()))
        }
        p.quiet { "A copy of the cluster lived through it in a time of its own; nothing was changed. What only a machine knows, such as whether an image can be had, is not foretold." }
    }
}

fn took(answer: &Value, seconds: i64) -> String {
    match answer["at_rest"] == true {
        true => format!("all is at rest again after {}.", tell::span(seconds)),
        false => format!("it still goes on after {}.", tell::span(seconds)),
    }
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn table(heads: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.scroll { table.forecast {
            thead { tr { @for head in heads { th { (head) } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        } }
    }
}

/// A row for each node on which a workload has another number of pods.
fn workload(one: &Value, fewest: &Map<String, Value>) -> Vec<Vec<Markup>> {
    let (before, after) = (fields(&one["before"]), fields(&one["after"]));
    let mut nodes: Vec<&String> = before.keys().chain(after.keys()).collect();
    nodes.sort();
    nodes.dedup();
    let count = |of: &Map<String, Value>, node: &str| of.get(node).and_then(Value::as_i64).unwrap_or(0);
    let name = text(one, "/workload");
    let least = fewest.get(name).and_then(Value::as_i64);
    let ready = html! {
        (one["ready"][0]) " → " (one["ready"][1])
        @if let Some(least) = least { span.quiet { ", meanwhile " (least) } }
    };
    let rows = nodes.iter().enumerate().map(|(index, node)| {
        let first = index == 0;
        let told = if node.is_empty() { "none" } else { node };
        vec![
            html! { @if first { (name) } },
            html! { (told) },
            html! { (count(&before, node)) },
            html! { (count(&after, node)) },
            if first {
                ready.clone()
            } else {
                html! {}
            },
            html! { @if first { (one["replaced"]) } },
        ]
    });
    rows.collect()
}

fn node(name: &str, pair: &Value) -> Vec<Markup> {
    let state = |node: &Value| match (node["ready"] == true, node["cordoned"] == true) {
        _ if node.is_null() => "not there",
        (false, _) => "not ready",
        (_, true) => "cordoned",
        _ => "ready",
    };
    let (before, after) = (&pair[0], &pair[1]);
    let share = |node: &Value, asked: &str, whole: &str| {
        let (asked, whole) = (node[asked].as_f64().unwrap_or(0.0), node[whole].as_f64().unwrap_or(0.0));
        if whole > 0.0 { format!("{:.0} %", asked / whole * 100.0) } else { "–".to_owned() }
    };
    let change = |old: String, new: String| if old == new { new } else { format!("{old} → {new}") };
    vec![
        html! { (name) },
        html! { (change(state(before).to_owned(), state(after).to_owned())) },
        html! { (change(share(before, "cpu_requested", "cpu"), share(after, "cpu_requested", "cpu"))) },
        html! { (change(share(before, "memory_requested", "memory"), share(after, "memory_requested", "memory"))) },
    ]
}

/// The questions that the page of a node has.
pub(crate) fn about_node(visit: &Visit<'_>, spot: &Spot, is_cordoned: bool) -> Markup {
    let questions: &[(&str, &str)] = match is_cordoned {
        true => &[
            ("lose", "lost it"),
            ("drain", "drained it"),
            ("uncordon", "uncordoned it"),
            ("upgrade", "upgraded it"),
        ],
        false => &[
            ("lose", "lost it"),
            ("drain", "drained it"),
            ("cordon", "cordoned it"),
            ("upgrade", "upgraded it"),
        ],
    };
    html! {
        details.menu-button {
            summary { "What if I…" }
            form method="post" action="what-if" {
                (guard(visit)) (hidden(&spot.query()))
                @for (what, label) in questions { button.quiet name="what" value=(what) { (label) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Value, u16> {
        let form = Query::parse(text);
        change(&form, &Spot::of(&form)).map_err(|failure| failure.code)
    }

    #[test]
    fn a_form_is_a_change() {
        let web = "r=deployments&g=apps&in=shop&n=web";
        let object = json!({"kind": "deployments.apps", "namespace": "shop", "name": "web"});
        let mut scaled = object.clone();
        scaled["replicas"] = json!(7);
        for (form, expected) in [
            ("what=lose&r=nodes&n=a".to_owned(), Ok(json!({"loseNode": "a"}))),
            ("what=upgrade&r=nodes&n=a".to_owned(), Ok(json!({"upgrade": "a"}))),
            (format!("what=drain&{web}"), Err(400)),
            (format!("what=scale&replicas=7&{web}"), Ok(json!({"scale": scaled}))),
            (format!("what=scale&replicas=-7&{web}"), Err(400)),
            (format!("what=delete&{web}"), Ok(json!({"delete": object}))),
            (format!("what=yaml&yaml=a:+1&{web}"), Ok(json!({"replace": {"a": 1}}))),
            (format!("what=yaml&yaml=a:+1%0A---%0Ab:+2&{web}"), Err(400)),
            (format!("what=else&{web}"), Err(400)),
        ] {
            assert_eq!(asked(&form), expected, "{form}");
        }
    }

    #[test]
    fn what_helps_is_told_escaped() {
        let mut remedy =
            json!({"does": "raise pods to 5 of the quota <few>", "change": {}, "seconds": 3, "left": null});
        let told = told_remedy(&remedy).into_string();
        assert!(
            told.contains("the quota &lt;few&gt;</strong>: nothing was the matter any more 3s later."),
            "{told}"
        );
        remedy["left"] = json!("Deployment web has <2> of its 5 pods available.");
        let told = told_remedy(&remedy).into_string();
        assert!(
            told.contains("3s later there was less the matter: Deployment web has &lt;2&gt; of"),
            "{told}"
        );
    }

    #[test]
    fn what_would_be_is_told_escaped() {
        let answer = json!({
            "changes": ["lose the node <n>"], "undone": [], "seconds": 330, "at_rest": true,
            "fewest_ready": {"shop/deployment/web": 1},
            "difference": {
                "workloads": [{"workload": "shop/deployment/web", "before": {"a": 2}, "after": {"": 1, "b": 1}, "replaced": 2, "ready": [2, 1]}],
                "waiting": {"shop/web-1": "0/1 nodes <are> available"},
                "broken_budgets": {"shop/web": [1, 2]}, "quotas": [],
                "nodes": {"a": [{"ready": true, "cpu": 1000, "cpu_requested": 500}, {"ready": false, "cpu": 1000, "cpu_requested": 0}]},
            },
        });
        let text = told(&answer).into_string();
        for part in [
            "lose the node &lt;n&gt;",
            "after 5m30s",
            "0/1 nodes &lt;are&gt; available",
            "2 → 1<span class=\"quiet\">, meanwhile 1</span>",
            "ready → not ready",
            "50 % → 0 %",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let calm = json!({"changes": ["x"], "at_rest": true, "seconds": 0, "difference": {}});
        assert!(told(&calm).into_string().contains("Nothing else would be other"));
    }
}
