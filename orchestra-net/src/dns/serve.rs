//! Sockets: datagrams and connections at one address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::{self, Reply};
use super::upstream::Upstream;
use super::zone::Zone;
use crate::userspace::{Sharing, tcp, udp};

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// How many connections there may be.
const CONNECTIONS: usize = 256;
/// How large a question may be that comes as a datagram; answers are larger.
const QUESTION: usize = 4096;

/// What all sockets answer from.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) zone: RwLock<Zone>,
    pub(super) upstream: Upstream,
}

impl Names {
    /// What the cluster knows of a question. Others are not asked here.
    fn known(&self, request: &Message) -> Reply {
        answer::answer(&self.zone.read().unwrap_or_else(PoisonError::into_inner), request)
    }

    fn own(&self) -> Vec<IpAddr> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).servers.clone()
    }

    /// Asks others for what the cluster does not know.
    async fn complete(&self, reply: Reply, request: &Message) -> Message {
        match reply {
            Reply::Done(message) => message,
            Reply::Forward => self.upstream.ask(request, &self.own()).await,
            Reply::Follow(message, name, kind) => {
                self.upstream.follow(message, (name, kind), &self.own()).await
            }
        }
    }
}

/// A socket of each kind at one address.
#[derive(Debug)]
pub(super) struct Sockets {
    datagrams: UdpSocket,
    connections: TcpListener,
}

impl Sockets {
    /// Listens. Several may share the address, for nodes of one cluster on one machine.
    pub(super) fn open(address: SocketAddr, shared: bool) -> io::Result<Self> {
        let how = Sharing { port: shared, absent: false };
        let connections = tcp::listen(address, how)?;
        // With port 0 both have the one that the kernel chose.
        let datagrams = udp::listen(connections.local_addr()?, how)?;
        Ok(Self { datagrams, connections })
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.connections.local_addr()
    }

    /// Answers for as long as it is polled.
    pub(super) async fn serve(self, names: Arc<Names>) {
        tokio::join!(datagrams(self.datagrams, &names), connections(self.connections, &names));
    }
}

async fn datagrams(socket: UdpSocket, names: &Arc<Names>) {
    let socket = Arc::new(socket);
    let mut asking = JoinSet::new();
    let mut buffer = vec![0; QUESTION];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = asking.join_next() => continue,
        };
        // An error is about a datagram we sent, whose receiver is gone.
        let Ok((size, client)) = received else { continue };
        // What is no question is not answered: who sent it may not be who it says.
        let Some(request) = buffer.get(..size).and_then(question) else { continue };
        match names.known(&request) {
            Reply::Done(message) => send(&socket, client, &request, message).await,
            reply => {
                let (names, socket) = (Arc::clone(names), Arc::clone(&socket));
                asking.spawn(async move {
                    let message = names.complete(reply, &request).await;
                    send(&socket, client, &request, message).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, client: SocketAddr, request: &Message, message: Message) {
    if let Some(bytes) = answer::encode(message, answer::room(request)) {
        let _ = socket.send_to(&bytes, client).await;
    }
}

fn question(bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    (message.metadata.message_type == hickory_proto::op::MessageType::Query).then_some(message)
}

async fn connections(listener: TcpListener, names: &Arc<Names>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let names = Arc::clone(names);
                open.spawn(async move {
                    // How it ended is the client's affair.
                    let _ = converse(stream, &names).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, names: &Names) -> io::Result<()> {
    loop {
        let bytes = tokio::time::timeout(SILENCE, read(&mut stream)).await??;
        let request = question(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let message = names.complete(names.known(&request), &request).await;
        let bytes = answer::encode(message, usize::from(u16::MAX)).ok_or(io::ErrorKind::InvalidData)?;
        let size = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let whole = [&size.to_be_bytes()[..], &bytes].concat();
        tokio::time::timeout(SILENCE, stream.write_all(&whole)).await??;
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let size = stream.read_u16().await?;
    let mut bytes = vec![0; size.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
