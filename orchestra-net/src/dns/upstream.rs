//! Asking others: the servers that the machine itself asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::answer::{DATAGRAM, response_to};
use super::cache::{Cache, Question};

/// How long one server has for its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all the servers are asked.
const ROUNDS: usize = 2;
/// How many questions may be on their way at once.
const AT_ONCE: usize = 1000;
/// How many answers are kept.
const KEPT: usize = 10_000;
/// How soon the machine's list of servers is read again.
const FRESH: Duration = Duration::from_secs(10);
/// How large an answer may be.
const LARGEST: usize = 65_535;

/// Whom to ask.
#[derive(Debug, Clone)]
pub(super) enum Servers {
    /// These.
    Fixed(Vec<SocketAddr>),
    /// Those that a file in the form of `resolv.conf` names.
    File(PathBuf),
}

/// Others that know names, and what they said.
#[derive(Debug)]
pub(super) struct Upstream {
    servers: Servers,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// The one that answered last.
    good: AtomicUsize,
    cache: Mutex<Cache>,
    places: Semaphore,
}

impl Upstream {
    pub(super) fn new(servers: Servers) -> Self {
        Self {
            servers,
            read: Mutex::default(),
            good: AtomicUsize::new(0),
            cache: Mutex::new(Cache::new(KEPT)),
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// Asks others, but for those addresses, which are our own. The answer goes with the request, whatever came of it.
    pub(super) async fn ask(&self, request: &Message, own: &[IpAddr]) -> Message {
        let mut response = response_to(request);
        let Some(question) = Question::of(request) else {
            response.metadata.response_code = ResponseCode::FormErr;
            return response;
        };
        let kept = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&question, Instant::now());
        let answer = match kept {
            Some(answer) => Some(answer),
            None => self.fetch(request, question, own).await,
        };
        match answer {
            Some(answer) => {
                response.metadata.response_code = answer.metadata.response_code;
                response.metadata.authentic_data = answer.metadata.authentic_data;
                response.answers = answer.answers;
                response.authorities = answer.authorities;
                response.additionals = answer.additionals;
            }
            None => response.metadata.response_code = ResponseCode::ServFail,
        }
        response
    }

    /// Adds what others know of the name that an answer of ours ends in.
    pub(super) async fn follow(
        &self,
        mut response: Message,
        (name, kind): (Name, RecordType),
        own: &[IpAddr],
    ) -> Message {
        let mut request = response.clone();
        request.answers.clear();
        for query in &mut request.queries {
            query.name = name.clone();
            query.query_type = kind;
        }
        let answer = self.ask(&request, own).await;
        response.metadata.response_code = answer.metadata.response_code;
        response.answers.extend(answer.answers);
        response.authorities.extend(answer.authorities);
        response
    }

    async fn fetch(&self, request: &Message, question: Question, own: &[IpAddr]) -> Option<Message> {
        // Who is turned away asks again.
        let _place = self.places.try_acquire().ok()?;
        let servers: Vec<SocketAddr> =
            self.servers().into_iter().filter(|server| !own.contains(&server.ip())).collect();
        let first = self.good.load(Ordering::Relaxed);
        for attempt in 0..servers.len() * ROUNDS {
            let at = (first + attempt) % servers.len();
            match tokio::time::timeout(PATIENCE, exchange(servers[at], request)).await {
                Ok(Ok(answer)) if answer.metadata.response_code != ResponseCode::ServFail => {
                    self.good.store(at, Ordering::Relaxed);
                    let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                    cache.put(question, &answer, Instant::now());
                    return Some(answer);
                }
                Ok(Ok(_)) => tracing::debug!(server = %servers[at], "a name server could not answer"),
                Ok(Err(error)) => {
                    tracing::debug!(server = %servers[at], %error, "a name server cannot be asked")
                }
                Err(_) => tracing::debug!(server = %servers[at], "a name server does not answer"),
            }
        }
        None
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let path = match &self.servers {
            Servers::Fixed(servers) => return servers.clone(),
            Servers::File(path) => path,
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((when, servers)) if when.elapsed() < FRESH => servers.clone(),
            _ => {
                // A file that is not there names nobody.
                let servers = named(&std::fs::read_to_string(path).unwrap_or_default());
                *read = Some((Instant::now(), servers.clone()));
                servers
            }
        }
    }
}

/// The servers that a `resolv.conf` names.
fn named(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver")
            && let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok())
        {
            servers.push(SocketAddr::new(ip, 53));
        }
    }
    servers
}

/// Asks one server: with a datagram, and where that is too small for the answer, by a connection.
async fn exchange(server: SocketAddr, request: &Message) -> io::Result<Message> {
    // A number of our own: what a client chose may be guessed by others.
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.metadata.checking_disabled = request.metadata.checking_disabled;
    question.queries.clone_from(&request.queries);
    let mut edns = Edns::new();
    let wanted = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    edns.set_max_payload(DATAGRAM).set_version(0).set_dnssec_ok(wanted);
    question.edns = Some(edns);
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let answer = by_datagram(server, &bytes, &question).await?;
    match answer.metadata.truncation {
        true => by_connection(server, &bytes, &question).await,
        false => Ok(answer),
    }
}

async fn by_datagram(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let any: IpAddr = match server.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question: it is the second thing that one who forges an answer has to guess.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let size = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..size).and_then(|bytes| Message::from_vec(bytes).ok());
        if let Some(answer) = answer.filter(|answer| belongs(answer, question)) {
            return Ok(answer);
        }
    }
}

async fn by_connection(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let size = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&size.to_be_bytes(), bytes].concat()).await?;
    let size = stream.read_u16().await?;
    let mut buffer = vec![0; size.into()];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    match belongs(&answer, question) {
        true => Ok(answer),
        false => Err(io::Error::other("the answer is to another question")),
    }
}

fn belongs(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id && answer.queries == question.queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_the_machines_file() {
        let text = "# made by hand\nnameserver 10.0.0.2\n  nameserver\t::1 # local\nsearch x\nnameserver none\nnameserver\n";
        assert_eq!(named(text), ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }
}
