use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use orchestra_core::admission::ServiceRanges;
use orchestra_core::controllers;

/// The master of a cluster: API, scheduler and controllers. Nodes join it with the line that it prints.
#[derive(Clone, Debug, Parser)]
#[command(name = "orchestra-master", version)]
pub struct Options {
    /// Where the cluster keeps its state and its certificates
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orchestra/master")]
    pub data_dir: PathBuf,
    /// Keep the objects in memory: they are gone when the master stops
    #[arg(long)]
    pub in_memory: bool,
    /// Where to serve the Kubernetes API
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:6443")]
    pub listen: SocketAddr,
    /// The address by which nodes reach this machine [default: that of --listen, or the one this machine sends from]
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Where to write the kubeconfig [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The secret of the join token: 16 letters and digits or more [default: one made at random and kept in DIR]
    #[arg(long, value_name = "SECRET", env = "ORCHESTRA_JOIN_SECRET", hide_env_values = true)]
    pub token: Option<String>,
    /// The range of cluster IPs
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: ServiceRanges,
    /// How long a node may be silent before it counts as NotReady
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    /// How long a node that has never reported may take for its first report
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub node_startup_grace_period: Duration,
    /// How many pods that have ended are kept
    #[arg(long, value_name = "N", default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,
    /// How long an Event is kept
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub event_ttl: Duration,
    /// Show logs; twice for more
    #[arg(short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Options {
    pub(crate) fn controllers(&self, authority: &str) -> controllers::Config {
        controllers::Config {
            nodes: controllers::NodeTimes {
                monitor_grace: self.node_monitor_grace_period,
                startup_grace: self.node_startup_grace_period,
            },
            finished_pods: self.terminated_pod_gc_threshold,
            event_life: self.event_ttl,
            root_ca: Some(authority.to_owned()),
        }
    }
}

/// A length of time such as `40s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |_| format!("{text:?} is not a length of time such as 40s or 1m30s");
    let parsed: jiff::SignedDuration = text.parse().map_err(wrong)?;
    Duration::try_from(parsed).map_err(wrong)
}
