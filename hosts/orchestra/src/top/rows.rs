//! What is shown of each object: a row of words, out of the object as the API has it; pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orchestra_core::quantity::Quantity;
use orchestra_core::selector::Labels;
use serde_json::Value;

use super::columns::Column;

/// How good something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// In trouble.
    Bad,
    /// Neither.
    #[default]
    Plain,
}

/// An object as a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) cells: Vec<String>,
    pub(super) tone: Tone,
    /// The containers of a pod.
    pub(super) containers: Vec<String>,
}

/// What is used, by the name of what uses it: thousandths of a core, and bytes.
pub(super) type Usage = BTreeMap<String, (i64, i64)>;

pub(super) fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn amount(value: &Value, path: &str) -> Option<Quantity> {
    text(value, path).parse().ok()
}

/// How long ago a time was, as kubectl says it.
pub(super) fn age(then: &str, now: Timestamp) -> String {
    let Ok(then) = then.parse::<Timestamp>() else { return String::new() };
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn cores(milli: i64) -> String {
    format!("{milli}m")
}

fn memory(bytes: i64) -> String {
    format!("{}Mi", bytes >> 20)
}

fn begun(object: &Value) -> Row {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    Row {
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        labels: labels
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        ..Row::default()
    }
}

/// The columns of each table: what a cell is about is said by the first of them that are no cells.
pub(super) const NAMESPACE: Column = Column::of("NAMESPACE", 2);
pub(super) const NAME: Column = Column::of("NAME", 0).cut_to(18);
pub(super) const POD: [Column; 7] = [
    Column::of("READY", 3),
    Column::of("STATUS", 0),
    Column::of("RESTARTS", 4),
    Column::of("CPU", 5),
    Column::of("MEMORY", 6),
    Column::of("NODE", 7).cut_to(12),
    Column::of("AGE", 8),
];
pub(super) const NODE: [Column; 7] = [
    Column::of("STATUS", 0),
    Column::of("PODS", 4),
    Column::of("CPU", 2),
    Column::of("ASKED", 3),
    Column::of("MEMORY", 5),
    Column::of("ASKED", 6),
    Column::of("AGE", 7),
];
pub(super) const EVENT: [Column; 5] = [
    Column::of("LAST", 0),
    Column::of("TYPE", 5),
    Column::of("REASON", 1),
    Column::of("OBJECT", 0).cut_to(20),
    Column::of("MESSAGE", 0).cut_to(24).prose(),
];

/// A pod.
pub(super) fn pod(pod: &Value, usage: &Usage, now: Timestamp) -> Row {
    let mut row = begun(pod);
    let statuses = list(pod, "/status/containerStatuses");
    let wanted = list(pod, "/spec/containers").len();
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
    let status = pod_status(pod);
    let used = usage.get(&format!("{}/{}", row.namespace, row.name));
    let node = text(pod, "/spec/nodeName");
    row.tone = match &*status {
        "Running" if ready == wanted => Tone::Good,
        "Succeeded" | "Completed" => Tone::Plain,
        "Running" | "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" => Tone::Busy,
        _ => Tone::Bad,
    };
    row.cells = vec![
        format!("{ready}/{wanted}"),
        status,
        restarts.to_string(),
        used.map_or_else(String::new, |used| cores(used.0)),
        used.map_or_else(String::new, |used| memory(used.1)),
        node.to_owned(),
        age(text(pod, "/metadata/creationTimestamp"), now),
    ];
    let parts = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
    let named = parts.iter().flat_map(|part| list(pod, part)).map(|one| text(one, "/name").to_owned());
    row.containers = named.collect();
    row
}

/// What a pod does, in the word that kubectl has for it.
fn pod_status(pod: &Value) -> String {
    let waits = |status: &Value| {
        let words = [text(status, "/state/waiting/reason"), text(status, "/state/terminated/reason")];
        words.into_iter().find(|word| !word.is_empty()).map(str::to_owned)
    };
    let initial = list(pod, "/status/initContainerStatuses").iter().filter_map(waits);
    let initial = initial
        .filter(|word| word != "Completed" && word != "PodInitializing")
        .map(|word| format!("Init:{word}"))
        .next();
    let reason = text(pod, "/status/reason");
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        "Terminating".to_owned()
    } else if !reason.is_empty() {
        reason.to_owned()
    } else {
        initial
            .or_else(|| list(pod, "/status/containerStatuses").iter().find_map(waits))
            .unwrap_or_else(|| text(pod, "/status/phase").to_owned())
    }
}

/// A node, with the pods that it has.
pub(super) fn node(node: &Value, pods: &[Value], usage: &Usage, now: Timestamp) -> Row {
    let mut row = begun(node);
    let is_there = |pod: &&Value| {
        text(pod, "/spec/nodeName") == row.name
            && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
    };
    let here: Vec<&Value> = pods.iter().filter(is_there).collect();
    let requests = |resource: &str| {
        let containers = here.iter().flat_map(|pod| list(pod, "/spec/containers"));
        containers
            .filter_map(move |one| amount(one, &format!("/resources/requests/{resource}")))
            .collect::<Vec<_>>()
    };
    let asked_cpu: i64 = requests("cpu").iter().map(Quantity::milli_value).sum();
    let asked_memory: i64 = requests("memory").iter().map(Quantity::value).sum();
    let cpu = amount(node, "/status/allocatable/cpu").map_or(0, |cpu| cpu.milli_value());
    let room = amount(node, "/status/allocatable/memory").map_or(0, |memory| memory.value());
    let used = usage.get(&row.name);
    let ready =
        list(node, "/status/conditions").iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
    let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    let (status, tone) = match (ready, cordoned) {
        (true, false) => ("Ready", Tone::Good),
        (true, true) => ("Ready, cordoned", Tone::Busy),
        (false, _) => ("NotReady", Tone::Bad),
    };
    let share =
        |part: i64, whole: i64| if whole > 0 { format!("{}%", part * 100 / whole) } else { String::new() };
    row.tone = tone;
    row.cells = vec![
        status.to_owned(),
        here.len().to_string(),
        used.map_or_else(String::new, |used| share(used.0, cpu)),
        share(asked_cpu, cpu),
        used.map_or_else(String::new, |used| share(used.1, room)),
        share(asked_memory, room),
        age(text(node, "/metadata/creationTimestamp"), now),
    ];
    row
}

/// When an event was last seen.
pub(super) fn seen(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().map(|path| text(event, path)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// An event.
pub(super) fn event(event: &Value, now: Timestamp) -> Row {
    let about = format!(
        "{}/{}",
        text(event, "/involvedObject/kind").to_lowercase(),
        text(event, "/involvedObject/name")
    );
    let kind = text(event, "/type");
    Row {
        cells: vec![
            age(seen(event), now),
            kind.to_owned(),
            text(event, "/reason").to_owned(),
            about,
            text(event, "/message").split_whitespace().collect::<Vec<_>>().join(" "),
        ],
        tone: if kind == "Normal" { Tone::Plain } else { Tone::Busy },
        ..begun(event)
    }
}

/// What a list of figures of use says, by the name of pod or node.
pub(super) fn usage(figures: &[Value]) -> Usage {
    let one = |figure: &Value| {
        let name = text(figure, "/metadata/name");
        let namespace = text(figure, "/metadata/namespace");
        let name = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        let parts = list(figure, "/containers").iter().chain(figure.get("usage").map(|_| figure));
        let sum = |path: &str, of: fn(&Quantity) -> i64| {
            parts.clone().filter_map(|part| amount(part, path)).map(|amount| of(&amount)).sum()
        };
        (name, (sum("/usage/cpu", Quantity::milli_value), sum("/usage/memory", Quantity::value)))
    };
    figures.iter().map(one).collect()
}
