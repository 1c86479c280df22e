//! The fakes pass the suites that real adapters pass, and what is planted in them is found.
#![cfg(feature = "testing")]

use std::sync::Arc;
use std::time::Duration;

use orchestra_core::clock::TokioClock;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime::PullFailure;
use orchestra_core::runtime::fake::{Behaviour, FakeRuntime, On};
use orchestra_core::testing::contract::network;
use orchestra_core::testing::contract::runtime::{Subject, Workload, check};

#[path = "node_contracts/faulty.rs"]
mod faulty;

use faulty::{Fault, Faulty};

fn fake() -> FakeRuntime {
    let fake = FakeRuntime::new(TokioClock::simulated(1));
    fake.on(On::image("absent:v0"), Behaviour::new().pull_fails(PullFailure::NotFound, "not there"));
    fake
}

/// What containers of the fake do for a workload: whatever they were told.
fn scripted(fake: &FakeRuntime, workload: &Workload) -> Vec<String> {
    let now = Duration::ZERO;
    let ready = || Behaviour::new().logs(now, "ready");
    let (command, behaviour) = match workload {
        Workload::Polite => (vec!["polite".to_owned()], ready()),
        Workload::Stubborn => (vec!["stubborn".into()], ready().ignores_stop()),
        Workload::Exits(code) => (vec!["exits".into(), code.to_string()], Behaviour::new().exits(now, *code)),
        Workload::Prints(lines) => {
            let silent = Behaviour::new().exits(now, 0);
            let printing = lines.iter().fold(silent, |behaviour, line| behaviour.logs(now, line));
            (std::iter::once("prints".into()).chain(lines.iter().cloned()).collect(), printing)
        }
        Workload::Unstartable => (vec!["unstartable".into()], Behaviour::new().start_fails(127, "not there")),
        other => panic!("no script for {other:?}"),
    };
    fake.on(On::Command(command.clone()), behaviour);
    command
}

fn subject(fault: Option<Fault>) -> Subject {
    let fake = fake();
    let opened = |reopened| Arc::new(Faulty { inner: fake.clone(), fault, reopened });
    let again = opened(true);
    let scripts = fake.clone();
    Subject::new(opened(false))
        .workloads(move |workload| scripted(&scripts, workload))
        .reopen(move || std::future::ready(again.clone() as _))
        .absent_image("absent:v0")
}

#[tokio::test(start_paused = true)]
async fn the_fake_runtime_is_a_runtime() {
    check(&subject(None)).await;
}

#[tokio::test(start_paused = true)]
async fn every_planted_fault_is_found() {
    for fault in Fault::ALL {
        let checked = tokio::spawn(async move { check(&subject(Some(fault))).await }).await;
        assert!(checked.is_err_and(|error| error.is_panic()), "the suite does not notice {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_network_is_a_network() {
    network::check(&network::Subject::new(Arc::new(FakeNetwork::new()))).await;
}
