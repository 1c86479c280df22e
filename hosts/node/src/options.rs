use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use orchestra_core::node::Thresholds;
use orchestra_http::JoinToken;
use orchestra_runtime::process::Range;

/// A node of a cluster: it runs the pods that the master gives it.
#[derive(Clone, Debug, Parser)]
#[command(name = "orchestra-node", version)]
pub(crate) struct Options {
    /// The master, as https://10.0.0.1:6443
    #[arg(long, value_name = "URL", required_unless_present = "standalone")]
    pub(crate) join: Option<String>,
    /// Run the pods of manifests without any master
    #[arg(long, conflicts_with_all = ["join", "token"])]
    pub(crate) standalone: bool,
    /// A folder or file with manifests of pods that the node runs whatever a master says
    #[arg(long, value_name = "PATH")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// How often it is looked at though nothing says that it changed
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) file_check_frequency: Duration,
    /// A URL that says which pods the node runs whatever a master says
    #[arg(long, value_name = "URL")]
    pub(crate) manifest_url: Option<String>,
    /// How often it is asked
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) http_check_frequency: Duration,
    /// The join token that the master prints; not needed by a node that has joined before
    #[arg(long, value_name = "TOKEN", env = "ORCHESTRA_JOIN_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<JoinToken>,
    /// The name of the node [default: that of this machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What runs containers; auto is Docker if a daemon answers, else containerd or CRI-O if one is ready, else native as root
    /// where runc is installed, else processes of this machine
    #[arg(long, value_enum, default_value_t = Runtime::Auto)]
    pub(crate) runtime: Runtime,
    /// The socket of --runtime containerd [default: that of containerd or CRI-O, where it usually is]
    #[arg(long, value_name = "SOCK")]
    pub(crate) runtime_endpoint: Option<String>,
    /// What leads to services: rules of the kernel or a proxy in user space; auto is the kernel for processes as root
    #[arg(long, value_enum, default_value_t = Network::Auto)]
    pub(crate) network: Network,
    /// The addresses of this node's pods, where the cluster gives it none; for processes as root
    #[arg(long, value_name = "CIDR", value_parser = pod_range)]
    pub(crate) pod_cidr: Option<Range>,
    /// The address of this node [default: the one from which it reaches the master]
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    /// Where the master asks for logs
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:10250")]
    pub(crate) listen: SocketAddr,
    /// Where the node keeps its certificate and what its pods need
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orchestra/node")]
    pub(crate) data_dir: PathBuf,
    /// How often the node says that it lives
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) heartbeat: Duration,
    /// How little may be left of the machine before pods are evicted, with commas between; nothing for never
    #[arg(
        long,
        value_name = "SIGNAL<AMOUNT",
        default_value = "memory.available<100Mi,nodefs.available<10%,imagefs.available<15%,nodefs.inodesFree<5%"
    )]
    pub(crate) eviction_hard: Thresholds,
    /// Show logs; twice for more
    #[arg(short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// Docker if a daemon answers, else containerd or CRI-O, else native, else processes
    Auto,
    /// Containers by Docker
    Docker,
    /// Containers by containerd, CRI-O or another that speaks the CRI
    #[value(alias = "cri")]
    Containerd,
    /// Containers of images without any daemon, by runc: takes root
    Native,
    /// Containers as process groups of this machine: no daemon, no root, no image
    Process,
    /// Containers in name only
    Fake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// The kernel, where that is possible, else user space
    Auto,
    /// A proxy in user space
    Userspace,
    /// Rules of the kernel, by nftables
    Nftables,
}

/// A range of addresses for pods.
fn pod_range(text: &str) -> Result<Range, String> {
    Range::parse(text).ok_or_else(|| format!("{text:?} is not a range such as 10.244.1.0/24"))
}

/// A length of time such as `10s` or `500ms`, and not none.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a length of time such as 10s or 500ms");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}
