//! From a request to its answer: who asks, whether they may, and then what they ask for.
//!
//! | file | what |
//! | --- | --- |
//! | `dashboard` | pages for people, which ask all the others |
//! | `explain` | what is wrong, and why |
//! | `what_if` | what would happen |
//! | `pipeline` | the order in which a request is looked at |
//! | `documents` | what is no resource |
//! | `resource` | what is one |
//! | `connect` | sessions and forwards |
//! | `proxy` | requests that are passed on to pods, services and nodes |

mod connect;
mod dashboard;
mod documents;
mod explain;
mod pipeline;
mod proxy;
mod resource;
mod what_if;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use orchestra_core::access::flow_control::FlowControl;
use orchestra_core::access::tokens::SigningKeys;
use orchestra_core::api::access::{Authenticator, Certificate};
use orchestra_core::api::openapi::Documents;
use orchestra_core::api::{Server, Service as _, User};
use orchestra_core::cluster::Cluster;
use orchestra_core::node::Directory;
use orchestra_core::scheduler::Configuration;
use orchestra_dashboard::Dashboard;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::aggregate::{Aggregation, Aggregator};
use crate::audit::{Audit, Recording};
use crate::auth::{self, Anonymous, Certificates};
use crate::authn::{FrontProxy, Proxied};
use crate::call::Call;
use crate::issuer::Issuer;
use crate::join::Enrolment;
use crate::metrics::Metrics;
use crate::nodes::HeldNodes;
use crate::reply::{self, Body};
use crate::serve::{self, Limits, Origin};

/// How the sender of a request is known.
#[derive(Clone, Copy)]
pub(crate) enum Sender<'r> {
    /// By what the request shows, and by the certificate of the connection if it has one.
    Of(&'r Origin),
    /// Already.
    Known(&'r User),
}

/// A request whose sender is known: what it asks for, as whom, and what is recorded of it.
pub(crate) struct Asking<'r> {
    head: &'r Parts,
    call: &'r Call<'r>,
    user: &'r User,
    record: &'r Recording,
    /// Cancelled when the server is to stop.
    closing: &'r CancellationToken,
}

impl<'r> Asking<'r> {
    pub(crate) fn head(&self) -> &'r Parts {
        self.head
    }

    pub(crate) fn call(&self) -> &'r Call<'r> {
        self.call
    }
}

/// The HTTP face of a [`Server`].
pub struct Frontend {
    server: Arc<Server>,
    directory: Directory,
    authenticator: Vec<Arc<dyn Authenticator>>,
    anonymous: Anonymous,
    enrolment: Option<Arc<Enrolment>>,
    issuer: Option<Issuer>,
    limits: Limits,
    documents: Documents,
    metrics: Metrics,
    audit: Option<Audit>,
    flow_control: Option<FlowControl>,
    proxy: Option<FrontProxy>,
    aggregator: Option<Aggregator>,
    dashboard: Option<Dashboard>,
    held: Option<HeldNodes>,
    /// How the cluster's scheduler was told to place pods.
    scheduler: Option<Configuration>,
    /// How many forks of the cluster may live at a time.
    forks: Arc<Semaphore>,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").finish_non_exhaustive()
    }
}

impl Frontend {
    /// The face of a cluster's API, for those who have a certificate of the authority that its TLS believes.
    pub fn new(cluster: &Cluster) -> Self {
        let scheduler = cluster.scheduler().cloned();
        Self { scheduler, ..Self::of(Arc::clone(cluster.server()), cluster.directory().clone()) }
    }

    /// The face of a server, whose nodes are reached by `directory`.
    pub fn of(server: Arc<Server>, directory: Directory) -> Self {
        let documents = Documents::new(server.kinds());
        let metrics = Metrics::new(Arc::clone(&server));
        let authenticator: Vec<Arc<dyn Authenticator>> =
            vec![Arc::new(Certificates), Arc::new(server.authenticators().clone())];
        let (anonymous, limits) = (Anonymous::default(), Limits::default());
        let (enrolment, issuer) = (None, None);
        let (audit, flow_control, proxy, aggregator) = (None, None, None, None);
        Self {
            server,
            directory,
            authenticator,
            anonymous,
            enrolment,
            issuer,
            limits,
            documents,
            metrics,
            audit,
            flow_control,
            proxy,
            aggregator,
            dashboard: None,
            held: None,
            scheduler: None,
            forks: Arc::new(Semaphore::new(what_if::FORKS)),
        }
    }

    /// Also believes what another authenticator knows, such as [`Tokens`](crate::Tokens). The server knows it too, for
    /// those who ask it whose a token is.
    #[must_use]
    pub fn authenticator(self, other: impl Authenticator) -> Self {
        self.server.authenticators().add(other);
        self
    }

    /// Believes a proxy that has one of these certificates when it says for whom it asks. The server must take its
    /// certificates: see [`Authority::issue_api_server_behind`](crate::Authority::issue_api_server_behind).
    #[must_use]
    pub fn behind(self, proxy: FrontProxy) -> Self {
        Self { proxy: Some(proxy), ..self }
    }

    /// Passes requests on for APIs that others serve, as the cluster's APIServices say, and looks after whether these
    /// answer. Must be called within a tokio runtime.
    #[must_use]
    pub fn aggregating(self, aggregation: Aggregation) -> Self {
        let aggregator = Some(Aggregator::start(&self.server, aggregation));
        Self { aggregator, ..self }
    }

    /// Where a request is answered that does not say who sends it.
    #[must_use]
    pub fn anonymous(self, anonymous: Anonymous) -> Self {
        Self { anonymous, ..self }
    }

    /// Says who issues the tokens of service accounts, and by which keys they are known: for others than this server.
    /// `url` is where they reach it, such as `https://10.0.0.1:6443`.
    #[must_use]
    pub fn issuing(self, keys: impl SigningKeys, url: impl Into<String>) -> Self {
        Self { issuer: Some(Issuer::new(keys, url.into())), ..self }
    }

    /// Lets nodes join that show a token.
    #[must_use]
    pub fn enrolling(self, enrolment: Arc<Enrolment>) -> Self {
        Self { enrolment: Some(enrolment), ..self }
    }

    /// Lets nodes hold connections, by which a [dialer](crate::HttpDialer::held) reaches them.
    #[must_use]
    pub fn holding(self, held: HeldNodes) -> Self {
        Self { held: Some(held), ..self }
    }

    /// Writes down who did what.
    #[must_use]
    pub fn audit(mut self, audit: Audit) -> Self {
        self.metrics.count_audit(&audit);
        Self { audit: Some(audit), ..self }
    }

    /// Looks at no more than so many requests at a time, and has the others wait, as the cluster's FlowSchemas and
    /// PriorityLevelConfigurations say. Without it, all are looked at as they come.
    #[must_use]
    pub fn flow_control(mut self, seats: u32) -> Self {
        let flow_control = FlowControl::new(self.server.caches(), self.server.clock(), seats);
        self.metrics.count_flows(&flow_control);
        Self { flow_control: Some(flow_control), ..self }
    }

    /// Serves pages for people too. They show to each who looks what the API answers them.
    #[must_use]
    pub fn dashboard(self, dashboard: Dashboard) -> Self {
        Self { dashboard: Some(dashboard), ..self }
    }

    /// How long clients may take, and how many there may be.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn connection_limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What it is the face of.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

#[async_trait]
impl serve::Answer for Frontend {
    fn whose(&self, chain: &[CertificateDer<'_>]) -> (Option<Certificate>, Option<Proxied>) {
        let has_signed = self.proxy.as_ref().is_some_and(|proxy| proxy.has_signed(chain));
        if has_signed {
            // A proxy is no client: of its certificate, the name says only that it is one.
            return (None, self.proxy.as_ref().and_then(|proxy| proxy.knows(chain)));
        }
        (chain.first().and_then(|leaf| auth::certificate(leaf)), None)
    }

    async fn answer(&self, request: Request<Incoming>, origin: &Origin) -> Response<Body> {
        Self::answer(self, request, origin).await
    }
}

fn not_found() -> Response<Body> {
    reply::text(404, "404 page not found\n")
}
