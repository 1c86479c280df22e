//! As many sessions at once as there may well be: each has all its bytes and ends, and nothing is left of it.

use std::io;

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Barrier;
use tokio::time::timeout;

use crate::agent::Does;
use crate::world::{DEADLINE, OldSession, POD, Where, World};

const SESSIONS: usize = 200;

/// What each says: more than fits into all pipes on the way, and of its own.
fn words(number: usize) -> Vec<u8> {
    format!("{number} ").repeat(50_000).into_bytes()
}

/// Those who talk, when all are there.
struct Talks {
    here: Barrier,
}

impl Talks {
    fn new() -> Self {
        Self { here: Barrier::new(SESSIONS) }
    }

    /// Is heard, waits until all are, says all, and that it is all, and hears it again; and whether it was all.
    async fn talk(
        &self,
        number: usize,
        mut to: impl AsyncWrite + Unpin,
        mut from: impl AsyncRead + Unpin,
    ) -> bool {
        let begun = async {
            to.write_all(b"hello").await?;
            from.read_exact(&mut [0; 5]).await
        };
        // Nobody waits for who does not come: how that one ended says why.
        let is_here = begun.await.is_ok();
        self.here.wait().await;
        let said = words(number);
        let tell = async {
            to.write_all(&said).await?;
            to.shutdown().await?;
            drop(to);
            io::Result::Ok(())
        };
        let mut heard = Vec::new();
        let (told, read) = tokio::join!(tell, from.read_to_end(&mut heard));
        is_here && told.is_ok() && read.is_ok() && heard == said
    }
}

async fn at_once<F: Future<Output = ()>>(world: &World, session: impl Fn(usize) -> F) {
    let all = join_all((0..SESSIONS).map(session));
    assert!(timeout(DEADLINE, all).await.is_ok(), "{} sessions have not ended in time", world.agent.open());
    world.until_nothing_is_left().await;
}

async fn ports(place: Where) {
    let world = World::start(place).await;
    let talks = Talks::new();
    at_once(&world, async |number| {
        let port = world.pods.port_forward("a", Does::Echo.port()).await.unwrap();
        let (from, to) = tokio::io::split(port);
        assert!(talks.talk(number, to, from).await, "{number}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_a_node_here() {
    ports(Where::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_a_node_elsewhere() {
    ports(Where::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_a_node_that_holds_a_connection() {
    ports(Where::Held).await;
}

/// As `kubectl port-forward` has them: all by one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_by_one_connection() {
    let world = World::start(Where::Here).await;
    let (port, numbers) =
        (Does::Echo.port().to_string(), (0..SESSIONS).map(|number| number.to_string()).collect::<Vec<_>>());
    let pairs: Vec<[(&str, &str); 3]> = numbers
        .iter()
        .flat_map(|number| {
            ["error", "data"].map(|kind| [("streamtype", kind), ("port", &*port), ("requestid", &**number)])
        })
        .collect();
    let wanted: Vec<&[(&str, &str)]> = pairs.iter().map(|headers| headers.as_slice()).collect();
    let (carrier, mut streams) =
        world.spdy(&format!("{POD}/portforward"), "portforward.k8s.io", &wanted).await;
    let mut sessions = Vec::new();
    while let (Some(data), Some(error)) = (streams.pop(), streams.pop()) {
        sessions.push((data, error));
    }
    let talks = Talks::new();
    let each = sessions.into_iter().enumerate().map(async |(number, (data, mut error))| {
        drop(error.outgoing);
        let all = talks.talk(number, data.outgoing, data.incoming).await;
        let mut why = String::new();
        error.incoming.read_to_string(&mut why).await.unwrap();
        assert_eq!((all, why.as_str()), (true, ""));
    });
    let ended = timeout(DEADLINE, async {
        join_all(each).await;
        carrier.await.unwrap();
    });
    assert!(ended.await.is_ok(), "{} sessions have not ended in time", world.agent.open());
    world.until_nothing_is_left().await;
}

async fn commands(place: Where) {
    let world = World::start(place).await;
    let talks = Talks::new();
    at_once(&world, async |number| {
        let session =
            if number % 2 == 0 { world.exec(Does::Echo).await } else { world.attach(Does::Echo).await };
        let all = talks.talk(number, session.stdin.unwrap(), session.stdout.unwrap()).await;
        assert_eq!((session.exit.await.unwrap(), all), (0, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_node_here_by_websocket() {
    commands(Where::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_node_elsewhere_by_websocket() {
    commands(Where::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_node_that_holds_a_connection_by_websocket() {
    commands(Where::Held).await;
}

async fn old_commands(place: Where) {
    let world = World::start(place).await;
    let talks = Talks::new();
    at_once(&world, async |number| {
        let how = if number % 2 == 0 { "exec" } else { "attach" };
        let OldSession { mut error, stdin, stdout, carrier } = world.by_spdy(how, Does::Echo).await;
        // It says nothing on these, and its end is told when it does.
        drop((error.outgoing, stdout.outgoing));
        let _unread = stdin.incoming;
        let all = talks.talk(number, stdin.outgoing, stdout.incoming).await;
        let mut told = String::new();
        error.incoming.read_to_string(&mut told).await.unwrap();
        assert!(told.contains("\"Success\"") && all, "{told}");
        carrier.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_node_here_by_spdy() {
    old_commands(Where::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_node_elsewhere_by_spdy() {
    old_commands(Where::Elsewhere).await;
}
