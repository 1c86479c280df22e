//! Who reads slowly slows the writer down: so much is on the way at most, whoever talks how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use orchestra_core::api::LogQuery;
use orchestra_core::stream::LogOptions;
use orchestra_core::testing::until;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Does;
use crate::support::TOKEN;
use crate::world::{DEADLINE, POD, Where, World};

/// How many bytes may be on the way: what the kernel keeps for the sockets of two connections is most of it.
const MOST: u64 = 32 << 20;
/// For how many looks nothing may have moved for it to be said that it waits.
const STILL: u32 = 15;

/// Waits until nothing is written any more, and returns how much was.
async fn waits(what: &str, written: &AtomicU64) -> u64 {
    let (mut last, mut still) = (0, 0);
    until(format!("{what}: the writer waits"), DEADLINE, async || {
        let now = written.load(Ordering::Relaxed);
        assert!(now <= MOST, "{what}: {now} bytes are on the way to somebody who does not read");
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        (still >= STILL).then_some(now)
    })
    .await
}

/// Talks without end, and counts.
fn talking(mut to: impl AsyncWrite + Send + Unpin + 'static) -> (Arc<AtomicU64>, AbortOnDropHandle<()>) {
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let talking = tokio::spawn(async move {
        while let Ok(length) = to.write(&[b'n'; 16 * 1024]).await {
            counted.fetch_add(length as u64, Ordering::Relaxed);
        }
    });
    (written, AbortOnDropHandle::new(talking))
}

/// Whoever talks waits for who reads, and goes on when that one does.
async fn heard(world: &World, what: &str, mut from: impl AsyncRead + Unpin) {
    let before = waits(what, &world.agent.said).await;
    let mut piece = vec![0; 64 * 1024];
    let mut left = before + 1;
    while left > 0 {
        let length = from.read(&mut piece).await.unwrap();
        assert!(length > 0, "{what}");
        left = left.saturating_sub(length as u64);
    }
    assert!(world.agent.said.load(Ordering::Relaxed) > before, "{what}: it does not go on");
    world.agent.said.store(0, Ordering::Relaxed);
}

/// Nobody hears what is said to them.
async fn deaf(world: &World) {
    let (exec, attach) = (world.exec(Does::Nothing).await, world.attach(Does::Nothing).await);
    let old = world.by_spdy("exec", Does::Nothing).await;
    let port = world.pods.port_forward("a", Does::Nothing.port()).await.unwrap();
    let writers = [
        ("exec", talking(exec.stdin.unwrap())),
        ("attach", talking(attach.stdin.unwrap())),
        ("exec by SPDY", talking(old.stdin.outgoing)),
        ("port-forward", talking(port)),
    ];
    for (what, (written, _)) in &writers {
        waits(what, written).await;
    }
    // That they are gone shows by what cannot be sent to them: what they have sent is not read.
    drop((writers, exec.exit, attach.exit, old.carrier));
    world.until_nothing_is_left().await;
}

/// Nobody reads what is said, and then somebody does.
async fn unread(world: &World) {
    for what in ["exec", "attach"] {
        let session =
            if what == "exec" { world.exec(Does::Talk).await } else { world.attach(Does::Talk).await };
        heard(world, what, session.stdout.unwrap()).await;
        drop(session.exit);
        world.until_nothing_is_left().await;
    }
    let session = world.by_spdy("exec", Does::Talk).await;
    heard(world, "exec by SPDY", session.stdout.incoming).await;
    drop(session.carrier);
    world.until_nothing_is_left().await;

    let port = world.pods.port_forward("a", Does::Talk.port()).await.unwrap();
    heard(world, "port-forward", port).await;
    world.until_nothing_is_left().await;

    let mut connection = world.served.connect().await;
    let path = format!("{POD}:{}/proxy/", Does::Serve.port());
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {TOKEN}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.flush().await.unwrap();
    heard(world, "proxy", connection).await;
    world.until_nothing_is_left().await;

    let options = LogOptions { follow: true, ..LogOptions::default() };
    let query = LogQuery { container: Some(Does::Talk.name().into()), options, ..LogQuery::default() };
    let log = world.pods.logs("a", query).await.unwrap();
    heard(world, "logs", StreamReader::new(log.map(|piece| piece.map_err(std::io::Error::other)))).await;
    world.until_nothing_is_left().await;
}

async fn each(place: Where) {
    let world = World::start(place).await;
    deaf(&world).await;
    unread(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_slows_a_writer_here() {
    each(Where::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_slows_a_writer_elsewhere() {
    each(Where::Elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_slows_a_writer_that_holds_a_connection() {
    each(Where::Held).await;
}
