//! HTTP/2 as a line that carries connections: each of its streams is one, and behaves as one of TCP does.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

/// How often the other side is asked whether it is there, and how long it may take to answer: long, as it may have much to do
/// for all that the line carries.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// How many connections one that is held carries at a time.
pub(crate) const MOST_STREAMS: u32 = 1000;
/// How much of each is on its way. Together they have room for that, so that one whose bytes nobody takes stops no other.
pub(crate) const STREAM_WINDOW: u32 = 256 << 10;
pub(crate) const WINDOW: u32 = MOST_STREAMS * STREAM_WINDOW;
/// The longest piece that is written at once.
const PIECE: usize = 64 << 10;
/// When nobody is interested in a connection any more: how long the other side may go on to talk, so that what was written
/// to it before still arrives; and how long it may say nothing, and not end either.
const LINGER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Returns when the other side of a connection has not answered in time.
pub(crate) async fn silent(mut pings: PingPong) {
    loop {
        sleep(PING.0).await;
        if !matches!(timeout(PING.1, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

/// Whom a connection leads to unless it names an address: the agent of the node.
const AGENT: &str = "agent:10250";
/// The header in which the other end says why it makes no connection.
pub(crate) const WHY: &str = "why";

/// A line, over which connections are made. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Line(Arc<SendRequest<Bytes>>);

impl Line {
    pub(crate) fn new(sender: SendRequest<Bytes>) -> Self {
        Self(Arc::new(sender))
    }

    /// Whether it is a clone of another.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Makes a connection to whoever is at the other end.
    pub(crate) async fn open(&self) -> io::Result<Wire> {
        self.connect(AGENT).await
    }

    /// Makes a connection to an address of the machine at the other end.
    pub(crate) async fn open_to(&self, address: SocketAddr) -> io::Result<Wire> {
        self.connect(&address.to_string()).await
    }

    async fn connect(&self, whom: &str) -> io::Result<Wire> {
        let mut sender = SendRequest::clone(&self.0).ready().await.map_err(failed)?;
        let request = Request::builder().method(Method::CONNECT).uri(whom).body(());
        let (answer, outgoing) =
            sender.send_request(request.map_err(io::Error::other)?, false).map_err(failed)?;
        let (head, incoming) = answer.await.map_err(failed)?.into_parts();
        if head.status.is_success() {
            return Ok(Wire::new(outgoing, incoming));
        }
        let why = head.headers.get(WHY).and_then(|why| why.to_str().ok());
        Err(io::Error::other(match why {
            Some(why) => why.to_owned(),
            None => format!("the other end answered {}", head.status),
        }))
    }
}

/// One stream. As with TCP, when it is dropped what was written still arrives, and who goes on to talk is told that nobody
/// listens, also one that reads nothing.
pub(crate) struct Wire(Option<Ends>);

struct Ends {
    outgoing: SendStream<Bytes>,
    has_ended: bool,
    incoming: RecvStream,
    /// What has come and was not read yet.
    held: Bytes,
}

impl Wire {
    pub(crate) fn new(outgoing: SendStream<Bytes>, incoming: RecvStream) -> Self {
        Self(Some(Ends { outgoing, has_ended: false, incoming, held: Bytes::new() }))
    }

    /// The ends are there until it is dropped.
    fn ends(&mut self) -> io::Result<&mut Ends> {
        self.0.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Ends {
    fn end(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.outgoing.send_data(Bytes::new(), true).map_err(failed)?;
        }
        Ok(())
    }

    /// Waits until the other side has ended too, and cuts one off that goes on to talk.
    async fn linger(mut self) {
        if self.end().is_err() || timeout(LINGER.1, self.farewell()).await.is_err() {
            self.outgoing.send_reset(Reason::CANCEL);
        }
    }

    async fn farewell(&mut self) {
        let began = Instant::now();
        while let Some(came) = std::future::poll_fn(|cx| self.incoming.poll_data(cx)).await {
            let Ok(came) = came else { return };
            if began.elapsed() > LINGER.0 {
                self.outgoing.send_reset(Reason::CANCEL);
                return;
            }
            // What has come is nobody's business any more.
            let _ = self.incoming.flow_control().release_capacity(came.len());
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(ends) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(ends.linger());
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Ends { incoming, held, .. } = self.ends()?;
        while held.is_empty() {
            match ready!(incoming.poll_data(context)) {
                Some(Ok(bytes)) => *held = bytes,
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let piece = held.split_to(held.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        incoming.flow_control().release_capacity(piece.len()).map_err(failed)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Ends { outgoing, has_ended, .. } = self.ends()?;
        if *has_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // That the other side has reset it is to be noticed also while there is room.
        if let Poll::Ready(reset) = outgoing.poll_reset(context) {
            let error = reset.map_or_else(failed, |reason| failed(reason.into()));
            return Poll::Ready(Err(error));
        }
        let wanted = bytes.len().min(PIECE);
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        outgoing.reserve_capacity(wanted);
        while outgoing.capacity() == 0 {
            match ready!(outgoing.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let piece = &bytes[..wanted.min(outgoing.capacity())];
        outgoing.send_data(Bytes::copy_from_slice(piece), false).map_err(failed)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever works on the connection sends what there is.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.ends()?.end())
    }
}

fn failed(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
    }
    match error.reason() {
        Some(Reason::CANCEL | Reason::NO_ERROR) => io::Error::new(io::ErrorKind::ConnectionReset, error),
        _ => io::Error::other(error),
    }
}
