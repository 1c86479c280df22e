//! The master of a cluster as a value: [`Master::start`] is all that the program does.
//!
//! A master is an [`orchestra_core::cluster::Cluster`] without nodes, with the Kubernetes API on a listener, over a file
//! in its data directory or an etcd that several masters share. Nodes join it over HTTPS with a token, and are asked for
//! logs over HTTPS.

//!
//! It starts no task of its own: those that run are the cluster's and the API host's, and end with the [`Master`].
//!
//! [`Attached`] is the scheduler and the controllers alone, for an API server that runs elsewhere.

mod accounts;
mod attached;
mod options;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orchestra_core::api::Client;
use orchestra_core::clock::{TokioClock, random_uid};
use orchestra_core::cluster::{Builder, Cluster};
use orchestra_core::store::Store;
use orchestra_core::store::backup::{self, Summary};
use orchestra_core::store::etcd::EtcdStore;
use orchestra_core::store::redb::{self, RedbStore};
use orchestra_dashboard::Dashboard;
use orchestra_http::{
    AggregatedMetrics, Aggregation, ApiHost, Authority, Enrolment, FrontProxy, Frontend, HttpDialer,
    JoinToken, Kubeconfig, TokenKeys, WebhookCaller, issuer_url, make_private_directory, reachable_address,
};
use tokio::net::TcpListener;

pub use attached::Attached;
pub use options::{Options, Shared};

/// Where the keys are that sign the tokens of service accounts, beside the authority.
const TOKEN_KEYS: &str = "service-accounts";

/// A running master.
#[derive(Debug)]
pub struct Master {
    cluster: Cluster,
    api: ApiHost,
    url: String,
    token: JoinToken,
    kubeconfig: PathBuf,
}

impl Master {
    /// Starts a master. Its API answers when this returns.
    ///
    /// # Errors
    /// When the state cannot be read, or the address is in use.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let directory = data_directory(options)?;
        let authority = Arc::new(Authority::open(&options.pki(&directory))?);
        let keys = Arc::new(TokenKeys::open(&options.pki(&directory).join(TOKEN_KEYS))?);
        let authorizers = options.api.authorizers(&TokioClock::system())?;
        let figures = AggregatedMetrics::new();
        let controllers = orchestra_core::controllers::Config {
            figures: Some(Arc::new(figures.clone())),
            ..options.controllers(Arc::clone(&authority))
        };
        let builder = Cluster::builder()
            .rbac()
            .figures_of_use()
            .asking(authorizers.before, authorizers.after)
            .tokens(Arc::clone(&keys))
            .webhooks(WebhookCaller::new())
            .service_ranges(options.service_cluster_ip_range.clone())
            .controllers(controllers);
        let builder = options.scheduler.configuration()?.into_iter().fold(builder, Builder::scheduler);
        let builder = store(options, &directory, builder).await?;
        let listener = TcpListener::bind(options.listen).await.with_context(|| {
            format!("cannot listen on {}; name another address with --listen", options.listen)
        })?;
        let reached = options.advertise.unwrap_or_else(|| reachable_address(options.listen.ip()));
        let address = SocketAddr::new(reached, listener.local_addr()?.port());
        Self::serve(options, &directory, (authority, keys, figures), builder, (listener, address)).await
    }

    async fn serve(
        options: &Options,
        directory: &Path,
        (authority, keys, figures): (Arc<Authority>, Arc<TokenKeys>, AggregatedMetrics),
        builder: Builder,
        (listener, address): (TcpListener, SocketAddr),
    ) -> anyhow::Result<Self> {
        let enrolment = Arc::new(match &options.token {
            Some(secret) => Enrolment::new(Arc::clone(&authority), secret)?,
            None => Enrolment::open(Arc::clone(&authority), &options.pki(directory))?,
        });
        let service = options.service_cluster_ip_range.api_server().into();
        let tls = {
            let (proxy, addresses) = (options.api.proxy()?, [address.ip(), service]);
            authority.issue_api_server_behind(
                &addresses,
                &options.tls_san,
                proxy.as_ref().map(FrontProxy::authority),
            )?
        };
        let url = format!("https://{address}");
        let kubeconfig = options.kubeconfig.clone().unwrap_or_else(|| directory.join("kubeconfig"));
        Kubeconfig::ensure(&kubeconfig, &url, &authority)
            .with_context(|| format!("the kubeconfig {} cannot be written", kubeconfig.display()))?;
        let cluster = builder.api_address(address.ip(), address.port()).start().await?;
        let dialer = HttpDialer::new(&authority)?;
        let held = dialer.held();
        cluster.directory().dial_with(Arc::new(dialer));
        let token = enrolment.token().clone();
        let frontend = Frontend::new(&cluster)
            .enrolling(enrolment)
            .issuing(keys, issuer_url(address))
            .holding(held)
            .dashboard(Dashboard::default());
        let front = Authority::open(&options.pki(directory).join("front-proxy"))?;
        let frontend = options.api.apply(frontend)?.aggregating(Aggregation {
            identity: front.issue_client("front-proxy-client", &[])?,
            authority: front.certificate().to_owned(),
            clients: authority.certificate().to_owned(),
        });
        let api = ApiHost::new(listener, tls, frontend)?;
        figures.ask(api.frontend());
        Ok(Self { cluster, api, url, token, kubeconfig })
    }

    /// Where nodes and users reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a node shows to join.
    pub fn token(&self) -> &JoinToken {
        &self.token
    }

    /// Where the kubeconfig was written.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.cluster.client()
    }

    /// The cluster that it is the master of.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Stops serving, then stops everything. The nodes' containers run on.
    pub async fn stop(self) {
        self.api.stop().await;
        self.cluster.shutdown().await;
    }
}

/// Says where the state is kept, and stands for election if other masters may share it.
async fn store(options: &Options, directory: &Path, builder: Builder) -> anyhow::Result<Builder> {
    let shared = &options.shared;
    if !shared.etcd.is_empty() {
        let identity = shared.leader_identity.clone().unwrap_or_else(identity);
        let builder = builder.store(connect(shared).await?).forget_after(options.etcd_history());
        return Ok(builder.elect(identity, shared.leader_term));
    }
    Ok(if options.in_memory { builder } else { builder.store(open(options, directory)?) })
}

async fn connect(shared: &Shared) -> anyhow::Result<EtcdStore> {
    let store = EtcdStore::connect(&shared.etcd, shared.etcd_options()?).await;
    store.with_context(|| format!("no etcd answers at {}", shared.etcd.join(", ")))
}

fn open(options: &Options, directory: &Path) -> anyhow::Result<RedbStore> {
    let options = redb::Options { retention: options.retention(), ..redb::Options::default() };
    Ok(RedbStore::open_with(directory, options)?)
}

/// Puts what a backup holds into the store that the options name.
///
/// # Errors
/// When the store holds something already, or the file is not a whole backup; and those of [`Master::start`].
pub async fn restore(options: &Options, from: &Path) -> anyhow::Result<Summary> {
    let directory = data_directory(options)?;
    let store: Box<dyn Store> = match options.shared.etcd.is_empty() {
        true => Box::new(open(options, &directory)?),
        false => Box::new(connect(&options.shared).await?),
    };
    Ok(backup::restore(&*store, from).await?)
}

fn data_directory(options: &Options) -> anyhow::Result<PathBuf> {
    let directory = std::path::absolute(&options.data_dir)?;
    make_private_directory(&directory)
        .with_context(|| format!("the data directory {} cannot be made", directory.display()))?;
    Ok(directory)
}

/// A name for this process that no other has, by which people know the machine.
fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let clock = TokioClock::system();
    format!("{}_{}", host.trim(), random_uid(&*clock))
}
