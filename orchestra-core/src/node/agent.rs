//! The agent: it registers its node and starts what runs until the end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::attached;
use super::collect;
use super::config::Config;
use super::context::{Context, owner};
use super::devices;
use super::fake::FakeHost;
use super::figures::Figures;
use super::followed::Followed;
use super::in_use::InUse;
use super::ledger::Ledger;
use super::no_host::NoHost;
use super::own_node::OwnNode;
use super::plugins::DevicePlugins;
use super::pods::Pods;
use super::ports::{Manifests, Prober, VolumeHost};
use super::probe_counts::ProbeCounts;
use super::pulling::Pulling;
use super::register::Registrar;
use super::residents::Residents;
use super::room::Room;
use super::service::LocalNode;
use super::shutdown::end_pods;
use super::status::NodeFacts;
use crate::api::Client;
use crate::control::events::Recorder;
use crate::network::Network;
use crate::runtime::{MachineInfo, Runtime, RuntimeError, RuntimeInfo};
use crate::supervise::Supervisor;

/// How soon a runtime that does not answer is asked again.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);

/// Runs the pods of one node.
///
/// ```no_run
/// # async fn example(
/// #     client: orchestra_core::api::Client,
/// #     runtime: std::sync::Arc<dyn orchestra_core::runtime::Runtime>,
/// #     network: std::sync::Arc<dyn orchestra_core::network::Network>,
/// #     shutdown: impl Future<Output = ()> + Send,
/// # ) {
/// use orchestra_core::node::Agent;
///
/// Agent::new("node-1", client, runtime, network).run(shutdown).await;
/// # }
/// ```
///
/// When `shutdown` resolves the agent leaves everything as it is: containers run on, and the next agent of that name
/// adopts them. Only where [`Config::shutdown`] says so they end first.
pub struct Agent {
    name: String,
    client: Client,
    runtime: Arc<dyn Runtime>,
    network: Arc<dyn Network>,
    volumes: Option<Arc<dyn VolumeHost>>,
    prober: Option<Arc<dyn Prober>>,
    plugins: Option<Arc<dyn DevicePlugins>>,
    manifests: Vec<Arc<dyn Manifests>>,
    config: Config,
    probes: Arc<ProbeCounts>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent for a node.
    ///
    /// Until it is given a place for volumes and a prober it does without: pods that want them are told so, except on a
    /// [simulated](crate::runtime::Capabilities::simulated) runtime, where volumes are remembered and probes pass.
    pub fn new(
        name: impl Into<String>,
        client: Client,
        runtime: Arc<dyn Runtime>,
        network: Arc<dyn Network>,
    ) -> Self {
        let (volumes, prober, plugins, config) = (None, None, None, Config::default());
        let (name, manifests, probes) = (name.into(), Vec::new(), Arc::default());
        Self { name, client, runtime, network, volumes, prober, plugins, manifests, config, probes }
    }

    /// Where volumes are kept.
    #[must_use]
    pub fn volumes(mut self, volumes: Arc<dyn VolumeHost>) -> Self {
        self.volumes = Some(volumes);
        self
    }

    /// How pods are probed over the network.
    #[must_use]
    pub fn prober(mut self, prober: Arc<dyn Prober>) -> Self {
        self.prober = Some(prober);
        self
    }

    /// What knows the devices of the machine that containers can be given as extended resources.
    #[must_use]
    pub fn device_plugins(mut self, plugins: Arc<dyn DevicePlugins>) -> Self {
        self.plugins = Some(plugins);
        self
    }

    /// Where the node finds pods of its own, which no API gives it. Of several of one name, those of the first place said
    /// count. They run whether there is an API or not.
    #[must_use]
    pub fn manifests(mut self, manifests: Arc<dyn Manifests>) -> Self {
        self.manifests.push(manifests);
        self
    }

    /// Everything else that can be set.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What answers requests for logs and the like of this node's pods.
    pub fn service(&self) -> LocalNode {
        let owner = owner(&self.config, &self.name);
        let figures = Figures::new(
            (self.name.clone(), owner.clone()),
            self.runtime.clone(),
            self.volumes.clone(),
            self.config.log_root.clone(),
            self.client.clock().clone(),
        );
        let told = (figures, self.probes.clone());
        LocalNode::new(self.runtime.clone(), owner, self.client.clone(), told)
    }

    /// Runs until `shutdown` resolves. Waits for a runtime or an API that is away, now or later. When this returns,
    /// nothing of the agent is still at work.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let (ctx, info) = tokio::select! {
            biased;
            prepared = self.prepare() => prepared,
            () = &mut shutdown => return,
        };
        let stop = CancellationToken::new();
        let mut registrar = Registrar::new(ctx.clone(), info.clone());
        let mut parts = Supervisor::new(format!("node/{}", ctx.name), ctx.clock().clone());
        let pods = |parts: &mut Supervisor<&'static str>| {
            let (ctx, stop) = (ctx.clone(), stop.clone());
            parts.start("pods", move || Pods::new(ctx.clone()).run(stop.clone()));
        };
        // Static pods may be what the API is made of.
        if !ctx.manifests.is_empty() {
            pods(&mut parts);
        }
        let registered = tokio::select! {
            biased;
            () = registrar.register() => true,
            () = &mut shutdown => false,
        };
        if !registered {
            stop.cancel();
            while parts.next().await.is_some() {}
            return;
        }
        {
            let (ctx, stop) = (ctx.clone(), stop.clone());
            parts.start("heartbeat", move || {
                let (mut registrar, stop) = (Registrar::new(ctx.clone(), info.clone()), stop.clone());
                async move { stop.run_until_cancelled(registrar.run()).await.unwrap_or_default() }
            });
        }
        if ctx.manifests.is_empty() {
            pods(&mut parts);
        }
        {
            let (ctx, stop) = (ctx.clone(), stop.clone());
            parts.start("images", move || {
                let (ctx, stop) = (ctx.clone(), stop.clone());
                async move { stop.run_until_cancelled(collect::run(ctx)).await.unwrap_or_default() }
            });
        }
        shutdown.await;
        if let Some(shutdown) = ctx.config.shutdown {
            end_pods(&ctx, shutdown).await;
        }
        stop.cancel();
        while parts.next().await.is_some() {}
    }

    /// Asks the runtime who and where it is, until it answers.
    async fn prepare(self) -> (Arc<Context>, RuntimeInfo) {
        let clock = self.client.clock().clone();
        let (machine, info) = loop {
            match self.describe().await {
                Ok(answer) => break answer,
                Err(error) => tracing::warn!(node = self.name, %error, "the runtime does not answer yet"),
            }
            clock.sleep(RUNTIME_RETRY).await;
        };
        let recorder =
            self.config.events.then(|| Recorder::new(self.client.clone(), "kubelet", self.name.clone()));
        let simulated = self.runtime.capabilities().simulated;
        let volumes = self
            .volumes
            .unwrap_or_else(|| if simulated { Arc::new(FakeHost::new()) } else { Arc::new(NoHost) });
        let prober = self
            .prober
            .unwrap_or_else(|| if simulated { Arc::new(FakeHost::new()) } else { Arc::new(NoHost) });
        let room = Room::of_node(&machine, &self.config);
        let own_node = OwnNode::new(&self.name, &machine, &self.config);
        let facts = NodeFacts { host_ips: self.config.addresses.clone(), runtime: info.name.clone() };
        let ctx = Context {
            name: self.name,
            runtime: self.runtime,
            network: self.network,
            volumes,
            prober,
            plugins: self.plugins,
            ledger: Ledger::default(),
            room,
            own_node,
            in_use: InUse::default(),
            manifests: self.manifests,
            recorder,
            config: self.config,
            machine,
            facts,
            followed: Followed::default(),
            residents: Residents::default(),
            attaching: RwLock::new(()),
            pulling: Pulling::default(),
            images: Mutex::default(),
            probes: self.probes,
            ending: CancellationToken::new(),
            began: clock.now(),
            client: self.client,
        };
        devices::load(&ctx).await;
        attached::load(&ctx).await;
        (Arc::new(ctx), info)
    }

    async fn describe(&self) -> Result<(MachineInfo, RuntimeInfo), RuntimeError> {
        Ok((self.runtime.machine().await?, self.runtime.info().await?))
    }
}
