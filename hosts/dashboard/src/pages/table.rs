//! A kind as a table: the API's own, with its columns and its selectors.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::{View, notice};
use crate::api::{Asker, Failure, revision, with};
use crate::kinds::{Kind, Kinds};
use crate::live::Follow;
use crate::route::{Place, Query, Spot};
use crate::tell::{self, Tone, list, plain, text};
use crate::visit::Visit;

/// How many objects are on a page.
const PAGE: &str = "500";

pub(crate) async fn page(visit: &Visit<'_>) -> Result<View, Failure> {
    let kinds = Kinds::discover(&visit.asker).await?;
    let asked = Place::of(&visit.query);
    let kind = kinds.at(&asked).ok_or_else(|| {
        Failure::new(404, format!("The cluster serves no kind {:?} in {:?}.", asked.resource, asked.group))
    })?;
    let namespace = if kind.is_namespaced { visit.query.get("in") } else { "" };
    let (labels, fields) = (visit.query.get("l"), visit.query.get("f"));
    let words = Query::default()
        .with("labelSelector", labels)
        .with("fieldSelector", fields)
        .with("limit", PAGE)
        .with("continue", visit.query.get("continue"));
    let answer = visit.asker.table(&with(&kind.place.path(namespace), &words)).await;
    let now = Timestamp::now();
    let title = match namespace {
        "" => kind.kind.clone(),
        namespace => format!("{} in {namespace}", kind.kind),
    };
    let (body, at) = match &answer {
        Ok(table) => (Rows { visit, kind, table, now }.render(), revision(table).to_owned()),
        // A selector that cannot be read is told beside the field that it was typed into.
        Err(failure) if failure.code == 400 => (notice(failure), String::new()),
        Err(failure) => return Err(failure.clone()),
    };
    let follow = Follow::all(&kind.place, namespace).selected(labels, fields);
    let view = View::new(title, html! { (heading(visit, kind, answer.as_ref().ok())) (body) });
    Ok(if at.is_empty() { view } else { view.following(vec![follow], &at) })
}

fn heading(visit: &Visit<'_>, kind: &Kind, table: Option<&Value>) -> Markup {
    let rows = table.map(|table| list(table, "/rows").len());
    let left = table.map_or(0, |table| tell::number(table, "/metadata/remainingItemCount"));
    html! {
        div.heading {
            h1 { (plural(kind)) }
            @if let Some(rows) = rows {
                span.count { (rows as i64 + left) }
            }
            form.filter action="table" role="search" {
                (super::parts::hidden(&kind.place.query().with("in", visit.query.get("in"))))
                label.sr for="filter" { "Label selector" }
                input #filter name="l" value=(visit.query.get("l")) placeholder="Label selector: app=web, tier in (a, b), !old"
                    spellcheck="false" autocomplete="off" autocapitalize="off";
                @if visit.query.is_set("f") {
                    label.sr for="fields" { "Field selector" }
                    input #fields name="f" value=(visit.query.get("f")) spellcheck="false" autocomplete="off";
                }
                button { "Filter" }
                @if visit.query.is_set("l") || visit.query.is_set("f") {
                    a href=(kind.link(visit.query.get("in"))) { "Clear" }
                }
            }
        }
    }
}

fn plural(kind: &Kind) -> String {
    let name = &kind.kind;
    match name.strip_suffix('y') {
        Some(stem) if !name.ends_with("ay") && !name.ends_with("ey") => format!("{stem}ies"),
        _ if name.ends_with('s') && !name.ends_with("ss") => name.clone(),
        _ if name.ends_with("ss") => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

struct Rows<'v> {
    visit: &'v Visit<'v>,
    kind: &'v Kind,
    table: &'v Value,
    now: Timestamp,
}

impl Rows<'_> {
    fn render(&self) -> Markup {
        let rows = self.sorted();
        let shows_namespace = self.kind.is_namespaced && !self.visit.query.is_set("in");
        let columns = self.columns();
        html! {
            @if rows.is_empty() {
                p.empty { "There are none" @if self.visit.query.is_set("l") || self.visit.query.is_set("f") { " that match" } "." }
            } @else {
                div.scroll {
                    table.list data-rows {
                        thead {
                            tr {
                                @if shows_namespace { th scope="col" { "Namespace" } }
                                @for (index, name) in &columns { (self.head(*index, name)) }
                            }
                        }
                        tbody { @for row in &rows { (self.row(row, &columns, shows_namespace)) } }
                    }
                }
                (self.more())
            }
        }
    }

    /// The columns that are shown: those that `kubectl get` shows, or all.
    fn columns(&self) -> Vec<(usize, &str)> {
        let all = list(self.table, "/columnDefinitions").iter().enumerate();
        let is_wide = self.visit.query.is_set("wide");
        let shown = all.filter(|(_, column)| is_wide || tell::number(column, "/priority") == 0);
        shown.map(|(index, column)| (index, text(column, "/name"))).collect()
    }

    fn here(&self) -> Query {
        let query = &self.visit.query;
        let held = ["in", "l", "f", "wide", "s", "d"];
        held.iter().fold(self.kind.place.query(), |made, name| made.with(name, query.get(name)))
    }

    fn head(&self, index: usize, name: &str) -> Markup {
        let query = &self.visit.query;
        let is_sorted = query.get("s") == index.to_string();
        let down = is_sorted && !query.is_set("d");
        let link = self.here().with("s", index.to_string()).with("d", if down { "1" } else { "" });
        let order = is_sorted.then_some(if down { "ascending" } else { "descending" });
        html! {
            th scope="col" aria-sort=[order] {
                a href={ "table?" (link) } { (name) @if is_sorted { span aria-hidden="true" { (if down { " ↑" } else { " ↓" }) } } }
            }
        }
    }

    fn sorted(&self) -> Vec<&Value> {
        let mut rows: Vec<&Value> = list(self.table, "/rows").iter().collect();
        let Ok(column) = self.visit.query.get("s").parse::<usize>() else { return rows };
        let is_age = |index: usize| {
            let path = format!("/columnDefinitions/{index}/name");
            text(self.table, &path) == "Age"
        };
        rows.sort_by_cached_key(|row| {
            let cell = &row["cells"][column];
            let number = cell.as_f64().or_else(|| {
                plain(cell).split(['/', ' ', '%']).next().and_then(|first| first.parse::<f64>().ok())
            });
            let made = text(row, "/object/metadata/creationTimestamp").to_owned();
            match number {
                // An age is sorted by when that was: the youngest first.
                _ if is_age(column) => (i64::MAX, flipped(&made)),
                Some(number) => ((number * 1000.0) as i64, String::new()),
                None => (i64::MAX, plain(cell)),
            }
        });
        if self.visit.query.is_set("d") {
            rows.reverse();
        }
        rows
    }

    fn row(&self, row: &Value, columns: &[(usize, &str)], shows_namespace: bool) -> Markup {
        let metadata = &row["object"]["metadata"];
        let (name, namespace) = (text(metadata, "/name"), text(metadata, "/namespace"));
        let spot = Spot::new(self.kind.place.clone(), namespace, name);
        html! {
            tr data-key=(text(metadata, "/uid")) {
                @if shows_namespace { td { a.quiet href=(self.kind.link(namespace)) { (namespace) } } }
                @for (index, column) in columns {
                    @let cell = &row["cells"][*index];
                    @if *column == "Name" {
                        td { a.name href=(spot.link()) { (plain(cell)) } }
                    } @else {
                        (self.cell(column, cell, metadata))
                    }
                }
            }
        }
    }

    fn cell(&self, column: &str, cell: &Value, metadata: &Value) -> Markup {
        let told = plain(cell);
        match column {
            "Age" => html! { td.num { (tell::when(text(metadata, "/creationTimestamp"), self.now)) } },
            "Status" | "Type" if Tone::of(&told) != Tone::Plain => html! { td { (tell::state(&told)) } },
            "Ready" => html! { td.num { (tell::toned(&told, Tone::of_share(&told))) } },
            "Node" if told != "<none>" && !told.is_empty() => {
                let spot = Spot::new(crate::route::core("nodes"), "", &told);
                html! { td { (super::parts::link(&spot)) } }
            }
            "Labels" | "Selector" | "Message" => html! { td.message { (told) } },
            _ if cell.is_number() => html! { td.num { (told) } },
            _ => html! { td { (told) } },
        }
    }

    fn more(&self) -> Markup {
        let next = text(self.table, "/metadata/continue");
        let has_wide =
            list(self.table, "/columnDefinitions").iter().any(|column| tell::number(column, "/priority") > 0);
        let is_wide = self.visit.query.is_set("wide");
        html! {
            p.more {
                @if !next.is_empty() {
                    a.button href={ "table?" (self.here().with("continue", next)) } { "Next " (PAGE) }
                }
                @if has_wide {
                    a href={ "table?" (self.here().with("wide", if is_wide { "" } else { "1" })) } {
                        (if is_wide { "Fewer columns" } else { "All columns" })
                    }
                }
            }
        }
    }
}

/// A key that sorts the other way round.
fn flipped(text: &str) -> String {
    text.chars()
        .map(|letter| char::from_u32(0xffff - u32::from(letter).min(0xffff)).unwrap_or(letter))
        .collect()
}

/// The rows of a table that belongs to a page of something else.
pub(crate) async fn within(
    visit: &Visit<'_>,
    asker: &Asker<'_>,
    kinds: &Kinds,
    place: &Place,
    namespace: &str,
    selected: (&str, &str),
) -> Markup {
    let Some(kind) = kinds.at(place) else { return html! {} };
    let words = Query::default()
        .with("labelSelector", selected.0)
        .with("fieldSelector", selected.1)
        .with("limit", "200");
    match asker.table(&with(&kind.place.path(namespace), &words)).await {
        Ok(table) => Rows { visit, kind, table: &table, now: Timestamp::now() }.bare(namespace, selected.1),
        Err(failure) if failure.is_refusal() => html! { p.quiet { "You may not see these." } },
        Err(failure) => notice(&failure),
    }
}

impl Rows<'_> {
    /// The same without ways to sort. Those of all namespaces say of which they are, and those of a node not of which.
    fn bare(&self, namespace: &str, fields: &str) -> Markup {
        let shows_namespace = self.kind.is_namespaced && namespace.is_empty();
        let is_of_node = fields.starts_with("spec.nodeName=");
        let all = list(self.table, "/columnDefinitions").iter().enumerate();
        let columns: Vec<(usize, &str)> = all
            .filter(|(_, column)| tell::number(column, "/priority") == 0 || text(column, "/name") == "Node")
            .map(|(index, column)| (index, text(column, "/name")))
            .filter(|(_, name)| !(is_of_node && *name == "Node"))
            .collect();
        let rows = list(self.table, "/rows");
        html! {
            @if rows.is_empty() { p.quiet { "None." } }
            @else {
                div.scroll {
                    table.list data-rows {
                        thead { tr {
                            @if shows_namespace { th scope="col" { "Namespace" } }
                            @for (_, name) in &columns { th scope="col" { (name) } }
                        } }
                        tbody { @for row in rows { (self.row(row, &columns, shows_namespace)) } }
                    }
                }
            }
        }
    }
}
