//! The agent of a node whose containers do what their names say, and which knows what is left of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use orchestra_core::api::Status;
use orchestra_core::node::figures::Summary;
use orchestra_core::node::{LogRequest, NodeService};
use orchestra_core::runtime::{AttachOptions, ByteStream, Duplex, ExecOptions, PodRef, Session};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How many bytes wait in a pipe of a container.
const PIPE: usize = 16 * 1024;
const PIECE: &[u8] = &[b'y'; 16 * 1024];

/// What a container does, or what listens at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Says what it hears, and ends when it has heard all.
    Echo,
    /// Talks without end, and hears nothing.
    Talk,
    /// Says and hears nothing.
    Nothing,
    /// Answers a request of HTTP without end.
    Serve,
    /// Agrees to speak something else, and says what it hears.
    Switch,
}

impl Does {
    pub const ALL: [Self; 3] = [Self::Echo, Self::Talk, Self::Nothing];

    /// The container that does it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Talk => "talk",
            Self::Nothing => "nothing",
            Self::Serve => "serve",
            Self::Switch => "switch",
        }
    }

    /// The port at which it is done.
    pub fn port(self) -> u16 {
        match self {
            Self::Echo => 7,
            Self::Nothing => 9,
            Self::Talk => 19,
            Self::Serve => 80,
            Self::Switch => 81,
        }
    }

    fn of(found: impl Fn(Self) -> bool) -> Result<Self, Status> {
        let all = [Self::Echo, Self::Talk, Self::Nothing, Self::Serve, Self::Switch];
        all.into_iter().find(|does| found(*does)).ok_or_else(|| Status::bad_request("nobody does this"))
    }
}

#[derive(Default)]
pub struct Agent {
    /// Held by each session, and all that belongs to it.
    open: Arc<()>,
    /// How many bytes were said by those who talk without end.
    pub said: Arc<AtomicU64>,
    /// Ends all containers.
    pub ending: CancellationToken,
}

impl Agent {
    /// How many sessions there are.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// Does something until it ends, or all end, or whoever has the handle is gone.
    fn begin(&self, does: Does, mut hears: DuplexStream, mut says: DuplexStream) -> AbortOnDropHandle<()> {
        let (open, said, ending) = (Arc::clone(&self.open), Arc::clone(&self.said), self.ending.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let _open = open;
            let doing = async {
                match does {
                    Does::Echo => drop(tokio::io::copy(&mut hears, &mut says).await),
                    Does::Talk => talk(&mut says, &said).await,
                    Does::Nothing => std::future::pending().await,
                    Does::Serve => {
                        asked(&mut hears).await;
                        let _ = says.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
                        talk(&mut says, &said).await;
                    }
                    Does::Switch => {
                        asked(&mut hears).await;
                        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: any\r\n\r\n";
                        let _ = says.write_all(agreed).await;
                        drop(tokio::io::copy(&mut hears, &mut says).await);
                    }
                }
            };
            ending.run_until_cancelled(doing).await;
        }))
    }

    fn session(&self, does: Does, streams: &AttachOptions) -> Session {
        let ((stdin, hears), (says, stdout)) = (duplex(PIPE), duplex(PIPE));
        let running = self.begin(does, hears, says);
        Session {
            stdin: streams.stdin.then(|| Box::new(stdin) as _),
            stdout: streams.stdout.then(|| Box::new(stdout) as _),
            stderr: None,
            resize: None,
            exit: running.map(|_| Ok(0)).boxed(),
        }
    }
}

async fn talk(says: &mut DuplexStream, said: &AtomicU64) {
    while let Ok(written) = says.write(PIECE).await {
        said.fetch_add(written as u64, Ordering::Relaxed);
    }
}

/// Reads the head of a request.
async fn asked(hears: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match hears.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

#[async_trait]
impl NodeService for Agent {
    async fn logs(&self, request: &LogRequest) -> Result<ByteStream, Status> {
        assert!(request.options.follow);
        let (open, said) = (Arc::clone(&self.open), Arc::clone(&self.said));
        let lines = stream::repeat_with(move || {
            let _open = &open;
            said.fetch_add(PIECE.len() as u64, Ordering::Relaxed);
            Ok(Bytes::from_static(PIECE))
        });
        Ok(lines.take_until(self.ending.clone().cancelled_owned()).boxed())
    }

    async fn summary(&self) -> Result<Summary, Status> {
        Err(Status::method_not_allowed())
    }

    async fn probe_metrics(&self) -> Result<String, Status> {
        Err(Status::method_not_allowed())
    }

    async fn exec(&self, _: &PodRef, container: &str, options: &ExecOptions) -> Result<Session, Status> {
        Ok(self.session(Does::of(|does| does.name() == container)?, &options.streams))
    }

    async fn attach(&self, _: &PodRef, container: &str, streams: &AttachOptions) -> Result<Session, Status> {
        Ok(self.session(Does::of(|does| does.name() == container)?, streams))
    }

    async fn port_forward(&self, _: &PodRef, port: u16) -> Result<Box<dyn Duplex>, Status> {
        let does = Does::of(|does| does.port() == port)?;
        let ((questions, hears), (says, answers)) = (duplex(PIPE), duplex(PIPE));
        Ok(Box::new(Port { answers, questions, _running: self.begin(does, hears, says) }))
    }
}

/// A connection to a port, at which whoever listens ends with it.
struct Port {
    answers: DuplexStream,
    questions: DuplexStream,
    _running: AbortOnDropHandle<()>,
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.answers).poll_read(context, buffer)
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.questions).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.questions).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.questions).poll_shutdown(context)
    }
}
