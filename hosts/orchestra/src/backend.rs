//! What runs the containers: chosen by the command line and by what this machine has.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orchestra_core::admission::ServiceRanges;
use orchestra_core::cluster::{Builder, Node};
use orchestra_core::controllers::local_path::LocalPath;
use orchestra_core::node;
use orchestra_core::runtime::Runtime as _;
use orchestra_http::own_address;
use orchestra_net::UserspaceNetwork;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::host::{NetProber, Volumes};
use orchestra_runtime::process::{self, ProcessRuntime};
use tracing::warn;

use crate::cli::{Runtime, Up};
use crate::directory::{self, Range};
use crate::local_volumes::OwnDirectories;

/// Cluster IPs of a cluster whose pods have loopback addresses: anyone may listen there.
const LOOPBACK_SERVICES: &str = "127.96.0.0/16";

/// How the runtimes are called on the command line and in the data directory.
const DOCKER: &str = "docker";
const PROCESS: &str = "process";

/// A runtime, and where its node keeps things.
pub(crate) struct Backend {
    kind: Kind,
    node: String,
    directory: PathBuf,
}

enum Kind {
    /// Containers in name only, on so many nodes.
    Fake(usize),
    Docker(DockerRuntime),
    Process(ProcessRuntime),
}

/// Chooses as the options say; `auto` is what the cluster of the directory had before, if it had any.
pub(crate) async fn choose(options: &Up, directory: &Path) -> anyhow::Result<Backend> {
    let wanted = match (options.runtime, directory::runtime(directory)?.as_deref()) {
        (Runtime::Auto, Some(DOCKER)) => Runtime::Docker,
        (Runtime::Auto, Some(PROCESS)) => Runtime::Process,
        (runtime, _) => runtime,
    };
    let kind = match wanted {
        Runtime::Fake => Kind::Fake(options.nodes),
        Runtime::Docker => {
            let runtime = DockerRuntime::connect().await;
            Kind::Docker(runtime.context("no Docker daemon answers; start one, or use --runtime process")?)
        }
        Runtime::Process => Kind::Process(open_process(directory).await?),
        Runtime::Auto => match DockerRuntime::connect().await {
            Ok(runtime) => Kind::Docker(runtime),
            Err(_) => Kind::Process(open_process(directory).await?),
        },
    };
    match &kind {
        // Their containers end with the program.
        Kind::Fake(_) => {}
        Kind::Docker(_) => directory::keep_runtime(directory, DOCKER)?,
        Kind::Process(_) => directory::keep_runtime(directory, PROCESS)?,
    }
    Ok(Backend { kind, node: options.node_name.clone(), directory: directory.to_owned() })
}

/// Processes of this machine.
pub(crate) async fn process(directory: &Path, node: &str) -> anyhow::Result<Backend> {
    let kind = Kind::Process(open_process(directory).await?);
    Ok(Backend { kind, node: node.to_owned(), directory: directory.to_owned() })
}

async fn open_process(directory: &Path) -> anyhow::Result<ProcessRuntime> {
    let config = process::Config::new(directory.join("containers"));
    ProcessRuntime::open(config).await.context("processes cannot be run as containers")
}

impl Backend {
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Fake(1) => "fake: containers run in name only".to_owned(),
            Kind::Fake(nodes) => format!("fake, {nodes} nodes: containers run in name only"),
            Kind::Docker(_) => "Docker".to_owned(),
            Kind::Process(_) if is_root() => {
                "processes of this machine, each pod in a network of its own".to_owned()
            }
            Kind::Process(_) => {
                "processes of this machine, each pod with a loopback address of its own".to_owned()
            }
        }
    }

    /// Adds the nodes to a cluster that is to be started.
    pub(crate) fn add_to(self, builder: Builder) -> anyhow::Result<Builder> {
        let builder = builder.service_ranges(self.service_ranges()?);
        let name = identity(&self.directory);
        let network = UserspaceNetwork::new().owner(&name);
        let config = node::Config {
            cluster: name,
            log_root: self.directory.join("logs"),
            addresses: vec![own_address()],
            ..node::Config::default()
        };
        let mut volumes = Volumes::new(self.directory.join("volumes"));
        if matches!(&self.kind, Kind::Process(runtime) if !runtime.capabilities().fields.privileged) {
            volumes = volumes.containers_have_own_rights();
        }
        let node = Node::new(self.node).config(config).volumes(volumes).prober(NetProber);
        Ok(match self.kind {
            Kind::Fake(nodes) => builder.fake_nodes(nodes),
            Kind::Docker(runtime) => builder.node(node, runtime, network),
            Kind::Process(runtime) => builder.node(node, runtime, network.host_ports(true)),
        })
    }

    /// Where volumes are made that are directories of nodes.
    pub(crate) fn local_path(&self) -> LocalPath {
        let root = self.directory.join("local-path");
        let node = (!matches!(self.kind, Kind::Fake(_))).then(|| self.node.clone());
        let directories = Arc::new(OwnDirectories::new(root.clone(), node));
        LocalPath { root: root.display().to_string(), directories }
    }

    /// Takes the addresses of its Services on this machine. Says so if another cluster has them: then one of the two
    /// answers, and it is not known which.
    pub(crate) fn take_services(&self) -> anyhow::Result<Option<Range>> {
        if matches!(self.kind, Kind::Fake(_)) {
            return Ok(None);
        }
        let range = self.service_ranges()?.to_string();
        let taken = Range::take(&range)?;
        if taken.is_none() {
            warn!(
                range,
                "another cluster on this machine has these Service addresses: Services of this one are not reached until \
                 the other is stopped and this one started again"
            );
        }
        Ok(taken)
    }

    /// The cluster IPs that its network can carry.
    pub(crate) fn service_ranges(&self) -> anyhow::Result<ServiceRanges> {
        Ok(match self.kind {
            Kind::Process(_) if !is_root() => LOOPBACK_SERVICES.parse()?,
            _ => ServiceRanges::default(),
        })
    }
}

/// A word for the cluster of a data directory, the same at every start: by it the cluster tells what is its own among
/// the containers and addresses of the machine.
fn identity(directory: &Path) -> String {
    format!("{:08x}", crc32fast::hash(directory.as_os_str().as_bytes()))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
