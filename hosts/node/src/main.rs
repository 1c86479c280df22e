//! `orchestra-node`: joins a master and runs the pods that it is given and those of manifests of its own, in the
//! foreground, until a signal; or runs only its own, without a master. Containers run on when it stops, and are found again
//! when it starts.
//!
//! It starts no task of its own: the agent, what carries services, the names, the ways to other nodes' pods, the answers
//! for load balancers and the connections to masters are polled together, each begun again when it fails, until the signal.

mod backend;
mod directory;
mod ingress;
mod masters;
mod options;
mod own;
mod standalone;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use orchestra_core::api::Status;
use orchestra_core::node::{Agent, Config, Manifests, NodeService};
use orchestra_core::proxy;
use orchestra_http::{
    Credential, Identity, Issued, ManifestUrl, Masters, Remote, ServerTls, Submitted, hold_node, join,
    serve_node,
};
use orchestra_ingress::ADDRESSES;
use orchestra_machine::Machine;
use orchestra_net::{Announcer, Dns, Routes, announce};
use orchestra_runtime::host::{ManifestPath, NetProber};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use masters::Kept;
use options::Options;

/// Where the agent of a node is asked when nothing else is said.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 10250);
/// How soon a master that is away is asked again.
const JOIN_RETRY: Duration = Duration::from_secs(1);
/// Where volumes are kept, below the data directory.
const VOLUMES: &str = "volumes";
/// How soon what a node lives with is begun again.
const RETRY: Duration = Duration::from_secs(2);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: when the process runtime started this program to hold a container, it does that and nothing else.
    orchestra_runtime::process::init();
    let options = Options::parse();
    log_to_stderr(options.verbose);
    orchestra_http::raise_descriptor_limit();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads can be started")
        .and_then(|runtime| runtime.block_on(until_signal(options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn until_signal(options: Options) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(run(options, stop.clone()));
    tokio::select! {
        outcome = &mut running => return outcome,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
    running.await
}

async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let name = options.name.clone().unwrap_or_else(machine_name);
    let directory = std::path::absolute(&options.data_dir)?;
    let _own = directory::take(&directory, &name)?;
    match options.standalone {
        true => standalone::run(&options, (name, directory), stop).await,
        false => joined(&options, (name, directory), stop).await,
    }
}

/// A node of a master's cluster.
async fn joined(
    options: &Options,
    (name, directory): (String, PathBuf),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let kept = Kept::new(&directory);
    let masters = kept.masters(&options.join)?;
    let Some(identity) = stop.run_until_cancelled(identify(options, &masters, &directory, &name)).await
    else {
        return Ok(());
    };
    let identity = identity?;
    let listener = listen(options.listen.unwrap_or(LISTEN)).await?;
    let submitted = submitted(&directory, &name)?;
    let reached_as = |issued: &Issued| {
        let credential = Credential::Certificate(issued.clone());
        Remote::of_any(masters.clone(), &identity.authority, &credential)
    };
    let (node, carrier) = (reached_as(&identity.issued)?, reached_as(&identity.proxy)?);
    let (client, carrier) = (node.client(), carrier.client());
    let backend = backend::choose(options, &directory, &name, client.clock()).await?;
    let takes_addresses = backend.takes_addresses();
    let segments = Announcer::segments(takes_addresses).await;
    let addresses = match &options.address[..] {
        [] => vec![own_address(&masters)?],
        given => given.to_vec(),
    };
    let ingress = options.ingress.open(&masters, &identity.authority, &addresses)?;
    let served: Vec<String> = options.ingress.addresses(&addresses).iter().map(IpAddr::to_string).collect();
    let config = Config {
        annotations: BTreeMap::from([
            (announce::SEGMENTS.to_owned(), segments),
            (ADDRESSES.to_owned(), served.join(",")),
        ]),
        addresses,
        cluster: name.clone(),
        log_root: directory.join("logs"),
        dns_service: takes_addresses,
        endpoint_port: Some(listener.local_addr()?.port()),
        heartbeat: options.heartbeat,
        ..Config::default()
    };
    let config = options.own.set(config);
    let mut agent = Agent::new(name.clone(), client.clone(), backend.runtime, Arc::clone(&backend.network))
        .config(config);
    if let Some(machine) = &backend.machine {
        agent = agent.volumes(Arc::new(machine.volumes(directory.join(VOLUMES)))).prober(Arc::new(NetProber));
        if let Some(plugins) = machine.device_plugins() {
            agent = agent.device_plugins(plugins);
        }
    }
    for place in manifests(options, &submitted)? {
        agent = agent.manifests(place);
    }
    let tls = ServerTls::new(&identity.issued, &identity.authority)?;
    println!("{name} is a node of the cluster at {masters:?}");
    // What pods live with goes on until they have ended.
    let closing = CancellationToken::new();
    let stopped = || closing.clone().cancelled_owned();
    let names = async {
        if takes_addresses {
            let dns = Dns::new().owner(&name);
            let answer = || dns.clone().run(carrier.clone(), stopped());
            lasting(&closing, "the cluster's names are not answered", answer).await;
        }
    };
    let pods = async {
        let Some(pods) = backend.machine.as_ref().and_then(Machine::pods) else { return };
        let (routes, told) = Routes::new(&name, &name);
        let routes = routes.mtu(pods.mtu());
        let follow = || routes.run(carrier.clone(), stopped());
        let ways = lasting(&closing, "pods of other nodes are not reached", follow);
        tokio::select! {
            () = ways => {}
            () = pods.follow(told) => {}
        }
    };
    let balancers = async {
        if takes_addresses {
            let announcer = Announcer::new(&name, &name);
            let answer = || announcer.run(carrier.clone(), stopped());
            lasting(&closing, "addresses of load balancers are not answered for", answer).await;
        }
    };
    let ingresses = async {
        if let Some(serving) = &ingress {
            lasting(&closing, "Ingresses are not served", || serving.run(stopped())).await;
        }
    };
    let services = lasting(&closing, "services are not carried", || {
        proxy::run(carrier.clone(), name.clone(), Arc::clone(&backend.network), stopped())
    });
    let known = lasting(&closing, "the masters of the cluster are not followed", || {
        masters::follow(&carrier, &masters, &kept)
    });
    let service: Arc<dyn NodeService> = Arc::new(agent.service());
    let held = async {
        let asked = (Arc::clone(&service), Arc::clone(&submitted));
        if let Err(error) = hold_node(masters.clone(), &identity, asked, closing.clone()).await {
            warn!(%error, "masters have to reach this node's port");
        }
    };
    tokio::join!(
        serve_node(listener, tls, (Arc::clone(&service), Arc::clone(&submitted)), closing.clone()),
        held,
        async {
            agent.run(stop.cancelled()).await;
            closing.cancel();
        },
        services,
        names,
        pods,
        balancers,
        ingresses,
        known,
    );
    Ok(())
}

/// Does what ends in good order only when the node stops, and begins it again when it fails: a master may be away, or
/// not let the node yet.
async fn lasting<F: Future<Output = Result<(), Status>>>(
    stop: &CancellationToken,
    without: &str,
    mut work: impl FnMut() -> F,
) {
    while let Some(Err(error)) = stop.run_until_cancelled(work()).await {
        warn!(%error, "{without}; trying again");
        stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

/// The manifests that were submitted to the node.
fn submitted(directory: &Path, name: &str) -> anyhow::Result<Arc<Submitted>> {
    let folder = directory.join("submitted");
    let opened = Submitted::open(&folder, name);
    Ok(Arc::new(opened.with_context(|| format!("{} cannot be made", folder.display()))?))
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; name another address with --listen"))
}

/// Where the node finds pods of its own.
fn manifests(options: &Options, submitted: &Arc<Submitted>) -> anyhow::Result<Vec<Arc<dyn Manifests>>> {
    let mut places: Vec<Arc<dyn Manifests>> = vec![Arc::clone(submitted) as _];
    if let Some(path) = &options.pod_manifest_path {
        places.push(Arc::new(ManifestPath::new(path).period(options.file_check_frequency)));
    }
    if let Some(url) = &options.manifest_url {
        places.push(Arc::new(ManifestUrl::new(url)?.period(options.http_check_frequency)));
    }
    Ok(places)
}

/// The certificate that the node has, or one that it gets by joining. Waits for a master that is away.
async fn identify(
    options: &Options,
    masters: &Masters,
    directory: &Path,
    name: &str,
) -> anyhow::Result<Identity> {
    let pki = directory.join("pki");
    if let Some(identity) = Identity::load(&pki, options.token.as_ref(), name) {
        return Ok(identity);
    }
    let Some(token) = &options.token else {
        bail!("this node has not joined yet; give it the --token that the master prints");
    };
    let identity = loop {
        match join(masters, token, name).await {
            Ok(identity) => break identity,
            Err(error) if error.is_transient() => warn!(%error, "trying again"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(JOIN_RETRY).await;
    };
    info!(name, "joined");
    identity.save(&pki).with_context(|| format!("the certificate cannot be kept in {}", pki.display()))?;
    Ok(identity)
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

/// The address from which this machine reaches a master. Nothing is sent.
fn own_address(masters: &Masters) -> anyhow::Result<IpAddr> {
    let probe = |url: &String| {
        let host = url.trim_start_matches("https://");
        let socket = UdpSocket::bind(if host.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).ok()?;
        socket.connect(host).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    masters.urls().iter().find_map(probe).with_context(|| {
        format!("no way leads to {masters:?}; say with --address which address this node has")
    })
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let ours = [
        "orchestra_node",
        "orchestra_core",
        "orchestra_http",
        "orchestra_ingress",
        "orchestra_runtime",
        "orchestra_net",
    ];
    let filter = ours.map(|name| format!("{name}={level}")).join(",");
    let filter = EnvFilter::new(format!("warn,{filter}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
