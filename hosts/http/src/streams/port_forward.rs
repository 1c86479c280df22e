//! Connections to ports of a pod, many by one connection of the client.
//!
//! In SPDY each is a pair of streams of one `requestid`, of bytes and of what went wrong. In a WebSocket of
//! `v4.channel.k8s.io` the ports are named beforehand, and each has a pair of channels, on which first of all its number
//! is sent.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use orchestra_core::api::Status;
use orchestra_core::node::PodPlace;
use orchestra_core::runtime::Duplex;
use orchestra_spdy::SpdyStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::channels::Channels;
use crate::query::QueryString;

/// How soon after its first stream a pair must be whole.
const PAIRING: Duration = Duration::from_secs(30);
/// How long what a client sends is still taken when its port has ended.
const PARTING: Duration = Duration::from_secs(1);
/// How many pairs may lack a stream.
const LACKING: usize = 100;
/// How many ports a WebSocket may name: its channels have numbers of one byte.
const MOST_PORTS: usize = 64;

/// The streams of one connection to a port.
#[derive(Default)]
struct Pair {
    data: Option<SpdyStream>,
    error: Option<SpdyStream>,
}

/// Connects what is asked for by pairs of streams, for as long as there are any or may come.
pub(crate) async fn run(place: &PodPlace, mut streams: mpsc::Receiver<SpdyStream>) {
    let mut forwards = FuturesUnordered::new();
    let mut pairs: HashMap<String, (Instant, Pair)> = HashMap::new();
    let mut comes = true;
    while comes || !forwards.is_empty() {
        let oldest = pairs.values().map(|(since, _)| *since).min();
        let deadline = oldest.map_or_else(|| Instant::now() + PAIRING, |since| since + PAIRING);
        tokio::select! {
            stream = timeout_at(deadline, streams.recv()), if comes => match stream {
                Ok(Some(stream)) => {
                    if let Some(pair) = joined(&mut pairs, stream) {
                        forwards.push(forward(place, pair));
                    }
                }
                Ok(None) => comes = false,
                Err(_) => pairs.retain(|_, (since, _)| since.elapsed() < PAIRING),
            },
            Some(()) = forwards.next() => {}
        }
    }
}

/// Connects the first pair of streams to a port that is open already.
pub(crate) async fn run_one(port: Box<dyn Duplex>, mut streams: mpsc::Receiver<SpdyStream>) {
    let mut pairs = HashMap::new();
    let first = async {
        loop {
            if let Some(pair) = joined(&mut pairs, streams.recv().await?) {
                return Some(pair);
            }
        }
    };
    let Ok(Some((mut data, error))) = timeout(PAIRING, first).await else { return };
    let stream = tokio::io::join(&mut data.incoming, &mut data.outgoing);
    let outcome = tokio::select! {
        exchanged = exchange(stream, port) => told(exchanged),
        () = data.reset.cancelled() => Ok(()),
    };
    tell(error.outgoing, outcome.map_err(|why| why.to_string())).await;
    drop(data);
}

/// Both streams of a pair, when the second has come.
fn joined(
    pairs: &mut HashMap<String, (Instant, Pair)>,
    stream: SpdyStream,
) -> Option<(SpdyStream, SpdyStream)> {
    let request = stream.header("requestid").to_owned();
    if pairs.len() >= LACKING && !pairs.contains_key(&request) {
        debug!("a client begins too many connections by halves");
        return None;
    }
    let (_, pair) = pairs.entry(request.clone()).or_insert_with(|| (Instant::now(), Pair::default()));
    match stream.header("streamtype") {
        "data" => pair.data = Some(stream),
        "error" => pair.error = Some(stream),
        // It is dropped, which ends it.
        other => debug!(kind = other, "a stream of no known kind"),
    }
    if pair.data.is_none() || pair.error.is_none() {
        return None;
    }
    let (_, pair) = pairs.remove(&request)?;
    pair.data.zip(pair.error)
}

async fn forward(place: &PodPlace, (mut data, error): (SpdyStream, SpdyStream)) {
    let port = data.header("port").parse::<u16>().ok().filter(|port| *port > 0);
    let outcome = match port {
        Some(port) => {
            let stream = tokio::io::join(&mut data.incoming, &mut data.outgoing);
            tokio::select! {
                copied = copy(place, port, stream) => copied,
                // Whoever has given it up hears nothing any more, and the port need not wait for that to show.
                () = data.reset.cancelled() => Ok(()),
            }
        }
        None => Err(format!("port {:?} is no port", data.header("port"))),
    };
    // Before the stream ends, so that who reads its end knows why.
    tell(error.outgoing, outcome).await;
    drop(data);
}

async fn tell(mut error: DuplexStream, outcome: Result<(), String>) {
    if let Err(message) = outcome {
        let _ = error.write_all(message.as_bytes()).await;
    }
}

/// Connects a stream to a port, and says in Kubernetes' words what went wrong.
async fn copy<S>(place: &PodPlace, port: u16, stream: S) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite,
{
    let PodPlace { pod, node } = place;
    let failed = |why: &dyn std::fmt::Display| {
        format!("error forwarding port {port} to pod {}, uid {}: {why}", pod.name, pod.uid)
    };
    let to = node.port_forward(pod, port).await.map_err(|status| failed(&status.message()))?;
    told(exchange(stream, to).await).map_err(|error| failed(&error))
}

/// How bytes were exchanged, as far as it is told: whoever left has no use for it.
fn told(exchanged: io::Result<()>) -> io::Result<()> {
    exchanged.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Copies both ways. When the client has sent all, the port may still answer; when the port has, it is over soon: a client
/// keeps its side open until it is told so.
async fn exchange(client: impl AsyncRead + AsyncWrite, port: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let ((mut asked, mut told), (mut answers, mut questions)) =
        (tokio::io::split(client), tokio::io::split(port));
    let mut asking = pin!(async {
        tokio::io::copy(&mut asked, &mut questions).await?;
        questions.shutdown().await
    });
    let mut answering = pin!(async {
        tokio::io::copy(&mut answers, &mut told).await?;
        told.shutdown().await
    });
    tokio::select! {
        asked = asking.as_mut() => {
            asked?;
            answering.await
        }
        answered = answering.as_mut() => {
            answered?;
            timeout(PARTING, asking).await.unwrap_or(Ok(()))
        }
    }
}

/// The ports that a request names.
///
/// # Errors
/// 400 when it names none, or one that is none.
pub(crate) fn ports(query: &QueryString) -> Result<Vec<u16>, Status> {
    let wrong = |text: &str| Status::bad_request(format!("unable to parse {text:?} as a port"));
    let mut ports = Vec::new();
    for text in query.all("ports").iter().chain(query.all("port")).flat_map(|list| list.split(',')) {
        ports.push(text.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(|| wrong(text))?);
    }
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"ports\" is required")),
        1..=MOST_PORTS => Ok(ports),
        many => Err(Status::bad_request(format!("{many} ports are too many; {MOST_PORTS} are the most"))),
    }
}

/// The ends of the channels of a port.
pub(crate) struct Channel {
    port: u16,
    incoming: DuplexStream,
    outgoing: DuplexStream,
    error: DuplexStream,
}

/// The channels of a WebSocket for these ports.
pub(crate) fn channels(channels: &mut Channels, ports: &[u16]) -> Vec<Channel> {
    let of = |(number, port): (u8, &u16)| Channel {
        port: *port,
        incoming: channels.incoming(2 * number),
        outgoing: channels.outgoing(2 * number),
        error: channels.outgoing(2 * number + 1),
    };
    (0..).zip(ports).map(of).collect()
}

/// Connects channels to their ports, for as long as any is open.
pub(crate) async fn run_channels(place: &PodPlace, channels: Vec<Channel>) {
    let forwards: FuturesUnordered<_> = channels.into_iter().map(|channel| one(place, channel)).collect();
    forwards.collect::<Vec<()>>().await;
}

async fn one(place: &PodPlace, channel: Channel) {
    let Channel { port, incoming, mut outgoing, mut error } = channel;
    let number = port.to_le_bytes();
    if outgoing.write_all(&number).await.is_err() || error.write_all(&number).await.is_err() {
        return;
    }
    tell(error, copy(place, port, tokio::io::join(incoming, outgoing)).await).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_port_that_ends_ends_the_connection_and_a_client_that_has_asked_is_still_answered() {
        let (mut client, ours) = tokio::io::duplex(64);
        let (theirs, mut port) = tokio::io::duplex(64);
        let exchanging = tokio::spawn(exchange(ours, theirs));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        port.read_to_string(&mut asked).await.unwrap();
        port.write_all(b"answer").await.unwrap();
        drop(port);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&*asked, &*answer), ("question", "answer"));
        exchanging.await.unwrap().unwrap();

        // A client that never ends its side does not keep what is over.
        let (mut client, ours) = tokio::io::duplex(64);
        let (theirs, port) = tokio::io::duplex(64);
        let exchanging = tokio::spawn(exchange(ours, theirs));
        drop(port);
        exchanging.await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn ports_are_numbers() {
        let of = |query: &str| ports(&QueryString::parse(Some(query)).unwrap());
        assert_eq!(of("ports=80,443&ports=8080").unwrap(), [80, 443, 8080]);
        assert_eq!(of("port=80").unwrap(), [80]);
        let many = vec!["1"; MOST_PORTS + 1].join(",");
        for query in
            ["", "ports=", "ports=0", "ports=http", "ports=65536", "ports=80,", &format!("ports={many}")]
        {
            assert_eq!(of(query).unwrap_err().code(), 400, "{query}");
        }
    }
}
