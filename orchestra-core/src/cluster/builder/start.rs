//! From what was said of a cluster to one that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::node::Setup;
use super::{Builder, Node, Standing, StartError};
use crate::access::node::NodeRestriction;
use crate::access::rbac::NoEscalation;
use crate::access::tokens::{ServiceAccountTokens, TokenRequests};
use crate::access::{self, reviews};
use crate::admission;
use crate::api::access as policy;
use crate::api::{Caches, Client, Responders, Server, ServerConfig, Service, Status, Target, User};
use crate::clock::{SharedClock, TokioClock};
use crate::cluster::part::{Component, Part};
use crate::cluster::{Cluster, bootstrap};
use crate::control::Metrics;
use crate::control::leader::{Candidate, lead};
use crate::controllers::{self, ApiService, announce};
use crate::extensions;
use crate::meta::GroupResource;
use crate::network::fake::FakeNetwork;
use crate::node::{Agent, Connections, Directory, FiguresOfUse};
use crate::objects;
use crate::objects::metrics::{NodeMetrics, PodMetrics};
use crate::proxy;
use crate::runtime::fake::FakeRuntime;
use crate::scheduler::{Configuration, Scheduler};
use crate::store::StoreError;
use crate::store::backup::is_half_restored;
use crate::store::history::forget_older;
use crate::store::memory::MemoryStore;
use crate::supervise::Task;
use crate::webhook::Webhooks;

impl Builder {
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
        let directory = Directory::default();
        let server = self.server(&clock, &directory, stop.clone()).await?;
        let forgetting = match self.history {
            Some(age) => Some(forget(&server, stop.clone(), age)?),
            None => None,
        };
        let client = server.client(User::named("system:apiserver").in_group("system:masters"));
        let webhooks = Webhooks::new(self.webhooks.clone(), server.caches(), &clock);
        let following = stop.child_token();
        let metrics = self.controllers.metrics.clone();
        let extensions = extended(&server, &client, &webhooks, metrics, following.clone()).await?;
        bootstrap::namespaces(&client).await?;
        if self.tokens.is_some() {
            bootstrap::token_tracking(&client).await?;
        }
        if self.roles {
            access::bootstrap::reconcile(&client, self.figures).await?;
        }
        if self.standing.is_none() {
            self.api_service().ensure(&client, &BTreeSet::new()).await?;
        }
        server.connect_by(Arc::new(Connections::new(&server, directory.clone())));
        let announced = self.announced(&client, stop.child_token());
        let metrics = self.controllers.metrics.clone();
        let access = self.access(&server);
        let scheduler = self.scheduler.clone();
        let parts = self.parts(&server, &access, &directory, &clock);
        for part in parts.values() {
            part.start();
        }
        Ok(Cluster {
            server,
            parts,
            directory,
            webhooks,
            metrics,
            scheduler,
            stop,
            _forgetting: forgetting,
            following,
            announced: Mutex::new(announced),
            extensions: Mutex::new(Some(extensions)),
        })
    }

    /// By what the parts reach the API.
    fn access(&mut self, server: &Arc<Server>) -> Arc<dyn Service> {
        let server: Arc<dyn Service> = Arc::clone(server) as _;
        match self.layer.take() {
            Some(layer) => layer(server),
            None => server,
        }
    }

    /// The parts of the cluster, none of which runs yet.
    fn parts(
        mut self,
        server: &Arc<Server>,
        access: &Arc<dyn Service>,
        directory: &Directory,
        clock: &SharedClock,
    ) -> BTreeMap<Component, Part> {
        let mut parts = BTreeMap::new();
        for component in [Component::Scheduler, Component::ControllerManager] {
            let part = self.leading(server, access, &component);
            parts.insert(component, part);
        }
        for (name, run) in std::mem::take(&mut self.own) {
            let client = Client::new(Arc::clone(access), User::service_account("kube-system", &name));
            let component = Component::Own(name);
            let part =
                Part::new(component.clone(), server.clock(), Box::new(move |stop| run(client.clone(), stop)));
            parts.insert(component, part);
        }
        let without = std::mem::take(&mut self.without);
        for setup in self.setups(clock) {
            add_node(access, directory, &mut parts, setup);
        }
        parts.retain(|component, _| !without.contains(component));
        parts
    }

    async fn server(
        &mut self,
        clock: &SharedClock,
        directory: &Directory,
        stop: CancellationToken,
    ) -> Result<Arc<Server>, StoreError> {
        let mut kinds = objects::builtin();
        let figures = self.figures.then(|| (directory.clone(), Arc::clone(clock)));
        for kind in
            self.kinds.iter().cloned().chain(self.figures.then(objects::metrics::rows).into_iter().flatten())
        {
            kinds.add(kind);
        }
        let (ranges, admission_clock, review_clock) =
            (self.ranges.clone(), Arc::clone(clock), Arc::clone(clock));
        let (own, roles) = (std::mem::take(&mut self.admissions), self.roles);
        // Their volume holds the authority's certificate too: without one, pods would wait for it for ever.
        let mounts_tokens = self.tokens.is_some() && self.controllers.root_ca.is_some();
        let (tokens, caller) = (self.tokens.clone(), self.webhooks.clone());
        let config = ServerConfig {
            store: self.store.clone().unwrap_or_else(|| Arc::new(MemoryStore::new())),
            kinds: Arc::new(kinds),
            clock: Arc::clone(clock),
            admission: Box::new(move |caches, authorizer| {
                let webhooks = Webhooks::new(caller, caches, &admission_clock);
                let asked = (authorizer, &webhooks);
                let mut all = admission::standard(caches, &admission_clock, ranges, mounts_tokens, asked);
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
                let all = match figures {
                    Some((directory, clock)) => figures_of_use(all, caches, &directory, &clock),
                    None => all,
                };
                let Some(keys) = tokens else { return all };
                authenticators.add(ServiceAccountTokens::new(caches, &review_clock, Arc::clone(&keys)));
                let requests = TokenRequests::new(caches, &review_clock, keys);
                all.subresource(GroupResource::of::<ServiceAccount>(), "token", requests)
            }),
        };
        Server::start(config, stop).await
    }

    /// A part of which the cluster has one: it runs at once, or when this master is elected.
    fn leading(&self, server: &Arc<Server>, access: &Arc<dyn Service>, component: &Component) -> Part {
        let name = component.to_string();
        let user = User::named(format!("system:{name}"));
        let client = Client::new(Arc::clone(access), user.clone());
        let run: Arc<Run> = match component {
            Component::Scheduler => Arc::new(schedule(self.scheduler.clone())),
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

    /// The service through which pods reach the API.
    fn api_service(&self) -> ApiService {
        let seen = Arc::clone(&self.seen_masters);
        ApiService { seen, ..ApiService::new(self.ranges.clone(), self.address) }
    }

    /// Says of one of several masters that it lives, and where it serves.
    fn announced(&self, client: &Client, stop: CancellationToken) -> Option<(CancellationToken, Task)> {
        let (Standing { identity, term }, (ip, port)) = self.standing.as_ref().zip(self.address)?;
        let (client, own) = (client.clone(), (identity.clone(), SocketAddr::new(ip, port), *term));
        let (clock, seen) = (Arc::clone(client.clock()), Arc::clone(&self.seen_masters));
        let ends = stop.clone();
        let work = move || {
            let shutdown = ends.clone().cancelled_owned();
            announce(client.clone(), own.clone(), Arc::clone(&seen), shutdown)
        };
        Some((stop, Task::start("apiserver-lease", clock, work)))
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

/// Serves the custom kinds that there are, and follows those that come and go.
async fn extended(
    server: &Arc<Server>,
    client: &Client,
    webhooks: &Webhooks,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<Task, StartError> {
    let extensions = extensions::install(server, webhooks).await?;
    let client = client.clone();
    Ok(Task::start("extensions", Arc::clone(server.clock()), move || {
        extensions::run(extensions.clone(), client.clone(), metrics.clone(), stop.clone())
    }))
}

/// Has the nodes be asked for their figures of use.
fn figures_of_use(
    all: Responders,
    caches: &Caches,
    directory: &Directory,
    clock: &SharedClock,
) -> Responders {
    all.computed(GroupResource::of::<NodeMetrics>(), FiguresOfUse::of_nodes(caches, directory, clock))
        .computed(GroupResource::of::<PodMetrics>(), FiguresOfUse::of_pods(caches, directory, clock))
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

fn schedule(
    configuration: Option<Configuration>,
) -> impl Fn(Client, CancellationToken) -> BoxFuture<'static, ()> {
    move |client, stop| {
        let scheduler = configuration.iter().cloned().fold(Scheduler::new(client), Scheduler::configured);
        Box::pin(async move {
            if let Err(error) = scheduler.run(stop.cancelled_owned()).await {
                error!(%error, "the scheduler stopped");
            }
        })
    }
}

fn manage(config: controllers::Config) -> impl Fn(Client, CancellationToken) -> BoxFuture<'static, ()> {
    move |client, stop| Box::pin(controllers::run_all(client, config.clone(), stop.cancelled_owned()))
}

fn add_node(
    access: &Arc<dyn Service>,
    directory: &Directory,
    parts: &mut BTreeMap<Component, Part>,
    setup: Setup,
) {
    let Setup { node, runtime, network } = setup;
    let name = node.name.clone();
    let user = User::named(format!("system:node:{name}")).in_group("system:nodes");
    let client = Client::new(Arc::clone(access), user);
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
            if let Some(plugins) = &node.plugins {
                agent = agent.device_plugins(Arc::clone(plugins));
            }
            for manifests in &node.manifests {
                agent = agent.manifests(Arc::clone(manifests));
            }
            agent.config(node.config.clone())
        }
    };
    directory.insert(name.clone(), Arc::new(agent().service()));
    parts.insert(
        Component::Kubelet(name.clone()),
        Part::new(
            Component::Kubelet(name.clone()),
            access.clock(),
            Box::new(move |stop| Box::pin(agent().run(stop.cancelled_owned()))),
        ),
    );
    let (client, proxied) = (Client::new(Arc::clone(access), User::named(proxy::USER)), name.clone());
    let run = Box::new(move |stop: CancellationToken| -> BoxFuture<'static, ()> {
        let (client, name, network) = (client.clone(), proxied.clone(), Arc::clone(&network));
        Box::pin(async move {
            if let Err(error) = proxy::run(client, name, network, stop.cancelled_owned()).await {
                error!(%error, "a service proxy stopped");
            }
        })
    });
    let component = Component::Proxy(name);
    parts.insert(component.clone(), Part::new(component, access.clock(), run));
}

/// The first address of a fake node's pods: each node has a range of its own below 10.128.0.0.
fn fake_range(index: usize) -> Ipv4Addr {
    let [_, _, high, low] = (index as u32).to_be_bytes();
    Ipv4Addr::new(10, 128 | high & 0x7f, low, 0)
}
