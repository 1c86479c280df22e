//! The cluster in the foreground.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Builder, Cluster, Component};
use orchestra_core::controllers;
use orchestra_core::quantity::Quantity;
use orchestra_core::store::redb::{self, RedbStore, Retention};
use orchestra_dashboard::Dashboard;
use orchestra_http::{
    AggregatedMetrics, Aggregation, ApiHost, Authority, Enrolment, FrontProxy, Frontend, HttpDialer,
    Kubeconfig, TokenKeys, WebhookCaller, reachable_address,
};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backend::{self, Backend};
use crate::cli::Up;
use crate::control;
use crate::directory::{self, Range};
use crate::ingress;
use crate::progress::{Lines, Progress};

/// How long the first node may take to become ready before the line says that it is still on its way.
const NODE_READY: Duration = Duration::from_secs(15);

pub(crate) async fn run(options: Up) -> anyhow::Result<()> {
    // Before anything is started: a signal that comes meanwhile must not leave half of it behind.
    let mut signals = Signals::new()?;
    let progress = Progress::new();
    log_to_stderr(options.verbose, progress.lines());
    let running = tokio::select! {
        running = start(&options, &progress) => running?,
        () = signals.any() => {
            progress.close();
            println!("stopping");
            return Ok(());
        }
    };
    running.announce();
    let Running { cluster, api, control, .. } = running;
    tokio::select! {
        () = control::serve(control, Arc::clone(&cluster), Arc::clone(&api)) => {}
        () = signals.any() => {}
    }
    println!("\nstopping");
    api.stop().await;
    cluster.stop_all().await;
    Ok(())
}

async fn start(options: &Up, progress: &Progress) -> anyhow::Result<Running> {
    let started = Instant::now();
    let directory = absolute(&options.data.data_dir)?;
    directory::prepare(&directory)?;

    progress.begin("state", &directory.display().to_string());
    let retention = Retention { age: options.history_age, bytes: bytes(&options.history_size) };
    let store = RedbStore::open_with(&directory, redb::Options { retention, ..redb::Options::default() })?;
    // The store is locked: nobody else uses the directory.
    let control = control::listen(&directory)?;
    progress.done();

    progress.begin("runtime", "");
    let backend = backend::choose(options, &directory).await?;
    let range = backend.take_services()?;
    progress.finish(&backend.describe());
    let has_nodes = backend.has_nodes();

    progress.begin("API", &format!("https://{}", options.listen));
    let running = serve(options, &directory, store, backend, (control, range)).await?;
    progress.finish(&format!("https://{}", running.address));

    progress.begin("nodes", "");
    let nodes = match has_nodes {
        true => nodes_ready(&running.cluster).await,
        false => "none of its own".to_owned(),
    };
    progress.finish(&nodes);
    progress.close();
    println!("ready in {} ms\n", started.elapsed().as_millis());
    Ok(running)
}

/// A cluster that is served.
struct Running {
    cluster: Arc<Cluster>,
    api: Arc<ApiHost>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    /// The parts that others are to run, each with its kubeconfig.
    others: Vec<(Component, PathBuf)>,
    control: UnixListener,
    /// Held for as long as the cluster runs.
    _services: Vec<Range>,
    /// The line by which other machines join, if they may.
    join: Option<String>,
    /// Where Ingresses are served.
    ingress: Vec<String>,
}

async fn serve(
    options: &Up,
    directory: &Path,
    store: RedbStore,
    backend: Backend,
    (control, services): (UnixListener, Vec<Range>),
) -> anyhow::Result<Running> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        format!("cannot listen on {}; name another address with --listen", options.listen)
    })?;
    let address = listener.local_addr()?;
    let reached = SocketAddr::new(reachable_address(address.ip()), address.port());
    let pki = directory.join("pki");
    let authority = Arc::new(Authority::open(&pki)?);
    let enrolment = match options.is_joinable() {
        true => Some(Arc::new(Enrolment::open(Arc::clone(&authority), &pki)?)),
        false => None,
    };
    let join = enrolment
        .as_ref()
        .map(|enrolment| format!("orchestra-node --join https://{reached} --token {}", enrolment.token()));
    let tls = {
        let (proxy, addresses) =
            (options.api.proxy()?, [reached.ip(), backend.service_ranges()?.api_server().into()]);
        authority.issue_api_server_behind(&addresses, &[], proxy.as_ref().map(FrontProxy::authority))?
    };
    let figures = AggregatedMetrics::new();
    let controllers = controllers::Config {
        figures: Some(Arc::new(figures.clone())),
        root_ca: Some(authority.certificate().to_owned()),
        authority: Some(Arc::clone(&authority) as _),
        local_path: Some(backend.local_path()),
        dns_service: backend.dns()?,
        pod_ranges: backend.pod_ranges()?,
        load_balancers: options.load_balancer_pool.clone().into(),
        ..controllers::Config::default()
    };
    let keys = Arc::new(TokenKeys::open(&pki.join("service-accounts"))?);
    let authorizers = options.api.authorizers(&TokioClock::system())?;
    let builder = Cluster::builder()
        .rbac()
        .figures_of_use()
        .asking(authorizers.before, authorizers.after)
        .tokens(Arc::clone(&keys))
        .webhooks(WebhookCaller::new())
        .store(store)
        .api_address(reached.ip(), reached.port())
        .controllers(controllers);
    let builder = options.scheduler.configuration()?.into_iter().fold(builder, Builder::scheduler);
    let builder = options.without.iter().cloned().fold(builder, Builder::without);
    let (builder, ingress) = ingress::add_to(builder, options)?;
    let cluster = Arc::new(backend.add_to(builder).await?.start().await?);
    let dialer = HttpDialer::new(&authority)?;
    let held = dialer.held();
    cluster.directory().dial_with(Arc::new(dialer));
    let frontend = Frontend::new(&cluster)
        .issuing(keys, orchestra_http::issuer_url(reached))
        .holding(held)
        .dashboard(Dashboard::default());
    let frontend = match enrolment {
        Some(enrolment) => frontend.enrolling(enrolment),
        None => frontend,
    };
    let front = Authority::open(&pki.join("front-proxy"))?;
    let frontend = options.api.apply(frontend)?.aggregating(Aggregation {
        identity: front.issue_client("front-proxy-client", &[])?,
        authority: front.certificate().to_owned(),
        clients: authority.certificate().to_owned(),
    });
    let api = Arc::new(ApiHost::new(listener, tls, frontend)?);
    figures.ask(api.frontend());
    let kubeconfig = write_kubeconfig(options, directory, &authority, address)?;
    let left_out = options.without.iter();
    let others = left_out.map(|part| write_kubeconfig_of(part, directory, &authority, address));
    let others = others.collect::<anyhow::Result<_>>()?;
    Ok(Running { cluster, api, address, kubeconfig, others, control, _services: services, join, ingress })
}

impl Running {
    fn announce(&self) {
        println!("  export KUBECONFIG={}", self.kubeconfig.display());
        println!("  kubectl get nodes");
        println!("  orchestra dashboard --kubeconfig {}\n", self.kubeconfig.display());
        if let Some(join) = &self.join {
            println!("Another machine becomes a node of this cluster by:\n\n  {join}\n");
        }
        if !self.ingress.is_empty() {
            println!("Ingresses are served at {}\n", self.ingress.join(" and "));
        }
        for (part, path) in &self.others {
            println!("{part} is left out; whoever is it instead:\n\n  --kubeconfig {}\n", path.display());
        }
        println!("Ctrl-C stops the cluster; its containers run on, and the next `up` finds them.");
    }
}

fn bytes(size: &Quantity) -> u64 {
    size.value().try_into().unwrap_or(0)
}

fn write_kubeconfig(
    options: &Up,
    directory: &Path,
    authority: &Authority,
    address: SocketAddr,
) -> anyhow::Result<PathBuf> {
    let path = options.kubeconfig.clone().unwrap_or_else(|| directory.join("kubeconfig"));
    Kubeconfig::ensure(&path, &url(address), authority)
        .with_context(|| format!("the kubeconfig {} cannot be written", path.display()))?;
    Ok(path)
}

/// The kubeconfig of a part that another program is instead, as the user that Kubernetes has for it.
fn write_kubeconfig_of(
    part: &Component,
    directory: &Path,
    authority: &Authority,
    address: SocketAddr,
) -> anyhow::Result<(Component, PathBuf)> {
    let path = directory.join(format!("{part}.kubeconfig"));
    let config = Kubeconfig {
        server: url(address),
        authority: authority.certificate().to_owned(),
        identity: authority.issue_client(&format!("system:{part}"), &[])?,
    };
    let written = config.write(&path);
    written.with_context(|| format!("the kubeconfig {} cannot be written", path.display()))?;
    Ok((part.clone(), path))
}

/// How clients on this machine reach what listens on an address.
fn url(address: SocketAddr) -> String {
    let host = if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port())
    } else {
        address
    };
    format!("https://{host}")
}

/// Waits for the nodes to be ready, and says how they are.
async fn nodes_ready(cluster: &Cluster) -> String {
    let nodes = cluster.client().cluster::<Node>();
    let deadline = Instant::now() + NODE_READY;
    loop {
        let all = nodes.list().await.unwrap_or_default();
        let ready = all.iter().filter(|node| is_ready(node)).count();
        if !all.is_empty() && ready == all.len() {
            return match all.as_slice() {
                [one] => format!("{} is Ready", one.metadata.name.as_deref().unwrap_or_default()),
                many => format!("{} are Ready", many.len()),
            };
        }
        if Instant::now() > deadline {
            return format!("{ready} of {} are Ready so far; `kubectl describe nodes` says why", all.len());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The signals that end the program in good order.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    if path.as_os_str().is_empty() {
        bail!("--data-dir is empty; name a directory");
    }
    Ok(std::path::absolute(path)?)
}

fn log_to_stderr(verbose: u8, lines: Lines) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::new(format!(
        "warn,orchestra={level},orchestra_core={level},orchestra_http={level},orchestra_runtime={level},orchestra_net={level}"
    ));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || lines.clone()).init();
}
