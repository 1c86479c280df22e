//! When either side goes, the other is told, and nothing is left.

use std::io::ErrorKind;

use futures::StreamExt as _;
use orchestra_core::api::LogQuery;
use orchestra_core::runtime::{Duplex, LogOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::agent::Does;
use crate::support::{SOMEONE, TOKEN, TlsStream};
use crate::world::{DEADLINE, POD, Where, World};

/// A connection on which something was said and heard, so that all of it is there.
async fn open_port(world: &World) -> Box<dyn Duplex> {
    let mut port = world.pods.port_forward("a", Does::Echo.port()).await.unwrap();
    port.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    timeout(DEADLINE, port.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"hello");
    port
}

async fn clients_go(place: Where) {
    let world = World::start(place).await;
    for does in Does::ALL {
        drop(world.exec(does).await);
        drop(world.attach(does).await);
        drop(world.by_spdy("exec", does).await);
        drop(world.by_spdy("attach", does).await);
        drop(world.pods.port_forward("a", does.port()).await.unwrap());
        world.until_nothing_is_left().await;
    }
    drop(open_port(&world).await);
    let port = Does::Nothing.port().to_string();
    let pair = ["error", "data"].map(|kind| [("streamtype", kind), ("port", &*port), ("requestid", "1")]);
    let wanted: Vec<&[(&str, &str)]> = pair.iter().map(|headers| headers.as_slice()).collect();
    drop(world.spdy(&format!("{POD}/portforward"), "portforward.k8s.io", &wanted).await);
    world.until_nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_node_here_go() {
    clients_go(Where::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_node_elsewhere_go() {
    clients_go(Where::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_node_that_holds_a_connection_go() {
    clients_go(Where::Held).await;
}

async fn containers_end(place: Where) {
    let world = World::start(place).await;
    let sessions = [world.exec(Does::Echo).await, world.attach(Does::Nothing).await];
    let mut old = world.by_spdy("exec", Does::Nothing).await;
    drop(old.error.outgoing);
    let mut port = open_port(&world).await;
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let query = LogQuery { container: Some(Does::Talk.name().into()), options, ..LogQuery::default() };
    let log = world.pods.logs("a", query).await.unwrap();
    world.agent.ending.cancel();
    let all_end = async {
        for session in sessions {
            let mut heard = Vec::new();
            session.stdout.unwrap().read_to_end(&mut heard).await.unwrap();
            assert_eq!((heard.as_slice(), session.exit.await.unwrap()), (&b""[..], 0));
        }
        let mut told = String::new();
        old.error.incoming.read_to_string(&mut told).await.unwrap();
        assert!(told.contains("\"Success\""), "{told}");
        assert_eq!(port.read(&mut [0]).await.unwrap(), 0);
        assert!(log.all(async |piece| piece.is_ok()).await);
    };
    assert!(timeout(DEADLINE, all_end).await.is_ok(), "{} have not ended", world.agent.open());
    drop((old.stdin, old.stdout, old.carrier, port));
    world.until_nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_node_here_end() {
    containers_end(Where::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_node_elsewhere_end() {
    containers_end(Where::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_node_that_holds_a_connection_end() {
    containers_end(Where::Held).await;
}

/// Whose name a connection is held in is whose certificate it has: an administrator has none of a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_node_holds_nothing() {
    let world = World::start(Where::Held).await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "orchestra-node/1")];
    let answer = world.served.get("/orchestra/v1/node-connection", &upgrade).await;
    assert_eq!((answer.code, answer.text().contains("admin is no node")), (403, true), "{}", answer.text());
    let answer = world.served.get("/orchestra/v1/node-connection", &[upgrade[0], upgrade[1], SOMEONE]).await;
    assert_eq!((answer.code, answer.text().contains("is no node")), (403, false), "{}", answer.text());
}

/// What is cut off is not taken for what has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_goes_is_missed() {
    missed(Where::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_goes_is_missed_by_who_holds_a_connection() {
    missed(Where::Held).await;
}

async fn missed(place: Where) {
    let world = World::start(place).await;
    let session = world.exec(Does::Echo).await;
    let mut port = open_port(&world).await;
    world.served.api.stop().await;
    let missed = async {
        let error = session.exit.await.unwrap_err();
        assert!(error.message().contains("the connection ended before the command"), "{error}");
        let why = port.read(&mut [0]).await.unwrap_err();
        // Who holds a connection goes before the session does, which can still tell of it.
        let is_told = matches!(place, Where::Held) && why.to_string().contains("error forwarding port");
        assert!(is_told || why.kind() == ErrorKind::ConnectionReset, "{why:?}");
    };
    timeout(DEADLINE, missed).await.unwrap();
    drop(port);
    world.until_nothing_is_left().await;
}

/// A connection of the proxy that has stopped being HTTP's, on which something was said and heard.
async fn open_proxy(world: &World) -> TlsStream {
    let mut connection = world.served.connect().await;
    let request = format!(
        "GET {POD}:{}/proxy/ HTTP/1.1\r\nhost: localhost\r\nauthorization: {TOKEN}\r\nconnection: upgrade\r\nupgrade: any\r\n\r\n",
        Does::Switch.port()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.flush().await.unwrap();
    let talking = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        connection.write_all(b"hello").await.unwrap();
        connection.flush().await.unwrap();
        let mut heard = [0; 5];
        connection.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    };
    timeout(DEADLINE, talking).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proxied_and_upgraded_ends_with_either_side() {
    for place in [Where::Here, Where::Elsewhere, Where::Held] {
        let world = World::start(place).await;
        // One goes without a word, and one says that it has said all, and hears the rest.
        drop(open_proxy(&world).await);
        let mut polite = open_proxy(&world).await;
        polite.write_all(b"good-bye").await.unwrap();
        polite.shutdown().await.unwrap();
        let mut rest = Vec::new();
        timeout(DEADLINE, polite.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, b"good-bye");
        let mut left = open_proxy(&world).await;
        world.agent.ending.cancel();
        assert_eq!(timeout(DEADLINE, left.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        drop((polite, left));
        world.until_nothing_is_left().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_port_at_which_nobody_listens_is_told() {
    for place in [Where::Here, Where::Elsewhere, Where::Held] {
        let world = World::start(place).await;
        let mut port = world.pods.port_forward("a", 1).await.unwrap();
        let read = timeout(DEADLINE, port.read(&mut [0])).await.unwrap();
        let error = read.unwrap_err().to_string();
        assert!(error.starts_with("error forwarding port 1 to pod a, uid "), "{error}");
        assert!(error.ends_with(": nobody does this"), "{error}");
        drop(port);
        world.until_nothing_is_left().await;
    }
}
