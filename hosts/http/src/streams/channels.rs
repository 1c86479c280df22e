//! WebSockets whose messages begin with the number of a stream.
//!
//! What comes for a stream goes into a pipe, and what is written into its other pipe is sent. A pipe that is full stops
//! the whole WebSocket, which has no other way to slow a stream down. With [`Version::V5`] a client can end a stream.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{SelectAll, SplitSink, SplitStream};
use futures::{SinkExt as _, Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::outcome::Telling;
use super::version::Version;
use super::{PIECE, PING, PIPE};

/// Ends the stream whose number follows.
const CLOSE: u8 = 255;
/// The longest message that is taken.
const LONGEST: usize = 4 * 1024 * 1024;
/// How long the other side may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// A WebSocket on a connection whose handshake is done.
pub(crate) async fn websocket<S>(connection: S, role: Role) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(PIECE)
        .write_buffer_size(0)
        .max_write_buffer_size(LONGEST)
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST));
    WebSocketStream::from_raw_socket(connection, role, Some(config)).await
}

/// The streams of a WebSocket.
pub(crate) struct Channels {
    version: Version,
    /// The numbers there may be; what comes for one that nobody reads is dropped.
    count: u8,
    incoming: Vec<(u8, DuplexStream)>,
    outgoing: Vec<(u8, DuplexStream)>,
    /// The stream on which the client is told first of all that it is connected.
    greeting: Option<u8>,
}

/// How the streams of a WebSocket ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The other side breaks the rules.
    #[error("{0}")]
    Protocol(String),
    /// The WebSocket broke off.
    #[error(transparent)]
    Socket(#[from] Error),
}

impl Channels {
    /// None yet, of so many that there may be.
    pub(crate) fn new(version: Version, count: u8) -> Self {
        Self { version, count, incoming: Vec::new(), outgoing: Vec::new(), greeting: None }
    }

    /// What the other side sends on a stream.
    pub(crate) fn incoming(&mut self, number: u8) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE);
        self.incoming.push((number, ours));
        theirs
    }

    /// Where to write what the other side is sent on a stream.
    pub(crate) fn outgoing(&mut self, number: u8) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE);
        self.outgoing.push((number, ours));
        theirs
    }

    /// Sends an empty message on a stream before anything else: by it clients know that they are connected.
    pub(crate) fn greet(&mut self, number: u8) {
        self.greeting = Some(number);
    }

    /// How the client is told how a command ended.
    pub(crate) fn telling(&self) -> Telling {
        self.version.telling()
    }

    /// Passes on what comes and what is written. As the server it returns when all that is written has ended and was
    /// sent; as the client, which says so of each stream, when the server has said good-bye.
    ///
    /// # Errors
    /// When the other side breaks the rules, which it is told, or the connection broke off.
    pub(crate) async fn run<S>(self, socket: WebSocketStream<S>, role: Role) -> Result<(), Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Self { version, count, incoming, outgoing, greeting } = self;
        let (mut sink, mut messages) = socket.split();
        let outcome = {
            let mut receiving = std::pin::pin!(receive(&mut messages, incoming, version, count));
            let sending = send(&mut sink, outgoing, version, greeting, role);
            tokio::select! {
                received = receiving.as_mut() => received,
                sent = sending => match (sent, role) {
                    (Err(error), _) => Err(error),
                    (Ok(()), Role::Server) => Ok(()),
                    (Ok(()), Role::Client) => receiving.await,
                },
            }
        };
        let _ = timeout(FAREWELL, farewell(sink, messages, &outcome)).await;
        outcome
    }
}

/// Ends a WebSocket as its rules say, and waits for the other side to do so.
async fn farewell<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut messages: SplitStream<WebSocketStream<S>>,
    outcome: &Result<(), Broken>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (code, reason) = match outcome {
        Ok(()) => (CloseCode::Normal, String::new()),
        Err(Broken::Socket(Error::Capacity(error))) => (CloseCode::Size, error.to_string()),
        Err(error) => (CloseCode::Protocol, error.to_string()),
    };
    // A control frame has room for so much.
    let reason = reason[..reason.floor_char_boundary(120)].into();
    let closing = sink.send(Message::Close(Some(CloseFrame { code, reason }))).await;
    if closing.is_ok() {
        while let Some(Ok(_)) = messages.next().await {}
    }
    if let Ok(mut socket) = messages.reunite(sink) {
        let _ = socket.get_mut().shutdown().await;
    }
}

async fn receive<S>(
    messages: &mut SplitStream<WebSocketStream<S>>,
    mut incoming: Vec<(u8, DuplexStream)>,
    version: Version,
    count: u8,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = messages.next().await {
        match read(message?, version, count)? {
            Received::Nothing => {}
            Received::Bytes(number, bytes) => {
                let place = incoming.iter().position(|(held, _)| *held == number);
                let Some(place) = place else { continue };
                if incoming[place].1.write_all(&bytes).await.is_err() {
                    // Nobody reads it any more, which is no fault of who writes.
                    incoming.swap_remove(place);
                }
            }
            Received::End(number) => incoming.retain(|(held, _)| *held != number),
            Received::Close => break,
        }
    }
    Ok(())
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
enum Received {
    Nothing,
    Bytes(u8, Bytes),
    End(u8),
    Close,
}

/// What is for no stream that there is says nothing, and a message of text is as good as one of bytes, as in Kubernetes.
fn read(message: Message, version: Version, count: u8) -> Result<Received, Broken> {
    let bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => text.into(),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(Received::Nothing),
        Message::Close(_) => return Ok(Received::Close),
    };
    if version == Version::V5
        && let [CLOSE, ended @ ..] = bytes.as_ref()
    {
        return match ended {
            [number] if *number < count => Ok(Received::End(*number)),
            _ => Err(Broken::Protocol("a signal to close has to name one stream".to_owned())),
        };
    }
    if bytes.is_empty() {
        return Ok(Received::Nothing);
    }
    Ok(match version.taken_apart(bytes) {
        Some((number, bytes)) if number < count => Received::Bytes(number, bytes),
        _ => Received::Nothing,
    })
}

async fn send<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    outgoing: Vec<(u8, DuplexStream)>,
    version: Version,
    greeting: Option<u8>,
    role: Role,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(number) = greeting {
        sink.send(version.message(number, b"")).await?;
    }
    // Clients end what commands read, and nothing else.
    let ends = |number| version == Version::V5 && role == Role::Client && number == 0;
    let mut pieces = SelectAll::new();
    let streams = outgoing.into_iter();
    pieces.extend(streams.map(|(number, pipe)| messages_of(number, pipe, version, ends(number)).boxed()));
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        tokio::select! {
            message = pieces.next() => match message {
                Some(message) => sink.send(message).await?,
                None => return Ok(()),
            },
            _ = pings.tick() => sink.send(Message::Ping(Bytes::new())).await?,
        }
    }
}

/// What is written into a pipe, as messages; and its end, if that is told.
fn messages_of(
    number: u8,
    pipe: DuplexStream,
    version: Version,
    ends: bool,
) -> impl Stream<Item = Message> + Send {
    stream::unfold(Some(pipe), move |pipe| async move {
        let mut pipe = pipe?;
        let mut piece = BytesMut::with_capacity(PIECE);
        match read_piece(&mut pipe, &mut piece).await {
            Ok(1..) => Some((version.message(number, &piece), Some(pipe))),
            Ok(0) | Err(_) if ends => Some((Message::Binary(Bytes::copy_from_slice(&[CLOSE, number])), None)),
            Ok(0) | Err(_) => None,
        }
    })
}

async fn read_piece(pipe: &mut DuplexStream, piece: &mut BytesMut) -> io::Result<usize> {
    pipe.take(PIECE as u64).read_buf(piece).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_their_stream() {
        let of = |bytes: &'static [u8], version| {
            read(Message::Binary(Bytes::from_static(bytes)), version, 5).map_err(|error| error.to_string())
        };
        let bytes = |number, bytes: &'static [u8]| Ok(Received::Bytes(number, Bytes::from_static(bytes)));
        assert_eq!(of(b"\0abc", Version::V4), bytes(0, b"abc"));
        assert_eq!(of(b"\x04", Version::V5), bytes(4, b""));
        assert_eq!(of(b"\xff\0", Version::V5), Ok(Received::End(0)));
        for (message, version) in [
            (&b""[..], Version::V5),
            (b"\x05x", Version::V5),
            (b"\xff\0", Version::V4),
            (b"0???", Version::V4Text),
            (b"\0YQ==", Version::V1Text),
        ] {
            assert_eq!(of(message, version), Ok(Received::Nothing), "{message:?}");
        }
        for message in [&b"\xff"[..], b"\xff\x07", b"\xff\0\0"] {
            assert!(of(message, Version::V5).is_err(), "{message:?}");
        }
        assert_eq!(of(b"0YQ==", Version::V1Text), bytes(0, b"a"));
        let text = read(Message::text("\0abc"), Version::V5, 5).map_err(|error| error.to_string());
        assert_eq!(text, bytes(0, b"abc"));
        assert_eq!(read(Message::Ping(Bytes::new()), Version::V5, 5).unwrap(), Received::Nothing);
    }

    async fn both() -> (WebSocketStream<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (client, server) = duplex(1024);
        // A client that sends what it likes.
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (client, websocket(server, Role::Server).await)
    }

    /// More than fits into any pipe goes to and fro, and each stream ends for itself.
    #[tokio::test]
    async fn streams_are_carried_and_end() {
        let (client, server) = both().await;
        let (mut at_client, mut at_server) = (Channels::new(Version::V5, 5), Channels::new(Version::V5, 5));
        let (mut input, mut output) = (at_client.outgoing(0), at_client.incoming(1));
        let (mut read, mut write) = (at_server.incoming(0), at_server.outgoing(1));
        let sent = vec![7; 10 * PIPE];
        let talk = async {
            let writing = async {
                input.write_all(&sent).await.unwrap();
                drop(input);
            };
            // The server answers what it has read to the end.
            let echoing = async {
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.unwrap();
                write.write_all(&all).await.unwrap();
                drop(write);
            };
            let mut answer = Vec::new();
            let reading = async { output.read_to_end(&mut answer).await.unwrap() };
            tokio::join!(writing, echoing, reading);
            answer
        };
        let (answer, client, server) =
            tokio::join!(talk, at_client.run(client, Role::Client), at_server.run(server, Role::Server));
        assert!(answer == sent && client.is_ok() && server.is_ok());
    }

    #[tokio::test]
    async fn who_breaks_the_rules_is_told_and_cut_off() {
        for (message, code) in [
            (Message::binary(&b"\xff\x09"[..]), CloseCode::Protocol),
            (Message::binary(vec![0; LONGEST + 1]), CloseCode::Size),
        ] {
            let (mut client, server) = both().await;
            let mut channels = Channels::new(Version::V5, 5);
            let (_held, mut read) = (channels.outgoing(1), channels.incoming(0));
            let talk = async {
                // What is too long is not taken to its end.
                let _ = client.send(message).await;
                client.next().await
            };
            let mut rest = Vec::new();
            let (told, ended, _) =
                tokio::join!(talk, channels.run(server, Role::Server), read.read_to_end(&mut rest));
            assert!(ended.is_err());
            match told {
                Some(Ok(Message::Close(Some(frame)))) => {
                    assert!(frame.code == code && !frame.reason.is_empty(), "{frame:?}");
                }
                // Cut off in the middle of what is too long.
                other => assert!(code == CloseCode::Size && !matches!(other, Some(Ok(_))), "{other:?}"),
            }
        }
    }

    /// A client that knows only text says what it has to, hears that it is connected, and then what is written.
    #[tokio::test]
    async fn clients_that_know_only_text_are_served() {
        let (mut client, server) = both().await;
        let mut channels = Channels::new(Version::V1Text, 5);
        channels.greet(1);
        let (mut read, mut write) = (channels.incoming(0), channels.outgoing(1));
        let echo = async {
            let mut heard = [0; 3];
            read.read_exact(&mut heard).await.unwrap();
            write.write_all(&heard).await.unwrap();
            drop(write);
        };
        let talk = async {
            client.send(Message::text("0bHMK")).await.unwrap();
            let mut heard = Vec::new();
            while let Some(Ok(message)) = client.next().await {
                heard.push(message);
            }
            heard
        };
        let (ended, (), heard) = tokio::join!(channels.run(server, Role::Server), echo, talk);
        assert!(ended.is_ok());
        assert_eq!(heard[..2], [Message::text("1"), Message::text("1bHMK")]);
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_its_streams() {
        let (client, server) = both().await;
        let mut channels = Channels::new(Version::V4, 5);
        let (_held, mut read) = (channels.outgoing(1), channels.incoming(0));
        drop(client);
        let mut rest = Vec::new();
        let (_, read) = tokio::join!(channels.run(server, Role::Server), read.read_to_end(&mut rest));
        assert_eq!(read.unwrap(), 0);
    }
}
