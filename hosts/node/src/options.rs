use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use orchestra_http::JoinToken;
use orchestra_machine::Choice;
use orchestra_runtime::process::Range;

use crate::ingress::Ingress;
use crate::own::{Own, duration};

/// A node of a cluster: it runs the pods that the master gives it.
#[derive(Clone, Debug, Parser)]
#[command(name = "orchestra-node", version)]
pub(crate) struct Options {
    /// The master, as https://10.0.0.1:6443; of several, any or all of them, with commas between. The others are learned from it
    #[arg(long, value_name = "URL", value_delimiter = ',', required_unless_present = "standalone")]
    pub(crate) join: Vec<String>,
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
    /// What runs containers and leads to services
    #[command(flatten)]
    pub(crate) machine: Choice,
    /// The addresses of this node's pods, where the cluster gives it none; for processes as root
    #[arg(long, value_name = "CIDR", value_parser = pod_range)]
    pub(crate) pod_cidr: Option<Range>,
    /// Where Ingresses are served
    #[command(flatten)]
    pub(crate) ingress: Ingress,
    /// The address of this node, and with a comma between that of the other family [default: the one from which it reaches
    /// the master]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(crate) address: Vec<IpAddr>,
    /// Where the master asks for logs, and manifests are submitted [default: 0.0.0.0:10250; without a master nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the node keeps its certificate and what its pods need
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orchestra/node")]
    pub(crate) data_dir: PathBuf,
    /// How often the node says that it lives
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) heartbeat: Duration,
    /// What is set of the node itself
    #[command(flatten)]
    pub(crate) own: Own,
    /// Show logs; twice for more
    #[arg(short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// A range of addresses for pods, or one of each family.
fn pod_range(text: &str) -> Result<Range, String> {
    let range = match text.split_once(',') {
        Some((first, second)) => Range::parse(first).and_then(|first| first.and(second)),
        None => Range::parse(text),
    };
    range.ok_or_else(|| {
        format!("{text:?} is not a range such as 10.244.1.0/24, or 10.244.1.0/24,fd00:10:244:1::/64")
    })
}
