//! How fast bytes go through the API to a port of a pod.
//!
//! `cargo bench -p orchestra-benches --bench streams`: a gigabyte from a port of a fake node's pod to a client over HTTPS, as
//! `kubectl port-forward` and, on a connection of its own, `kubectl cp` have them. The baseline is what no relay could beat: the
//! same bytes from the same source through one TLS connection. Both are checked byte for byte. Not run by criterion: one
//! round takes seconds. The last line is the ratio, of which the target is 0.6.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use orchestra_core::api::Client;
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Cluster, Node};
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_http::{ApiHost, Authority, Credential, Frontend, Remote, RemoteConfig, ServerTls};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BYTES: u64 = 1 << 30;
const ROUNDS: usize = 3;
const PORT: u16 = 7;
/// How many bytes wait for a relay.
const PIPE: usize = 16 * 1024;
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.expect("a runtime").block_on(async {
        let authority = Authority::new().expect("an authority");
        let (client, _held) = cluster(&authority).await;
        let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let forwarded = client.api::<Pod>("default").port_forward("a", PORT).await.expect("a port");
            ours = ours.min(read_all(forwarded).await);
            bare = bare.min(read_all(relayed(&authority).await).await);
        }
        for (what, took) in [("streams/port_forward", ours), ("baseline/tls_relay", bare)] {
            println!("{what}: {:.0} MB/s", BYTES as f64 / 1e6 / took.as_secs_f64());
        }
        println!("ratio: {:.2}", bare.as_secs_f64() / ours.as_secs_f64());
    });
}

/// What is sent, again and again. Its length is odd, so that no two blocks of a relay are the same.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mix = |index: u64| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..(1 << 20) + 7).map(mix).collect()
});

/// What is sent from a place on, as far as it is in one piece.
fn piece(from: u64) -> &'static [u8] {
    let rest = &PATTERN[(from % PATTERN.len() as u64) as usize..];
    &rest[..rest.len().min(64 * 1024).min((BYTES - from) as usize)]
}

async fn write_all(mut to: impl AsyncWrite + Unpin) {
    let mut at = 0;
    while at < BYTES {
        let piece = piece(at);
        if to.write_all(piece).await.is_err() {
            return;
        }
        at += piece.len() as u64;
    }
    let _ = to.shutdown().await;
}

/// Reads everything, and how long that took.
async fn read_all(mut from: impl AsyncRead + Unpin) -> Duration {
    let began = Instant::now();
    let (mut at, mut buffer) = (0, vec![0; 64 * 1024]);
    while at < BYTES {
        let expected = piece(at);
        from.read_exact(&mut buffer[..expected.len()]).await.expect("all of it");
        assert!(buffer[..expected.len()] == *expected, "other bytes at {at}");
        at += expected.len() as u64;
    }
    began.elapsed()
}

async fn cluster(authority: &Authority) -> (Client, (Cluster, ApiHost)) {
    let fake = FakeRuntime::new(TokioClock::system());
    fake.listen(PORT, |stream| drop(tokio::spawn(write_all(stream))));
    let cluster = Cluster::builder().node(Node::new("local"), fake, FakeNetwork::new()).start().await;
    let cluster = cluster.expect("it starts");
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "any"}]}});
    let pods = cluster.client().api::<Pod>("default");
    pods.create(&serde_json::from_value(pod).expect("a pod")).await.expect("a pod");
    let runs =
        |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Running");
    pods.until("a", runs).await.expect("it runs");
    let identity = authority.issue_server(&[], &[HERE]).expect("a certificate");
    let tls = ServerTls::new(&identity, authority.certificate()).expect("TLS");
    let listener = TcpListener::bind((HERE, 0)).await.expect("a listener");
    let api = ApiHost::new(listener, tls, Frontend::new(&cluster)).expect("it is served");
    let credential =
        Credential::Certificate(authority.issue_client("bench", &["system:masters"]).expect("a certificate"));
    let (url, authority) = (format!("https://{}", api.address()), authority.certificate().to_owned());
    let remote = Remote::connect(RemoteConfig { url, authority, credential }).expect("a client");
    (remote.client(), (cluster, api))
}

/// The same bytes through one TLS connection.
async fn relayed(authority: &Authority) -> impl AsyncRead + Unpin {
    let identity = authority.issue_server(&[], &[HERE]).expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a certificate"), key)
        .expect("TLS");
    let listener = TcpListener::bind((HERE, 0)).await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await.expect("a handshake");
        let (mut ours, theirs) = tokio::io::duplex(PIPE);
        tokio::spawn(write_all(theirs));
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut ours).await;
    });
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.certificate().as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.expect("a connection");
    TlsConnector::from(Arc::new(client)).connect(ServerName::from(HERE), stream).await.expect("a handshake")
}
