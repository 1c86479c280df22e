//! The streams of a connection, which the client begins.
//!
//! Kubernetes' clients keep no account of how much may be sent on a stream, and neither does this: a stream whose pipe is
//! full holds up the connection, and so its client.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::SelectAll;
use futures::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::frame::{self, Frame, FrameError};
use super::headers::{HeaderError, HeaderReader, HeaderWriter, Headers};
use crate::streams::{PIECE, PING, PIPE};

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
pub(crate) struct SpdyStream {
    headers: Headers,
    /// What the client sends.
    pub(crate) incoming: DuplexStream,
    /// Where to write what it is sent.
    pub(crate) outgoing: DuplexStream,
}

impl SpdyStream {
    /// The value of a header, by its name in lower case; nothing if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value)
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpdyError {
    /// Something that is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Something that is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A frame at a wrong time.
    #[error("the client sent {0}")]
    Unexpected(&'static str),
    /// The connection broke off.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection to a client.
pub(crate) struct Spdy<S> {
    connection: S,
    begun: mpsc::Sender<SpdyStream>,
    finished: CancellationToken,
}

/// What is sent besides the bytes of streams.
enum Order {
    /// A frame.
    Send(Bytes),
    /// What a stream of this number is sent, until it is given up.
    Open(u32, DuplexStream, CancellationToken),
}

impl<S: AsyncRead + AsyncWrite + Send> Spdy<S> {
    /// A connection, and the streams that are begun on it. When `finished` is cancelled, it ends as soon as its streams
    /// have.
    pub(crate) fn new(connection: S, finished: CancellationToken) -> (Self, mpsc::Receiver<SpdyStream>) {
        let (begun, streams) = mpsc::channel(8);
        (Self { connection, begun, finished }, streams)
    }

    /// Passes on what comes and what is written, until the client goes or all is finished.
    ///
    /// # Errors
    /// When the client breaks the rules, or the connection broke off.
    pub(crate) async fn run(self) -> Result<(), SpdyError> {
        let Self { connection, begun, finished } = self;
        let (reader, mut writer) = tokio::io::split(connection);
        let (orders, ordered) = mpsc::channel(8);
        let incoming = Incoming {
            reader,
            begun,
            orders,
            streams: HashMap::new(),
            last: 0,
            unpack: HeaderReader::new(),
            pack: HeaderWriter::new(),
        };
        let outcome = {
            let mut receiving = pin!(incoming.run());
            tokio::select! {
                received = receiving.as_mut() => received,
                sent = send(&mut writer, ordered, finished) => match sent {
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
    /// Where what comes is written; none, once the client has ended it.
    pipe: Option<DuplexStream>,
    /// Cancelled when it is given up.
    given_up: CancellationToken,
}

/// What comes.
struct Incoming<R> {
    reader: R,
    begun: mpsc::Sender<SpdyStream>,
    orders: mpsc::Sender<Order>,
    streams: HashMap<u32, Held>,
    /// The greatest number of a stream so far.
    last: u32,
    unpack: HeaderReader,
    pack: HeaderWriter,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    async fn run(mut self) -> Result<(), SpdyError> {
        let mut bytes = BytesMut::with_capacity(PIECE);
        loop {
            while let Some(frame) = frame::decode(&mut bytes)? {
                self.take(frame).await?;
            }
            bytes.reserve(PIECE);
            if self.reader.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), SpdyError> {
        match frame {
            Frame::SynStream { stream, fin, unidirectional, block, .. } => {
                let headers = self.unpack.read(&block)?;
                if stream % 2 == 0 || stream <= self.last || unidirectional {
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
                    held.given_up.cancel();
                }
                Ok(())
            }
            // Only who began it is answered, which is who has odd numbers.
            Frame::Ping(number) if number % 2 == 1 => {
                self.order(&Frame::Ping(number)).await;
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
        let ((ours, incoming), (theirs, outgoing)) = (duplex(WAITING), duplex(PIPE));
        let given_up = CancellationToken::new();
        let pipe = (!fin).then_some(ours);
        self.streams.insert(stream, Held { pipe, given_up: given_up.clone() });
        let reply = Frame::SynReply { stream, fin: false, block: self.pack.write(&[]) };
        self.order(&reply).await;
        let _ = self.orders.send(Order::Open(stream, theirs, given_up)).await;
        // When nobody takes streams any more, what comes on them is passed over.
        let _ = self.begun.send(SpdyStream { headers, incoming, outgoing }).await;
        Ok(())
    }

    async fn data(&mut self, stream: u32, fin: bool, data: &[u8]) {
        let Some(held) = self.streams.get_mut(&stream) else { return };
        if let Some(pipe) = &mut held.pipe
            && (pipe.write_all(data).await.is_err() || fin)
        {
            // Either has ended, and what still comes is passed over.
            held.pipe = None;
        }
    }

    async fn order(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame::encode(frame, &mut bytes);
        let _ = self.orders.send(Order::Send(bytes.freeze())).await;
    }
}

/// Sends what is ordered and what is written, until all is finished.
async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut orders: mpsc::Receiver<Order>,
    finished: CancellationToken,
) -> io::Result<()> {
    let mut pieces = SelectAll::new();
    let (mut pings, mut number) = (interval_at(Instant::now() + PING, PING), 0);
    loop {
        let next = tokio::select! {
            biased;
            Some(order) = orders.recv() => match order {
                Order::Send(bytes) => bytes,
                Order::Open(stream, pipe, given_up) => {
                    pieces.push(frames_of(stream, pipe, given_up).boxed());
                    continue;
                }
            },
            Some(frame) = pieces.next() => frame.freeze(),
            _ = pings.tick() => {
                // Those of a server are even.
                number = (number + 2) & (u32::MAX >> 1);
                let mut ping = BytesMut::new();
                frame::encode(&Frame::Ping(number), &mut ping);
                ping.freeze()
            }
            () = finished.cancelled(), if pieces.is_empty() => return Ok(()),
        };
        writer.write_all(&next).await?;
        // What TLS could not send at once would otherwise wait for the next frame, which may never come.
        writer.flush().await?;
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
mod tests {
    use super::*;

    /// A client, as frames.
    struct Client {
        connection: DuplexStream,
        bytes: BytesMut,
        pack: HeaderWriter,
    }

    impl Client {
        async fn send(&mut self, frame: &Frame) {
            let mut bytes = BytesMut::new();
            frame::encode(frame, &mut bytes);
            self.connection.write_all(&bytes).await.unwrap();
        }

        async fn begin(&mut self, stream: u32, kind: &str) {
            let block = self.pack.write(&[("streamType", kind)]);
            let (fin, unidirectional) = (false, false);
            let frame = Frame::SynStream { stream, fin, unidirectional, priority: 0, associated: 0, block };
            self.send(&frame).await;
        }

        async fn next(&mut self) -> Option<Frame> {
            loop {
                if let Some(frame) = frame::decode(&mut self.bytes).unwrap() {
                    return Some(frame);
                }
                if self.connection.read_buf(&mut self.bytes).await.unwrap() == 0 {
                    return None;
                }
            }
        }
    }

    fn connect() -> (Client, Spdy<DuplexStream>, mpsc::Receiver<SpdyStream>, CancellationToken) {
        let (connection, server) = duplex(1 << 20);
        let finished = CancellationToken::new();
        let (spdy, streams) = Spdy::new(server, finished.clone());
        (Client { connection, bytes: BytesMut::new(), pack: HeaderWriter::new() }, spdy, streams, finished)
    }

    fn data(stream: u32, fin: bool, data: &'static [u8]) -> Frame {
        Frame::Data { stream, fin, data: Bytes::from_static(data) }
    }

    #[tokio::test]
    async fn streams_go_both_ways_and_end_for_themselves() {
        let (mut client, spdy, mut streams, finished) = connect();
        let talk = async {
            client.begin(1, "error").await;
            client.begin(3, "data").await;
            client.send(&Frame::Ping(1)).await;
            client.send(&data(3, false, b"hel")).await;
            client.send(&data(3, true, b"lo")).await;
            let (error, mut stream) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
            assert_eq!((error.header("streamtype"), stream.header("streamtype")), ("error", "data"));
            let mut said = String::new();
            stream.incoming.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "hello");
            // What ended one way goes on the other.
            stream.outgoing.write_all(b"good-bye").await.unwrap();
            drop((error, stream));
            finished.cancel();
            let (mut frames, mut ended) = (Vec::new(), 0);
            while let Some(frame) = client.next().await {
                ended += usize::from(matches!(frame, Frame::Data { fin: true, .. }));
                if ended == 2 {
                    // It has read all, and goes.
                    client.connection.shutdown().await.unwrap();
                }
                frames.push(match frame {
                    Frame::SynReply { stream, .. } => format!("reply {stream}"),
                    Frame::Data { stream, fin, data } => {
                        format!("{stream} {}{}", String::from_utf8_lossy(&data), if fin { "." } else { "" })
                    }
                    Frame::Ping(number) => format!("ping {number}"),
                    Frame::GoAway { status, .. } => format!("away {status}"),
                    other => format!("{other:?}"),
                });
            }
            frames
        };
        let (frames, ended) = tokio::join!(talk, spdy.run());
        ended.unwrap();
        let of = |what: &str| {
            let found = frames.iter().map(String::as_str).filter(|frame| frame.starts_with(what));
            found.collect::<Vec<_>>()
        };
        assert_eq!((of("reply 1").len(), of("reply 3").len(), of("ping 1").len()), (1, 1, 1), "{frames:?}");
        assert_eq!((of("1 "), of("3 ")), (vec!["1 ."], vec!["3 good-bye", "3 ."]), "{frames:?}");
        assert_eq!(frames.last().unwrap(), "away 0");
    }

    #[tokio::test]
    async fn a_stream_that_is_given_up_ends_both_ways() {
        let (mut client, spdy, mut streams, _finished) = connect();
        let talk = async {
            client.begin(1, "data").await;
            let mut stream = streams.recv().await.unwrap();
            client.send(&Frame::Rst { stream: 1, status: 5 }).await;
            let mut rest = Vec::new();
            assert_eq!(stream.incoming.read_to_end(&mut rest).await.unwrap(), 0);
            while stream.outgoing.write_all(&[0; PIECE]).await.is_ok() {}
            drop(client);
        };
        let ((), ended) = tokio::join!(talk, spdy.run());
        ended.unwrap();
    }

    #[tokio::test]
    async fn who_breaks_the_rules_is_cut_off() {
        let block = || HeaderWriter::new().write(&[]);
        let begin = |stream, block| Frame::SynStream {
            stream,
            fin: false,
            unidirectional: false,
            priority: 0,
            associated: 0,
            block,
        };
        for frames in [
            vec![begin(2, block())],
            vec![begin(1, Bytes::from_static(b"nonsense"))],
            vec![begin(3, block()), begin(1, Bytes::new())],
        ] {
            let (mut client, spdy, _streams, _finished) = connect();
            let talk = async {
                for frame in &frames {
                    client.send(frame).await;
                }
                let mut last = None;
                while let Some(frame) = client.next().await {
                    last = Some(frame);
                }
                last
            };
            let (last, ended) = tokio::join!(talk, spdy.run());
            assert!(ended.is_err(), "{frames:?}");
            assert_eq!(last, Some(Frame::GoAway { last: 0, status: status::PROTOCOL_ERROR }));
        }
    }
}
