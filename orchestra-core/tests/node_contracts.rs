//! The fakes pass the suites that real adapters pass.
#![cfg(feature = "testing")]

use std::sync::Arc;

use orchestra_core::clock::TokioClock;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_core::testing::contract;

#[tokio::test(start_paused = true)]
async fn the_fake_runtime_is_a_runtime() {
    let runtime = Arc::new(FakeRuntime::new(TokioClock::simulated(1)));
    contract::runtime::check(&contract::runtime::Subject::new(runtime)).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_network_is_a_network() {
    contract::network::check(&contract::network::Subject::new(Arc::new(FakeNetwork::new()))).await;
}
