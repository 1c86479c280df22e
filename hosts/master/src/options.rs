use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser};
use orchestra_core::admission::ServiceRanges;
use orchestra_core::clock::parse_duration;
use orchestra_core::cluster::Component;
use orchestra_core::controllers::load_balancer::AddressRange;
use orchestra_core::controllers::{self, InvalidPodRange, PodRanges};
use orchestra_core::quantity::Quantity;
use orchestra_core::store::etcd::EtcdOptions;
use orchestra_core::store::redb::Retention;
use orchestra_http::{ApiOptions, Authority, SchedulerOptions};

/// How long a file remembers, where the past is bounded by bytes too and has no heartbeats in it.
const FILE_HISTORY: Duration = Duration::from_secs(72 * 60 * 60);
/// How long etcd remembers: as long as with Kubernetes. Every heartbeat is in it, and its quota is for past and present.
const ETCD_HISTORY: Duration = Duration::from_secs(5 * 60);

/// The master of a cluster: API, scheduler and controllers. Nodes join it with the line that it prints.
#[derive(Clone, Debug, Parser)]
#[command(name = "orchestra-master", version)]
pub struct Options {
    /// Where the cluster keeps its state and its certificates
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orchestra/master")]
    pub data_dir: PathBuf,
    /// Keep the objects in memory: they are gone when the master stops
    #[arg(long, conflicts_with = "etcd")]
    pub in_memory: bool,
    /// Where the cluster's authority and its join secret are kept: the same for all masters of a cluster, shared or
    /// copied [default: DIR/pki]
    #[arg(long, value_name = "DIR")]
    pub pki_dir: Option<PathBuf>,
    /// How long it is remembered what objects were before they changed [default: 72h; with --etcd 5m, as there all of it
    /// counts towards the quota, and the heartbeats of nodes with it]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub history_age: Option<Duration>,
    /// How much room that may take in DIR; in etcd, the age alone counts
    #[arg(long, value_name = "BYTES", default_value = "256Mi")]
    pub history_size: Quantity,
    /// Put what a backup holds into the data directory or etcd, which must hold nothing yet, and end
    #[arg(long, value_name = "FILE", conflicts_with = "in_memory")]
    pub restore: Option<PathBuf>,
    /// Serve no API: run the scheduler and the controllers for the API server at this URL, Kubernetes' or ours, as who the
    /// kubeconfig names. Each stands for election by the Lease that Kubernetes' own has
    #[arg(long, value_name = "URL", conflicts_with_all = ["etcd", "in_memory", "restore", "token", "advertise", "tls_san"])]
    pub server: Option<String>,
    /// With --server, leave a part out, for another program to be: kube-scheduler or kube-controller-manager
    #[arg(long, value_name = "PART,…", value_delimiter = ',', value_parser = replaceable, requires = "server")]
    pub without: Vec<Component>,
    /// With --server, make the calls of each controller as its service account in kube-system, with tokens that the user of the
    /// kubeconfig asks for. The kubeconfig of kube-controller-manager is enough then
    #[arg(long, requires = "server")]
    pub use_service_account_credentials: bool,
    /// How pods are placed
    #[command(flatten)]
    pub scheduler: SchedulerOptions,
    /// What several masters share
    #[command(flatten)]
    pub shared: Shared,
    /// Where to serve the Kubernetes API
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:6443")]
    pub listen: SocketAddr,
    /// The address by which nodes reach this machine [default: that of --listen, or the one this machine sends from]
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// More names and addresses by which the API is reached, such as those of a load balancer before the masters
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Where to write the kubeconfig [default: DIR/kubeconfig]; with --server, the one to go by [default: $KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The secret of the join token: 16 letters and digits or more [default: one made at random and kept in --pki-dir]
    #[arg(long, value_name = "SECRET", env = "ORCHESTRA_JOIN_SECRET", hide_env_values = true)]
    pub token: Option<String>,
    /// The range of cluster IPs; with one of IPv6 behind a comma Services may have both
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: ServiceRanges,
    /// The addresses of pods, of which each node is given 256, and a /64 of an IPv6 range behind a comma; none for a network
    /// that gives them out itself [default: 10.244.0.0/16, and fd00:10:244::/48 if cluster IPs are of both families; with
    /// --server none]
    #[arg(long, value_name = "CIDR[,CIDR]|none", value_parser = pod_ranges)]
    pub cluster_cidr: Option<PodAddresses>,
    /// The addresses that Services of type LoadBalancer are given, and that the nodes answer for on their segment: ranges
    /// such as 192.0.2.240-192.0.2.250 or 2001:db8::100/120 [default: none, others may give them some]
    #[arg(long, value_name = "RANGE,…", value_delimiter = ',')]
    pub load_balancer_pool: Vec<AddressRange>,
    /// Make no Service kube-dns, whose names the nodes answer: for a cluster that runs a DNS server of its own
    #[arg(long)]
    pub no_cluster_dns: bool,
    /// How long a node may be silent before it counts as NotReady
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = parse_duration)]
    pub node_monitor_grace_period: Duration,
    /// How long a node that has never reported may take for its first report
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub node_startup_grace_period: Duration,
    /// How many nodes a second that fail are given up, of each zone
    #[arg(long, value_name = "N", default_value_t = 0.1)]
    pub node_eviction_rate: f64,
    /// The same of a large zone of which many nodes fail; of a smaller one none is
    #[arg(long, value_name = "N", default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,
    /// More nodes than this make a zone large
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub large_cluster_size_threshold: usize,
    /// From which share on many nodes of a zone fail
    #[arg(long, value_name = "SHARE", default_value_t = 0.55)]
    pub unhealthy_zone_threshold: f64,
    /// How many pods that have ended are kept; 0 for all
    #[arg(long, value_name = "N", default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,
    /// How long an Event is kept
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub event_ttl: Duration,
    /// How requests are answered, and what is written down of them
    #[command(flatten)]
    pub api: ApiOptions,
    /// Show logs; twice for more
    #[arg(short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// How several masters share their state, and which of them leads.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Keep the objects in an etcd cluster, which several masters may share: one or more of its members
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// The certificate of the authority that signed those of etcd
    #[arg(long, value_name = "FILE", requires = "etcd")]
    pub etcd_cacert: Option<PathBuf>,
    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE", requires_all = ["etcd", "etcd_key"])]
    pub etcd_cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires_all = ["etcd", "etcd_cert"])]
    pub etcd_key: Option<PathBuf>,
    /// The user to be to etcd; its password is in ORCHESTRA_ETCD_PASSWORD, or in --etcd-password-file
    #[arg(long, value_name = "NAME", requires = "etcd")]
    pub etcd_user: Option<String>,
    /// A file that holds the password of --etcd-user
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long, value_name = "PREFIX", default_value = "/orchestra")]
    pub etcd_prefix: String,
    /// By what name this master stands for election, which no other has [default: the machine's and a random part]
    #[arg(long, value_name = "NAME")]
    pub leader_identity: Option<String>,
    /// How long a leader that is not heard of stays leader: whole seconds, 2 or more
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = term)]
    pub leader_term: Duration,
}

impl Shared {
    /// How to reach etcd.
    ///
    /// # Errors
    /// When a file cannot be read, or there is no password for the user.
    pub(crate) fn etcd_options(&self) -> anyhow::Result<EtcdOptions> {
        let read =
            |path: &PathBuf| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
        let user = self.etcd_user.clone().map(|name| anyhow::Ok((name, self.password()?))).transpose()?;
        Ok(EtcdOptions {
            user,
            authority: self.etcd_cacert.as_ref().map(read).transpose()?,
            identity: self
                .etcd_cert
                .as_ref()
                .zip(self.etcd_key.as_ref())
                .map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)))
                .transpose()?,
            prefix: self.etcd_prefix.clone(),
            ..EtcdOptions::default()
        })
    }

    fn password(&self) -> anyhow::Result<String> {
        if let Some(path) = &self.etcd_password_file {
            let text = fs::read_to_string(path);
            let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
            return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        std::env::var("ORCHESTRA_ETCD_PASSWORD").context(
            "--etcd-user needs a password: set ORCHESTRA_ETCD_PASSWORD, or name --etcd-password-file",
        )
    }
}

impl Options {
    /// How long a file remembers.
    pub(crate) fn retention(&self) -> Retention {
        let bytes = self.history_size.value().try_into().unwrap_or(0);
        Retention { age: self.history_age.unwrap_or(FILE_HISTORY), bytes }
    }

    /// How long etcd remembers.
    pub(crate) fn etcd_history(&self) -> Duration {
        self.history_age.unwrap_or(ETCD_HISTORY)
    }

    /// Where the authority and the join secret are.
    pub(crate) fn pki(&self, directory: &Path) -> PathBuf {
        self.pki_dir.clone().unwrap_or_else(|| directory.join("pki"))
    }

    fn eviction_rates(&self) -> controllers::EvictionRates {
        controllers::EvictionRates {
            usual: self.node_eviction_rate,
            reduced: self.secondary_node_eviction_rate,
            large: self.large_cluster_size_threshold,
            unhealthy: self.unhealthy_zone_threshold,
        }
    }

    pub(crate) fn controllers(&self, authority: Arc<Authority>) -> controllers::Config {
        controllers::Config {
            root_ca: Some(authority.certificate().to_owned()),
            authority: Some(authority),
            pod_ranges: self
                .cluster_cidr
                .unwrap_or_else(|| PodAddresses::usual(self.service_cluster_ip_range.cidrs().len() > 1))
                .0,
            dns_service: (!self.no_cluster_dns).then(|| self.service_cluster_ip_range.dns().into()),
            ..self.controllers_elsewhere()
        }
    }

    /// The controllers of an API server that is not ours: what that server or its installer sees to is left to them.
    pub(crate) fn controllers_elsewhere(&self) -> controllers::Config {
        controllers::Config {
            nodes: controllers::NodeTimes {
                monitor_grace: self.node_monitor_grace_period,
                startup_grace: self.node_startup_grace_period,
                eviction: self.eviction_rates(),
            },
            finished_pods: self.terminated_pod_gc_threshold,
            event_life: self.event_ttl,
            pod_ranges: self.cluster_cidr.and_then(|given| given.0),
            load_balancers: self.load_balancer_pool.clone().into(),
            ..controllers::Config::default()
        }
    }
}

/// The addresses of pods, if the cluster gives them out.
#[derive(Clone, Copy, Debug)]
pub struct PodAddresses(pub Option<PodRanges>);

impl PodAddresses {
    /// What a master gives out that is told nothing else.
    fn usual(both_families: bool) -> Self {
        let ranges = if both_families { "10.244.0.0/16,fd00:10:244::/48" } else { "10.244.0.0/16" };
        Self(ranges.parse().ok())
    }
}

/// A part that another program may be instead.
fn replaceable(name: &str) -> Result<Component, String> {
    match Component::parse(name) {
        Some(part @ (Component::Scheduler | Component::ControllerManager)) => Ok(part),
        _ => Err("it is kube-scheduler or kube-controller-manager that can be left out".to_owned()),
    }
}

fn pod_ranges(text: &str) -> Result<PodAddresses, InvalidPodRange> {
    let ranges = (text != "none").then(|| text.parse()).transpose()?;
    Ok(PodAddresses(ranges))
}

/// The term of a leader.
fn term(text: &str) -> Result<Duration, String> {
    let term = parse_duration(text)?;
    if term.as_secs() >= 2 && term.subsec_nanos() == 0 {
        return Ok(term);
    }
    Err(format!("{text:?} is not a term: whole seconds, 2 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_forgets_in_minutes_and_a_file_in_days() {
        let parse = |args: &[&str]| Options::parse_from([&["orchestra-master"], args].concat());
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let usual = parse(&["--etcd", "http://10.0.0.1:2379"]);
        assert_eq!((usual.etcd_history(), usual.retention().age), (minutes(5), minutes(72 * 60)));
        let told = parse(&["--history-age", "1h"]);
        assert_eq!((told.etcd_history(), told.retention().age), (minutes(60), minutes(60)));
    }
}
