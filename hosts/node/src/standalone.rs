//! A node without a master: it runs the pods of its manifests, and nothing else.
//!
//! Its agent talks to an API of its own, in memory and served to nobody, that has neither scheduler nor controllers.

use std::path::PathBuf;

use anyhow::bail;
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Cluster, Component, Node};
use orchestra_core::node::Config;
use orchestra_http::own_address;
use orchestra_runtime::host::NetProber;
use tokio_util::sync::CancellationToken;

use crate::options::Options;
use crate::{backend, manifests, volumes};

pub(crate) async fn run(
    options: &Options,
    (name, directory): (String, PathBuf),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let places = manifests(options)?;
    if places.is_empty() {
        bail!(
            "a node without a master runs the pods of manifests; name some with --pod-manifest-path or --manifest-url"
        );
    }
    let clock = TokioClock::system();
    let backend = backend::choose(options, &directory, &name, &clock).await?;
    let config = Config {
        addresses: vec![options.address.unwrap_or_else(own_address)],
        cluster: name.clone(),
        log_root: directory.join("logs"),
        heartbeat: options.heartbeat,
        eviction: options.eviction_hard.clone(),
        ..Config::default()
    };
    let can = backend.runtime.capabilities();
    let mut node = Node::new(name.clone()).config(config);
    if !can.simulated {
        node = node.volumes(volumes(&directory, &can)).prober(NetProber);
    }
    for place in places {
        node = node.manifests(place);
    }
    let cluster = Cluster::builder()
        .clock(clock)
        .without(Component::Scheduler)
        .without(Component::ControllerManager)
        .node(node, backend.runtime, backend.network)
        .start()
        .await?;
    println!("{name} runs the pods of its manifests");
    stop.cancelled().await;
    cluster.shutdown().await;
    Ok(())
}
