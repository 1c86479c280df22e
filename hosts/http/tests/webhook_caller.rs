//! Webhooks over real TLS: whom the caller believes, what it reads, and what those who hang or lie cost.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orchestra_core::webhook::{Call, CallError, Caller as _, Connect, Credentials};
use orchestra_http::{Authority, Issued, WebhookCaller};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Longer than anything here takes that is not to time out.
const LONG: Duration = Duration::from_secs(20);
const HOST: &str = "hook.default.svc";

/// A webhook on a port of this machine, which does by the path what real ones do.
struct Webhook {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhook {
    async fn start(identity: &Issued) -> Self {
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let server = auto::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
                    }
                });
            }
        });
        Self { address, connections, task }
    }

    fn call(&self, path: &str, authority: &str) -> Call {
        Call::new(format!("https://{HOST}:443/{path}"), LONG)
            .connect(Connect::Addresses(vec![self.address]))
            .trust(authority.to_owned())
            .body(Bytes::from_static(b"{}"))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let whole = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
        *response.status_mut() = status;
        response
    };
    Ok(match request.uri().path() {
        "/echo" => {
            let shown = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
            let shown = shown.to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            whole(StatusCode::OK, format!("{}{shown}", String::from_utf8_lossy(&body)))
        }
        "/hang" => std::future::pending().await,
        "/endless" => {
            let piece = Bytes::from(vec![b'x'; 64 * 1024]);
            let pieces = stream::repeat(piece).map(|piece| Ok(Frame::data(piece)));
            Response::new(BodyExt::boxed(StreamBody::new(pieces)))
        }
        "/slow" => {
            let piece = |n: u8| async move {
                tokio::time::sleep(Duration::from_millis(u64::from(n.min(1)) * 100)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"x"))), n.saturating_add(1)))
            };
            Response::new(BodyExt::boxed(StreamBody::new(stream::unfold(0, piece).boxed_sync())))
        }
        "/moved" => {
            let mut response = whole(StatusCode::FOUND, String::new());
            response.headers_mut().insert("location", "/echo".parse().unwrap());
            response
        }
        _ => whole(StatusCode::INTERNAL_SERVER_ERROR, "it is broken".to_owned()),
    })
}

/// `boxed` of streams makes no `Sync` ones, which bodies must be.
trait BoxedSync: futures::Stream + Sized {
    fn boxed_sync(self) -> sync_stream::SyncStream<Self> {
        sync_stream::SyncStream::new(self)
    }
}

impl<S: futures::Stream + Send> BoxedSync for S {}

mod sync_stream {
    use std::pin::Pin;
    use std::sync::{Mutex, PoisonError};
    use std::task::{Context, Poll};

    use futures::Stream;

    /// A stream that is polled by one at a time.
    pub struct SyncStream<S>(Mutex<Pin<Box<S>>>);

    impl<S> SyncStream<S> {
        pub fn new(stream: S) -> Self {
            Self(Mutex::new(Box::pin(stream)))
        }
    }

    impl<S: Stream> Stream for SyncStream<S> {
        type Item = S::Item;

        fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(cx)
        }
    }
}

fn issued(authority: &Authority, host: &str) -> Issued {
    authority.issue_server(&[host.to_owned()], &[]).unwrap()
}

#[tokio::test]
async fn a_webhook_of_the_authority_is_asked_again_over_the_same_connection() {
    let authority = Authority::new().unwrap();
    let webhook = Webhook::start(&issued(&authority, HOST)).await;
    let caller = WebhookCaller::new();
    for _ in 0..5 {
        let call = webhook.call("echo", authority.certificate());
        let answer = caller.call(&call.credentials(Credentials::default().token("t0k"))).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"{}Bearer t0k")));
    }
    assert_eq!(webhook.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_webhook_of_another_name_or_authority_is_not_believed() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let misnamed = Webhook::start(&issued(&authority, "other.default.svc")).await;
    let foreign = Webhook::start(&issued(&other, HOST)).await;
    for webhook in [misnamed, foreign] {
        let answer = WebhookCaller::new().call(&webhook.call("echo", authority.certificate())).await;
        assert!(matches!(answer, Err(CallError::Certificate(_))), "{answer:?}");
    }
    let webhook = Webhook::start(&issued(&authority, HOST)).await;
    let answer = WebhookCaller::new().call(&webhook.call("echo", "no certificate")).await;
    assert!(matches!(answer, Err(CallError::Config(_))), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_believed_for_its_name() {
    let make = |host: &str| {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    };
    let own = make(HOST);
    let webhook = Webhook::start(&own).await;
    let answer = WebhookCaller::new().call(&webhook.call("echo", &own.certificate)).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"{}")));
    let misnamed = make("other.default.svc");
    let webhook = Webhook::start(&misnamed).await;
    let answer = WebhookCaller::new().call(&webhook.call("echo", &misnamed.certificate)).await;
    assert!(matches!(answer, Err(CallError::Certificate(_))), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_said_and_bounded() {
    let authority = Authority::new().unwrap();
    let webhook = Webhook::start(&issued(&authority, HOST)).await;
    let caller = WebhookCaller::new();
    let broken = caller.call(&webhook.call("broken", authority.certificate())).await;
    assert_eq!(broken, Err(CallError::Status { code: 500, text: "it is broken".to_owned() }));
    let moved = caller.call(&webhook.call("moved", authority.certificate())).await;
    assert_eq!(moved, Err(CallError::Status { code: 302, text: String::new() }));
    let endless = caller.call(&webhook.call("endless", authority.certificate())).await;
    assert_eq!(endless, Err(CallError::TooLarge(orchestra_core::webhook::MAX_ANSWER)));
    for path in ["hang", "slow"] {
        let mut call = webhook.call(path, authority.certificate());
        call.timeout = Duration::from_millis(300);
        assert_eq!(caller.call(&call).await, Err(CallError::Timeout), "{path}");
    }
    let call = webhook.call("echo", authority.certificate());
    assert!(caller.call(&call).await.is_ok(), "others are answered as before");
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_said_in_gos_words_and_the_next_address_is_tried() {
    let authority = Authority::new().unwrap();
    let webhook = Webhook::start(&issued(&authority, HOST)).await;
    // Nobody listens at the port of the protocol that discards.
    let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let call = webhook.call("echo", authority.certificate());
    let refused = WebhookCaller::new().call(&call.clone().connect(Connect::Addresses(vec![nobody]))).await;
    let why = "dial tcp 127.0.0.1:9: connect: connection refused";
    assert_eq!(refused, Err(CallError::Connection(why.to_owned())));
    let next = call.connect(Connect::Addresses(vec![nobody, webhook.address]));
    assert!(WebhookCaller::new().call(&next).await.is_ok());
}
