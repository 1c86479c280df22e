use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admission::{self, ServiceRanges};
use crate::api::access::Authenticated;
use crate::api::{Api, Client, Resource, Responders, Server, ServerConfig, User};
use crate::clock::{SharedClock, TokioClock};
use crate::meta::{Object, Scope};
use crate::objects;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::webhook::{Caller, Webhooks};

/// An API server for a test of something that talks to one: a controller, a scheduler, an agent. It has all the rules
/// of a cluster's API and none of its controllers, so that nothing happens but what the test and its subject do.
///
/// In a test with paused time (`#[tokio::test(start_paused = true)]`) an hour passes at once when everyone waits.
/// [`Api::until`] waits for an object to be as it should. The server ends when this is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
/// use orchestra_core::testing::TestServer;
/// use serde_json::json;
///
/// let server = TestServer::start().await;
/// let web: Deployment = server
///     .create(json!({
///         "metadata": {"name": "web"},
///         "spec": {
///             "selector": {"matchLabels": {"app": "web"}},
///             "template": {
///                 "metadata": {"labels": {"app": "web"}},
///                 "spec": {"containers": [{"name": "web", "image": "nginx"}]},
///             },
///         },
///     }))
///     .await;
/// assert_eq!(web.spec.unwrap().replicas, Some(1), "defaults are those of a real server");
/// # }
/// ```
pub struct TestServer {
    server: Arc<Server>,
    _stop: DropGuard,
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").finish_non_exhaustive()
    }
}

/// A [`TestServer`] to be started. What is not said is as in a cluster: the built-in kinds, the admissions that a
/// cluster has, the namespace `default`.
pub struct TestServerBuilder {
    store: Option<Arc<dyn Store>>,
    seed: u64,
    clock: Option<SharedClock>,
    kinds: Vec<Resource>,
    namespaces: Vec<String>,
    ranges: ServiceRanges,
    admission: bool,
    webhooks: Option<Arc<dyn Caller>>,
}

impl fmt::Debug for TestServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServerBuilder").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl TestServerBuilder {
    /// Where the state is, such as a [`FaultyStore`](super::FaultyStore); in memory by default.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// What chance follows from, such as the names that are generated; 1 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The time by which it lives; one that is simulated by default.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Serves a further kind.
    #[must_use]
    pub fn kind(mut self, kind: Resource) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Has a further namespace from the start.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespaces.push(name.into());
        self
    }

    /// The cluster IPs and node ports that services may have.
    #[must_use]
    pub fn service_ranges(mut self, ranges: ServiceRanges) -> Self {
        self.ranges = ranges;
        self
    }

    /// Takes whatever is valid in itself: namespaces need not be there, and services get no addresses.
    #[must_use]
    pub fn without_admission(mut self) -> Self {
        self.admission = false;
        self
    }

    /// Calls webhooks by this, such as [`FakeWebhooks`](super::FakeWebhooks).
    #[must_use]
    pub fn webhooks(mut self, caller: impl Caller) -> Self {
        self.webhooks = Some(Arc::new(caller));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the store cannot be read or written.
    pub async fn start(self) -> TestServer {
        let clock = self.clock.unwrap_or_else(|| TokioClock::simulated(self.seed));
        let mut kinds = objects::builtin();
        for kind in self.kinds {
            kinds.add(kind);
        }
        let (admitting, ranges, admission_clock) = (self.admission, self.ranges, Arc::clone(&clock));
        let webhooks = self.webhooks;
        let config = ServerConfig {
            store: self.store.unwrap_or_else(|| Arc::new(MemoryStore::new())),
            kinds: Arc::new(kinds),
            clock,
            admission: Box::new(move |caches, authorizer| {
                let webhooks = Webhooks::new(webhooks, caches, &admission_clock);
                match admitting {
                    true => {
                        let asked = (authorizer, &webhooks);
                        admission::standard(caches, &admission_clock, ranges, false, asked)
                    }
                    false => Vec::new(),
                }
            }),
            authorizer: Box::new(|_| Arc::new(Authenticated)),
            responders: Box::new(|_, _, _| Responders::new()),
        };
        let stop = CancellationToken::new();
        let server = match Server::start(config, stop.clone()).await {
            Ok(server) => server,
            Err(error) => panic!("the test's API server does not start: {error}"),
        };
        let server = TestServer { server, _stop: stop.drop_guard() };
        for name in self.namespaces {
            server.create::<Namespace>(json!({"metadata": {"name": name}})).await;
        }
        server
    }
}

impl TestServer {
    /// A server like a cluster's, in memory.
    ///
    /// # Panics
    /// Never, unless memory runs out.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server to be described.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder {
            store: None,
            seed: 1,
            clock: None,
            kinds: Vec::new(),
            namespaces: vec!["default".to_owned()],
            ranges: ServiceRanges::default(),
            admission: true,
            webhooks: None,
        }
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.server.client(User::admin())
    }

    /// The server itself.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The server's clock.
    pub fn clock(&self) -> SharedClock {
        Arc::clone(self.client().clock())
    }

    /// The objects of a kind: those of the namespace `default`, if the kind has namespaces.
    pub fn api<K: Object>(&self) -> Api<K> {
        match K::SCOPE {
            Scope::Namespaced => self.client().api("default"),
            Scope::Cluster => self.client().cluster(),
        }
    }

    /// Makes an object of what stands in its manifest; in the namespace `default`, if it names none.
    ///
    /// # Panics
    /// When the manifest is not one of the kind, or is refused.
    pub async fn create<K: Object>(&self, manifest: Value) -> K {
        let object = match K::deserialize(&manifest) {
            Ok(object) => object,
            Err(error) => panic!("the manifest is not of a {}: {error}", K::KIND),
        };
        let api = match object.meta().namespace.as_deref().filter(|_| K::SCOPE == Scope::Namespaced) {
            Some(namespace) => self.client().api(namespace),
            None => self.api(),
        };
        match api.create(&object).await {
            Ok(created) => created,
            Err(status) => panic!("the {} is refused: {status}", K::KIND),
        }
    }
}
