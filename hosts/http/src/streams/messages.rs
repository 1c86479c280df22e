//! WebSockets by which one stream is sent, as what a container wrote or the events of a watch, and nothing is read.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{BoxStream, SplitSink};
use futures::{SinkExt as _, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::handshake::Named;
use super::{PIECE, PING};

/// How long the other side may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// How the bytes of the stream stand in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    /// As they are.
    Bytes,
    /// As text in base64, for clients that take no other.
    Text,
    /// As they are, for a client that names nothing.
    Unnamed,
}

impl Messages {
    /// Those that are served.
    pub(crate) const SERVED: [Named<Self>; 3] =
        [("binary.k8s.io", Self::Bytes), ("base64.binary.k8s.io", Self::Text), ("", Self::Unnamed)];

    /// As which it is known; empty if the client has not asked for any.
    pub(crate) fn name(self) -> &'static str {
        let found = Self::SERVED.iter().find(|(_, served)| *served == self);
        found.map_or("", |(name, _)| name)
    }

    fn of(self, piece: &[u8]) -> Message {
        match self {
            Self::Text => Message::text(STANDARD.encode(piece)),
            Self::Bytes | Self::Unnamed => Message::Binary(Bytes::copy_from_slice(piece)),
        }
    }
}

/// Sends a stream until it ends or the other side goes. The first message is empty, as in Kubernetes: it tells that the
/// stream has begun.
pub(crate) async fn send<S>(socket: WebSocketStream<S>, form: Messages, chunks: BoxStream<'_, Bytes>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pieces = |chunk: Bytes| chunk.chunks(PIECE).map(|piece| form.of(piece)).collect::<Vec<_>>();
    let messages = chunks.flat_map(move |chunk| stream::iter(pieces(chunk)));
    send_messages(socket, stream::iter([form.of(b"")]).chain(messages).boxed()).await;
}

/// Sends lines, each as a message of text whatever the client asked for, as Kubernetes sends the events of a watch.
pub(crate) async fn send_lines<S>(socket: WebSocketStream<S>, chunks: BoxStream<'_, Bytes>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lines = |chunk: Bytes| {
        let lines = chunk.split_inclusive(|byte| *byte == b'\n').map(String::from_utf8_lossy);
        lines.map(|line| Message::text(line.into_owned())).collect::<Vec<_>>()
    };
    send_messages(socket, chunks.flat_map(move |chunk| stream::iter(lines(chunk))).boxed()).await;
}

async fn send_messages<S>(socket: WebSocketStream<S>, messages: BoxStream<'_, Message>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut incoming) = socket.split();
    let gone = async { while let Some(Ok(Message::Ping(_) | Message::Pong(_))) = incoming.next().await {} };
    let sent = tokio::select! {
        biased;
        () = gone => false,
        sent = all(&mut sink, messages) => sent.is_ok(),
    };
    if sent {
        let closing = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let farewell = async {
            if sink.send(Message::Close(Some(closing))).await.is_ok() {
                while let Some(Ok(_)) = incoming.next().await {}
            }
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

async fn all<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    mut messages: BoxStream<'_, Message>,
) -> Result<(), tokio_tungstenite::tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => sink.send(message).await?,
                None => return Ok(()),
            },
            // Who only reads is known to be gone by what cannot be sent to it.
            _ = pings.tick() => sink.send(Message::Ping(Bytes::new())).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::streams::channels::websocket;

    async fn received(form: Messages, chunks: Vec<Bytes>) -> Vec<Message> {
        let (client, server) = duplex(64 * 1024);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let sending = async {
            send(websocket(server, Role::Server).await, form, stream::iter(chunks).boxed()).await;
        };
        let receiving = client.filter_map(async |message| message.ok()).collect::<Vec<_>>();
        tokio::join!(sending, receiving).1
    }

    #[tokio::test]
    async fn a_stream_is_sent_in_pieces_and_ends() {
        let long = Bytes::from(vec![b'x'; PIECE + 1]);
        let mut messages = received(Messages::Bytes, vec![long.clone(), "y".into()]).await;
        let Some(Message::Close(Some(closing))) = messages.pop() else { panic!("{messages:?}") };
        assert_eq!(closing.code, CloseCode::Normal);
        let bytes: Vec<Bytes> = messages.into_iter().map(Message::into_data).collect();
        assert_eq!(bytes.iter().map(Bytes::len).collect::<Vec<_>>(), [0, PIECE, 1, 1]);
        let encoded = received(Messages::Text, vec!["a\n".into()]).await;
        assert_eq!(encoded[..2], [Message::text(""), Message::text("YQo=")]);
    }

    #[tokio::test]
    async fn lines_are_messages() {
        let (client, server) = duplex(64 * 1024);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let chunks = stream::iter(["a\nb\n".into(), "c\n".into()]).boxed();
        let sending = async { send_lines(websocket(server, Role::Server).await, chunks).await };
        let receiving = client.filter_map(async |message| message.ok()).collect::<Vec<_>>();
        let (_, received) = tokio::join!(sending, receiving);
        assert_eq!(received[..3], ["a\n", "b\n", "c\n"].map(Message::text));
    }

    #[tokio::test]
    async fn who_goes_ends_it() {
        let (client, server) = duplex(1024);
        drop(client);
        send(websocket(server, Role::Server).await, Messages::Bytes, stream::pending().boxed()).await;
    }
}
