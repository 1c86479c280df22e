//! Another server, which a master asks: over HTTPS on a port of this machine, with answers that the test gives.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchestra_http::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The name under which it is known as a service of a cluster, too.
pub const HOST: &str = "things.default.svc";

type Answer = dyn Fn(&str, &Value) -> (u16, String) + Send + Sync;

pub struct Peer {
    pub url: String,
    pub authority: String,
    /// What it was asked: paths and bodies.
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// The headers of the last request.
    pub headers: Arc<Mutex<HeaderMap>>,
    /// The query of the last request that had one.
    pub query: Arc<Mutex<Option<String>>>,
}

impl Peer {
    /// Answers what is asked of a path with a body.
    pub async fn start(answer: impl Fn(&str, &Value) -> (u16, String) + Send + Sync + 'static) -> Self {
        let authority = Authority::new().unwrap();
        let identity =
            authority.issue_server(&[HOST.to_owned()], &[IpAddr::from(Ipv4Addr::LOCALHOST)]).unwrap();
        let chain =
            CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let headers = Arc::<Mutex<HeaderMap>>::default();
        let query = Arc::<Mutex<Option<String>>>::default();
        let last_query = Arc::clone(&query);
        let (told, shown) = (Arc::clone(&asked), Arc::clone(&headers));
        let answer: Arc<Answer> = Arc::new(answer);
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                let (told, shown) = (Arc::clone(&told), Arc::clone(&shown));
                let last_query = Arc::clone(&last_query);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (answer, told) = (Arc::clone(&answer), Arc::clone(&told));
                        let shown = Arc::clone(&shown);
                        if let Some(query) = request.uri().query() {
                            *last_query.lock().unwrap() = Some(query.to_owned());
                        }
                        async move {
                            let path = request.uri().path().to_owned();
                            *shown.lock().unwrap() = request.headers().clone();
                            let body = request.into_body().collect().await.map(|body| body.to_bytes());
                            let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
                            let (code, text) = answer(&path, &body);
                            told.lock().unwrap().push((path, body));
                            let mut response = Response::new(Full::new(Bytes::from(text)));
                            *response.status_mut() = code.try_into().unwrap();
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, authority: authority.certificate().to_owned(), asked, headers, query }
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// A file that names it, in the form of a kubeconfig.
    pub fn kubeconfig(&self, directory: &std::path::Path) -> PathBuf {
        std::fs::write(directory.join("ca.pem"), &self.authority).unwrap();
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{
                "name": "it",
                "cluster": { "server": format!("{}/ask", self.url), "certificate-authority": "ca.pem" },
            }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "" } }],
        });
        let path = directory.join("webhook.kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}
