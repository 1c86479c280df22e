//! Passing TCP connections on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Sharing;
use super::balance::Balancer;

/// How long an endpoint has to take a connection before another is asked.
const CONNECT: Duration = Duration::from_secs(3);
/// When the other side of a silent connection is asked whether it is still there, how often, and how many times. A pod
/// whose network vanished says nothing; its connections end after about a minute.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// How long one may leave what was sent to it unacknowledged, in milliseconds.
const UNACKNOWLEDGED: u32 = 60_000;

/// Listens at an address.
pub(crate) fn listen(address: SocketAddr, how: Sharing) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?; // connections of before may still be fading
    socket.set_reuseport(how.port)?;
    if how.absent {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(1024)
}

/// Takes connections for as long as it is polled. Those it has taken go on by themselves.
pub(super) async fn serve(listener: TcpListener, balancer: Arc<Balancer>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                tokio::spawn(carry(stream, client, balancer.clone()));
            }
            Err(error) => {
                // Out of descriptors, mostly: it passes when connections end.
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn carry(mut stream: TcpStream, client: SocketAddr, balancer: Arc<Balancer>) {
    let Some(mut upstream) = connect(client, &balancer).await else { return break_off(&stream) };
    for socket in [&stream, &upstream] {
        let _ = socket.set_nodelay(true);
        let _ = watch_over(socket);
    }
    // Each direction ends by itself, so that a client may close its half and still be answered.
    if tokio::io::copy_bidirectional(&mut stream, &mut upstream).await.is_err() {
        break_off(&stream);
        break_off(&upstream);
    }
}

/// Has who is at the other end see a broken connection when it is closed, and not the end of what was sent: half an answer, or
/// half a question, is not to be taken for a whole one.
fn break_off(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

async fn connect(client: SocketAddr, balancer: &Balancer) -> Option<TcpStream> {
    let mut tried = Vec::new();
    while let Some(endpoint) = balancer.pick(client.ip(), Instant::now(), &tried) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(endpoint)).await {
            Ok(Ok(upstream)) => return Some(upstream),
            Ok(Err(error)) => tracing::debug!(%endpoint, %error, "endpoint does not take connections"),
            Err(_) => tracing::debug!(%endpoint, "endpoint does not answer"),
        }
        tried.push(endpoint);
    }
    None
}

fn watch_over(stream: &TcpStream) -> rustix::io::Result<()> {
    let (idle, interval, count) = KEEPALIVE;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, count)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED)
}
