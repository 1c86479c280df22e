//! Requests through the controller, over sockets of this machine's loopback.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use orchestra_core::testing::{TestServer, until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::table::{PathType, Rule};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that says its name and the head of what it was asked, a connection after the other; `/ws` is a stream that
/// gives back what it gets.
async fn endpoint(name: &'static str) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            *count.lock().unwrap() += 1;
            tokio::spawn(talk(stream, name));
        }
    });
    (address, connections)
}

async fn talk(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let mut held = Vec::new();
    loop {
        while !held.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&std::mem::take(&mut held)).to_lowercase();
        if head.starts_with("get /ws ") {
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(switch.as_bytes()).await?;
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await?;
            return Ok(());
        }
        let said = format!("{name}\n{head}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: {}\r\n\r\n{said}",
            said.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn leads(rules: &[(&str, &str, &[SocketAddr])]) -> Table<Backend> {
    let mut table = Table::default();
    for (host, path, endpoints) in rules {
        let backend = Backend { service: format!("shop{path}"), endpoints: endpoints.to_vec() };
        let (host, path) = ((*host).to_owned(), (*path).to_owned());
        table.add(Rule { host, path, path_type: PathType::Prefix, backend });
    }
    table
}

/// Serves a table without a cluster, and where: plain, and by TLS with a certificate for `*.example.com`.
async fn served(table: Table<Backend>) -> (SocketAddr, SocketAddr, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["*.example.com".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let mut certificates = Certificates::default();
    let pair = certificates::read(certificate.as_bytes(), key.as_bytes()).unwrap();
    certificates.put("*.example.com", Arc::new(pair));
    let routing = Arc::new(Routing::default());
    routing.now.store(Arc::new(Now { table, certificates }));
    let tls = serve::tls(&routing).unwrap();
    let [plain, encrypted] = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
    ];
    let at = (plain.local_addr().unwrap(), encrypted.local_addr().unwrap());
    tokio::spawn(serve::accept(plain, None, Arc::clone(&routing)));
    tokio::spawn(serve::accept(encrypted, Some(tls), routing));
    (at.0, at.1, believing(&certificate))
}

fn believing(certificate: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn ask(at: SocketAddr, host: &str, path: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert!(!answer.headers().contains_key("keep-alive"), "that is of the connection to the endpoint");
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn endpoints_take_turns_and_one_that_is_gone_is_passed_over() {
    let ((a, used), (b, _)) = (endpoint("a").await, endpoint("b").await);
    // Nobody listens there, and nobody else is given the port for as long as it is held.
    let gone = tokio::net::TcpSocket::new_v4().unwrap();
    gone.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let nobody = gone.local_addr().unwrap();
    let all = [a, nobody, b];
    let rules: [(&str, &str, &[SocketAddr]); 3] = [
        ("shop.example.com", "/", &all),
        ("shop.example.com", "/none", &[]),
        ("shop.example.com", "/gone", &[nobody]),
    ];
    let (plain, ..) = served(leads(&rules)).await;
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..30 {
        let (status, said) = ask(plain, "shop.example.com", "/x?y=z").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            said.contains("get /x?y=z http/1.1") && said.contains("x-forwarded-for: 127.0.0.1"),
            "{said}"
        );
        *counts.entry(said.lines().next().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), 30);
    assert!(counts["a"] >= 10 && counts["b"] >= 10, "{counts:?}");
    assert!(*used.lock().unwrap() < counts["a"], "connections are kept");
    for (host, path, status) in [
        ("other.example.com", "/", StatusCode::NOT_FOUND),
        ("shop.example.com", "/none", StatusCode::SERVICE_UNAVAILABLE),
        ("shop.example.com", "/gone", StatusCode::BAD_GATEWAY),
    ] {
        assert_eq!(ask(plain, host, path).await.0, status, "{host}{path}");
    }
}

#[tokio::test]
async fn the_same_by_tls_and_http_2() {
    let (a, _) = endpoint("a").await;
    let (_, encrypted, connector) = served(leads(&[("shop.example.com", "/", &[a])])).await;
    let name = ServerName::try_from("shop.example.com").unwrap();
    let stream = connector.connect(name, TcpStream::connect(encrypted).await.unwrap()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://shop.example.com/a").version(Version::HTTP_2);
    let answer = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    let said = String::from_utf8_lossy(&said);
    for line in ["post /a http/1.1", "host: shop.example.com", "x-forwarded-proto: https"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // A name that no certificate is for is refused in the handshake.
    let name = ServerName::try_from("example.org").unwrap();
    let refused = connector.connect(name, TcpStream::connect(encrypted).await.unwrap()).await.unwrap_err();
    assert_ne!(refused.kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_stream_goes_both_ways_after_a_change_of_protocol() {
    let (a, _) = endpoint("a").await;
    let (plain, ..) = served(leads(&[("", "/", &[a])])).await;
    let mut stream = TcpStream::connect(plain).await.unwrap();
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        .await
        .unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"early") {
        assert_ne!(stream.read_buf(&mut said).await.unwrap(), 0, "{}", String::from_utf8_lossy(&said));
    }
    assert!(said.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&said));
    stream.write_all(b"later").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "later");
}

#[tokio::test]
async fn a_cluster_says_what_is_served_and_is_told_where() {
    let server = TestServer::start().await;
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let shown: IpAddr = "192.0.2.7".parse().unwrap();
    let controller = Controller::new([shown]).http(local).unwrap().https(local).unwrap();
    let [plain, encrypted] = controller.listens().map(Option::unwrap);
    let client = server.client();
    let running = tokio::spawn({
        let client = client.clone();
        async move { controller.run(client, std::future::pending()).await }
    });
    let class =
        until("a class", PATIENCE, async || client.cluster::<IngressClass>().find(CLASS).await.unwrap())
            .await;
    assert_eq!(class.spec.unwrap().controller.as_deref(), Some(CONTROLLER));
    assert_eq!(ask(plain, "shop.example.com", "/").await.0, StatusCode::NOT_FOUND);

    let made = rcgen::generate_simple_self_signed(["shop.example.com".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let secret = json!({
        "metadata": {"name": "pair"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": certificate, "tls.key": key},
    });
    server.create::<Secret>(secret).await;
    server.create::<Service>(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})).await;
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let ingress: Value = json!({
        "metadata": {"name": "web"},
        "spec": {
            "ingressClassName": CLASS,
            "rules": [{"host": "shop.example.com", "http": {"paths": paths}}],
            "tls": [{"hosts": ["shop.example.com"], "secretName": "pair"}],
        },
    });
    server.create::<Ingress>(ingress).await;
    // It has a rule, and a service without endpoints.
    let so = async || {
        (ask(plain, "shop.example.com", "/").await.0 == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    };
    until("the rule holds", PATIENCE, so).await;
    let status = async || {
        let held = client.api::<Ingress>("default").get("web").await.unwrap();
        held.status?.load_balancer?.ingress?.first()?.ip.clone()
    };
    assert_eq!(until("it shows where", PATIENCE, status).await, "192.0.2.7");
    let name = ServerName::try_from("shop.example.com").unwrap();
    let connected = believing(&certificate).connect(name, TcpStream::connect(encrypted).await.unwrap()).await;
    assert!(connected.is_ok(), "{connected:?}");
    running.abort();
}
