//! All kinds that the cluster serves, custom ones too, and the way to one by its name.

use std::collections::BTreeMap;

use maud::html;

use super::View;
use crate::api::Failure;
use crate::kinds::{Kind, Kinds};
use crate::route::{Query, Spot};
use crate::visit::Visit;

pub(crate) async fn page(visit: &Visit<'_>) -> Result<View, Failure> {
    let kinds = Kinds::discover(&visit.asker).await?;
    let namespace = visit.query.get("in");
    let mut groups: BTreeMap<&str, Vec<&Kind>> = BTreeMap::new();
    for kind in &kinds.0 {
        groups.entry(&kind.place.group).or_default().push(kind);
    }
    let body = html! {
        div.heading { h1 { "All kinds" } span.count { (kinds.0.len()) } }
        div.groups {
            @for (group, kinds) in &groups {
                section {
                    h2 { (if group.is_empty() { "core" } else { group }) }
                    ul {
                        @for kind in kinds {
                            li {
                                a href=(kind.link(namespace)) { (kind.kind) }
                                @if !kind.short_names.is_empty() { " " span.quiet { (kind.short_names.join(", ")) } }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(View::new("All kinds", body))
}

/// Where a word leads: `pods`, `deploy/web`, `pod web -n shop`, `ns shop`.
pub(crate) async fn go(visit: &Visit<'_>) -> Result<View, Failure> {
    let asked = visit.query.get("q").trim();
    let mut namespace = visit.query.get("in").to_owned();
    let mut words: Vec<&str> = asked.split_whitespace().flat_map(|word| word.split('/')).collect();
    if let Some(flag) = words.iter().position(|word| *word == "-n") {
        let after: Vec<&str> = words.drain(flag..).skip(1).take(1).collect();
        after.first().copied().unwrap_or_default().clone_into(&mut namespace);
    }
    if let ["ns" | "namespace", name] = words.as_slice() {
        return Ok(View::leading_to(format!(
            "table?{}",
            Query::default().with("r", "pods").with("in", *name)
        )));
    }
    let kinds = Kinds::discover(&visit.asker).await?;
    let unknown = |word: &str| Failure::new(404, format!("The cluster has no kind {word:?}."));
    match words.as_slice() {
        [] | ["overview"] => Ok(View::leading_to(".".to_owned())),
        ["topology"] => Ok(View::leading_to("topology".to_owned())),
        [kind] => Ok(View::leading_to(kinds.meant(kind).ok_or_else(|| unknown(kind))?.link(&namespace))),
        [kind, name, ..] => {
            let kind = kinds.meant(kind).ok_or_else(|| unknown(kind))?;
            let namespace = match (kind.is_namespaced, &*namespace) {
                (false, _) => "",
                (true, "") => "default",
                (true, namespace) => namespace,
            };
            Ok(View::leading_to(Spot::new(kind.place.clone(), namespace, name).link()))
        }
    }
}
