//! What a runtime takes by itself.

use std::time::Duration;

use orchestra_core::runtime::{ContainerSpec, Runtime};

use crate::pods::Subject;
use crate::{median, support, timed};

/// How many are made.
const ROUNDS: usize = 20;

/// A sandbox and a container in it, from nothing to a running process: the middle one of some, one after the other.
pub(crate) async fn pod(subject: &Subject<'_>) -> Duration {
    let runtime = &*subject.runtime;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("direct-{round}");
        let sandbox = support::sandbox(&name, subject.place.join("direct-logs").join(&name));
        let mut made = None;
        times.push(timed(async { made = Some(start(runtime, &sandbox, subject).await) }).await);
        runtime.remove_sandbox(&made.expect("a sandbox")).await.expect("it goes");
    }
    median(times)
}

async fn start(
    runtime: &dyn Runtime,
    sandbox: &orchestra_core::runtime::SandboxSpec,
    subject: &Subject<'_>,
) -> orchestra_core::runtime::SandboxId {
    let made = runtime.run_sandbox(sandbox).await.expect("a sandbox").id;
    let spec: ContainerSpec = support::container(subject.image, "app", "exec sleep 100000");
    support::started(runtime, &made, &spec).await;
    made
}
