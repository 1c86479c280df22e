//! The streams of a connection, which its client begins.
//!
//! Kubernetes' clients keep no account of how much may be sent on a stream, and neither does this: a stream whose pipe is
//! full holds up the connection, and so its client.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::frame::{self, Frame, FrameError};
use super::headers::{HeaderError, HeaderReader, HeaderWriter, Headers};
use crate::{PIECE, PING, PIPE};

/// How many bytes wait for whoever reads a stream: what is more holds up all streams of the connection.
const WAITING: usize = 4 * PIPE;
/// How many streams there may be at a time.
const MOST: usize = 1000;
/// How long the client may take to read what was sent last, and to go.
const READING: Duration = Duration::from_secs(60);
/// How long it may take to be told to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// Numbers of the specification for what became of a stream.
mod status {
    pub(super) const PROTOCOL_ERROR: u32 = 1;
    pub(super) const REFUSED_STREAM: u32 = 3;
}

/// A stream that the client began.
#[derive(Debug)]
pub struct SpdyStream {
    headers: Headers,
    /// What the other side sends.
    pub incoming: DuplexStream,
    /// Where to write what it is sent.
    pub outgoing: DuplexStream,
    /// Cancelled when the stream ends both ways before its time: the other side has given it up, or the connection has
    /// ended. What was read to its end is whole if it is not.
    pub reset: CancellationToken,
}

impl SpdyStream {
    /// The value of a header, by its name in lower case; nothing if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value)
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpdyError {
    /// Something that is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Something that is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A frame at a wrong time.
    #[error("the other side sent {0}")]
    Unexpected(&'static str),
    /// The connection broke off.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection, to a client or to a server.
pub struct Spdy<S> {
    connection: S,
    begun: Option<mpsc::Sender<SpdyStream>>,
    opened: Vec<Opened>,
    pack: HeaderWriter,
    finished: CancellationToken,
}

/// A stream that this side began.
struct Opened {
    number: u32,
    frame: Bytes,
    held: Held,
    pipe: DuplexStream,
}

impl<S> fmt::Debug for Spdy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spdy").field("is_server", &self.begun.is_some()).finish_non_exhaustive()
    }
}

/// What is sent besides the bytes of streams.
enum Order {
    /// A frame.
    Send(Bytes),
    /// What a stream of this number is sent, until it is given up.
    Open(u32, DuplexStream, CancellationToken),
}

impl Order {
    fn send(frame: &Frame) -> Self {
        let mut bytes = BytesMut::new();
        frame::encode(frame, &mut bytes);
        Self::Send(bytes.freeze())
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Spdy<S> {
    /// A connection, and the streams that are begun on it. When `finished` is cancelled, it ends as soon as its streams
    /// have.
    pub fn new(connection: S, finished: CancellationToken) -> (Self, mpsc::Receiver<SpdyStream>) {
        let (begun, streams) = mpsc::channel(8);
        let (begun, opened, pack) = (Some(begun), Vec::new(), HeaderWriter::new());
        (Self { connection, begun, opened, pack, finished }, streams)
    }

    /// A connection to a server, on which streams of these headers are begun. It ends when the server does, or has ended
    /// them all.
    pub fn begin(connection: S, wanted: &[&[(&str, &str)]]) -> (Self, Vec<SpdyStream>) {
        let (mut opened, mut streams, mut pack) = (Vec::new(), Vec::new(), HeaderWriter::new());
        for (number, headers) in (1..).step_by(2).zip(wanted) {
            let block = pack.write(headers);
            let (fin, unidirectional) = (false, false);
            let frame =
                Frame::SynStream { stream: number, fin, unidirectional, priority: 0, associated: 0, block };
            let mut bytes = BytesMut::new();
            frame::encode(&frame, &mut bytes);
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let (held, pipe, stream) = Held::new(false, headers.collect());
            opened.push(Opened { number, frame: bytes.freeze(), held, pipe });
            streams.push(stream);
        }
        let finished = CancellationToken::new();
        finished.cancel();
        (Self { connection, begun: None, opened, pack, finished }, streams)
    }

    /// Passes on what comes and what is written, until the client goes or all is finished.
    ///
    /// # Errors
    /// When the client breaks the rules, or the connection broke off.
    pub async fn run(self) -> Result<(), SpdyError> {
        let Self { connection, begun, opened, pack, finished } = self;
        let (reader, mut writer) = tokio::io::split(connection);
        let (orders, ordered) = mpsc::channel(8);
        let is_client = begun.is_none();
        let (mut streams, mut sending) = (HashMap::new(), Sending::new(is_client));
        for Opened { number, frame, held, pipe } in opened {
            writer.write_all(&frame).await?;
            sending.open(number, pipe, held.given_up.clone());
            streams.insert(number, held);
        }
        writer.flush().await?;
        let unpack = HeaderReader::new();
        let sent_all = CancellationToken::new();
        let sent = sent_all.clone();
        let incoming = Incoming { reader, begun, orders, streams, last: 0, unpack, pack, sent };
        let outcome = {
            let mut receiving = pin!(incoming.run());
            tokio::select! {
                received = receiving.as_mut() => received,
                sent = sending.run(&mut writer, ordered, finished) => match sent {
                    // A server may have more to say when it is sent nothing any more.
                    Ok(()) if is_client => {
                        sent_all.cancel();
                        receiving.await
                    }
                    // The client goes when it has read all; who is told to go away does not read on.
                    Ok(()) => timeout(READING, receiving).await.unwrap_or(Ok(())),
                    Err(error) => Err(error.into()),
                },
            }
        };
        let code = if outcome.is_ok() { 0 } else { status::PROTOCOL_ERROR };
        let mut good_bye = BytesMut::new();
        frame::encode(&Frame::GoAway { last: 0, status: code }, &mut good_bye);
        let ending = async {
            writer.write_all(&good_bye).await?;
            writer.shutdown().await
        };
        let _ = timeout(FAREWELL, ending).await;
        outcome
    }
}

/// A stream, as far as it is still open.
struct Held {
    /// Where what comes is written; none, once the client has ended it. Before the pipe is dropped for another reason, it
    /// is told by the guard that this is no end of what comes.
    pipe: Option<(DropGuard, DuplexStream)>,
    /// Cancelled when it ends before its time.
    reset: CancellationToken,
    /// Cancelled then as well, and when it is sent nothing any more.
    given_up: CancellationToken,
}

impl Held {
    /// A stream: as it is held, what is written to it, and both as its user has them.
    fn new(fin: bool, headers: Headers) -> (Self, DuplexStream, SpdyStream) {
        let ((ours, incoming), (theirs, outgoing)) = (duplex(WAITING), duplex(PIPE));
        let reset = CancellationToken::new();
        let stream = SpdyStream { headers, incoming, outgoing, reset: reset.clone() };
        let pipe = (!fin).then(|| (reset.clone().drop_guard(), ours));
        (Self { pipe, given_up: reset.child_token(), reset }, theirs, stream)
    }
}

/// What comes.
struct Incoming<R> {
    reader: R,
    /// Where streams go that the client begins; none, on its own side.
    begun: Option<mpsc::Sender<SpdyStream>>,
    orders: mpsc::Sender<Order>,
    streams: HashMap<u32, Held>,
    /// The greatest number of a stream so far.
    last: u32,
    unpack: HeaderReader,
    pack: HeaderWriter,
    /// Cancelled when all is sent that there is to send.
    sent: CancellationToken,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    async fn run(mut self) -> Result<(), SpdyError> {
        let mut bytes = BytesMut::with_capacity(PIECE);
        loop {
            while let Some(frame) = frame::decode(&mut bytes)? {
                self.take(frame).await?;
            }
            if self.is_over() {
                return Ok(());
            }
            bytes.reserve(PIECE);
            let still_sending = !self.sent.is_cancelled();
            tokio::select! {
                biased;
                read = self.reader.read_buf(&mut bytes) => if read? == 0 {
                    return Ok(());
                },
                () = self.sent.cancelled(), if still_sending => {}
            }
        }
    }

    /// Whether nothing can come any more, and nothing is left to send. A client goes then; more streams may come to a server.
    fn is_over(&self) -> bool {
        let is_client = self.begun.is_none();
        is_client && self.sent.is_cancelled() && self.streams.values().all(|held| held.pipe.is_none())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), SpdyError> {
        match frame {
            Frame::SynStream { stream, fin, unidirectional, block, .. } => {
                let headers = self.unpack.read(&block)?;
                if self.begun.is_none() || stream % 2 == 0 || stream <= self.last || unidirectional {
                    return Err(SpdyError::Unexpected("a stream of a number that it may not have"));
                }
                self.last = stream;
                self.begin(stream, fin, headers).await
            }
            Frame::Data { stream, fin, data } => {
                self.data(stream, fin, &data).await;
                Ok(())
            }
            Frame::Rst { stream, .. } => {
                if let Some(held) = self.streams.remove(&stream) {
                    held.reset.cancel();
                }
                Ok(())
            }
            // Only who began it is answered: clients have odd numbers, and servers even ones. Who does not read is not
            // waited for: what it writes would wait too.
            Frame::Ping(number) if (number % 2 == 1) == self.begun.is_some() => {
                let _ = self.orders.try_send(Order::send(&Frame::Ping(number)));
                Ok(())
            }
            // The headers of streams build upon those of the streams before, also on those that nobody needs.
            Frame::Headers { block, .. } | Frame::SynReply { block, .. } => {
                self.unpack.read(&block)?;
                Ok(())
            }
            Frame::GoAway { .. }
            | Frame::Ping(_)
            | Frame::Settings(_)
            | Frame::WindowUpdate { .. }
            | Frame::Unknown { .. } => Ok(()),
        }
    }

    async fn begin(&mut self, stream: u32, fin: bool, headers: Headers) -> Result<(), SpdyError> {
        // Those that both sides have left.
        self.streams.retain(|_, held| held.pipe.is_some() || !held.given_up.is_cancelled());
        if self.streams.len() >= MOST {
            debug!(stream, "a client has too many streams");
            self.order(&Frame::Rst { stream, status: status::REFUSED_STREAM }).await;
            return Ok(());
        }
        let (held, pipe, begun) = Held::new(fin, headers);
        let given_up = held.given_up.clone();
        self.streams.insert(stream, held);
        let reply = Frame::SynReply { stream, fin: false, block: self.pack.write(&[]) };
        self.order(&reply).await;
        let _ = self.orders.send(Order::Open(stream, pipe, given_up)).await;
        if let Some(streams) = &self.begun {
            // When nobody takes streams any more, what comes on them is passed over.
            let _ = streams.send(begun).await;
        }
        Ok(())
    }

    async fn data(&mut self, stream: u32, fin: bool, data: &[u8]) {
        let Some(held) = self.streams.get_mut(&stream) else { return };
        if let Some((_, pipe)) = &mut held.pipe
            && (pipe.write_all(data).await.is_err() || fin)
            && let Some((early, _pipe)) = held.pipe.take()
        {
            // Either has ended, and what still comes is passed over.
            early.disarm();
        }
    }

    async fn order(&mut self, frame: &Frame) {
        let _ = self.orders.send(Order::send(frame)).await;
    }
}

/// What is sent.
struct Sending {
    pieces: SelectAll<BoxStream<'static, BytesMut>>,
    /// The number of the last ping.
    number: u32,
}

impl Sending {
    /// Pings of a client are odd, and those of a server even.
    fn new(is_client: bool) -> Self {
        Self { pieces: SelectAll::new(), number: u32::from(is_client) }
    }

    fn open(&mut self, stream: u32, pipe: DuplexStream, given_up: CancellationToken) {
        self.pieces.push(frames_of(stream, pipe, given_up).boxed());
    }

    /// Sends what is ordered and what is written, until all is finished.
    async fn run<W: AsyncWrite + Unpin>(
        mut self,
        writer: &mut W,
        mut orders: mpsc::Receiver<Order>,
        finished: CancellationToken,
    ) -> io::Result<()> {
        let mut pings = interval_at(Instant::now() + PING, PING);
        loop {
            let next = tokio::select! {
                biased;
                Some(order) = orders.recv() => match order {
                    Order::Send(bytes) => bytes,
                    Order::Open(stream, pipe, given_up) => {
                        self.open(stream, pipe, given_up);
                        continue;
                    }
                },
                frame = self.pieces.next(), if !self.pieces.is_empty() => match frame {
                    Some(frame) => frame.freeze(),
                    // The last stream has ended: whether all is finished is asked again.
                    None => continue,
                },
                _ = pings.tick() => {
                    self.number = (self.number + 2) & (u32::MAX >> 1);
                    let mut ping = BytesMut::new();
                    frame::encode(&Frame::Ping(self.number), &mut ping);
                    ping.freeze()
                }
                () = finished.cancelled(), if self.pieces.is_empty() => return Ok(()),
            };
            writer.write_all(&next).await?;
            // What TLS could not send at once would otherwise wait for the next frame, which may never come.
            writer.flush().await?;
        }
    }
}

/// What is written to a stream, as frames, the last of which ends it.
fn frames_of(
    stream: u32,
    pipe: DuplexStream,
    given_up: CancellationToken,
) -> impl Stream<Item = BytesMut> + Send {
    let left = given_up.clone();
    let frames = stream::unfold(Some(pipe), move |pipe| async move {
        let mut pipe = pipe?;
        let mut frame = BytesMut::with_capacity(frame::HEAD + PIECE);
        frame.put_bytes(0, frame::HEAD);
        let read = (&mut pipe).take(PIECE as u64).read_buf(&mut frame).await.unwrap_or(0);
        frame[..frame::HEAD].copy_from_slice(&frame::data_head(stream, read == 0, read));
        Some((frame, (read != 0).then_some(pipe)))
    });
    frames.take_until(given_up.cancelled_owned()).chain(stream::once(async move {
        // So that it is known to be over.
        left.cancel();
        BytesMut::new()
    }))
}

#[cfg(test)]
mod tests;
