//! What the network costs: bytes, connections and small requests between pods and by services, beside what the kernel does
//! alone between bare network namespaces in the same run; rules of 5,000 services; names.
//!
//! `ORCHESTRA_TEST_DAEMONS=1 cargo bench -p orchestra-net --bench network [-- paths services names]`, as root with `ip` and
//! `nft`; without a word all of it. Machines are network namespaces of its own, which end with it. Pods are those of the
//! process runtime, in which a thread of this program answers; ways between them and rules are this crate's. Not run by
//! criterion: nearly all that happens here happens in the kernel.
//!
//! It is here and not in `orchestra-benches` so that only what it measures is built.

use std::time::Duration;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../src/lab.rs"]
mod lab;
mod machines;
mod memory;
mod names;
mod paths;
mod services;
mod talk;

use machines::Machines;

const ALL: [&str; 3] = ["paths", "services", "names"];

fn main() {
    // First of all: when the runtime started this program to look what the machine allows, it does that and nothing else.
    orchestra_runtime::process::init();
    let asked: Vec<String> = std::env::args().filter(|argument| ALL.contains(&argument.as_str())).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    if wanted("paths") || wanted("services") {
        let Some(machines) = Machines::new() else {
            return println!("it takes root and ORCHESTRA_TEST_DAEMONS=1");
        };
        if wanted("paths") {
            paths::measure(&machines);
        }
        if wanted("services") {
            services::measure(&machines);
        }
    }
    if wanted("names") {
        names::measure();
    }
}

/// The smallest, the middle, the ninety-ninth of a hundred and the largest of some times.
fn spread(mut times: Vec<Duration>) -> [Duration; 4] {
    times.sort_unstable();
    let last = times.len() - 1;
    [0, last / 2, last * 99 / 100, last].map(|at| times[at])
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
