//! Passing UDP datagrams on: a session for each client, which ends when it has been silent.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::Sharing;
use super::balance::Balancer;

/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// Most clients at a time; more than that are not answered.
const SESSIONS: usize = 8192;

/// Listens at an address.
pub(crate) fn listen(address: SocketAddr, how: Sharing) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, how.port)?;
    if how.absent {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    bind(&socket, &address)?;
    UdpSocket::from_std(socket.into())
}

struct Session {
    upstream: Arc<UdpSocket>,
    endpoint: SocketAddr,
    task: tokio::task::AbortHandle,
}

/// Passes datagrams on for as long as it is polled.
pub(super) async fn serve(socket: UdpSocket, balancer: Arc<Balancer>, idle: Duration) {
    let socket = Arc::new(socket);
    let mut sessions: HashMap<SocketAddr, Session> = HashMap::new();
    let mut tasks: JoinSet<SocketAddr> = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                // An error is about a datagram we sent, whose receiver is gone.
                let Ok((size, client)) = received else { continue };
                let bytes = datagram.get(..size).unwrap_or_default();
                pass(&socket, client, bytes, &balancer, &mut sessions, &mut tasks, idle).await;
            }
            Some(ended) = tasks.join_next() => {
                if let Ok(client) = ended
                    && sessions.get(&client).is_some_and(|session| session.task.is_finished())
                {
                    sessions.remove(&client);
                }
            }
        }
    }
}

async fn pass(
    socket: &Arc<UdpSocket>,
    client: SocketAddr,
    bytes: &[u8],
    balancer: &Balancer,
    sessions: &mut HashMap<SocketAddr, Session>,
    tasks: &mut JoinSet<SocketAddr>,
    idle: Duration,
) {
    let mut tried = Vec::new();
    loop {
        // One that led to an endpoint that is gone, or was found dead, begins anew.
        if let Some(session) = sessions.get(&client) {
            let alive = !session.task.is_finished() && balancer.has(session.endpoint);
            if alive && session.upstream.send(bytes).await.is_ok() {
                return;
            }
            tried.push(session.endpoint);
            session.task.abort();
            sessions.remove(&client);
        }
        if sessions.len() >= SESSIONS {
            return;
        }
        let Some(endpoint) = balancer.pick(client.ip(), Instant::now(), &tried) else { return };
        let Ok(upstream) = connect(endpoint).await else {
            tried.push(endpoint);
            continue;
        };
        let upstream = Arc::new(upstream);
        let task = tasks.spawn(answer(upstream.clone(), socket.clone(), client, idle));
        sessions.insert(client, Session { upstream, endpoint, task });
    }
}

async fn connect(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let upstream = UdpSocket::bind(any).await?;
    upstream.connect(endpoint).await?;
    Ok(upstream)
}

/// Passes answers back until there have been none for a while.
async fn answer(
    upstream: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    idle: Duration,
) -> SocketAddr {
    let mut datagram = vec![0; DATAGRAM];
    while let Ok(Ok(size)) = tokio::time::timeout(idle, upstream.recv(&mut datagram)).await {
        let _ = socket.send_to(datagram.get(..size).unwrap_or_default(), client).await;
    }
    client
}
