//! The machines of a simulated cluster.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::cluster::{Builder, Node};
use crate::network::fake::FakeNetwork;
use crate::node::fake::FakeHost;
use crate::node::{Config, HttpAnswer, ProbeError};
use crate::runtime::fake::{Call, FakeRuntime};
use crate::runtime::{ContainerId, PullFailure, RuntimeError};

/// A machine of a simulated cluster: what runs there runs in name only, and fails as it is told.
#[derive(Clone)]
pub struct Machine {
    /// The name of its node.
    pub name: String,
    /// Its container runtime.
    pub runtime: FakeRuntime,
    /// What probes its pods and keeps their volumes.
    pub host: FakeHost,
    /// What connects its pods, in name only.
    pub network: FakeNetwork,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A container that runs on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The node.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container's name in the pod.
    pub container: String,
    /// Its id in the runtime.
    pub id: ContainerId,
}

impl Machine {
    pub(super) fn new(number: usize, clock: &SharedClock) -> Self {
        let name = format!("fake-{number}");
        let [.., high, low] = (number as u32).to_be_bytes();
        let network = FakeNetwork::with_range(Ipv4Addr::new(10, 128 | high & 0x7f, low, 0), 24);
        Self { name, runtime: FakeRuntime::new(Arc::clone(clock)), host: FakeHost::new(), network }
    }

    /// Adds the machine to a cluster.
    pub(super) fn join(&self, heartbeat: Option<Duration>, builder: Builder) -> Builder {
        let mut config = Config::default();
        if let Some(heartbeat) = heartbeat {
            // As many times that as of a node that says it as nodes do: forty seconds, and five minutes.
            (config.lease, config.status_period) = (heartbeat * 4, heartbeat * 30);
            config.heartbeat = heartbeat;
        }
        let node = Node::new(self.name.clone()).config(config);
        let node = node.volumes(self.host.clone()).prober(self.host.clone());
        builder.node(node, self.runtime.clone(), self.network.clone())
    }

    /// What runs on it.
    pub fn running(&self) -> Vec<Running> {
        let mut running = Vec::new();
        for sandbox in self.runtime.sandboxes() {
            let alive = sandbox.containers.into_iter().filter(|container| container.state.is_running());
            let pod = sandbox.meta.pod;
            running.extend(alive.map(|container| Running {
                node: self.name.clone(),
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                container: container.meta.name,
                id: container.id,
            }));
        }
        running
    }

    /// Ends everything that runs, as when the power fails.
    pub(super) fn lose_power(&self) {
        for lost in self.running() {
            self.runtime.lose_sandbox(&lost.uid);
        }
    }

    /// Loses everything that is on the disk of a machine without power.
    pub(super) fn lose_disk(&self) {
        self.runtime.wipe();
        self.host.wipe();
    }

    /// Leaves no room on the disk from now on, or all that there was.
    pub(super) fn fill_disk(&self, full: bool) {
        self.runtime.on_machine_stats(move |stats| {
            if full {
                stats.disk.available_bytes = 0;
            }
        });
    }

    /// Lets probes fail from now on, or pass.
    pub(super) fn fail_probes(&self, fail: bool) {
        self.host.close(fail);
        self.host.on_http(move |_| match fail {
            true => Err(ProbeError::Timeout),
            false => Ok(HttpAnswer { status: 200, body: String::new() }),
        });
    }

    pub(super) fn fail_pulls(&self, count: u32) {
        for _ in 0..count {
            let error = RuntimeError::Pull {
                image: String::new(),
                why: PullFailure::Unreachable,
                message: "a fault was asked for".into(),
            };
            self.runtime.fail_next(Call::PullImage, error);
        }
    }

    /// Ends a container; whose, if there is one.
    pub(super) fn end_container(&self, number: u32) -> Option<Running> {
        let running = self.running();
        let at = (number as usize).checked_rem(running.len())?;
        let ended = running.into_iter().nth(at)?;
        self.runtime.exit(&ended.id, 1);
        Some(ended)
    }
}

/// How long a machine that lost its power needs to come up.
pub(super) const BOOT: Duration = Duration::from_secs(5);
