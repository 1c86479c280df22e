//! What runs the containers of this node and connects them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use orchestra_core::clock::SharedClock;
use orchestra_core::network;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_machine::{Machine, Place};

use crate::options::Options;

/// A runtime with the network that goes with it.
pub(crate) struct Backend {
    pub(crate) runtime: Arc<dyn runtime::Runtime>,
    pub(crate) network: Arc<dyn network::Network>,
    /// What they are on; none where containers run in name only.
    pub(crate) machine: Option<Machine>,
}

/// Chooses as the options say. `owner` tells what is this node's on the machine from what is others'.
pub(crate) async fn choose(
    options: &Options,
    directory: &Path,
    owner: &str,
    clock: &SharedClock,
) -> anyhow::Result<Backend> {
    // Without a master there are no other nodes, and nobody gives addresses.
    let place = Place { directory, owner, several: !options.standalone, pods: options.pod_cidr };
    let Some(machine) = orchestra_machine::choose(&options.machine, place).await? else {
        return Ok(Backend {
            runtime: Arc::new(FakeRuntime::new(Arc::clone(clock))),
            network: Arc::new(FakeNetwork::with_range(fake_range(owner), 24)),
            machine: None,
        });
    };
    Ok(Backend { runtime: machine.runtime(), network: machine.network(), machine: Some(machine) })
}

impl Backend {
    /// Whether the machine is given addresses: those of services, names and load balancers.
    pub(crate) fn takes_addresses(&self) -> bool {
        self.machine.as_ref().is_some_and(Machine::takes_addresses)
    }
}

/// The first address of the pods of a fake node: most nodes of a cluster have a range of their own.
fn fake_range(owner: &str) -> Ipv4Addr {
    // FNV-1a: the same range at every start.
    let hash =
        owner.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [_, _, high, low] = hash.to_be_bytes();
    Ipv4Addr::new(10, 128 | high & 0x7f, low, 0)
}
