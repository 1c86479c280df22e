//! The shape of the house, held by a test: which module may use which, and that no two use each other.
//!
//! Two rules:
//!
//! - Of the modules at the root of orchestra-core, one uses another only if [`MAY_USE`] says so, with the reason.
//! - In every folder of every crate, the modules side by side form no circle. A module and what lies below it are one
//!   thing to those beside it; a parent and its children may use each other.
//!
//! Tests, and the module `testing`, may use everything.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use scan::{Graph, Module};

/// A module at the root of orchestra-core, what it may use, and why no more than that.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    because: &'static str,
}

const fn room(name: &'static str, uses: &'static [&'static str], because: &'static str) -> Room {
    Room { name, uses, because }
}

/// From the ground up. A row may name only rows above it, so the table itself has no circle.
const MAY_USE: &[Room] = &[
    room("selector", &[], "matching labels needs nothing but labels"),
    room("quantity", &[], "amounts are numbers and text"),
    room("image_name", &[], "what is a name of an image is a matter of text"),
    room("meta", &["selector"], "an object's labels are the selector engine's"),
    room("clock", &["meta"], "random names and uids are identities"),
    room("cron", &[], "when something is due is a matter of calendars and text"),
    room(
        "supervise",
        &["clock"],
        "tasks that are owned, and begun again after a panic: of whom, is not its business",
    ),
    room("stream", &[], "what flows is bytes, whoever asks for it and whoever gives it"),
    room("signal", &[], "a value that is waited for"),
    room("store", &["clock", "meta", "signal"], "it orders bytes by key and revision, and knows no object"),
    room("watch", &["meta", "selector"], "it indexes entries by name, label and field, and knows no kind"),
    room(
        "expression",
        &["quantity", "selector"],
        "a language and its libraries: whose objects it looks at is not its business",
    ),
    room(
        "api",
        &["clock", "expression", "meta", "quantity", "selector", "store", "stream", "supervise", "watch"],
        "one path for all kinds: it must not know one, so it uses nothing of `objects`",
    ),
    room(
        "webhook",
        &["api", "clock", "meta", "selector", "watch"],
        "it finds services and sends what it is given: what is asked, and why, is its users' business",
    ),
    room(
        "objects",
        &["api", "cron", "expression", "image_name", "meta", "quantity", "selector", "store", "watch"],
        "the kinds are rows of the API's table; no row knows a controller",
    ),
    room(
        "legacy",
        &["api", "objects"],
        "what became of old manifests follows from the table of types and of kinds, and of nothing that is at work",
    ),
    room(
        "access",
        &["api", "clock", "meta", "selector", "store", "watch"],
        "who may do what by roles, and reviews of it: it answers the API's ports from its caches",
    ),
    room(
        "admission",
        &[
            "api",
            "clock",
            "expression",
            "meta",
            "objects",
            "quantity",
            "selector",
            "store",
            "watch",
            "webhook",
        ],
        "it looks at writes on their way, with the caches at hand",
    ),
    room(
        "control",
        &["api", "clock", "meta", "selector", "supervise", "watch"],
        "a framework for controllers of any kind, built-in or not",
    ),
    room(
        "scheduler",
        &["api", "clock", "control", "expression", "meta", "quantity", "selector", "supervise", "watch"],
        "it chooses nodes and devices, which expressions select, and writes bindings; who made the pod is not its business",
    ),
    room(
        "explain",
        &["quantity", "scheduler", "selector", "watch"],
        "why something is wrong follows from the objects that somebody may see, by pure functions",
    ),
    room(
        "extensions",
        &["api", "clock", "control", "meta", "objects", "watch", "webhook"],
        "definitions become kinds: it knows the one kind that defines others, the framework of controllers, and whom to \
         ask for another version of an object",
    ),
    room(
        "runtime",
        &["clock", "image_name", "stream", "supervise"],
        "the port to containers: an implementation knows no API",
    ),
    room("network", &["runtime"], "the port to a node's network connects sandboxes"),
    room(
        "controllers",
        &[
            "access",
            "admission",
            "api",
            "clock",
            "control",
            "cron",
            "meta",
            "network",
            "objects",
            "quantity",
            "scheduler",
            "selector",
            "supervise",
            "watch",
        ],
        "each reads caches and writes through the API, one knows the ranges of services, one by what the Service of names is \
         known, one keeps the flow schemas that \
         every cluster has as their rules say they must be, one knows the scheduler's rules about nodes and one the \
         schedules of cron; none knows a node",
    ),
    room(
        "node",
        &[
            "api",
            "clock",
            "control",
            "meta",
            "network",
            "objects",
            "quantity",
            "runtime",
            "scheduler",
            "selector",
            "signal",
            "stream",
            "supervise",
            "watch",
        ],
        "the agent ties the API to the two ports of a node; a manifest of its own it reads by the rules of pods, as the API \
         would, and whether a pod may run here it asks the scheduler's rules about nodes",
    ),
    room(
        "proxy",
        &["api", "clock", "control", "meta", "network", "selector", "watch"],
        "from services and policies to the network's plans",
    ),
    room(
        "cluster",
        &[
            "access",
            "admission",
            "api",
            "clock",
            "control",
            "controllers",
            "extensions",
            "meta",
            "network",
            "node",
            "objects",
            "proxy",
            "runtime",
            "scheduler",
            "store",
            "supervise",
            "watch",
            "webhook",
        ],
        "the one place that knows all the others, to put them together",
    ),
    room(
        "what_if",
        &["api", "clock", "cluster", "control", "explain", "meta", "quantity", "store", "supervise", "watch"],
        "a fork of a cluster, changed, and compared with one that is not",
    ),
    room(
        "simulation",
        &[
            "api",
            "clock",
            "cluster",
            "controllers",
            "meta",
            "network",
            "node",
            "objects",
            "quantity",
            "runtime",
            "scheduler",
            "selector",
            "signal",
            "store",
            "supervise",
            "watch",
            "what_if",
        ],
        "a cluster on machines of its own making, and what lies between its parts and the API",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn graph_of(krate: &str) -> Graph {
    Graph::read(&root().join(krate).join("src")).expect("the sources are there")
}

#[test]
fn a_module_of_the_core_uses_only_what_it_may() {
    let uses = graph_of("orchestra-core").between_siblings(&Module::root());
    let rows: BTreeMap<_, _> = MAY_USE.iter().map(|row| (row.name, row)).collect();
    let mut wrong = Vec::new();
    for ((user, used), at) in &uses {
        let Some(row) = rows.get(user.as_str()) else {
            wrong.push(format!("`{user}` is not in the table: add a row that says what it may use, and why"));
            continue;
        };
        if !row.uses.contains(&used.as_str()) {
            wrong.push(format!("`{user}` uses `{used}` in {at}, and must not: {}", row.because));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_reads_from_the_ground_up() {
    let mut above = BTreeSet::new();
    for row in MAY_USE {
        for used in row.uses {
            assert!(above.contains(used), "the row of `{}` uses `{used}`, which stands below it", row.name);
        }
        above.insert(row.name);
    }
}

#[test]
fn modules_side_by_side_form_no_circle() {
    let crates = [
        "orchestra-core",
        "orchestra-runtime",
        "orchestra-net",
        "orchestra-net/ingress",
        "orchestra-net/spdy",
        "hosts/dashboard",
        "hosts/http",
        "hosts/machine",
        "hosts/master",
        "hosts/node",
        "hosts/orchestra",
    ];
    let circles: Vec<_> = crates
        .iter()
        .flat_map(|krate| {
            graph_of(krate).circles().into_iter().map(move |circle| format!("{krate}: {circle}"))
        })
        .collect();
    assert!(circles.is_empty(), "modules that use each other:\n{}", circles.join("\n"));
}
