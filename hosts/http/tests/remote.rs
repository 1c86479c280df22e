//! A master elsewhere is used as one here: every operation, watches, caches that outlive the server's absence.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use orchestra_core::api::{
    Api, Body, Client, DeleteOptions, Kind, ListOptions, LogQuery, Operation, Patch, Reason, Reply, Resource,
    Service as _, Target, WatchEvent, WatchOptions, WriteOptions,
};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Builder, Cluster, Node};
use orchestra_core::k8s_openapi::api::authentication::v1::SelfSubjectReview;
use orchestra_core::k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orchestra_core::meta::{Object, ObjectName, Revision};
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime::fake::{Behaviour, FakeRuntime, On};
use orchestra_core::runtime::{AttachOptions, ExecOptions, ExecOutput};
use orchestra_core::selector::FieldSelector;
use orchestra_core::watch::{IndexedField, Query};
use orchestra_http::{ApiHost, Authority, Credential, Frontend, Remote, RemoteConfig, ServerTls, TokenKeys};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
/// A namespace in which nobody else makes ConfigMaps: the cluster has no root certificate to hand out.
const NAMESPACE: &str = "kube-public";

struct Served {
    cluster: Cluster,
    api: ApiHost,
    authority: Authority,
}

impl Served {
    async fn start() -> Self {
        Self::of(Cluster::builder()).await
    }

    async fn of(cluster: Builder) -> Self {
        let authority = Authority::new().unwrap();
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let identity = authority.issue_server(&[], &[address]).unwrap();
        let tls = ServerTls::new(&identity, authority.certificate()).unwrap();
        let cluster = cluster.start().await.unwrap();
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let api = ApiHost::new(listener, tls, Frontend::new(&cluster)).unwrap();
        Self { cluster, api, authority }
    }

    fn remote(&self) -> Arc<Remote> {
        let identity = self.authority.issue_client("tester", &["system:masters"]).unwrap();
        self.remote_as(Credential::Certificate(identity))
    }

    fn remote_as(&self, credential: Credential) -> Arc<Remote> {
        let (url, authority) =
            (format!("https://{}", self.api.address()), self.authority.certificate().to_owned());
        Remote::connect(RemoteConfig { url, authority, credential }).unwrap()
    }
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": value}})).unwrap()
}

fn maps(client: &Client) -> Api<ConfigMap> {
    client.api(NAMESPACE)
}

async fn seen(client: &Client, object: &ConfigMap) {
    let revision: Revision = object.metadata.resource_version.as_deref().unwrap().parse().unwrap();
    let cache = client.cache::<ConfigMap>().await.unwrap();
    assert!(timeout(DEADLINE, cache.reached(revision)).await.is_ok(), "never reached {revision}");
}

#[tokio::test]
async fn operations_do_what_they_do_here() {
    let served = Served::start().await;
    let client = served.remote().client();
    let (near, far) = (maps(&served.cluster.client()), maps(&client));
    let made = far.create(&config_map("a", "1")).await.unwrap();
    assert_eq!(near.get("a").await.unwrap(), made);
    assert_eq!(far.get("a").await.unwrap(), made);
    let again = far.create(&config_map("a", "1")).await.unwrap_err();
    assert_eq!(again, near.create(&config_map("a", "1")).await.unwrap_err());
    let patched = far.patch("a", Patch::Merge(json!({"data": {"key": "2"}}))).await.unwrap();
    assert_eq!(patched.data.as_ref().unwrap()["key"], "2");
    assert!(far.update(&made).await.unwrap_err().is_conflict());
    let target = Target::of::<ConfigMap>(Some(NAMESPACE)).named("a");
    let another = DeleteOptions { uid: Some("another".into()), ..DeleteOptions::default() };
    assert!(client.call(target.clone(), Operation::Delete(another)).await.unwrap_err().is_conflict());
    let deleted = client.call(target, Operation::Delete(DeleteOptions::default())).await.unwrap();
    assert!(matches!(deleted.reply, Reply::Value(status) if status["status"] == "Success"));
    assert_eq!(far.find("a").await.unwrap(), None);
    assert_eq!(far.get("a").await.unwrap_err(), near.get("a").await.unwrap_err());
}

#[tokio::test]
async fn warnings_pages_and_kinds_come_through() {
    let served = Served::start().await;
    let (remote, near) = (served.remote(), served.cluster.client());
    let target = Target::of::<ConfigMap>(Some(NAMESPACE));
    let body =
        Body::Json(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"dat":{}}"#.into());
    let create = Operation::Create { body, options: WriteOptions::default() };
    let made = remote.client().call(target.clone(), create).await.unwrap();
    assert!(made.created);
    assert_eq!(made.warnings, ["unknown field \"dat\""]);
    for name in ["b", "c"] {
        maps(&near).create(&config_map(name, "1")).await.unwrap();
    }
    let options = ListOptions { limit: 2, ..ListOptions::default() };
    let first = remote.client().call(target, Operation::List(options)).await.unwrap();
    let Reply::List(list) = first.reply else { panic!("a list") };
    assert_eq!((list.objects.len(), list.remaining, list.continue_token.is_some()), (2, Some(1), true));
    let sorted = |mut kinds: Vec<Kind>| {
        kinds.sort_by(|left, right| left.id.cmp(&right.id));
        kinds
    };
    let (far, near) = (remote.kinds().await.unwrap(), near.service().kinds().await.unwrap());
    assert_eq!(sorted(far), sorted(near));
}

#[tokio::test]
async fn watches_tell_everything_and_caches_outlive_the_server() {
    let served = Served::start().await;
    let remote = served.remote();
    let (near, client) = (maps(&served.cluster.client()), remote.client());
    near.create(&config_map("a", "1")).await.unwrap();
    let target = Target::of::<ConfigMap>(Some(NAMESPACE)).named("a");
    let options = WatchOptions { initial_events: Some(true), bookmarks: true, ..WatchOptions::default() };
    let mut events = client.watch(target.clone(), options).await.unwrap();
    let mut next = async || timeout(DEADLINE, events.next()).await.expect("an event").unwrap().unwrap();
    assert!(matches!(next().await, WatchEvent::Added(_)));
    assert!(matches!(next().await, WatchEvent::Bookmark { initial_events_end: true, .. }));
    near.create(&config_map("b", "not watched")).await.unwrap();
    let updated = near.update(&config_map("a", "2")).await.unwrap();
    let WatchEvent::Modified(changed) = next().await else { panic!("a change") };
    assert_eq!(changed.decode::<ConfigMap>().unwrap(), updated);

    let cache = client.cache::<ConfigMap>().await.unwrap();
    seen(&client, &near.create(&config_map("c", "1")).await.unwrap()).await;
    let count = cache.len();
    served.api.stop().await;
    let away = client.call(target, Operation::GET).await.unwrap_err();
    assert_eq!(away.reason(), Reason::ServiceUnavailable, "{away}");
    assert_eq!(cache.len(), count);
    served.api.start().await.unwrap();
    let made = near.create(&config_map("d", "1")).await.unwrap();
    seen(&client, &made).await;
    let entry = cache.get(&ObjectName::namespaced(NAMESPACE, "d")).unwrap();
    assert_eq!(entry.decode::<ConfigMap>().unwrap(), made);
}

/// A program in a pod is whoever the token is of that it finds in a file.
#[tokio::test]
async fn a_token_may_be_in_a_file() {
    let keys = Arc::new(TokenKeys::new().unwrap());
    let served = Served::of(Cluster::builder().tokens(keys)).await;
    let client = served.remote().client();
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "robot"}})).unwrap();
    client.api::<ServiceAccount>(NAMESPACE).create(&account).await.unwrap();
    let asked = async |client: &Client, target: Target, body: serde_json::Value| {
        let create = Operation::Create { body: Body::Value(body), options: WriteOptions::default() };
        let Reply::Value(value) = client.call(target, create).await.unwrap().reply else {
            panic!("a review")
        };
        value
    };
    let target = Target::of::<ServiceAccount>(Some(NAMESPACE)).named("robot").sub("token");
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let given = asked(&client, target, body).await;

    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("token");
    std::fs::write(&path, format!("{}\n", given["status"]["token"].as_str().unwrap())).unwrap();
    let robot = served.remote_as(Credential::TokenFile(path)).client();
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let review = asked(&robot, Target::of::<SelfSubjectReview>(None), body).await;
    assert_eq!(review["status"]["userInfo"]["username"], "system:serviceaccount:kube-public:robot");
}

#[tokio::test]
async fn strangers_are_told_so() {
    let served = Served::start().await;
    let wrong = served.remote_as(Credential::Token("guessed".into())).client();
    assert_eq!(maps(&wrong).get("a").await.unwrap_err().reason(), Reason::Unauthorized);
    let identity = served.authority.issue_client("tester", &["system:masters"]).unwrap();
    let config = RemoteConfig {
        url: format!("https://{}", served.api.address()),
        authority: Authority::new().unwrap().certificate().to_owned(),
        credential: Credential::Certificate(identity),
    };
    let status = maps(&Remote::connect(config.clone()).unwrap().client()).get("a").await.unwrap_err();
    assert!(status.is_transient() && status.message().contains("cannot be reached"), "{status}");
    for url in ["", "10.0.0.1", "http://10.0.0.1:6443", "https://"] {
        assert!(Remote::connect(RemoteConfig { url: url.into(), ..config.clone() }).is_err(), "{url}");
    }
}

/// Has a pod `a` run.
async fn running(client: &Client) {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "any"}]}});
    let pods = client.api::<Pod>("default");
    pods.create(&serde_json::from_value(pod).unwrap()).await.unwrap();
    let runs = |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref().map(|phase| phase == "Running"));
        phase == Some(true)
    };
    timeout(DEADLINE, pods.until("a", runs)).await.unwrap().unwrap();
}

/// A pod of a fake node that answers commands, seen by clients near and far: what they get is of the same types, and the
/// same.
#[tokio::test]
async fn pods_are_stepped_into_near_and_far() {
    let fake = FakeRuntime::new(TokioClock::system());
    let answers = |command: &[String]| ExecOutput {
        exit_code: i32::from(command[0] == "false"),
        stdout: command.join(" ").into_bytes(),
        stderr: b"warned".to_vec(),
    };
    fake.on(On::container("main"), Behaviour::new().exec(answers).logs(Duration::ZERO, "hello"));
    let builder = Cluster::builder().node(Node::new("local"), fake, FakeNetwork::new());
    let served = Served::of(builder).await;
    let (near, far) = (served.cluster.client(), served.remote().client());
    running(&near).await;
    for client in [near, far] {
        let pods = client.api::<Pod>("default");
        for (program, code) in [("true", 0), ("false", 1)] {
            let streams = AttachOptions { stdout: true, stderr: true, ..AttachOptions::default() };
            let options = ExecOptions { command: vec![program.into(), "b c&d".into()], streams };
            let session = timeout(DEADLINE, pods.exec("a", None, options)).await.unwrap().unwrap();
            let (mut out, mut err) = (String::new(), String::new());
            session.stdout.unwrap().read_to_string(&mut out).await.unwrap();
            session.stderr.unwrap().read_to_string(&mut err).await.unwrap();
            assert_eq!((out, err.as_str()), (format!("{program} b c&d"), "warned"));
            assert_eq!(timeout(DEADLINE, session.exit).await.unwrap().unwrap(), code);
        }
        let log = pods.logs("a", LogQuery::default()).await.unwrap();
        assert_eq!(log.try_collect::<Vec<_>>().await.unwrap().concat(), b"hello\n");
        for (name, container, code) in [("nobody", None, 404), ("a", Some("other"), 400)] {
            let streams = AttachOptions { stdout: true, ..AttachOptions::default() };
            let options = ExecOptions { command: vec!["true".into()], streams };
            assert_eq!(pods.exec(name, container, options).await.err().unwrap().code(), code);
        }
    }
}

/// A pod of a fake node that says what it hears: a command ends with its input, and who is attached stays until the pod ends.
#[tokio::test]
async fn pods_are_spoken_to_near_and_far() {
    let fake = FakeRuntime::new(TokioClock::system());
    fake.on(On::container("main"), Behaviour::new().exec_echoes());
    let served = Served::of(Cluster::builder().node(Node::new("local"), fake, FakeNetwork::new())).await;
    let (near, far) = (served.cluster.client(), served.remote().client());
    running(&near).await;
    let streams = || AttachOptions { stdin: true, stdout: true, ..AttachOptions::default() };
    let talked = async {
        let mut attached = Vec::new();
        for client in [&near, &far] {
            let pods = client.api::<Pod>("default");
            let options = ExecOptions { command: vec!["cat".into()], streams: streams() };
            let command = pods.exec("a", None, options).await.unwrap();
            let mut stdin = command.stdin.unwrap();
            stdin.write_all(b"hello").await.unwrap();
            stdin.shutdown().await.unwrap();
            drop(stdin);
            let mut heard = String::new();
            command.stdout.unwrap().read_to_string(&mut heard).await.unwrap();
            assert_eq!((heard.as_str(), command.exit.await.unwrap()), ("hello", 0));

            let mut session = pods.attach("a", None, streams()).await.unwrap();
            session.stdin.as_mut().unwrap().write_all(b"hello").await.unwrap();
            let mut heard = [0; 5];
            session.stdout.as_mut().unwrap().read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            attached.push(session);
        }
        near.api::<Pod>("default").delete("a").await.unwrap();
        for session in attached {
            assert_eq!(session.exit.await.unwrap(), 0);
        }
    };
    timeout(DEADLINE, talked).await.unwrap();
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, Object)]
#[object(group = "example.org", version = "v1")]
struct Website {
    metadata: ObjectMeta,
    theme: String,
}

fn websites() -> Resource {
    let themes = IndexedField::new("theme");
    let mut row = Resource::plain::<Website>();
    row.fields = [&themes].into_iter().map(Into::into).collect();
    row
}

/// Without its row a cache would not know the field, and says so; it must not take it for one that no object has.
#[tokio::test]
async fn kinds_of_ones_own_are_selected_by_their_fields() {
    let served = Served::of(Cluster::builder().kind(websites())).await;
    let sites = served.cluster.client().api::<Website>("default");
    for (name, theme) in [("a", "dark"), ("b", "light")] {
        let made = serde_json::from_value(json!({"metadata": {"name": name}, "theme": theme}));
        sites.create(&made.unwrap()).await.unwrap();
    }
    let fields = || FieldSelector::parse("theme=dark").unwrap();
    let identity = served.authority.issue_client("tester", &["system:masters"]).unwrap();
    let config = RemoteConfig {
        url: format!("https://{}", served.api.address()),
        authority: served.authority.certificate().to_owned(),
        credential: Credential::Certificate(identity),
    };
    let remote = Remote::with_kinds(config, [websites()]).unwrap();
    let cache = remote.client().cache::<Website>().await.unwrap();
    let query = Query { fields: Some(cache.known(fields()).unwrap()), ..Query::all() };
    let found: Vec<_> = cache.list(&query).iter().map(|entry| entry.name().name().to_owned()).collect();
    assert_eq!(found, ["a"]);
    let stranger = served.remote().client().cache::<Website>().await.unwrap();
    let refused = stranger.known(fields()).unwrap_err();
    assert_eq!(refused.to_string(), "field label not supported: theme");
}
