//! A node without a master: it runs the pods of its manifests, and nothing else.
//!
//! Its agent talks to an API of its own, in memory and served to nobody, that has neither scheduler nor controllers. Manifests
//! can be submitted to it at an address that it is told, by whoever has the certificate that it writes: `pki/admin.crt`.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Cluster, Component, Node};
use orchestra_core::node::Config;
use orchestra_http::{Authority, ServerTls, own_address, serve_node};
use orchestra_runtime::host::NetProber;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::options::Options;
use crate::{VOLUMES, backend, listen, manifests, submitted};

pub(crate) async fn run(
    options: &Options,
    (name, directory): (String, PathBuf),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let submitted = submitted(&directory, &name)?;
    let places = manifests(options, &submitted)?;
    if places.len() == 1 && options.listen.is_none() {
        bail!(
            "a node without a master runs the pods of manifests; name some with --pod-manifest-path or --manifest-url, \
             or say with --listen where they are submitted"
        );
    }
    let door = match options.listen {
        Some(address) => Some((listen(address).await?, identify(&directory, &name)?)),
        None => None,
    };
    let clock = TokioClock::system();
    let backend = backend::choose(options, &directory, &name, &clock).await?;
    let config = Config {
        addresses: match &options.address[..] {
            [] => vec![own_address()],
            given => given.to_vec(),
        },
        cluster: name.clone(),
        log_root: directory.join("logs"),
        heartbeat: options.heartbeat,
        ..Config::default()
    };
    let config = options.own.set(config);
    let mut node = Node::new(name.clone()).config(config);
    if let Some(machine) = &backend.machine {
        node = node.volumes(machine.volumes(directory.join(VOLUMES))).prober(NetProber);
        if let Some(plugins) = machine.device_plugins() {
            node = node.device_plugins(plugins);
        }
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
    let closing = CancellationToken::new();
    let served = async {
        let Some((listener, tls)) = door else { return };
        match cluster.directory().find(&cluster.client(), &name).await {
            Ok(service) => serve_node(listener, tls, (service, submitted), closing.clone()).await,
            Err(error) => warn!(%error, "no manifests can be submitted"),
        }
    };
    let stopped = async {
        stop.cancelled().await;
        cluster.stop_all().await;
        closing.cancel();
    };
    tokio::join!(served, stopped);
    Ok(())
}

/// The node's certificate, by an authority of its own, and one for whoever submits manifests, beside it.
fn identify(directory: &Path, name: &str) -> anyhow::Result<ServerTls> {
    let pki = directory.join("pki");
    let authority = Authority::open(&pki)?;
    let names = [name.to_owned(), "localhost".to_owned()];
    let addresses = [IpAddr::from([127, 0, 0, 1]), own_address()];
    let admin = authority.issue_client("admin", &["system:masters"])?;
    for (file, text) in [("admin.crt", &admin.certificate), ("admin.key", &admin.key)] {
        let path = pki.join(file);
        write_private(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ServerTls::new(&authority.issue_server(&names, &addresses)?, authority.certificate())?)
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}
