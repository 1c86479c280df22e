//! Where pods are, and which services lead to them: one drawing.
//!
//! Services stand on the left, nodes with their pods on the right. A line from a service to each pod that it selects is
//! whole where the pod takes requests, and broken where it does not.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use serde_json::Value;

use super::View;
use super::object::related::{labels_of, selects};
use super::parts::{NODE, POD, pod_state, pod_tone};
use crate::api::{Failure, items, revision};
use crate::live::Follow;
use crate::route::{Query, Spot, core, pods};
use crate::tell::{list, text};
use crate::visit::Visit;

/// What is looked at of pods besides: which they are, who selects them, and whether they take requests.
pub(super) const PLACED: &[&str] = &[
    "/metadata/labels",
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/uid",
    "/status/conditions/status",
    "/status/conditions/type",
];
/// What is looked at of services.
pub(super) const SERVICE: &[&str] =
    &["/metadata/name", "/metadata/namespace", "/metadata/uid", "/spec/selector"];

/// Sizes of the drawing, in its own units.
const WIDTH: usize = 1060;
const LEFT: usize = 250;
const RIGHT: usize = 360;
const ROW: usize = 26;
const CELL: usize = 18;
const PAD: usize = 12;
const TITLE: usize = 24;
const GAP: usize = 12;
/// How many pods have their names in the drawing, and how wide each is then.
const NAMED: usize = 60;
const NAME: usize = 168;
/// How many lines are drawn before only those of the service that one points at are.
const LINES: usize = 300;

pub(crate) async fn page(visit: &Visit<'_>) -> Result<View, Failure> {
    let namespace = visit.query.get("in");
    let (pod_path, service_path) = (pods().path(namespace), core("services").path(namespace));
    let asked: [(&str, &[&[&str]]); 3] =
        [("/api/v1/nodes", &[NODE]), (&pod_path, &[POD, PLACED]), (&service_path, &[SERVICE])];
    let [nodes, found, services] = visit.asker.lists(asked).await;
    let Some(found) = found else {
        return Err(Failure::new(
            403,
            "You may not list pods here. Choose a namespace that you may look into.",
        ));
    };
    let at = revision(&found).to_owned();
    let body = html! {
        div.heading {
            h1 { "Topology" }
            p.legend {
                span.state.good { "serves" } span.state.busy { "on its way" } span.state.bad { "in trouble" } span.state.plain { "ended" }
            }
        }
        (drawing(items(nodes.as_ref()), items(Some(&found)), items(services.as_ref())))
    };
    let follows = vec![
        Follow::all(&pods(), namespace),
        Follow::all(&core("services"), namespace),
        Follow::all(&core("nodes"), ""),
    ];
    Ok(View::new("Topology", body).following(follows, &at))
}

/// Nodes with their pods, and the services that lead to them.
pub(super) fn drawing(nodes: &[Value], pods: &[Value], services: &[Value]) -> Markup {
    Drawing::new(nodes, pods, services).render()
}

struct Pod<'v> {
    value: &'v Value,
    x: usize,
    y: usize,
}

struct Node<'v> {
    name: &'v str,
    state: &'static str,
    y: usize,
    height: usize,
}

struct Service<'v> {
    value: &'v Value,
    y: usize,
    /// The pods that it selects, by their place in the list.
    pods: Vec<usize>,
}

struct Drawing<'v> {
    /// How wide a pod is drawn.
    cell: usize,
    nodes: Vec<Node<'v>>,
    pods: Vec<Pod<'v>>,
    services: Vec<Service<'v>>,
    height: usize,
}

impl<'v> Drawing<'v> {
    fn new(nodes: &'v [Value], all: &'v [Value], services: &'v [Value]) -> Self {
        let mut by_node: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for pod in all {
            by_node.entry(text(pod, "/spec/nodeName")).or_default().push(pod);
        }
        let known: BTreeSet<&str> = nodes.iter().map(|node| text(node, "/metadata/name")).collect();
        let unknown: Vec<&str> = by_node.keys().copied().filter(|name| !known.contains(name)).collect();
        let states: BTreeMap<&str, &'static str> =
            nodes.iter().map(|node| (text(node, "/metadata/name"), state(node))).collect();
        let cell = if all.len() > NAMED { CELL } else { NAME };
        let across = (WIDTH - RIGHT - 2 * PAD) / cell;
        let (mut drawn, mut placed, mut y) = (Vec::new(), Vec::new(), PAD);
        // Pods without a node come first: they are what one looks for.
        for name in unknown.into_iter().chain(known) {
            let empty = Vec::new();
            let here = by_node.get(name).unwrap_or(&empty);
            let rows = here.len().div_ceil(across).max(1);
            let height = TITLE + rows * CELL + PAD;
            for (index, value) in here.iter().enumerate() {
                let (row, column) = (index / across, index % across);
                placed.push(Pod { value, x: RIGHT + PAD + column * cell, y: y + TITLE + row * CELL });
            }
            drawn.push(Node { name, state: states.get(name).copied().unwrap_or(""), y, height });
            y += height + GAP;
        }
        let services = placed_services(&placed, services);
        let height = y.max(services.last().map_or(0, |service| service.y + ROW)) + PAD;
        Self { cell, nodes: drawn, pods: placed, services, height }
    }

    fn render(&self) -> Markup {
        let lines: usize = self.services.iter().map(|service| service.pods.len()).sum();
        let class = if lines > LINES { "topology many" } else { "topology" };
        html! {
            div.scroll {
                svg class=(class) viewBox=(format!("0 0 {WIDTH} {}", self.height)) role="group" aria-label="Services, and pods on their nodes" {
                    g.nodes { @for node in &self.nodes { (self.node(node)) } }
                    g.lines aria-hidden="true" { @for service in &self.services { (self.lines(service)) } }
                    g.services { @for service in &self.services { (service_label(service)) } }
                    g.pods { @for pod in &self.pods { (pod_mark(pod, self.cell)) } }
                }
            }
        }
    }

    fn node(&self, node: &Node<'_>) -> Markup {
        let title = if node.name.is_empty() { "on no node yet" } else { node.name };
        html! {
            g.node data-key={ "node/" (node.name) } {
                rect x=(RIGHT) y=(node.y) width=(WIDTH - RIGHT - 1) height=(node.height) rx="4" {}
                @if node.name.is_empty() || node.state.is_empty() {
                    text x=(RIGHT + PAD) y=(node.y + 16) { (title) }
                } @else {
                    a href=(Spot::new(core("nodes"), "", node.name).link()) {
                        text class={ "node-name " (node.state) } x=(RIGHT + PAD) y=(node.y + 16) { (title) @if node.state != "good" { " – " (if node.state == "bad" { "not ready" } else { "cordoned" }) } }
                    }
                }
            }
        }
    }

    fn lines(&self, service: &Service<'_>) -> Markup {
        let from = (LEFT, service.y + ROW / 2);
        html! {
            g data-key={ "lines/" (uid(service.value)) } data-of=(uid(service.value)) {
                @for index in &service.pods {
                    @let pod = &self.pods[*index];
                    @let to = (pod.x, pod.y + CELL / 2 - 2);
                    @let middle = (from.0 + to.0) / 2;
                    path data-key=(uid(pod.value)) class=(if is_ready(pod.value) { "on" } else { "off" })
                        d=(format!("M{} {}C{middle} {} {middle} {} {} {}", from.0, from.1, from.1, to.1, to.0, to.1)) {}
                }
            }
        }
    }
}

fn state(node: &Value) -> &'static str {
    let ready = list(node, "/status/conditions").iter().find(|condition| condition["type"] == "Ready");
    match (ready.map(|ready| text(ready, "/status")), &node["spec"]["unschedulable"]) {
        (Some("True"), Value::Bool(true)) => "busy",
        (Some("True"), _) => "good",
        _ => "bad",
    }
}

fn placed_services<'v>(pods: &[Pod<'v>], services: &'v [Value]) -> Vec<Service<'v>> {
    let labels: Vec<_> = pods.iter().map(|pod| labels_of(pod.value)).collect();
    let namespace = |value: &Value| text(value, "/metadata/namespace").to_owned();
    let mut placed: Vec<Service<'v>> = services
        .iter()
        .filter(|service| service["spec"]["selector"].is_object())
        .map(|value| {
            let own = |index: &usize| {
                namespace(pods[*index].value) == namespace(value) && selects(value, &labels[*index])
            };
            Service { value, y: 0, pods: (0..pods.len()).filter(own).collect() }
        })
        .collect();
    // Beside their pods, so that lines cross little.
    let middle = |service: &Service<'_>| {
        let sum: usize = service.pods.iter().map(|index| pods[*index].y).sum();
        sum.checked_div(service.pods.len()).unwrap_or(usize::MAX)
    };
    placed.sort_by_key(|service| {
        (middle(service), namespace(service.value), text(service.value, "/metadata/name").to_owned())
    });
    for (index, service) in placed.iter_mut().enumerate() {
        service.y = PAD + index * ROW;
    }
    placed
}

fn uid(value: &Value) -> &str {
    text(value, "/metadata/uid")
}

fn is_ready(pod: &Value) -> bool {
    list(pod, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn service_label(service: &Service<'_>) -> Markup {
    let (name, namespace) =
        (text(service.value, "/metadata/name"), text(service.value, "/metadata/namespace"));
    let spot = Spot::new(core("services"), namespace, name);
    let leads = service.pods.len();
    html! {
        a.service data-key={ "service/" (uid(service.value)) } data-points-at=(uid(service.value)) href=(spot.link()) {
            title { "Service " (namespace) "/" (name) " selects " (leads) " pods" }
            rect x="0" y=(service.y) width=(LEFT) height=(ROW - 4) rx="3" {}
            text x="10" y=(service.y + 15) { (shortened(name, 20)) }
            text.quiet x=(LEFT - 10) y=(service.y + 15) text-anchor="end" { (shortened(namespace, 12)) }
        }
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// The end of a name, which tells it from its like.
fn ended(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most {
        name.to_owned()
    } else {
        std::iter::once('…').chain(name.chars().skip(count - most + 1)).collect()
    }
}

fn pod_mark(pod: &Pod<'_>, cell: usize) -> Markup {
    let value = pod.value;
    let (name, namespace) = (text(value, "/metadata/name"), text(value, "/metadata/namespace"));
    let state = pod_state(value);
    let tone = if text(value, "/status/phase") == "Succeeded" { "plain" } else { pod_tone(value).class() };
    let link: Query = Spot::new(pods(), namespace, name).query();
    let told = format!("Pod {namespace}/{name}: {}, {} ready", state.word, state.ready);
    html! {
        a.pod data-key={ "pod/" (uid(value)) } href={ "object?" (link) } aria-label=(told) {
            title { (told) }
            rect class=(tone) x=(pod.x) y=(pod.y) width=(CELL - 4) height=(CELL - 4) rx="3" {}
            @if cell > CELL { text x=(pod.x + CELL) y=(pod.y + 11) { (ended(name, 22)) } }
        }
    }
}
