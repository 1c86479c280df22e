//! A small cluster in which something runs, something crashes, and something cannot be had.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Cluster, Node};
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime::fake::{Behaviour, FakeRuntime, On};
use orchestra_core::runtime::{ExecOutput, PullFailure};
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::testing::until;
use orchestra_dashboard::Dashboard;
use orchestra_http::{Console, Credential, Remote, RemoteConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::support::{Answer, Served};

pub const PATIENCE: Duration = Duration::from_secs(60);
/// The token of an administrator, as a cookie of the dashboard.
pub const COOKIE: (&str, &str) = ("cookie", "orchestra-token=of-the-administrator");
/// The same of somebody who has no rights but those that a test gives.
pub const SOMEONE: (&str, &str) = ("cookie", "orchestra-token=of-someone");
/// Takes the administrator's header away that a request would have.
pub const BARE: (&str, &str) = ("authorization", "");
/// The secret of forms.
pub const GUARD: &str = "0123456789abcdef0123456789abcdef";

pub async fn empty() -> Served {
    let builder = Cluster::builder().store(MemoryStore::new()).rbac();
    Served::with(builder, |frontend| frontend.dashboard(Dashboard::default())).await
}

/// Two nodes, a web shop that serves, and what is wrong with the rest.
pub async fn open() -> Served {
    let mut builder = Cluster::builder().store(MemoryStore::new()).rbac();
    for name in ["node-a", "node-b"] {
        let fake = FakeRuntime::new(TokioClock::system());
        let log = (0..40).fold(Behaviour::new(), |made, line| {
            made.logs(Duration::ZERO, format!("line {line}: <script>document.title='owned'</script>"))
        });
        // A shell that says what it was asked to run, in green, and then what is typed.
        let log = log.exec_echoes().exec(|command| ExecOutput {
            stdout: format!("\x1b[32m{}\x1b[0m <b>$</b> ", command[0]).into_bytes(),
            ..ExecOutput::default()
        });
        fake.listen(80, |connection| drop(tokio::spawn(page(connection))));
        fake.on(On::image("shop:1"), log);
        fake.on(On::image("gone:1"), Behaviour::new().pull_fails(PullFailure::NotFound, "manifest unknown"));
        fake.on(On::image("crash:1"), Behaviour::new().exits(Duration::ZERO, 3));
        builder = builder.node(Node::new(name), fake, FakeNetwork::new());
    }
    let shop = Served::with(builder, |frontend| frontend.dashboard(Dashboard::default())).await;
    shop.make("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    for (name, image, replicas) in [("web", "shop:1", 3), ("worker", "crash:1", 1), ("api", "gone:1", 2)] {
        shop.make("/apis/apps/v1/namespaces/shop/deployments", deployment(name, image, replicas)).await;
    }
    for name in ["web", "api"] {
        let spec = json!({"selector": {"app": name}, "ports": [{"port": 80}]});
        shop.make("/api/v1/namespaces/shop/services", json!({"metadata": {"name": name}, "spec": spec}))
            .await;
    }
    shop.make(
        "/api/v1/namespaces/shop/configmaps",
        json!({"metadata": {"name": "settings"}, "data": {"colour": "green"}}),
    )
    .await;
    shop.until("/apis/apps/v1/namespaces/shop/deployments/web", |web| {
        web["status"]["availableReplicas"] == 3
    })
    .await;
    shop
}

/// What listens in the shop's pods: a page that would do harm, if it were let.
async fn page(mut connection: DuplexStream) {
    let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut piece).await {
            Ok(read) if read > 0 => asked.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let (kind, body) = if asked.starts_with("GET /script.js") {
        let script = "fetch('data').then((a) => a.text()).then((text) => { document.querySelector('#data').textContent = text; });
            const refused = []; for (const what of ['cookie', 'localStorage']) try { document[what] ?? window[what]; if (what === 'localStorage') localStorage; if (what === 'cookie') document.cookie; refused.push(what); } catch {}
            fetch('/ui/', {credentials: 'include'}).then((a) => { document.title = 'read ' + a.status; }, () => { document.title = 'not read'; });
            document.querySelector('#open').textContent = 'open: ' + refused.join();";
        ("text/javascript", script.to_owned())
    } else if asked.starts_with("GET /data") {
        ("text/plain", format!("cookies: {}", asked.to_lowercase().contains("\r\ncookie:")))
    } else {
        let page = "<!doctype html><h1>The shop</h1><p id=data></p><p id=open></p><a href=/second>on</a><script src=script.js></script>";
        ("text/html", page.to_owned())
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nSet-Cookie: orchestra-form=0\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
}

pub fn deployment(name: &str, image: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "main", "image": image, "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
        },
    })
}

impl Served {
    /// Makes an object as the administrator.
    pub async fn make(&self, path: &str, object: Value) {
        let answer = self.send(Method::POST, path, &[], object.to_string()).await;
        assert_eq!(answer.code, 201, "{path}: {}", answer.text());
    }

    /// Adds a namespace whose quota allows one pod of the two that are wanted there.
    pub async fn few(&self) {
        self.make("/api/v1/namespaces", json!({"metadata": {"name": "few"}})).await;
        let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}});
        self.make("/api/v1/namespaces/few/resourcequotas", quota).await;
        self.until("/api/v1/namespaces/few/resourcequotas/small", |quota| {
            quota["status"]["hard"].is_object()
        })
        .await;
        self.make("/apis/apps/v1/namespaces/few/deployments", deployment("web", "shop:1", 2)).await;
        self.until("/apis/apps/v1/namespaces/few/deployments/web", |web| {
            let conditions = web["status"]["conditions"].as_array().into_iter().flatten();
            let mut kinds = conditions.map(|condition| &condition["type"]);
            web["status"]["availableReplicas"] == 1 && kinds.any(|kind| kind == "ReplicaFailure")
        })
        .await;
    }

    /// A page of the dashboard, as whom a cookie names.
    pub async fn page(&self, page: &str, cookie: (&'static str, &'static str)) -> Answer {
        self.get(&format!("/ui/{page}"), &[BARE, cookie]).await
    }

    /// A form of the dashboard, as the administrator.
    pub async fn form(&self, page: &str, fields: &str) -> Answer {
        let cookie = format!("{}; orchestra-form={GUARD}", COOKIE.1);
        let headers = [BARE, ("cookie", &*cookie), ("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, &format!("/ui/{page}"), &headers, format!("guard={GUARD}&{fields}")).await
    }

    /// Waits until an object is as it should be.
    pub async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) {
        let last = Mutex::new(Value::Null);
        let stays = std::fmt::from_fn(|f| write!(f, "{path} changes from {}", last.lock().unwrap()));
        until(&stays, PATIENCE, async || {
            // What is not served yet is answered with a text.
            *last.lock().unwrap() =
                serde_json::from_slice(&self.get(path, &[]).await.body).unwrap_or_default();
            is(&last.lock().unwrap()).then_some(())
        })
        .await;
    }

    /// The cluster as another program sees it, as its administrator.
    pub fn remote(&self) -> Arc<Remote> {
        let identity = self.authority.issue_client("tester", &["system:masters"]).unwrap();
        Remote::connect(RemoteConfig {
            url: format!("https://{}", self.api.address()),
            authority: self.authority.certificate().to_owned(),
            credential: Credential::Certificate(identity),
        })
        .unwrap()
    }

    /// The dashboard of this machine for it: its address.
    pub async fn console(&self) -> String {
        let console = Console::bind(self.remote(), 0).await.unwrap();
        let url = console.url();
        tokio::spawn(console.run());
        url
    }
}
