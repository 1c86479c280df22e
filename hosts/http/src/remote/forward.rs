//! The client's side of a connection to a port of a pod, of a server elsewhere.
//!
//! It is a pair of streams of SPDY in a WebSocket, each of which ends for itself, so that who has said all is still
//! answered. Servers before Kubernetes 1.30 know only the channels of `v4.channel.k8s.io`, in which no word says that one
//! has ended. Between master and node it is such a pair without the WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderValue;
use orchestra_core::api::{Reason, Status};
use orchestra_core::runtime::Duplex;
use orchestra_spdy::{Spdy, SpdyStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::channel::{ANSWER, Channel};
use super::request::Call;
use super::session::open;
use crate::streams::channels::{Channels, websocket};
use crate::streams::handshake::STREAM_PROTOCOL;
use crate::streams::session::report;
use crate::streams::tunnel::Tunnel;
use crate::streams::version::Version;
use crate::streams::{FORWARD, TUNNEL};

/// How much is read of why a port is not connected to any more.
const LONGEST_REASON: usize = 4096;

/// How a server forwards ports.
#[derive(Clone, Copy)]
enum Way {
    Streams,
    Channels,
}

/// Opens a connection to a port by the path of a pod's `portforward`. What goes wrong there is said to who reads it.
///
/// # Errors
/// What the server says.
pub(crate) async fn port(channel: &Channel, path: String, port: u16) -> Result<Box<dyn Duplex>, Status> {
    let ways = [(TUNNEL, Way::Streams), (Version::V4.name(), Way::Channels)];
    let (way, connection) = open(channel, path, &ways).await?;
    let socket = websocket(connection, Role::Client).await;
    Ok(Box::new(match way {
        Way::Streams => by_streams(Tunnel::new(socket), port)?,
        Way::Channels => by_channels(socket).await?,
    }))
}

/// Opens a connection to a port of a pod, of the agent of its node.
///
/// # Errors
/// What the agent says, also of a port that cannot be connected to.
pub(crate) async fn port_of_agent(
    channel: &Channel,
    path: String,
    port: u16,
) -> Result<Box<dyn Duplex>, Status> {
    let headers = [(STREAM_PROTOCOL, HeaderValue::from_static(FORWARD))];
    let (_, connection) = channel.upgrade(Call::get(path), "SPDY/3.1", headers.into_iter().collect()).await?;
    Ok(Box::new(by_streams(connection, port)?))
}

fn by_streams<S>(connection: S, port: u16) -> Result<Forwarded, Status>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let port = port.to_string();
    let of = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
    let (spdy, streams) = Spdy::begin(connection, &[&of("error"), &of("data")]);
    let [error, data]: [SpdyStream; 2] =
        streams.try_into().map_err(|_| Status::internal("a pair of streams is not what was begun"))?;
    let carrier = tokio::spawn(async move { report(spdy.run().await) });
    Ok(Forwarded {
        incoming: data.incoming,
        outgoing: data.outgoing,
        errors: error.incoming,
        broken: data.reset,
        _carrier: AbortOnDropHandle::new(carrier),
    })
}

async fn by_channels<S>(socket: WebSocketStream<S>) -> Result<Forwarded, Status>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut channels = Channels::new(Version::V4, 2);
    let (mut incoming, outgoing) = (channels.incoming(0), channels.outgoing(0));
    let mut errors = channels.incoming(1);
    let carrier = tokio::spawn(async move { report(channels.run(socket, Role::Client).await) });
    let carrier = AbortOnDropHandle::new(carrier);
    let numbers = async {
        // Each begins with the number of the port.
        incoming.read_u16_le().await?;
        errors.read_u16_le().await
    };
    let begun = timeout(ANSWER, numbers).await.map_err(io::Error::from).flatten();
    begun.map_err(|error| {
        let message = format!("no connection to the port: the server did not begin its channels: {error}");
        Status::new(Reason::ServiceUnavailable, message)
    })?;
    Ok(Forwarded { incoming, outgoing, errors, broken: CancellationToken::new(), _carrier: carrier })
}

/// A connection to a port, carried by a task that ends with it.
struct Forwarded {
    incoming: DuplexStream,
    outgoing: DuplexStream,
    /// What went wrong, in words: it is told before what comes ends.
    errors: DuplexStream,
    /// Cancelled when what comes has ended before its time.
    broken: CancellationToken,
    _carrier: AbortOnDropHandle<()>,
}

impl Forwarded {
    /// Why what comes has ended, if not because all has come. It is told once.
    fn why(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut text = [0; LONGEST_REASON];
        let mut said = ReadBuf::new(&mut text);
        let mut length = 0;
        while matches!(Pin::new(&mut self.errors).poll_read(context, &mut said), Poll::Ready(Ok(())))
            && said.filled().len() > length
        {
            length = said.filled().len();
        }
        if length > 0 {
            return Err(io::Error::other(String::from_utf8_lossy(said.filled()).into_owned()));
        }
        match self.broken.is_cancelled() {
            true => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection to the server broke off"))
            }
            false => Ok(()),
        }
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        ready!(Pin::new(&mut self.incoming).poll_read(context, buffer))?;
        let has_ended = room > 0 && buffer.remaining() == room;
        Poll::Ready(if has_ended { self.why(context) } else { Ok(()) })
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.outgoing).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;
    use crate::streams::session::both;

    /// A server that knows no streams, and what a client reads from it: what is written to it in capitals, and why it has
    /// ended.
    #[tokio::test]
    async fn servers_without_streams_are_spoken_to_by_channels() {
        let (near, far) = duplex(1024);
        let mut channels = Channels::new(Version::V4, 2);
        let (mut incoming, mut outgoing) = (channels.incoming(0), channels.outgoing(0));
        let mut errors = channels.outgoing(1);
        let serving = async {
            outgoing.write_all(&80_u16.to_le_bytes()).await.unwrap();
            errors.write_all(&80_u16.to_le_bytes()).await.unwrap();
            let mut asked = [0; 5];
            incoming.read_exact(&mut asked).await.unwrap();
            outgoing.write_all(&asked.to_ascii_uppercase()).await.unwrap();
            errors.write_all(b"the port has gone").await.unwrap();
            drop((outgoing, errors));
        };
        let server = async {
            let socket = websocket(far, Role::Server).await;
            both(channels.run(socket, Role::Server), serving).await.unwrap();
        };
        let asking = async {
            let mut port = by_channels(websocket(near, Role::Client).await).await.unwrap();
            port.write_all(b"hello").await.unwrap();
            let mut answer = Vec::new();
            let ended = port.read_to_end(&mut answer).await.unwrap_err();
            assert_eq!((answer.as_slice(), ended.to_string().as_str()), (&b"HELLO"[..], "the port has gone"));
            assert_eq!(port.read(&mut [0]).await.unwrap(), 0, "it is said once");
        };
        tokio::join!(server, asking);
    }
}
