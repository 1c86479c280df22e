//! The dashboard of a cluster elsewhere, for the one person at this machine.
//!
//! It asks the cluster with the credentials of a kubeconfig, so it must answer nobody but who was given its address. The
//! address has a key that is good once: it is traded for a cookie that no script can read. And as any page on the web may
//! have a browser send requests to this machine, under a name of its own even, requests for another host are refused.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderValue, LOCATION, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use orchestra_core::api::Status;
use orchestra_dashboard::{Api, Dashboard};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::call::header;
use crate::remote::Remote;
use crate::reply::{self, Body};

/// How much a request may carry.
const LARGEST: usize = 3 * 1024 * 1024;
/// Where the dashboard is.
const MOUNT: &str = "/ui";

/// A dashboard on this machine, of a cluster elsewhere.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
    desk: Arc<Desk>,
}

/// What all connections share.
#[derive(Debug)]
struct Desk {
    remote: Arc<Remote>,
    dashboard: Dashboard,
    address: SocketAddr,
    /// Good once.
    key: String,
    used: AtomicBool,
    /// What the key is traded for.
    session: String,
}

#[async_trait]
impl Api for Remote {
    async fn send(&self, mut request: Request<Bytes>) -> Response<Body> {
        // Who asks is whoever the kubeconfig names, whatever the browser says.
        request.headers_mut().remove(AUTHORIZATION);
        if request.headers().contains_key(UPGRADE) {
            return self.join(request).await.unwrap_or_else(|status| reply::failed(&status));
        }
        self.pass(request).await
    }
}

impl Remote {
    /// Joins a WebSocket of a browser to one of the cluster: what is said in one is said in the other, until either ends.
    async fn join(&self, mut request: Request<Bytes>) -> Result<Response<Body>, Status> {
        let path = request.uri().to_string();
        let mut headers = std::mem::take(request.headers_mut());
        // What concerns one connection, and not what is said in it.
        for name in [CONNECTION, UPGRADE, HOST] {
            headers.remove(name);
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (said, mut theirs) = self.upgraded(path, headers).await?;
        tokio::spawn(async move {
            if let Ok(ours) = upgrade.await {
                // Whoever goes first is no matter.
                let _ = copy_bidirectional(&mut TokioIo::new(ours), &mut theirs).await;
            }
        });
        let mut response = Response::new(reply::whole(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL] {
            response.headers_mut().extend(said.get(&name).map(|value| (name, value.clone())));
        }
        Ok(response)
    }
}

impl Console {
    /// A dashboard at a free port of this machine, or at a given one.
    ///
    /// # Errors
    /// When the port cannot be had, or no key can be drawn.
    pub async fn bind(remote: Arc<Remote>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (key, session) = (secret()?, secret()?);
        let (dashboard, used) = (Dashboard::at(MOUNT), AtomicBool::new(false));
        let desk = Arc::new(Desk { remote, dashboard, address, key, used, session });
        Ok(Self { listener, desk })
    }

    /// What to open in a browser. It is good once.
    pub fn url(&self) -> String {
        format!("http://{}{MOUNT}/?key={}", self.desk.address, self.desk.key)
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// When no connection can be taken any more.
    pub async fn run(self) -> io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = self.listener.accept().await?;
            let desk = Arc::clone(&self.desk);
            connections.spawn(async move {
                let answer = service_fn(move |request| {
                    let desk = Arc::clone(&desk);
                    async move { Ok::<_, Infallible>(desk.answer(request).await) }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), answer)
                    .with_upgrades();
                // A browser that goes away is no matter.
                let _ = serving.await;
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if !self.is_ours(header(&head.headers, HOST)) {
            return reply::text(403, "this dashboard is for the machine that it runs on\n");
        }
        let path = head.uri.path();
        if path == "/" {
            return see(&format!("{MOUNT}/"));
        }
        if !self.is_known(&head.headers) && !self.dashboard.knows_link(path) {
            return match head.uri.query().and_then(|query| query.strip_prefix("key=")) {
                Some(key) if self.trade(key) => self.let_in(),
                _ => reply::text(
                    403,
                    "run `orchestra dashboard` again, and open the address that it prints: it is good once\n",
                ),
            };
        }
        match Limited::new(body, LARGEST).collect().await {
            Ok(body) => {
                let request = Request::from_parts(head, body.to_bytes());
                self.dashboard.answer(request, &*self.remote).await
            }
            Err(error) => reply::text(413, &format!("the request cannot be read: {error}\n")),
        }
    }

    /// Whether a host is this machine by its own names, so that no other name was made to lead here.
    fn is_ours(&self, host: &str) -> bool {
        let port = self.address.port();
        host == format!("127.0.0.1:{port}") || host == format!("localhost:{port}")
    }

    fn cookie(&self) -> String {
        // Cookies are of a host, not of a port: each dashboard has one of its own.
        format!("orchestra-console-{}", self.address.port())
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie();
        let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(key, value)| key == name && same(value, &self.session))
    }

    fn trade(&self, key: &str) -> bool {
        same(key, &self.key) && !self.used.swap(true, Ordering::SeqCst)
    }

    fn let_in(&self) -> Response<Body> {
        let mut response = see(&format!("{MOUNT}/"));
        let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path={MOUNT}", self.cookie(), self.session);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

fn see(location: &str) -> Response<Body> {
    let mut response = Response::new(reply::whole(Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn same(a: &str, b: &str) -> bool {
    verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

fn secret() -> io::Result<String> {
    let mut random = [0; 16];
    let failed = |_| io::Error::other("the system gives no random bytes");
    aws_lc_rs::rand::fill(&mut random).map_err(failed)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}
