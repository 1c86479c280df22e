//! WebSockets as browsers and small clients begin them: without a protocol, or by one that is text.

use futures::{SinkExt as _, StreamExt as _};
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{TOKEN, TlsStream};
use crate::world::{DEADLINE, POD, Where, World};

/// Begins a WebSocket, by a protocol if one is named, which the server must agree to.
async fn begun(world: &World, path: &str, protocol: &str) -> WebSocketStream<TlsStream> {
    let mut connection = world.served.connect().await;
    let named =
        if protocol.is_empty() { String::new() } else { format!("sec-websocket-protocol: {protocol}\r\n") };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {TOKEN}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{named}\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, connection.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains(&named), "{head}");
    assert_eq!(head.contains("sec-websocket-protocol"), !protocol.is_empty(), "{head}");
    WebSocketStream::from_raw_socket(connection, Role::Client, None).await
}

/// The next message that is no ping.
async fn next(socket: &mut WebSocketStream<TlsStream>) -> Message {
    loop {
        match timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_talked_to_as_text() {
    let world = World::start(Where::Here).await;
    let path = format!("{POD}/exec?container=echo&command=x&stdin=1&stdout=1");
    for (protocol, said, empty, heard) in [
        (
            "",
            Message::binary(&b"\0hello"[..]),
            Message::binary(&b"\x01"[..]),
            Message::binary(&b"\x01hello"[..]),
        ),
        (
            "v4.channel.k8s.io",
            Message::text("\0hello"),
            Message::binary(&b"\x01"[..]),
            Message::binary(&b"\x01hello"[..]),
        ),
        ("base64.channel.k8s.io", Message::text("0aGVsbG8="), Message::text("1"), Message::text("1aGVsbG8=")),
        (
            "v4.base64.channel.k8s.io",
            Message::text("0aGVsbG8="),
            Message::text("1"),
            Message::text("1aGVsbG8="),
        ),
    ] {
        let mut socket = begun(&world, &path, protocol).await;
        assert_eq!(next(&mut socket).await, empty, "{protocol}");
        socket.send(said).await.unwrap();
        assert_eq!(next(&mut socket).await, heard, "{protocol}");
    }
    world.until_nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_followed_message_by_message() {
    let world = World::start(Where::Here).await;
    let pods = "/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name%3Da";
    for protocol in ["", "base64.binary.k8s.io"] {
        let mut socket = begun(&world, pods, protocol).await;
        let event = async |socket: &mut WebSocketStream<TlsStream>| {
            let message = next(socket).await.into_text().unwrap();
            serde_json::from_str::<Value>(&message).unwrap()
        };
        assert_eq!(event(&mut socket).await["type"], "ADDED");
        let label = serde_json::json!({"metadata": {"labels": {"seen-by": format!("x{protocol}")}}});
        let api = world.served.cluster.client().api::<Pod>("default");
        api.patch("a", orchestra_core::api::Patch::Merge(label)).await.unwrap();
        let changed = event(&mut socket).await;
        assert_eq!(
            (&changed["type"], &changed["object"]["metadata"]["name"]),
            (&"MODIFIED".into(), &"a".into())
        );
    }
    world.until_nothing_is_left().await;
}
