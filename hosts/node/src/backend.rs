//! What runs the containers and connects them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use orchestra_core::clock::SharedClock;
use orchestra_core::network::Network;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_net::UserspaceNetwork;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::process::{self, ProcessRuntime};

use crate::options::Runtime;

/// A runtime with the network that goes with it.
pub(crate) struct Backend {
    pub(crate) runtime: Arc<dyn runtime::Runtime>,
    pub(crate) network: Arc<dyn Network>,
}

/// Chooses as the options say. `owner` tells what is this node's on the machine from what is others'.
pub(crate) async fn choose(
    wanted: Runtime,
    directory: &Path,
    owner: &str,
    clock: &SharedClock,
) -> anyhow::Result<Backend> {
    let network = UserspaceNetwork::new().owner(owner);
    if wanted == Runtime::Fake {
        let network = FakeNetwork::with_range(fake_range(owner), 24);
        return Ok(Backend {
            runtime: Arc::new(FakeRuntime::new(Arc::clone(clock))),
            network: Arc::new(network),
        });
    }
    if wanted != Runtime::Process {
        match DockerRuntime::connect().await {
            Ok(docker) => return Ok(Backend { runtime: Arc::new(docker), network: Arc::new(network) }),
            Err(error) if wanted == Runtime::Docker => {
                return Err(error).context("no Docker daemon answers; start one, or use --runtime process");
            }
            Err(_) => {}
        }
    }
    let config = process::Config::new(directory.join("containers"));
    let runtime = ProcessRuntime::open(config).await.context("processes cannot be run as containers")?;
    Ok(Backend { runtime: Arc::new(runtime), network: Arc::new(network.host_ports(true)) })
}

/// The first address of the pods of a fake node: most nodes of a cluster have a range of their own.
fn fake_range(owner: &str) -> Ipv4Addr {
    // FNV-1a: the same range at every start.
    let hash =
        owner.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [_, _, high, low] = hash.to_be_bytes();
    Ipv4Addr::new(10, 128 | high & 0x7f, low, 0)
}
