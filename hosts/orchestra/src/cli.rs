use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use orchestra_core::admission::ServiceRanges;
use orchestra_core::cluster::Component;
use orchestra_core::controllers::load_balancer::AddressRange;
use orchestra_core::meta::Revision;
use orchestra_core::node::Thresholds;
use orchestra_core::quantity::Quantity;
use orchestra_core::runtime::ImageRef;
use orchestra_http::{ApiOptions, SchedulerOptions};
use orchestra_machine::Choice;

/// Kubernetes in one program: a whole cluster on this machine.
#[derive(Debug, Parser)]
#[command(name = "orchestra", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a cluster in the foreground, until Ctrl-C
    Up(Box<Up>),
    /// Show a throw-away cluster deploy, heal, scale and roll a small application
    Demo(Demo),
    /// Start a part of a running cluster that was stopped
    Start(Part),
    /// Stop a part of a running cluster, to see what happens without it
    Stop(Part),
    /// Show which parts of a running cluster are running
    Status(DataDir),
    /// Show what an object has been, when it changed and who changed it; show a version of it, or go back to one
    History(History),
    /// Show what is wrong, the worst first, and why; or what is the matter with one object, down to the cause
    Explain(Explain),
    /// Show what would happen if a node were lost, a workload scaled, a manifest applied …, and touch nothing
    WhatIf(WhatIf),
    /// Write down what happens to a cluster, by watches, until Ctrl-C
    Record(Record),
    /// Live through what was recorded again, in virtual time, with other nodes or another scheduler, and compare
    Simulate(Simulate),
    /// Look at what runs in a cluster and what is wrong there, live, on a terminal
    Top(Top),
    /// Open the dashboard of a cluster in a browser, as whoever the kubeconfig names
    Dashboard(Dashboard),
    /// Print a manifest of an old version, from v1beta1 on, as a cluster of today takes it
    Convert(Convert),
    /// Type what was typed before there was kubectl: list minions, resize, -p 8080:80 run IMAGE N NAME, …
    #[command(disable_help_flag = true)]
    Kubecfg(Kubecfg),
    /// Load an image from a file for clusters of --runtime native, list their images, remove one
    #[command(subcommand)]
    Image(Image),
    /// Write all that a running cluster holds to a file
    Backup(Backup),
    /// Put what a backup holds into a new data directory
    Restore(Restore),
    /// Take all that a cluster, a node or a master of a data directory has on this machine off it: pods, addresses, rules,
    /// routes, mounts, and the directory
    Reset(Reset),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DataDir {
    /// Where the cluster keeps its state
    #[arg(long, value_name = "DIR", default_value_os_t = default_data_dir())]
    pub(crate) data_dir: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Where to serve the Kubernetes API
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,
    /// Where to write the kubeconfig [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// What runs containers and leads to services
    #[command(flatten)]
    pub(crate) machine: Choice,
    /// The range of cluster IPs, for a second cluster on a machine; with one of IPv6 behind a comma Services and pods may have
    /// both, by --network nftables [default: 10.96.0.0/12; processes without root have loopback addresses]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub(crate) service_cluster_ip_range: Option<ServiceRanges>,
    /// The addresses that Services of type LoadBalancer are given, and that this machine answers for on its segment: ranges
    /// such as 192.0.2.240-192.0.2.250 or 2001:db8::100/120; without root, of loopback
    #[arg(long, value_name = "RANGE,…", value_delimiter = ',')]
    pub(crate) load_balancer_pool: Vec<AddressRange>,
    /// Serve Ingresses there, such as 0.0.0.0:80, of the class orchestra, which is the default one if no other is
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) ingress_listen: Option<SocketAddr>,
    /// Serve Ingresses by TLS there, such as 0.0.0.0:443, with the certificates that they name
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) ingress_tls_listen: Option<SocketAddr>,
    /// How many nodes, with the fake runtime
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) nodes: usize,
    /// The name of the node, with a real runtime
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub(crate) node_name: String,
    /// Leave parts out, for others to run: kube-scheduler, kube-controller-manager. A kubeconfig for each is written
    #[arg(long, value_name = "PART,…", value_delimiter = ',', value_parser = replaceable)]
    pub(crate) without: Vec<Component>,
    /// How pods are placed
    #[command(flatten)]
    pub(crate) scheduler: SchedulerOptions,
    /// A folder or file with manifests of pods that the node runs whatever the API says
    #[arg(long, value_name = "PATH")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// A URL that says the same, asked every 20 s
    #[arg(long, value_name = "URL")]
    pub(crate) manifest_url: Option<String>,
    /// How little may be left of the machine before pods are evicted, as the kubelet's option; nothing for never
    #[arg(long, value_name = "SIGNAL<AMOUNT", default_value = "memory.available<100Mi")]
    pub(crate) eviction_hard: Thresholds,
    /// Let other machines join as nodes, and print the line by which they do; implied when --listen is not loopback
    #[arg(long)]
    pub(crate) join: bool,
    /// How long it is remembered what objects were before they changed
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = orchestra_core::clock::parse_duration)]
    pub(crate) history_age: Duration,
    /// How much room that may take
    #[arg(long, value_name = "BYTES", default_value = "256Mi")]
    pub(crate) history_size: Quantity,
    /// How requests are answered, and what is written down of them
    #[command(flatten)]
    pub(crate) api: ApiOptions,
    /// Show logs; twice for more
    #[arg(short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Up {
    /// Whether other machines may become nodes.
    pub(crate) fn is_joinable(&self) -> bool {
        self.join || !self.listen.ip().is_loopback()
    }
}

/// Which cluster, and how to reach it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Access {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// The kubeconfig of the cluster, for one that runs elsewhere [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl Access {
    /// What the cluster is called here: the file by which it is known.
    pub(crate) fn named(&self) -> String {
        self.kubeconfig.as_ref().unwrap_or(&self.data.data_dir).display().to_string()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct History {
    /// The object, as kubectl takes it: deployment web, or deploy/web
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    pub(crate) object: Vec<String>,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Show what became of its status too
    #[arg(long, conflicts_with_all = ["revision", "restore"])]
    pub(crate) all: bool,
    /// Show the object as it was at this revision
    #[arg(long, value_name = "R")]
    pub(crate) revision: Option<Revision>,
    /// In which form
    #[arg(short, long, value_enum, requires = "revision", default_value_t = Output::Yaml)]
    pub(crate) output: Output,
    /// Make the object again what it was at this revision; one that is gone is made anew
    #[arg(long, value_name = "R", conflicts_with = "revision")]
    pub(crate) restore: Option<Revision>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    /// The object, as kubectl takes it: pod web-0, or deploy/web. Without it, all that is wrong is listed
    #[arg(value_name = "KIND/NAME", num_args = 0..=2)]
    pub(crate) object: Vec<String>,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Try in a copy of the cluster which small change helps the object, and how long that takes
    #[arg(long = "try", requires = "object")]
    pub(crate) tried: bool,
    #[command(flatten)]
    pub(crate) scheduler: SchedulerOptions,
    /// List what is wrong in all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "object"])]
    pub(crate) all_namespaces: bool,
    /// In which form
    #[arg(short, long, value_enum, default_value_t = Told::Text)]
    pub(crate) output: Told,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// Of objects no more is written than placing depends on: no environment, no arguments, no annotations, no Secrets.
#[derive(Args, Clone, Debug)]
pub(crate) struct Record {
    /// The file to write, which must not be there
    #[arg(short, long, value_name = "TRACE")]
    pub(crate) output: PathBuf,
    /// End after so long
    #[arg(long, value_name = "TIME", value_parser = orchestra_core::clock::parse_duration)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Simulate {
    /// A file that `orchestra record` wrote
    pub(crate) trace: PathBuf,
    /// Live through it on the nodes of this file: manifests of Nodes with status.allocatable; one with the annotation
    /// orchestra.dev/count stands for as many, and for a group that grows and shrinks as pods need it if that is two
    /// numbers, such as 2-10
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Live through it with the HorizontalPodAutoscalers of this file, in place of what those wrote that were recorded
    #[arg(long, value_name = "FILE")]
    pub(crate) autoscalers: Option<PathBuf>,
    /// How the scheduler chooses among nodes
    #[arg(long, value_enum, default_value_t = Scheduling::Spread)]
    pub(crate) scheduling: Scheduling,
    /// In which form
    #[arg(short, long, value_enum, default_value_t = Told::Text)]
    pub(crate) output: Told,
}

/// How a simulated scheduler chooses among nodes that can take a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheduling {
    /// The emptiest, as Kubernetes does
    Spread,
    /// The fullest, so that others stay empty
    Pack,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Top {
    /// Look at this namespace; at all of them without
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Dashboard {
    /// At which port of this machine; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Print the address, and open no browser
    #[arg(long)]
    pub(crate) url: bool,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// All that is said happens in one fork of the cluster, in the order in which the options stand here.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhatIf {
    #[command(flatten)]
    pub(crate) scheduler: SchedulerOptions,
    /// Apply the manifests of this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Have a workload have so many pods, as in deploy/web=40
    #[arg(long, value_name = "KIND/NAME=N")]
    pub(crate) scale: Vec<String>,
    /// Delete an object
    #[arg(long, value_name = "KIND/NAME")]
    pub(crate) delete: Vec<String>,
    /// Have a node take no more pods
    #[arg(long, value_name = "NODE")]
    pub(crate) cordon: Vec<String>,
    /// Have a node take pods again
    #[arg(long, value_name = "NODE")]
    pub(crate) uncordon: Vec<String>,
    /// Have a node take no more pods, and evict those that it has
    #[arg(long, value_name = "NODE")]
    pub(crate) drain: Vec<String>,
    /// Upgrade a node: drain it, have it away for two minutes, and have it take pods again; each that is named, one after
    /// another
    #[arg(long, value_name = "NODE")]
    pub(crate) upgrade: Vec<String>,
    /// Lose a node with all that runs there
    #[arg(long, value_name = "NODE")]
    pub(crate) lose_node: Vec<String>,
    /// The namespace of what is scaled and deleted
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// In which form
    #[arg(short, long, value_enum, default_value_t = Told::Text)]
    pub(crate) output: Told,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// How an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Told {
    /// For people
    Text,
    /// JSON
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Convert {
    /// The manifest, of one document or several; - is the standard input
    pub(crate) file: PathBuf,
    /// In which form
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    pub(crate) output: Output,
}

/// Its flags are not those of the other commands, so it reads them itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct Kubecfg {
    /// As it was typed; without anything, how it was to be used is printed
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// A command line as it was typed. By the name of `kubecfg`, or of the script that stood around it, this program is that.
pub(crate) fn typed(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let called = words.first().and_then(|program| Path::new(program).file_stem()).map(OsStr::to_owned);
    if called.is_some_and(|called| called == "kubecfg") {
        words.insert(1, "kubecfg".into());
    }
    words
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Image {
    /// Load the images of an archive, as `docker save` or `skopeo copy … oci-archive:` writes one
    Load {
        /// The archive, compressed or not; - is the standard input
        file: PathBuf,
        /// What the image is to be called, if the archive has but one
        #[arg(long, value_name = "NAME", value_parser = image_name)]
        name: Option<ImageRef>,
        #[command(flatten)]
        data: DataDir,
    },
    /// List the images
    Ls {
        #[command(flatten)]
        data: DataDir,
    },
    /// Take names from images; the last name of an image takes the image with it
    Rm {
        /// Names, or ids as `orchestra image ls` shows them
        #[arg(required = true)]
        images: Vec<String>,
        #[command(flatten)]
        data: DataDir,
    },
}

fn image_name(text: &str) -> Result<ImageRef, String> {
    ImageRef::parse(text).map_err(|error| error.to_string())
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Backup {
    /// The file to write. It holds the cluster's Secrets
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Restore {
    /// A file that `orchestra backup` wrote
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataDir,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Only print what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Demo {
    /// Do not pause between the steps
    #[arg(long)]
    pub(crate) fast: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Part {
    /// kube-apiserver, kube-scheduler, kube-controller-manager, kubelet or kube-proxy; of one node: kubelet/NODE
    pub(crate) part: String,
    #[command(flatten)]
    pub(crate) data: DataDir,
}

/// A part that another program may be instead.
fn replaceable(name: &str) -> Result<Component, String> {
    match Component::parse(name) {
        Some(part @ (Component::Scheduler | Component::ControllerManager)) => Ok(part),
        _ => Err("it is kube-scheduler or kube-controller-manager that can be left out".to_owned()),
    }
}

pub(crate) fn default_data_dir() -> PathBuf {
    // One that is empty or not absolute is none, as the specification has it.
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|base| base.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    base.or_else(home).unwrap_or_else(|| PathBuf::from(".")).join("orchestra")
}
