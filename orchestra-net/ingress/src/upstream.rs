//! Connections to endpoints: kept for the next request, and another endpoint where one does not take any.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an endpoint may take to accept a connection before another is asked.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a connection is kept that nobody uses; less than servers usually wait.
const IDLE: Duration = Duration::from_secs(20);
/// How many are kept of one endpoint.
const MOST: usize = 64;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// No endpoint takes connections.
    Unreachable,
    /// One took the request, and broke off.
    Broken(hyper::Error),
}

/// Connections that wait for a request, by endpoints, and since when.
type Kept = HashMap<SocketAddr, Vec<(SendRequest<Incoming>, Instant)>>;

/// Connections to the endpoints of all backends.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    kept: Mutex<Kept>,
    turn: AtomicUsize,
}

impl Upstreams {
    /// Sends a request to one of some endpoints, each in its turn; to the next where one takes no connection.
    pub(crate) async fn send(
        &self,
        endpoints: &[SocketAddr],
        mut request: Request<Incoming>,
        is_upgrade: bool,
    ) -> Result<Response<Incoming>, Failed> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for offset in 0..endpoints.len() {
            let endpoint = endpoints[first.wrapping_add(offset) % endpoints.len()];
            // One that was kept may have been ended by the other side meanwhile: then nothing of the request was sent.
            while let Some(mut kept) = self.take(endpoint).filter(|_| !is_upgrade) {
                match kept.try_send_request(request).await {
                    Ok(answer) => {
                        self.put(endpoint, kept);
                        return Ok(answer);
                    }
                    Err(mut error) => match error.take_message() {
                        Some(back) => request = back,
                        None => return Err(Failed::Broken(error.into_error())),
                    },
                }
            }
            let Some(mut fresh) = connect(endpoint).await else { continue };
            match fresh.try_send_request(request).await {
                Ok(answer) => {
                    if !is_upgrade {
                        self.put(endpoint, fresh);
                    }
                    return Ok(answer);
                }
                Err(mut error) => match error.take_message() {
                    Some(back) => request = back,
                    None => return Err(Failed::Broken(error.into_error())),
                },
            }
        }
        Err(Failed::Unreachable)
    }

    fn take(&self, endpoint: SocketAddr) -> Option<SendRequest<Incoming>> {
        let mut kept = self.lock();
        let all = kept.get_mut(&endpoint)?;
        all.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        // One whose answer is still being read is not ready.
        let ready = all.iter().rposition(|(sender, _)| sender.is_ready());
        let taken = ready.map(|index| all.swap_remove(index).0);
        if all.is_empty() {
            kept.remove(&endpoint);
        }
        taken
    }

    fn put(&self, endpoint: SocketAddr, sender: SendRequest<Incoming>) {
        let mut kept = self.lock();
        let all = kept.entry(endpoint).or_default();
        if all.len() < MOST {
            all.push((sender, Instant::now()));
        }
    }

    /// Lets go of the connections to endpoints that are not among these, and of those that were not used for long.
    pub(crate) fn retain(&self, endpoints: impl Fn(&SocketAddr) -> bool) {
        self.lock().retain(|endpoint, all| {
            all.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
            !all.is_empty() && endpoints(endpoint)
        });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(endpoint: SocketAddr) -> Option<SendRequest<Incoming>> {
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(endpoint)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%endpoint, %error, "an endpoint does not take connections");
            return None;
        }
        Err(_) => {
            tracing::debug!(%endpoint, "an endpoint does not answer");
            return None;
        }
    };
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    // It ends when the sender is dropped, or either side is done.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%endpoint, %error, "a connection to an endpoint broke off");
        }
    });
    Some(sender)
}
