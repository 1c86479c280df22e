use std::fmt;
use std::sync::Arc;

use crate::network::Network;
use crate::node::{self, DevicePlugins, Manifests, Prober, VolumeHost};
use crate::runtime::Runtime;

/// A node that runs in this process: its name, and what its agent needs beside a runtime and a network.
#[derive(Clone)]
pub struct Node {
    pub(super) name: String,
    pub(super) config: node::Config,
    pub(super) volumes: Option<Arc<dyn VolumeHost>>,
    pub(super) prober: Option<Arc<dyn Prober>>,
    pub(super) plugins: Option<Arc<dyn DevicePlugins>>,
    pub(super) manifests: Vec<Arc<dyn Manifests>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Node {
    /// A node of that name.
    ///
    /// On a [simulated](crate::runtime::Capabilities::simulated) runtime, volumes are kept in memory and probes pass
    /// until it is given others. On any other runtime nothing can stand in for them: pods that want volumes or are
    /// probed over the network are told that the node has neither, until it is given both.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            config: node::Config::default(),
            volumes: None,
            prober: None,
            plugins: None,
            manifests: Vec::new(),
        }
    }

    /// How its agent does what it does.
    #[must_use]
    pub fn config(mut self, config: node::Config) -> Self {
        self.config = config;
        self
    }

    /// Where its volumes are kept.
    #[must_use]
    pub fn volumes(mut self, volumes: impl VolumeHost) -> Self {
        self.volumes = Some(Arc::new(volumes));
        self
    }

    /// Where it finds pods of its own, which no API gives it.
    #[must_use]
    pub fn manifests(mut self, manifests: Arc<dyn Manifests>) -> Self {
        self.manifests.push(manifests);
        self
    }

    /// What knows the devices that its containers can be given as extended resources.
    #[must_use]
    pub fn device_plugins(mut self, plugins: Arc<dyn DevicePlugins>) -> Self {
        self.plugins = Some(plugins);
        self
    }

    /// How its pods are probed.
    #[must_use]
    pub fn prober(mut self, prober: impl Prober) -> Self {
        self.prober = Some(Arc::new(prober));
        self
    }
}

/// A node with what runs and connects its pods.
pub(super) struct Setup {
    pub(super) node: Node,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) network: Arc<dyn Network>,
}
