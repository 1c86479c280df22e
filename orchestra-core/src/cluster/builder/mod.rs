//! What is said of a cluster before it starts.

mod node;
mod start;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use self::node::Node;
use self::node::Setup;
use super::part::Component;
use crate::access;
use crate::access::tokens::SigningKeys;
use crate::admission::ServiceRanges;
use crate::api::access::{Authorizer, Chain, Masters, standard};
use crate::api::{Admission, AuthorizerFactory, Caches, Client, Resource, Service, Status};
use crate::clock::SharedClock;
use crate::control::{Controller, Reconciler};
use crate::controllers::{self, SeenMasters};
use crate::network::Network;
use crate::node::Config as NodeConfig;
use crate::runtime::Runtime;
use crate::scheduler::Configuration;
use crate::store::{Store, StoreError};
use crate::webhook::Caller;

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// The store holds a part of a backup only.
    #[error("a backup was not restored to its end: empty the store, and restore it again")]
    HalfRestored,
    /// What every cluster has from the start cannot be made.
    #[error("the cluster's own objects cannot be made: {0}")]
    Bootstrap(#[from] Status),
}

/// A cluster to be started. What is not said has a default: everything in memory, no nodes.
#[derive(Default)]
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    clock: Option<SharedClock>,
    kinds: Vec<Resource>,
    nodes: Vec<Setup>,
    fake_nodes: usize,
    fake_config: Option<NodeConfig>,
    ranges: ServiceRanges,
    controllers: controllers::Config,
    authorizer: Option<AuthorizerFactory>,
    roles: bool,
    tokens: Option<Arc<dyn SigningKeys>>,
    admissions: Vec<MakeAdmission>,
    webhooks: Option<Arc<dyn Caller>>,
    own: Vec<(String, MakeOwn)>,
    without: BTreeSet<Component>,
    scheduler: Option<Configuration>,
    address: Option<(IpAddr, u16)>,
    standing: Option<Standing>,
    /// What this master knows of others.
    seen_masters: Arc<SeenMasters>,
    history: Option<Duration>,
    figures: bool,
    layer: Option<Layer>,
}

/// Makes that by which the cluster's parts reach the API, of the API server.
type Layer = Box<dyn FnOnce(Arc<dyn Service>) -> Arc<dyn Service> + Send>;

/// Makes an admission of the embedder's, given the caches that it may read.
type MakeAdmission = Box<dyn FnOnce(&Caches) -> Arc<dyn Admission> + Send>;
/// Makes what a part of the embedder's own does, given its client.
type MakeOwn = Box<dyn Fn(Client, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// As whom, and for how long a term, this master stands for election.
struct Standing {
    identity: String,
    term: Duration,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Builder {
    /// Where the state is kept; in memory by default.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Time and chance; the machine's by default.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Adds a kind, beside the built-in ones.
    #[must_use]
    pub fn kind(mut self, resource: Resource) -> Self {
        self.kinds.push(resource);
        self
    }

    /// Adds a node that runs its pods by a runtime and connects them by a network.
    #[must_use]
    pub fn node(mut self, node: Node, runtime: impl Runtime, network: impl Network) -> Self {
        self.nodes.push(Setup { node, runtime: Arc::new(runtime), network: Arc::new(network) });
        self
    }

    /// Adds nodes named `fake-0`, `fake-1` … whose containers run in name only.
    #[must_use]
    pub fn fake_nodes(mut self, count: usize) -> Self {
        self.fake_nodes = count;
        self
    }

    /// How the agents of the fake nodes do what they do.
    #[must_use]
    pub fn fake_node_config(mut self, config: NodeConfig) -> Self {
        self.fake_config = Some(config);
        self
    }

    /// The cluster IPs and node ports that services may have.
    #[must_use]
    pub fn service_ranges(mut self, ranges: ServiceRanges) -> Self {
        self.ranges = ranges;
        self
    }

    /// How the controllers do what they do.
    #[must_use]
    pub fn controllers(mut self, config: controllers::Config) -> Self {
        self.controllers = config;
        self
    }

    /// Makes what says who may do what, given the caches that it may read; [`api::access::standard`](crate::api::access::standard) by default. Put it into
    /// a [`Chain`] with that one to add to it. Whatever it says, the group `system:masters` may do everything: the
    /// cluster itself is in it.
    #[must_use]
    pub fn authorizer<A: Authorizer>(mut self, make: impl FnOnce(&Caches) -> A + Send + 'static) -> Self {
        self.authorizer = Some(Box::new(|caches| Arc::new(Chain::new().then(Masters).then(make(caches)))));
        self
    }

    /// Has rights be given by roles: nobody but the group `system:masters` may do anything that no Role or ClusterRole says
    /// which is bound to them. The roles and bindings that Kubernetes has from the start are made, and kept.
    #[must_use]
    pub fn rbac(mut self) -> Self {
        self.authorizer = Some(Box::new(|caches| Arc::new(access::standard(caches))));
        self.roles = true;
        self
    }

    /// Also asks others who may do what: some before what decides otherwise, some after it. What is to decide otherwise is
    /// said before, as by [`Builder::rbac`]. The group `system:masters` may do everything whatever they say.
    #[must_use]
    pub fn asking(mut self, before: Chain, after: Chain) -> Self {
        let own = self.authorizer.take().unwrap_or_else(|| Box::new(|_| Arc::new(standard())));
        self.authorizer = Some(Box::new(move |caches| {
            Arc::new(Chain::new().then(Masters).then(before).then(own(caches)).then(after))
        }));
        self
    }

    /// Issues tokens for service accounts, signed by these keys, and knows them again. Pods get the token of their account
    /// if the cluster has an authority whose certificate they are given, as [`controllers::Config::root_ca`] says.
    #[must_use]
    pub fn tokens(mut self, keys: impl SigningKeys) -> Self {
        self.tokens = Some(Arc::new(keys));
        self
    }

    /// Asks an admission of one's own for every write, after those that every cluster has. It is made of the caches that
    /// it may read.
    #[must_use]
    pub fn admission<A: Admission>(mut self, make: impl FnOnce(&Caches) -> A + Send + 'static) -> Self {
        self.admissions.push(Box::new(|caches| Arc::new(make(caches))));
        self
    }

    /// Calls webhooks by this: those of admission, of conversions and others. Without one, what asks a webhook fails, or
    /// goes on without, as the webhook's configuration says.
    #[must_use]
    pub fn webhooks(mut self, caller: impl Caller) -> Self {
        self.webhooks = Some(Arc::new(caller));
        self
    }

    /// Adds a part of one's own, such as a controller or a scheduler: it runs until the token is cancelled, and is
    /// stopped and started as [`Component::Own`]. Its client is the user of the service account `NAME` of the namespace
    /// `kube-system`.
    ///
    /// ```
    /// # use orchestra_core::cluster::Cluster;
    /// # use orchestra_core::k8s_openapi::api::core::v1::Namespace;
    /// let builder = Cluster::builder().part("greeter", |client, stop| async move {
    ///     let made = client.cluster::<Namespace>().list().await;
    ///     tracing::info!(namespaces = made.map_or(0, |list| list.len()), "hello");
    ///     stop.cancelled().await;
    /// });
    /// ```
    #[must_use]
    pub fn part<F>(
        mut self,
        name: impl Into<String>,
        run: impl Fn(Client, CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.own.push((name.into(), Box::new(move |client, stop| Box::pin(run(client, stop)))));
        self
    }

    /// Adds a controller of one's own, as a [part](Self::part) of that name: `make` says what it follows, each time that it is
    /// started, and `reconciler` does the work.
    ///
    /// ```
    /// # use orchestra_core::cluster::Cluster;
    /// # use orchestra_core::control::{Action, Context, Controller, Error};
    /// # use orchestra_core::k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
    /// async fn reconcile(context: Context) -> Result<Action, Error> {
    ///     // … bring what there is closer to what the ConfigMap wants …
    ///     # let _ = context;
    ///     Ok(Action::Done)
    /// }
    ///
    /// let builder = Cluster::builder().controller(
    ///     "deployer",
    ///     |client| Controller::new::<ConfigMap>(client).owns::<Deployment>(),
    ///     reconcile,
    /// );
    /// ```
    #[must_use]
    pub fn controller(
        self,
        name: impl Into<String>,
        make: impl Fn(Client) -> Controller + Send + Sync + 'static,
        reconciler: impl Reconciler,
    ) -> Self {
        let (name, reconciler): (String, Arc<dyn Reconciler>) = (name.into(), Arc::new(reconciler));
        self.part(name.clone(), move |client, stop| {
            let stopped = stop.cancelled_owned().boxed();
            let running = make(client).run_boxed(Arc::clone(&reconciler), stopped);
            let name = name.clone();
            async move {
                if let Err(status) = running.await {
                    tracing::error!(name, %status, "a controller has ended");
                }
            }
        })
    }

    /// How long nodes may be silent that have reported, and how long those that never have.
    pub(crate) fn silence(mut self, reported: Duration, never: Duration) -> Self {
        let nodes = &mut self.controllers.nodes;
        (nodes.monitor_grace, nodes.startup_grace) = (reported, never);
        self
    }

    /// Leaves out the parts of the embedder's own.
    pub(crate) fn without_own_parts(mut self) -> Self {
        self.own.clear();
        self
    }

    /// Serves the API `metrics.k8s.io` from what the nodes tell of the use of their resources, as `kubectl top` and
    /// autoscalers ask for it. Another server of that API, which an APIService names, comes before.
    #[must_use]
    pub fn figures_of_use(mut self) -> Self {
        self.figures = true;
        self
    }

    /// Has the cluster's parts (scheduler, controllers, the nodes' agents and proxies, and the embedder's own) reach the API
    /// by what `layer` makes of the API server: to count, delay or refuse what they ask, as a network and a server do
    /// between separate programs. A leader that was [elected](Self::elect) writes past it.
    #[must_use]
    pub fn layer<S: Service>(mut self, layer: impl FnOnce(Arc<dyn Service>) -> S + Send + 'static) -> Self {
        self.layer = Some(Box::new(|server| Arc::new(layer(server))));
        self
    }

    /// How the scheduler places pods; as Kubernetes does by default, if it is not said.
    #[must_use]
    pub fn scheduler(mut self, configuration: Configuration) -> Self {
        self.scheduler = Some(configuration);
        self
    }

    /// Leaves a part out, such as the scheduler where the embedder brings one.
    #[must_use]
    pub fn without(mut self, component: Component) -> Self {
        self.without.insert(component);
        self
    }

    /// Where a host serves the API, for the `kubernetes` service.
    #[must_use]
    pub fn api_address(mut self, address: IpAddr, port: u16) -> Self {
        self.address = Some((address, port));
        self
    }

    /// Makes this one of several masters over one store: scheduler and controllers run here only while this master
    /// holds their Leases, `kube-scheduler` and `kube-controller-manager` in `kube-system`. `identity` is a name that
    /// no other master has, nor had before. A leader that is not heard of for a `term` (of whole seconds; Kubernetes'
    /// is [`TERM`](crate::control::leader::TERM)) is succeeded; it stops by itself after two thirds of it.
    #[must_use]
    pub fn elect(mut self, identity: impl Into<String>, term: Duration) -> Self {
        self.standing = Some(Standing { identity: identity.into(), term });
        self
    }

    /// Forgets what objects were before so long, in a store that keeps everything until it is told, as etcd does.
    #[must_use]
    pub fn forget_after(mut self, age: Duration) -> Self {
        self.history = Some(age);
        self
    }
}
