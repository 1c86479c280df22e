//! What an object belongs with: its owners, what it owns, whom it selects and who selects it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use maud::{Markup, html};
use orchestra_core::selector::{Labels, Selector};
use serde_json::Value;

use super::Shown;
use crate::api::{Asker, items};
use crate::kinds::{Kind, Kinds};
use crate::pages::parts::{link, referred};
use crate::route::{self, Query, Spot, pods};
use crate::tell::{list, text};

/// An object that another owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owned {
    pub(crate) depth: usize,
    pub(crate) kind: String,
    pub(crate) spot: Spot,
}

/// All that an object owns, and what that owns in turn, of what who looks may see.
pub(crate) async fn owned(asker: &Asker<'_>, kinds: &Kinds, spot: &Spot, uid: &str) -> Vec<Owned> {
    let is_told =
        |kind: &&Kind| kind.place.resource != "events" && (spot.namespace.is_empty() || kind.is_namespaced);
    let asked = kinds.0.iter().filter(is_told).map(|kind| async move {
        let list = asker.metadata(&kind.place.path(&spot.namespace)).await.ok();
        (kind, list)
    });
    let mut below: BTreeMap<String, Vec<(String, Owned)>> = BTreeMap::new();
    for (kind, found) in join_all(asked).await {
        for item in items(found.as_ref()) {
            let metadata = &item["metadata"];
            let place = Spot::new(kind.place.clone(), text(metadata, "/namespace"), text(metadata, "/name"));
            for owner in list(metadata, "/ownerReferences") {
                let made = Owned { depth: 0, kind: kind.kind.clone(), spot: place.clone() };
                let key = text(owner, "/uid").to_owned();
                below.entry(key).or_default().push((text(metadata, "/uid").to_owned(), made));
            }
        }
    }
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    walk(&below, uid, 0, &mut seen, &mut all);
    all
}

fn walk(
    below: &BTreeMap<String, Vec<(String, Owned)>>,
    uid: &str,
    depth: usize,
    seen: &mut BTreeSet<String>,
    all: &mut Vec<Owned>,
) {
    for (child, owned) in below.get(uid).into_iter().flatten() {
        if seen.insert(child.clone()) {
            all.push(Owned { depth, ..owned.clone() });
            walk(below, child, depth + 1, seen, all);
        }
    }
}

pub(crate) fn tree(owned: &[Owned]) -> Markup {
    html! {
        ul.owned {
            @for each in owned {
                li class={ "d" (each.depth.min(4)) } { span.quiet { (each.kind) } " " (link(&each.spot)) }
            }
        }
    }
}

/// The labels of an object, as selectors take them.
pub(crate) fn labels_of(object: &Value) -> Labels {
    let pairs = object["metadata"]["labels"].as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether a service selects a pod.
pub(crate) fn selects(service: &Value, labels: &Labels) -> bool {
    let map: Option<Labels> = service["spec"]["selector"].as_object().map(|pairs| {
        pairs.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    });
    map.filter(|map| !map.is_empty()).is_some_and(|map| Selector::from_map(&map).matches(labels))
}

pub(super) async fn page(shown: &Shown<'_>) -> Markup {
    let (asker, spot) = (&shown.visit.asker, &shown.spot);
    let uid = text(&shown.object, "/metadata/uid");
    let (owned, services, selected) =
        futures::join!(owned(asker, shown.kinds, spot, uid), services(shown), selected(shown));
    let owners = list(&shown.object, "/metadata/ownerReferences");
    html! {
        div.columns.even {
            section {
                h2 { "Owners" }
                @if owners.is_empty() { p.quiet { "Nobody owns it." } }
                ul.owned {
                    @for owner in owners {
                        @let told = text(owner, "/kind");
                        li { span.quiet { (told) } " " @match referred(shown.kinds, owner, &spot.namespace) {
                            Some(spot) => (link(&spot)),
                            None => (text(owner, "/name")),
                        } }
                    }
                }
                h2 { "What it owns" }
                @if owned.is_empty() { p.quiet { "Nothing." } } @else { (tree(&owned)) }
            }
            section {
                @if !services.is_empty() || shown.is_pod() {
                    h2 { "Services that select it" }
                    @if services.is_empty() { p.quiet { "None." } }
                    ul.owned { @for service in &services { li { (link(service)) } } }
                }
                @if let Some(selected) = selected {
                    h2 { "Pods that it selects" }
                    @if selected.is_empty() { p.quiet { "None." } }
                    ul.owned { @for pod in &selected { li { (link(pod)) } } }
                }
            }
        }
    }
}

/// The services that select a pod, or the pods of a workload.
async fn services(shown: &Shown<'_>) -> Vec<Spot> {
    let template = &shown.object["spec"]["template"];
    let labels = if shown.is_pod() { labels_of(&shown.object) } else { labels_of(template) };
    if labels.is_empty() {
        return Vec::new();
    }
    let list = shown.visit.asker.get(&route::core("services").path(&shown.spot.namespace)).await.ok();
    let found = items(list.as_ref()).iter().filter(|service| selects(service, &labels));
    found
        .map(|service| {
            Spot::new(route::core("services"), &shown.spot.namespace, text(service, "/metadata/name"))
        })
        .collect()
}

async fn selected(shown: &Shown<'_>) -> Option<Vec<Spot>> {
    let selector = shown.selector().filter(|_| shown.kind.is_namespaced)?;
    let query = Query::default().with("labelSelector", selector);
    let list = shown
        .visit
        .asker
        .metadata(&crate::api::with(&pods().path(&shown.spot.namespace), &query))
        .await
        .ok()?;
    let names = items(Some(&list)).iter().map(|pod| text(pod, "/metadata/name"));
    Some(names.map(|name| Spot::new(pods(), &shown.spot.namespace, name)).collect())
}
