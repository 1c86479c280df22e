//! A master with one node, which is in its own process or elsewhere, and those who step into the node's one pod.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use orchestra_core::api::{Api, Patch, Status};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::stream::{AttachOptions, ExecOptions, Session};
use orchestra_core::testing::until;
use orchestra_http::{
    Authority, Credential, Enrolment, Frontend, HttpDialer, Masters, Remote, RemoteConfig, ServerTls,
    Submitted, hold_node, join, serve_node,
};
use orchestra_spdy::{Spdy, SpdyStream};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{Agent, Does};
use crate::support::{Served, TOKEN};

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const POD: &str = "/api/v1/namespaces/default/pods/a";
const NODE: &str = "far";

/// Where the node is.
#[derive(Clone, Copy, Debug)]
pub enum Where {
    Here,
    Elsewhere,
    /// Elsewhere, at no port that anybody reaches: it holds a connection to the master.
    Held,
}

pub struct World {
    pub served: Served,
    pub agent: Arc<Agent>,
    /// The pods, as a client elsewhere has them.
    pub pods: Api<Pod>,
    /// How many tasks there are when nobody does anything.
    idle: usize,
    _node: Option<(DropGuard, tempfile::TempDir)>,
}

impl World {
    pub async fn start(place: Where) -> Self {
        let builder = Cluster::builder().without(Component::ControllerManager).without(Component::Scheduler);
        let master = OnceCell::new();
        let known = |authority: &Arc<Authority>| {
            let dialer = HttpDialer::new(authority).unwrap();
            let enrolment = Enrolment::new(Arc::clone(authority), "0123456789abcdef").unwrap();
            let _ = master.set((dialer, Arc::new(enrolment)));
            // Who may hold a connection is a matter of roles.
            if let Where::Held = place { builder.rbac() } else { builder }
        };
        let face = |face: Frontend| {
            let (dialer, enrolment) = master.get().unwrap();
            face.holding(dialer.held()).enrolling(Arc::clone(enrolment))
        };
        let served = Served::sharing(known, face).await;
        let (dialer, enrolment) = master.into_inner().unwrap();
        served.cluster.directory().dial_with(Arc::new(dialer));
        let agent = Arc::new(Agent::default());
        let near = served.cluster.client();
        let node = json!({"metadata": {"name": NODE}});
        near.cluster::<Node>().create(&serde_json::from_value(node).unwrap()).await.unwrap();
        let node = match place {
            Where::Here => {
                served.cluster.directory().insert(NODE, Arc::clone(&agent) as _);
                None
            }
            Where::Elsewhere => Some(elsewhere(&served, &agent).await),
            Where::Held => Some(held(&served, &enrolment, &agent).await),
        };
        let containers: Vec<_> =
            Does::ALL.iter().map(|does| json!({"name": does.name(), "image": "any"})).collect();
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": NODE, "containers": containers}})
            .to_string();
        let made = served.send(Method::POST, "/api/v1/namespaces/default/pods", &[], pod).await;
        assert_eq!(made.code, 201, "{}", made.text());
        let config = RemoteConfig {
            url: format!("https://{}", served.api.address()),
            authority: served.authority.certificate().to_owned(),
            credential: Credential::Token(TOKEN.trim_start_matches("Bearer ").to_owned()),
        };
        let pods = Remote::connect(config).unwrap().client().api::<Pod>("default");
        let mut world = Self { served, agent, pods, idle: usize::MAX, _node: node };
        // What is made for the first session and stays is made now.
        world.pods.get("a").await.unwrap();
        drop(world.exec(Does::Nothing).await);
        world.until_nothing_is_left().await;
        world.idle = tasks();
        world
    }

    /// A command, by WebSocket.
    pub async fn exec(&self, does: Does) -> Session<Status> {
        let options = ExecOptions { command: vec!["any".into()], streams: streams() };
        self.pods.exec("a", Some(does.name()), options).await.unwrap()
    }

    /// What runs anyway, by WebSocket.
    pub async fn attach(&self, does: Does) -> Session<Status> {
        self.pods.attach("a", Some(does.name()), streams()).await.unwrap()
    }

    /// A command or what runs anyway, by SPDY: what it hears, what it says, and how it ended.
    pub async fn by_spdy(&self, how: &str, does: Does) -> OldSession {
        let path = format!("{POD}/{how}?container={}&command=any&stdin=true&stdout=true", does.name());
        let kinds = ["error", "stdin", "stdout"].map(|kind| [("streamtype", kind)]);
        let wanted: Vec<&[(&str, &str)]> = kinds.iter().map(|headers| headers.as_slice()).collect();
        let (carrier, begun) = self.spdy(&path, "v4.channel.k8s.io", &wanted).await;
        let [error, stdin, stdout] = begun.try_into().unwrap();
        OldSession { error, stdin, stdout, carrier }
    }

    /// A connection of SPDY, and its streams.
    pub async fn spdy(
        &self,
        path: &str,
        protocol: &str,
        wanted: &[&[(&str, &str)]],
    ) -> (AbortOnDropHandle<()>, Vec<SpdyStream>) {
        let stream = self.served.connect().await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let request = Request::post(path)
            .header(HOST, "localhost")
            .header(AUTHORIZATION, TOKEN)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "SPDY/3.1")
            .header("x-stream-protocol-version", protocol)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answered = async {
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 101);
            hyper::upgrade::on(answer).await.unwrap()
        };
        let (_, upgraded) = tokio::join!(connection.with_upgrades(), answered);
        let (spdy, begun) = Spdy::begin(TokioIo::new(upgraded), wanted);
        let carrier = tokio::spawn(async move { drop(spdy.run().await) });
        (AbortOnDropHandle::new(carrier), begun)
    }

    /// Waits until no session is left: nothing that runs, and no task here, at the master or at the node, of which each
    /// has one for a connection.
    pub async fn until_nothing_is_left(&self) {
        until("the end of all sessions", DEADLINE, async || (self.agent.open() == 0).then_some(())).await;
        until("the end of all tasks", DEADLINE, async || (tasks() <= self.idle).then_some(())).await;
    }
}

/// A session by SPDY.
pub struct OldSession {
    pub error: SpdyStream,
    pub stdin: SpdyStream,
    pub stdout: SpdyStream,
    pub carrier: AbortOnDropHandle<()>,
}

fn streams() -> AttachOptions {
    AttachOptions { stdin: true, stdout: true, ..AttachOptions::default() }
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Serves the agent at a port of its own, where its node says that it is.
async fn elsewhere(served: &Served, agent: &Arc<Agent>) -> (DropGuard, tempfile::TempDir) {
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let identity = served.authority.issue_server(&[format!("{NODE}.nodes.orchestra.internal")], &[]).unwrap();
    let tls = ServerTls::new(&identity, served.authority.certificate()).unwrap();
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let submitted = Arc::new(Submitted::open(folder.path().join("manifests"), NODE).unwrap());
    let closing = CancellationToken::new();
    tokio::spawn(serve_node(listener, tls, (Arc::clone(agent) as _, submitted), closing.clone()));
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    served.cluster.client().cluster::<Node>().patch_status(NODE, Patch::Merge(status)).await.unwrap();
    (closing.drop_guard(), folder)
}

/// Has the agent hold a connection to the master, and waits until it is asked by it.
async fn held(served: &Served, enrolment: &Enrolment, agent: &Arc<Agent>) -> (DropGuard, tempfile::TempDir) {
    let masters = Masters::new([format!("https://{}", served.api.address())]).unwrap();
    let identity = join(&masters, enrolment.token(), NODE).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let submitted = Arc::new(Submitted::open(folder.path().join("manifests"), NODE).unwrap());
    let (service, closing) = (Arc::clone(agent), CancellationToken::new());
    let closed = closing.clone();
    tokio::spawn(async move {
        hold_node(masters, &identity, (service, submitted), closed).await.unwrap();
    });
    let client = served.cluster.client();
    let reached = async || served.cluster.directory().find(&client, NODE).await.ok();
    until("the node holds a connection", DEADLINE, reached).await;
    (closing.drop_guard(), folder)
}
