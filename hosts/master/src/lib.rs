//! The master of a cluster as a value: [`Master::start`] is all that the program does.
//!
//! A master is an [`orchestra_core::cluster::Cluster`] without nodes, over a durable store, with the Kubernetes API on a
//! listener. Nodes join it over HTTPS with a token and are asked for logs over HTTPS.

mod options;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orchestra_core::api::Client;
use orchestra_core::clock::{TokioClock, random_uid};
use orchestra_core::cluster::{Builder, Cluster};
use orchestra_core::store::etcd::EtcdStore;
use orchestra_core::store::redb::RedbStore;
use orchestra_http::{ApiHost, Authority, Enrolment, HttpDialer, JoinToken, Kubeconfig, ServerTls, Tokens};
use tokio::net::TcpListener;

pub use options::{Options, Shared};

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
        let directory = std::path::absolute(&options.data_dir)?;
        fs::create_dir_all(&directory)
            .with_context(|| format!("the data directory {} cannot be made", directory.display()))?;
        let authority = Arc::new(Authority::open(&options.pki(&directory))?);
        let builder = Cluster::builder()
            .service_ranges(options.service_cluster_ip_range.clone())
            .controllers(options.controllers(authority.certificate()));
        let builder = store(options, &directory, builder).await?;
        let listener = TcpListener::bind(options.listen).await.with_context(|| {
            format!("cannot listen on {}; name another address with --listen", options.listen)
        })?;
        let address = SocketAddr::new(advertised(options), listener.local_addr()?.port());
        Self::serve(options, &directory, authority, builder, (listener, address)).await
    }

    async fn serve(
        options: &Options,
        directory: &Path,
        authority: Arc<Authority>,
        builder: Builder,
        (listener, address): (TcpListener, SocketAddr),
    ) -> anyhow::Result<Self> {
        let secret = match &options.token {
            Some(secret) => secret.clone(),
            None => kept_secret(&options.pki(directory))?,
        };
        let enrolment = Arc::new(Enrolment::new(Arc::clone(&authority), &secret)?);
        let tls = server_tls(options, &authority, address.ip())?;
        let url = format!("https://{address}");
        let kubeconfig = options.kubeconfig.clone().unwrap_or_else(|| directory.join("kubeconfig"));
        let admin = authority.issue_client("kubernetes-admin", &["system:masters"])?;
        let config = Kubeconfig {
            server: url.clone(),
            authority: authority.certificate().to_owned(),
            identity: admin,
        };
        config
            .write(&kubeconfig)
            .with_context(|| format!("the kubeconfig {} cannot be written", kubeconfig.display()))?;
        let cluster = builder.api_address(address.ip(), address.port()).start().await?;
        cluster.directory().dial_with(Arc::new(HttpDialer::new(&authority)?));
        let (server, nodes) = (Arc::clone(cluster.server()), cluster.directory().clone());
        let token = enrolment.token().clone();
        let api = ApiHost::new(listener, tls, server, nodes, Tokens::new(), Some(enrolment))?;
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
        let store = EtcdStore::connect(&shared.etcd, shared.etcd_options()?).await;
        let store = store.with_context(|| format!("no etcd answers at {}", shared.etcd.join(", ")))?;
        return Ok(builder
            .store(store)
            .elect(shared.leader_identity.clone().unwrap_or_else(identity), shared.leader_term));
    }
    Ok(if options.in_memory { builder } else { builder.store(RedbStore::open(directory)?) })
}

/// A name for this process that no other has, by which people know the machine.
fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let clock = TokioClock::system();
    format!("{}_{}", host.trim(), random_uid(&*clock))
}

/// The join secret that is kept beside the authority, made at random if there is none.
fn kept_secret(pki: &Path) -> anyhow::Result<String> {
    let path = pki.join("join-secret");
    let kept = || -> std::io::Result<String> {
        // Another master of the same directory may be about to make it too.
        let directory = fs::File::open(pki)?;
        directory.lock()?;
        match fs::read_to_string(&path) {
            Ok(secret) => return Ok(secret.trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let secret = JoinToken::random_secret().map_err(std::io::Error::other)?;
        let draft = pki.join("join-secret.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(secret.as_bytes())?;
        fs::rename(&draft, &path)?;
        Ok(secret)
    };
    kept().with_context(|| format!("the join secret cannot be kept in {}", path.display()))
}

/// The address by which others reach this machine.
fn advertised(options: &Options) -> IpAddr {
    match options.advertise {
        Some(address) => address,
        None if options.listen.ip().is_unspecified() => own_address(),
        None => options.listen.ip(),
    }
}

/// The address that this machine would send from. Nothing is sent.
fn own_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        // An address set aside for documentation: routed like any other, reached by nobody.
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    };
    probe().map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

fn server_tls(options: &Options, authority: &Authority, address: IpAddr) -> anyhow::Result<ServerTls> {
    let mut names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        .map(String::from)
        .to_vec();
    let mut addresses =
        vec![IpAddr::from([127, 0, 0, 1]), options.service_cluster_ip_range.api_server().into(), address];
    for name in &options.tls_san {
        match name.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(name.clone()),
        }
    }
    addresses.dedup();
    let identity = authority.issue_server(&names, &addresses)?;
    Ok(ServerTls::new(&identity, authority.certificate())?)
}
