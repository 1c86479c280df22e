use std::future::{pending, ready};

use orchestra_core::clock::TokioClock;
use orchestra_core::testing::contract::runtime::{Subject, Workload, check};

use super::*;

/// Functions for the workloads of the suite.
fn functions(call: Call) -> Option<BoxFuture<'static, i32>> {
    let words: Vec<&str> = call.command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["polite"] => {
            call.print("ready");
            Some(async move { call.stopping.cancelled().await }.map(|()| 0).boxed())
        }
        ["stubborn"] => {
            call.print("ready");
            Some(pending().boxed())
        }
        ["exits", code] => Some(ready(code.parse().ok()?).boxed()),
        ["prints", lines @ ..] => {
            lines.iter().for_each(|line| call.print(*line));
            Some(ready(0).boxed())
        }
        _ => None,
    }
}

fn command(workload: &Workload) -> Vec<String> {
    match workload {
        Workload::Polite => vec!["polite".into()],
        Workload::Stubborn => vec!["stubborn".into()],
        Workload::Exits(code) => vec!["exits".into(), code.to_string()],
        Workload::Prints(lines) => std::iter::once("prints".into()).chain(lines.iter().cloned()).collect(),
        _ => vec!["unheard-of".into()],
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_a_runtime() {
    let library = Library::default().commands("functions", functions);
    let runtime = library.runtime(TokioClock::simulated(1));
    check(&Subject::new(Arc::new(runtime)).image("functions").workloads(command)).await;
}
