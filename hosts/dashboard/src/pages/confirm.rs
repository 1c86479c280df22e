//! What is asked before something goes: what goes with it, and who will miss it.

use futures::future::join;
use maud::{Markup, html};
use serde_json::Value;

use super::View;
use super::object::related::{labels_of, owned, selects, tree};
use super::parts::{guard, hidden, link};
use crate::act::{pods_on, to_move};
use crate::api::{Failure, items};
use crate::kinds::Kinds;
use crate::route::{self, Place, Spot};
use crate::tell::{list, number, text};
use crate::visit::Visit;
use orchestra_core::selector::{Labels, Selector};

pub(crate) async fn delete(visit: &Visit<'_>) -> Result<View, Failure> {
    let spot = Spot::of(&visit.query);
    if !spot.is_sound() {
        return Err(Failure::new(404, "No object is named."));
    }
    let kinds = Kinds::discover(&visit.asker).await?;
    let object = visit.asker.get(&spot.path()).await?;
    let uid = text(&object, "/metadata/uid");
    let (goes, missed) = join(owned(&visit.asker, &kinds, &spot, uid), services(visit, &spot, &object)).await;
    let is_namespace = spot.place.group.is_empty() && spot.place.resource == "namespaces";
    let finalizers: Vec<&str> =
        list(&object, "/metadata/finalizers").iter().filter_map(Value::as_str).collect();
    let inside = if is_namespace { inside(visit, &kinds, &spot.name).await } else { Vec::new() };
    let body = html! {
        nav.crumbs { a href=(spot.link()) { (spot.name) } }
        h1 { "Delete " (spot.name) "?" }
        @if is_namespace {
            h2 { "All that is in it goes with it" }
            ul.owned { @for (kind, count) in &inside { li { (count) " " span.quiet { (kind) } } } }
            @if inside.is_empty() { p.quiet { "It is empty, as far as you may see." } }
        }
        @if !goes.is_empty() {
            h2 { "What goes with it" }
            (tree(&goes))
        } @else if !is_namespace { p { "It owns nothing that you may see." } }
        @if !missed.is_empty() {
            h2 { "Services that send requests to it" }
            ul.owned { @for service in &missed { li { (link(service)) } } }
        }
        @if !finalizers.is_empty() {
            p { "It stays until these have done their part: " (finalizers.join(", ")) "." }
        }
        form.stack method="post" action="do" {
            (guard(visit)) (hidden(&spot.query()))
            input type="hidden" name="act" value="delete";
            input type="hidden" name="uid" value=(uid);
            @if !goes.is_empty() {
                label for="policy" { "What it owns" }
                select #policy name="policy" {
                    option value="Background" { "goes after it" }
                    option value="Foreground" { "goes before it" }
                    option value="Orphan" { "stays, and belongs to nobody" }
                }
            }
            div.bar-below {
                button.danger { "Delete" }
                button name="what" value="delete" formaction="what-if" { "What would happen?" }
                a.button href=(spot.link()) { "Keep" }
            }
        }
    };
    Ok(View::new(format!("Delete {}", spot.name), body))
}

/// The services that lose an endpoint with an object.
async fn services(visit: &Visit<'_>, spot: &Spot, object: &Value) -> Vec<Spot> {
    let is_pod = spot.place == route::pods();
    let labels = if is_pod { labels_of(object) } else { labels_of(&object["spec"]["template"]) };
    if labels.is_empty() {
        return Vec::new();
    }
    let list = visit.asker.get(&route::core("services").path(&spot.namespace)).await.ok();
    let found = items(list.as_ref()).iter().filter(|service| selects(service, &labels));
    found.map(|s| Spot::new(route::core("services"), &spot.namespace, text(s, "/metadata/name"))).collect()
}

/// How many objects of each kind are in a namespace.
async fn inside(visit: &Visit<'_>, kinds: &Kinds, namespace: &str) -> Vec<(String, usize)> {
    let namespaced = kinds.0.iter().filter(|kind| kind.is_namespaced && kind.place.resource != "events");
    let counted = namespaced.map(|kind| async move {
        let list = visit.asker.metadata(&kind.place.path(namespace)).await.ok();
        (kind.kind.clone(), items(list.as_ref()).len())
    });
    let all = futures::future::join_all(counted).await;
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

pub(crate) async fn drain(visit: &Visit<'_>) -> Result<View, Failure> {
    let spot = Spot::of(&visit.query);
    if !spot.is_sound() || spot.place != route::core("nodes") {
        return Err(Failure::new(404, "No node is named."));
    }
    let budgets = Place::new("policy", "v1", "poddisruptionbudgets").path("");
    let (pods, budgets) = join(pods_on(visit, &spot.name), visit.asker.get(&budgets)).await;
    let pods = pods?;
    let moved = to_move(items(Some(&pods)));
    let budgets = budgets.ok();
    let row = |pod: &Value| drained(pod, items(budgets.as_ref()));
    let body = html! {
        nav.crumbs { a href=(spot.link()) { (spot.name) } }
        h1 { "Drain " (spot.name) "?" }
        p { "It takes no new pods, and these are asked to leave. Pods of daemon sets stay." }
        @if moved.is_empty() { p.quiet { "There are none that could." } }
        @else {
            div.scroll { table.list data-rows {
                thead { tr { th { "Namespace" } th { "Pod" } th { "What becomes of it" } } }
                tbody { @for pod in &moved { (row(pod)) } }
            } }
        }
        form.stack method="post" action="do" {
            (guard(visit)) (hidden(&spot.query()))
            input type="hidden" name="act" value="drain";
            div.bar-below {
                button.danger { "Drain" }
                button name="what" value="drain" formaction="what-if" { "What would happen?" }
                a.button href=(spot.link()) { "Leave it as it is" }
            }
        }
    };
    Ok(View::new(format!("Drain {}", spot.name), body))
}

fn drained(pod: &Value, budgets: &[Value]) -> Markup {
    let (name, namespace) = (text(pod, "/metadata/name"), text(pod, "/metadata/namespace"));
    let labels = labels_of(pod);
    let covers =
        |budget: &&Value| text(budget, "/metadata/namespace") == namespace && budget_matches(budget, &labels);
    let held = budgets.iter().filter(covers).find(|budget| number(budget, "/status/disruptionsAllowed") < 1);
    let is_owned = !list(pod, "/metadata/ownerReferences").is_empty();
    let has_local = list(pod, "/spec/volumes").iter().any(|volume| volume.get("emptyDir").is_some());
    html! {
        tr {
            td { (namespace) }
            td { (link(&Spot::new(route::pods(), namespace, name))) }
            td {
                @if let Some(budget) = held {
                    span.state.busy { "waits" } " for the disruption budget " (text(budget, "/metadata/name"))
                } @else if is_owned { "is made anew elsewhere" }
                @else { span.state.bad { "is lost" } " as nobody makes it again" }
                @if has_local { span.quiet { ", without what is in its emptyDir" } }
            }
        }
    }
}

fn budget_matches(budget: &Value, labels: &Labels) -> bool {
    let selector = serde_json::from_value(budget["spec"]["selector"].clone()).ok();
    Selector::from_label_selector(selector.as_ref()).is_ok_and(|selector| selector.matches(labels))
}
