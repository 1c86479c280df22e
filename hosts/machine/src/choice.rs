use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orchestra_runtime::host::DevicePlugins;

/// What runs containers, and what leads to services, as the command line says it.
#[derive(Args, Clone, Debug)]
pub struct Choice {
    /// What runs containers; auto is Docker if a daemon answers, else containerd or CRI-O if one is ready, else native as root
    /// where runc is installed, else processes of this machine
    #[arg(long, value_enum, default_value_t = Runtime::Auto)]
    pub runtime: Runtime,
    /// The socket of --runtime containerd, which it implies [default: that of containerd or CRI-O, where it usually is]
    #[arg(long, value_name = "SOCK")]
    pub runtime_endpoint: Option<String>,
    /// What leads to services: rules of the kernel or a proxy in user space; auto is the kernel for containers without a
    /// daemon, as root, where other machines are nodes too
    #[arg(long, value_enum, default_value_t = Network::Auto)]
    pub network: Network,
    /// The largest packet of pods that this program connects itself, for their devices, their bridge and the tunnels between
    /// nodes; of IPv6 none is smaller than 1280 [default: what the kernel begins devices with, in tunnels what there is room for]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub pod_mtu: Option<u32>,
    /// Which endpoint of a service takes the next connection
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Balance::RoundRobin)]
    pub balance: Balance,
    /// Where device plugins register, as with a kubelet; takes root
    #[arg(long, value_name = "DIR", default_value = DevicePlugins::USUAL)]
    pub device_plugins: Option<PathBuf>,
    /// Where --network cni finds its configuration: the first one by name
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Where it finds plugins
    #[arg(long, value_name = "DIR,…", value_delimiter = ',', default_value = "/opt/cni/bin,/usr/lib/cni")]
    pub cni_bin_dir: Vec<PathBuf>,
}

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Runtime {
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

impl Runtime {
    /// What it is called on the command line and in a data directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Native => "native",
            Self::Process => "process",
            Self::Fake => "fake",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|runtime| runtime.name() == name)
    }
}

/// What leads to services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Network {
    /// The kernel, where that is possible and other machines are nodes too, else user space
    Auto,
    /// A proxy in user space
    Userspace,
    /// Rules of the kernel, by nftables
    Nftables,
    /// Pods connected by plugins of CNI, for containers without a daemon; services by the kernel where that is possible
    Cni,
}

/// Which endpoint of a service takes the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Balance {
    /// Each in its turn
    RoundRobin,
    /// Any of them, by chance
    Random,
}

impl From<Balance> for orchestra_net::Balance {
    fn from(balance: Balance) -> Self {
        match balance {
            Balance::RoundRobin => Self::RoundRobin,
            Balance::Random => Self::Random,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        choice: Choice,
    }

    #[test]
    fn packets_have_a_size_that_both_families_can_have() {
        let read = |bytes: &str| Program::try_parse_from(["program", &format!("--pod-mtu={bytes}")]);
        assert_eq!(read("1280").unwrap().choice.pod_mtu, Some(1280));
        for bytes in ["1279", "65536", "-1", "large"] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains("--pod-mtu"), "{error}");
        }
    }

    #[test]
    fn a_runtime_is_called_the_same_everywhere() {
        for runtime in Runtime::value_variants() {
            assert_eq!(Runtime::from_str(runtime.name(), false), Ok(*runtime));
            assert_eq!(Runtime::of_name(runtime.name()), Some(*runtime));
        }
    }
}
