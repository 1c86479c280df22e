//! How well pods were placed, out of what happened to them and to the nodes; pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::TraceEvent;
use super::trim::text;
use crate::quantity::Quantity;

/// How many pods that wait are named.
const NAMED: usize = 20;

/// How well pods were placed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many pods came.
    pub pods: usize,
    /// How many of them were given a node.
    pub pods_placed: usize,
    /// How many ran.
    pub pods_run: usize,
    /// How many ran to their end.
    pub pods_ended: usize,
    /// How many had no node in the end.
    pub pods_pending: usize,
    /// Some of those, and why.
    pub pending: BTreeMap<String, String>,
    /// How long pods waited for a node, in seconds.
    pub to_node: Times,
    /// How long it took until they were ready, in seconds.
    pub to_running: Times,
    /// What of the nodes' cores pods asked for.
    pub cpu: Share,
    /// What of the nodes' memory pods asked for.
    pub memory: Share,
    /// How many nodes there were at most, and how many of them had a pod at most.
    pub nodes: (usize, usize),
    /// For how many hours there were nodes, all of them together.
    pub node_hours: f64,
}

/// How long something took, of many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// Half of them took no longer.
    pub median: f64,
    /// Nineteen of twenty took no longer.
    pub p95: f64,
    /// The longest.
    pub most: f64,
}

/// A share in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// On average over time.
    pub mean: f64,
    /// At most.
    pub most: f64,
}

impl Times {
    fn of(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        let at = |share: usize| {
            let index = (millis.len() * share).div_ceil(100).saturating_sub(1);
            millis.get(index).map_or(0.0, |millis| *millis as f64 / 1000.0)
        };
        Self { median: at(50), p95: at(95), most: at(100) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.1} / {:.1} s", self.median, self.p95, self.most)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %, at most {:.0} %", self.mean, self.most)
    }
}

impl Figures {
    /// A table of several, a column each.
    pub fn table(columns: &[(&str, &Self)]) -> String {
        type Told = fn(&Figures) -> String;
        let rows: [(&str, Told); 11] = [
            ("pods", |it| it.pods.to_string()),
            ("placed", |it| it.pods_placed.to_string()),
            ("run", |it| it.pods_run.to_string()),
            ("ended", |it| it.pods_ended.to_string()),
            ("pending in the end", |it| it.pods_pending.to_string()),
            ("to a node: median, 95 %, most", |it| it.to_node.to_string()),
            ("to running: median, 95 %, most", |it| it.to_running.to_string()),
            ("CPU asked for", |it| it.cpu.to_string()),
            ("memory asked for", |it| it.memory.to_string()),
            ("nodes, and those with pods", |it| format!("{}, {}", it.nodes.0, it.nodes.1)),
            ("hours of nodes", |it| format!("{:.1}", it.node_hours)),
        ];
        let mut text = format!("{:<32}", "");
        columns.iter().for_each(|(name, _)| text.push_str(&format!("{name:<26}")));
        for (name, told) in rows {
            text.push_str(&format!("\n{name:<32}"));
            columns.iter().for_each(|(_, figures)| text.push_str(&format!("{:<26}", told(figures))));
        }
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Cores in thousandths, and bytes.
type Amounts = [i64; 2];

#[derive(Clone, Debug, Default)]
struct Pod {
    name: String,
    came: u64,
    /// Whether it was there when it began: what it waited before is not known.
    was_there: bool,
    node: Option<(String, u64)>,
    ready: Option<u64>,
    ended: Option<u64>,
    is_gone: bool,
    /// Whether it is among what is asked for now.
    counts: bool,
    asks: Amounts,
    why: String,
}

/// Pods and nodes as they come and go.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pods: BTreeMap<String, Pod>,
    /// The uid of the pod that last had a name.
    uids: BTreeMap<String, String>,
    nodes: BTreeMap<String, Amounts>,
    /// Until when what is asked for has been counted.
    until: u64,
    /// When that is counted no more, if that is before the end.
    ends: Option<u64>,
    asked: [f64; 2],
    room: [f64; 2],
    most: [f64; 2],
    most_nodes: (usize, usize),
    /// How long there were nodes, in milliseconds of one.
    there: f64,
    /// What runs now: kept beside the pods, so that an event costs no walk over all of them.
    now: Amounts,
    used: BTreeMap<String, usize>,
}

impl Observed {
    /// Counts what is asked for until a time, though pods are followed for longer.
    pub(super) fn end_at(&mut self, ms: u64) {
        self.ends = Some(ms);
    }

    /// Takes what happened.
    pub(super) fn see(&mut self, event: &TraceEvent) {
        self.pass(event.ms);
        match (&*event.kind, &event.put, &event.gone) {
            ("nodes", Some(node), _) => {
                let amounts = ["cpu", "memory"]
                    .map(|resource| amount(node, &format!("/status/allocatable/{resource}"), resource));
                self.nodes.insert(text(node, "/metadata/name").to_owned(), amounts);
            }
            ("nodes", None, Some(node)) => drop(self.nodes.remove(text(node, "/metadata/name"))),
            ("pods", Some(pod), _) => self.pod(event.ms, pod),
            ("pods", None, Some(pod)) => {
                let name = named(pod);
                let uid = self.uids.remove(&name).unwrap_or_else(|| text(pod, "/metadata/uid").to_owned());
                if let Some((uid, mut held)) = self.pods.remove_entry(&uid) {
                    held.is_gone = true;
                    self.count(&mut held);
                    self.pods.insert(uid, held);
                }
            }
            _ => {}
        }
        self.most_nodes = (self.most_nodes.0.max(self.nodes.len()), self.most_nodes.1.max(self.used.len()));
    }

    /// Counts what was asked for until a time.
    fn pass(&mut self, ms: u64) {
        let ms = self.ends.map_or(ms, |ends| ms.min(ends));
        let passed = ms.saturating_sub(self.until) as f64;
        self.until = self.until.max(ms);
        self.there += passed * self.nodes.len() as f64;
        for at in 0..2 {
            let room: i64 = self.nodes.values().map(|amounts| amounts[at]).sum();
            self.asked[at] += passed * self.now[at] as f64;
            self.room[at] += passed * room as f64;
            if passed > 0.0 && room > 0 {
                self.most[at] = self.most[at].max(self.now[at] as f64 * 100.0 / room as f64);
            }
        }
    }

    fn pod(&mut self, ms: u64, pod: &Value) {
        let phase = text(pod, "/status/phase");
        let uid = text(pod, "/metadata/uid");
        let mut held = self.pods.remove(uid).unwrap_or_else(|| Pod {
            name: named(pod),
            came: ms,
            was_there: ms == 0,
            asks: asked_by(pod),
            ..Pod::default()
        });
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let condition = |kind: &str| conditions.into_iter().flatten().find(|it| it["type"] == kind);
        let node = text(pod, "/spec/nodeName");
        let has_ended = matches!(phase, "Succeeded" | "Failed");
        if held.node.is_none() && !node.is_empty() {
            held.node = Some((node.to_owned(), ms));
        }
        if held.ready.is_none() && condition("Ready").is_some_and(|it| it["status"] == "True") {
            held.ready = Some(ms);
        }
        if held.ended.is_none() && has_ended {
            held.ended = Some(ms);
        }
        held.why = condition("PodScheduled")
            .filter(|it| it["status"] == "False")
            .map(|it| text(it, "/message").to_owned())
            .unwrap_or_default();
        self.count(&mut held);
        self.uids.insert(held.name.clone(), uid.to_owned());
        self.pods.insert(uid.to_owned(), held);
    }

    /// Has a pod be among what is asked for now, if it is on a node and has not ended, or not any more.
    fn count(&mut self, pod: &mut Pod) {
        let Some((node, _)) = &pod.node else { return };
        let counts = pod.ended.is_none() && !pod.is_gone;
        if counts == pod.counts {
            return;
        }
        pod.counts = counts;
        let sign = if counts { 1 } else { -1 };
        (0..2).for_each(|at| self.now[at] += sign * pod.asks[at]);
        let used = self.used.entry(node.clone()).or_default();
        *used = if counts { *used + 1 } else { used.saturating_sub(1) };
        if *used == 0 {
            self.used.remove(node);
        }
    }

    /// The figures until a time.
    pub(super) fn figures(mut self, ms: u64) -> Figures {
        self.pass(ms);
        let pods = self.pods.values();
        let count = |which: fn(&&Pod) -> bool| pods.clone().filter(which).count();
        let waits = |pod: &&Pod| pod.node.is_none() && !pod.is_gone && pod.ended.is_none();
        let times = |end: fn(&Pod) -> Option<u64>| {
            let fresh = pods.clone().filter(|pod| !pod.was_there);
            Times::of(fresh.filter_map(|pod| Some(end(pod)?.saturating_sub(pod.came))).collect())
        };
        let share = |at: usize| {
            let mean = if self.room[at] > 0.0 { self.asked[at] * 100.0 / self.room[at] } else { 0.0 };
            Share { mean, most: self.most[at] }
        };
        Figures {
            pods: pods.len(),
            pods_placed: count(|pod| pod.node.is_some()),
            pods_run: count(|pod| pod.ready.is_some()),
            pods_ended: count(|pod| pod.ended.is_some()),
            pods_pending: pods.clone().filter(waits).count(),
            pending: pods
                .clone()
                .filter(waits)
                .take(NAMED)
                .map(|pod| (pod.name.clone(), pod.why.clone()))
                .collect(),
            to_node: times(|pod| pod.node.as_ref().map(|(_, at)| *at)),
            to_running: times(|pod| pod.ready),
            cpu: share(0),
            memory: share(1),
            nodes: self.most_nodes,
            node_hours: self.there / 3_600_000.0,
        }
    }

    /// How long pods took to be ready after they were given a node, and then to end, in milliseconds: by pod uid.
    pub(super) fn took(&self) -> impl Iterator<Item = (&str, Option<u64>, Option<u64>)> {
        self.pods.iter().map(|(uid, pod)| {
            let placed = pod.node.as_ref().filter(|_| !pod.was_there).map(|(_, at)| *at);
            let start = placed.zip(pod.ready).map(|(placed, ready)| ready.saturating_sub(placed));
            let began = pod.ready.or(placed).filter(|_| !pod.was_there);
            (&**uid, start, began.zip(pod.ended).map(|(began, ended)| ended.saturating_sub(began)))
        })
    }
}

fn named(pod: &Value) -> String {
    format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"))
}

fn amount(value: &Value, path: &str, resource: &str) -> i64 {
    let quantity = value.pointer(path).and_then(Value::as_str).and_then(|text| text.parse::<Quantity>().ok());
    quantity.map_or(0, |it| if resource == "cpu" { it.milli_value() } else { it.value() })
}

/// What a pod asks for: of its containers together, or of the one at its beginning that asks for more.
fn asked_by(pod: &Value) -> Amounts {
    let of = |list: &str, resource: &str| -> Vec<i64> {
        let containers = pod.pointer(list).and_then(Value::as_array).into_iter().flatten();
        containers.map(|one| amount(one, &format!("/resources/requests/{resource}"), resource)).collect()
    };
    ["cpu", "memory"].map(|resource| {
        let sum: i64 = of("/spec/containers", resource).iter().sum();
        sum.max(of("/spec/initContainers", resource).into_iter().max().unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(ms: u64, kind: &str, object: Value) -> TraceEvent {
        TraceEvent { ms, kind: kind.into(), put: Some(object), gone: None }
    }

    fn pod(ms: u64, name: &str, node: Option<&str>, phase: &str) -> TraceEvent {
        let ready = if phase == "Running" { "True" } else { "False" };
        let spec = json!({"nodeName": node, "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]});
        let conditions = json!([{"type": "Ready", "status": ready}, {"type": "PodScheduled", "status": "False", "message": "no room"}]);
        let object = json!({"metadata": {"namespace": "a", "name": name, "uid": name}, "spec": spec, "status": {"phase": phase, "conditions": conditions}});
        put(ms, "pods", object)
    }

    #[test]
    fn pods_are_counted_and_timed() {
        let node =
            json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}});
        let gone = |ms, name: &str| TraceEvent {
            put: None,
            gone: Some(json!({"metadata": {"namespace": "a", "name": name}})),
            ..pod(ms, name, None, "")
        };
        let events = [
            put(0, "nodes", node),
            pod(0, "old", Some("n"), "Running"),
            pod(1000, "new", None, "Pending"),
            pod(3000, "new", Some("n"), "Pending"),
            pod(4000, "new", Some("n"), "Running"),
            pod(5000, "late", None, "Pending"),
            pod(8000, "new", Some("n"), "Succeeded"),
            gone(9000, "new"),
            gone(9000, "old"),
        ];
        let mut ended = Observed::default();
        ended.end_at(5_000);
        events.iter().for_each(|event| ended.see(event));
        let ended = ended.figures(10_000);
        // Until then the old one for five seconds and the new one for two; what became of them later counts all the same.
        assert_eq!((ended.cpu.mean, ended.pods_ended), (70.0, 1));
        let mut observed = Observed::default();
        events.iter().for_each(|event| observed.see(event));
        assert!(observed.took().any(|took| took == ("new", Some(1000), Some(4000))));
        let figures = observed.figures(10_000);
        assert_eq!((figures.pods, figures.pods_placed, figures.pods_run, figures.pods_ended), (3, 2, 2, 1));
        assert_eq!((figures.to_node.most, figures.to_running.most), (2.0, 3.0));
        assert_eq!(figures.pending, BTreeMap::from([("a/late".to_owned(), "no room".to_owned())]));
        // The old one for nine seconds of ten, the new one for five, of two cores.
        assert_eq!((figures.cpu.mean, figures.cpu.most), (70.0, 100.0));
        assert_eq!(figures.memory.mean, 35.0);
        assert_eq!(figures.nodes, (1, 1));
        let table = Figures::table(&[("recorded", &figures), ("replayed", &figures)]);
        assert!(table.contains("pending in the end              1                         1\n"), "{table}");
    }

    #[test]
    fn no_order_of_events_is_too_odd() {
        let phases = ["Pending", "Running", "Succeeded", ""];
        for a in phases {
            for b in phases {
                for node in [None, Some("n")] {
                    let mut observed = Observed::default();
                    let gone = TraceEvent {
                        put: None,
                        gone: Some(json!({"metadata": {"namespace": "a", "name": "x"}})),
                        ..pod(5, "x", None, "")
                    };
                    let events = [
                        pod(0, "x", node, a),
                        gone.clone(),
                        pod(3, "x", Some("n"), b),
                        gone.clone(),
                        gone,
                        pod(9, "y", node, a),
                    ];
                    events.iter().for_each(|event| observed.see(event));
                    observed.figures(4);
                }
            }
        }
    }
}
