use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::part::{Component, Part};
use super::{Cluster, bootstrap};
use crate::access::node::NodeRestriction;
use crate::access::rbac::NoEscalation;
use crate::access::tokens::{ServiceAccountTokens, SigningKeys, TokenRequests};
use crate::access::{self, reviews};
use crate::admission::{self, ServiceRanges};
use crate::api::access::{self as policy, Authorizer, Chain, Masters};
use crate::api::{
    Admission, AuthorizerFactory, Caches, Client, Resource, Server, ServerConfig, Service, Status, Target,
    User,
};
use crate::clock::{SharedClock, TokioClock};
use crate::control::leader::{Candidate, lead};
use crate::controllers::{self, ApiService};
use crate::extensions;
use crate::meta::GroupResource;
use crate::network::Network;
use crate::network::fake::FakeNetwork;
use crate::node::{self, Agent, Directory, Prober, VolumeHost};
use crate::objects;
use crate::proxy;
use crate::runtime::Runtime;
use crate::runtime::fake::FakeRuntime;
use crate::scheduler::Scheduler;
use crate::store::backup::is_half_restored;
use crate::store::history::forget_older;
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};
use crate::supervise::Task;
use crate::webhook::{Caller, Webhooks};

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
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

/// A node that runs in this process: its name, and what its agent needs beside a runtime and a network.
#[derive(Clone)]
pub struct Node {
    name: String,
    config: node::Config,
    volumes: Option<Arc<dyn VolumeHost>>,
    prober: Option<Arc<dyn Prober>>,
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
        Self { name: name.into(), config: node::Config::default(), volumes: None, prober: None }
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

    /// How its pods are probed.
    #[must_use]
    pub fn prober(mut self, prober: impl Prober) -> Self {
        self.prober = Some(Arc::new(prober));
        self
    }
}

struct Setup {
    node: Node,
    runtime: Arc<dyn Runtime>,
    network: Arc<dyn Network>,
}

/// A cluster to be started. What is not said has a default: everything in memory, no nodes.
#[derive(Default)]
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    clock: Option<SharedClock>,
    kinds: Vec<Resource>,
    nodes: Vec<Setup>,
    fake_nodes: usize,
    fake_config: Option<node::Config>,
    ranges: ServiceRanges,
    controllers: controllers::Config,
    authorizer: Option<AuthorizerFactory>,
    roles: bool,
    tokens: Option<Arc<dyn SigningKeys>>,
    admissions: Vec<MakeAdmission>,
    webhooks: Option<Arc<dyn Caller>>,
    own: Vec<(String, MakeOwn)>,
    without: BTreeSet<Component>,
    address: Option<(IpAddr, u16)>,
    standing: Option<Standing>,
    history: Option<Duration>,
}

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
    pub fn fake_node_config(mut self, config: node::Config) -> Self {
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

    /// Makes what says who may do what, given the caches that it may read; [`api::access::standard`](policy::standard) by default. Put it into
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

    /// Starts the cluster. The API answers when this returns; nodes and controllers are on their way.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn start(mut self) -> Result<Cluster, StartError> {
        let clock = self.clock.clone().unwrap_or_else(TokioClock::system);
        let stop = CancellationToken::new();
        if let Some(store) = &self.store
            && is_half_restored(&**store).await?
        {
            return Err(StartError::HalfRestored);
        }
        let server = self.server(&clock, stop.clone()).await?;
        let forgetting = match self.history {
            Some(age) => Some(forget(&server, stop.clone(), age)?),
            None => None,
        };
        let client = server.client(User::named("system:apiserver").in_group("system:masters"));
        let extensions = self.extensions(&server, &client, stop.clone()).await?;
        bootstrap::namespaces(&client).await?;
        if self.roles {
            access::bootstrap::reconcile(&client).await?;
        }
        if self.standing.is_none() {
            self.api_service().ensure(&client).await?;
        }
        let directory = Directory::default();
        let metrics = self.controllers.metrics.clone();
        let webhooks = Webhooks::new(self.webhooks.clone(), server.caches(), &clock);
        let parts = self.parts(&server, &directory, &clock);
        for part in parts.values() {
            part.start();
        }
        Ok(Cluster {
            server,
            parts,
            directory,
            webhooks,
            metrics,
            stop,
            _forgetting: forgetting,
            _extensions: extensions,
        })
    }

    /// Serves the custom kinds that there are, and follows those that come and go.
    async fn extensions(
        &self,
        server: &Arc<Server>,
        client: &Client,
        stop: CancellationToken,
    ) -> Result<Task, StartError> {
        let extensions = extensions::install(server).await?;
        let (client, metrics) = (client.clone(), self.controllers.metrics.clone());
        Ok(Task::start("extensions", Arc::clone(server.clock()), move || {
            extensions::run(extensions.clone(), client.clone(), metrics.clone(), stop.clone())
        }))
    }

    /// The parts of the cluster, none of which runs yet.
    fn parts(
        mut self,
        server: &Arc<Server>,
        directory: &Directory,
        clock: &SharedClock,
    ) -> BTreeMap<Component, Part> {
        let mut parts = BTreeMap::new();
        for component in [Component::Scheduler, Component::ControllerManager] {
            let part = self.leading(server, &component);
            parts.insert(component, part);
        }
        for (name, run) in std::mem::take(&mut self.own) {
            let client = server.client(User::service_account("kube-system", &name));
            let component = Component::Own(name);
            let part =
                Part::new(component.clone(), server.clock(), Box::new(move |stop| run(client.clone(), stop)));
            parts.insert(component, part);
        }
        let without = std::mem::take(&mut self.without);
        for setup in self.setups(clock) {
            add_node(server, directory, &mut parts, setup);
        }
        parts.retain(|component, _| !without.contains(component));
        parts
    }

    async fn server(
        &mut self,
        clock: &SharedClock,
        stop: CancellationToken,
    ) -> Result<Arc<Server>, StoreError> {
        let mut kinds = objects::builtin();
        for kind in &self.kinds {
            kinds.add(kind.clone());
        }
        let (ranges, admission_clock, review_clock) =
            (self.ranges.clone(), Arc::clone(clock), Arc::clone(clock));
        let (own, roles) = (std::mem::take(&mut self.admissions), self.roles);
        // Their volume holds the authority's certificate too: without one, pods would wait for it for ever.
        let mounts_tokens = self.tokens.is_some() && self.controllers.root_ca.is_some();
        let tokens = self.tokens.clone();
        let config = ServerConfig {
            store: self.store.clone().unwrap_or_else(|| Arc::new(MemoryStore::new())),
            kinds: Arc::new(kinds),
            clock: Arc::clone(clock),
            admission: Box::new(move |caches, authorizer| {
                let mut all = admission::standard(caches, &admission_clock, ranges, mounts_tokens);
                if roles {
                    all.push(Arc::new(NodeRestriction::new(caches)));
                }
                all.push(Arc::new(NoEscalation::new(caches, authorizer)));
                all.extend(own.into_iter().map(|make| make(caches)));
                all
            }),
            authorizer: self.authorizer.take().unwrap_or_else(|| Box::new(|_| Arc::new(policy::standard()))),
            responders: Box::new(move |caches, authorizer, authenticators| {
                let all = reviews::responders(authorizer, authenticators, &review_clock);
                let Some(keys) = tokens else { return all };
                authenticators.add(ServiceAccountTokens::new(caches, &review_clock, Arc::clone(&keys)));
                let requests = TokenRequests::new(caches, &review_clock, keys);
                all.subresource(GroupResource::of::<ServiceAccount>(), "token", requests)
            }),
        };
        Server::start(config, stop).await
    }

    /// A part of which the cluster has one: it runs at once, or when this master is elected.
    fn leading(&self, server: &Arc<Server>, component: &Component) -> Part {
        let name = component.to_string();
        let user = User::named(format!("system:{name}"));
        let client = server.client(user.clone());
        let run: Arc<Run> = match component {
            Component::Scheduler => Arc::new(schedule),
            _ => {
                let (api_service, tokens) = (Some(self.api_service()), self.tokens.clone());
                Arc::new(manage(controllers::Config { api_service, tokens, ..self.controllers.clone() }))
            }
        };
        let (component, clock) = (component.clone(), server.clock());
        let Some(standing) = &self.standing else {
            return Part::new(component, clock, Box::new(move |stop| run(client.clone(), stop)));
        };
        let candidate = Candidate::new(&standing.identity, name).term(standing.term);
        let server = Arc::clone(server);
        let stand = move |stop: CancellationToken| -> BoxFuture<'static, ()> {
            let (client, candidate) = (client.clone(), candidate.clone());
            let (server, user, run) = (Arc::clone(&server), user.clone(), Arc::clone(&run));
            Box::pin(async move {
                let work = |token| work_fenced(&server, &candidate, user.clone(), &run, token);
                lead(&client, client.clock(), candidate.clone(), work, stop.cancelled_owned()).await;
            })
        };
        Part::new(component, clock, Box::new(stand))
    }

    /// The service through which pods reach the API: of several masters, the one whose controllers run.
    fn api_service(&self) -> ApiService {
        ApiService { ranges: self.ranges.clone(), address: self.address }
    }

    /// The nodes that were given, and the fake ones.
    fn setups(self, clock: &SharedClock) -> Vec<Setup> {
        let mut setups = self.nodes;
        let config = self.fake_config.unwrap_or_default();
        setups.extend((0..self.fake_nodes).map(|index| Setup {
            node: Node::new(format!("fake-{index}")).config(config.clone()),
            runtime: Arc::new(FakeRuntime::new(Arc::clone(clock))),
            network: Arc::new(FakeNetwork::with_range(fake_range(index), 24)),
        }));
        setups
    }
}

/// Has the store forget what is old, for as long as the server runs.
fn forget(server: &Arc<Server>, stop: CancellationToken, age: Duration) -> Result<Task<()>, Status> {
    let (store, clock) = (server.store()?, Arc::clone(server.clock()));
    Ok(Task::once(async move {
        stop.run_until_cancelled(forget_older(&*store, &clock, age)).await;
    }))
}

/// What a part does that has a leader, given the leader's client.
type Run = dyn Fn(Client, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync;

/// Does a leader's work by a client whose writes are refused once another leads.
async fn work_fenced(
    server: &Arc<Server>,
    candidate: &Candidate,
    user: User,
    run: &Arc<Run>,
    stop: CancellationToken,
) {
    let lease = Target::of::<Lease>(Some(&candidate.namespace)).named(&*candidate.name);
    match server.fence(&lease, |lease| candidate.holds(lease)).await {
        Ok(fence) => run(server.fenced_client(fence, user), stop).await,
        Err(status) => warn!(error = %status, lease = candidate.name, "this leader cannot begin yet"),
    }
}

fn schedule(client: Client, stop: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if let Err(error) = Scheduler::new(client).run(stop.cancelled_owned()).await {
            error!(%error, "the scheduler stopped");
        }
    })
}

fn manage(config: controllers::Config) -> impl Fn(Client, CancellationToken) -> BoxFuture<'static, ()> {
    move |client, stop| Box::pin(controllers::run_all(client, config.clone(), stop.cancelled_owned()))
}

fn add_node(
    server: &Arc<Server>,
    directory: &Directory,
    parts: &mut BTreeMap<Component, Part>,
    setup: Setup,
) {
    let Setup { node, runtime, network } = setup;
    let name = node.name.clone();
    let user = User::named(format!("system:node:{name}")).in_group("system:nodes");
    let client = server.client(user);
    let agent = {
        let (client, network) = (client.clone(), Arc::clone(&network));
        move || {
            let mut agent =
                Agent::new(node.name.clone(), client.clone(), Arc::clone(&runtime), Arc::clone(&network));
            if let Some(volumes) = &node.volumes {
                agent = agent.volumes(Arc::clone(volumes));
            }
            if let Some(prober) = &node.prober {
                agent = agent.prober(Arc::clone(prober));
            }
            agent.config(node.config.clone())
        }
    };
    directory.insert(name.clone(), Arc::new(agent().service()));
    parts.insert(
        Component::Kubelet(name.clone()),
        Part::new(
            Component::Kubelet(name.clone()),
            server.clock(),
            Box::new(move |stop| Box::pin(agent().run(stop.cancelled_owned()))),
        ),
    );
    let proxied = name.clone();
    let run = Box::new(move |stop: CancellationToken| -> BoxFuture<'static, ()> {
        let (client, name, network) = (client.clone(), proxied.clone(), Arc::clone(&network));
        Box::pin(async move {
            if let Err(error) = proxy::run(client, name, network, stop.cancelled_owned()).await {
                error!(%error, "a service proxy stopped");
            }
        })
    });
    let component = Component::Proxy(name);
    parts.insert(component.clone(), Part::new(component, server.clock(), run));
}

/// The first address of a fake node's pods: each node has a range of its own below 10.128.0.0.
fn fake_range(index: usize) -> Ipv4Addr {
    let [_, _, high, low] = (index as u32).to_be_bytes();
    Ipv4Addr::new(10, 128 | high & 0x7f, low, 0)
}
