//! The streams of a command: to and fro until it ends, and then how it ended.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use bytes::BytesMut;
use orchestra_core::api::Status;
use orchestra_core::runtime::{AttachOptions, Session, TerminalSize};
use orchestra_spdy::SpdyStream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::outcome::Telling;
use super::{PIECE, Reader, Writer};

/// What is left to read when a command has ended is there already: a child that it left behind, and that holds its
/// output, is not waited for.
const SILENCE: Duration = Duration::from_millis(500);
/// How soon a client must have begun all streams.
const BEGINNING: Duration = Duration::from_secs(30);
/// The longest that a terminal's size may be written.
const LONGEST_SIZE: usize = 1024;

/// The numbers of the streams of a command in a WebSocket, and how many there are.
pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const RESIZE: u8 = 4;
pub(crate) const COUNT: u8 = 5;

/// The ends of a command's streams that lead to the client.
pub(crate) struct Ends {
    pub(crate) stdin: Option<Reader>,
    pub(crate) stdout: Option<Writer>,
    pub(crate) stderr: Option<Writer>,
    /// Sizes of the terminal.
    pub(crate) resize: Option<Reader>,
    /// Where it is told how the command ended.
    pub(crate) error: Writer,
    pub(crate) telling: Telling,
    /// What is written to nobody, but must not end before the command: clients of SPDY take the end of what they are
    /// sent on a stream of input for the word to send no more.
    pub(crate) kept: Vec<DuplexStream>,
}

impl Ends {
    /// Those of a WebSocket, as its server.
    pub(crate) fn of(channels: &mut Channels, streams: &AttachOptions) -> Self {
        let AttachOptions { stdin, stdout, stderr, tty } = *streams;
        channels.greet(match (stdout, stderr) {
            (true, _) => STDOUT,
            (false, true) => STDERR,
            (false, false) => ERROR,
        });
        Self {
            stdin: stdin.then(|| Box::new(channels.incoming(STDIN)) as Reader),
            stdout: stdout.then(|| Box::new(channels.outgoing(STDOUT)) as Writer),
            stderr: stderr.then(|| Box::new(channels.outgoing(STDERR)) as Writer),
            resize: tty.then(|| Box::new(channels.incoming(RESIZE)) as Reader),
            error: Box::new(channels.outgoing(ERROR)),
            telling: channels.telling(),
            kept: Vec::new(),
        }
    }
}

/// How clients of SPDY are told how a command ended, and whether they tell the size of their terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// `v4.channel.k8s.io`.
    V4,
    /// `v3.channel.k8s.io`, which does not know exit codes.
    V3,
    /// `v2.channel.k8s.io`, which does not know sizes either.
    V2,
}

impl Old {
    /// Those that are served.
    pub(crate) const SERVED: [(&'static str, Self); 3] =
        [("v4.channel.k8s.io", Self::V4), ("v3.channel.k8s.io", Self::V3), ("v2.channel.k8s.io", Self::V2)];

    /// As which it is known.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::V3 => "v3.channel.k8s.io",
            Self::V2 => "v2.channel.k8s.io",
        }
    }
}

impl Ends {
    /// Those that a client of SPDY begins, when all have come.
    ///
    /// # Errors
    /// Which has not, in time.
    pub(crate) async fn begun(
        mut streams: mpsc::Receiver<SpdyStream>,
        wanted: &AttachOptions,
        protocol: Old,
    ) -> Result<Self, &'static str> {
        let sizes = wanted.tty && protocol != Old::V2;
        let all = [
            ("error", true),
            ("stdin", wanted.stdin),
            ("stdout", wanted.stdout),
            ("stderr", wanted.stderr),
            ("resize", sizes),
        ];
        let all: Vec<&str> = all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
        let mut begun: HashMap<&str, SpdyStream> = HashMap::new();
        let missing =
            |begun: &HashMap<&str, SpdyStream>| all.iter().find(|name| !begun.contains_key(*name)).copied();
        let deadline = Instant::now() + BEGINNING;
        while let Some(name) = missing(&begun) {
            let Ok(Some(stream)) = timeout_at(deadline, streams.recv()).await else { return Err(name) };
            let kind = stream.header("streamtype").to_owned();
            if let Some(known) = all.iter().find(|name| **name == kind) {
                begun.insert(known, stream);
            }
        }
        let error = begun.remove("error").ok_or("error")?;
        let mut kept = Vec::new();
        let mut read = |name| {
            let SpdyStream { incoming, outgoing, .. } = begun.remove(name)?;
            kept.push(outgoing);
            Some(Box::new(incoming) as Reader)
        };
        let (stdin, resize) = (read("stdin"), read("resize"));
        let mut write = |name| begun.remove(name).map(|stream| Box::new(stream.outgoing) as Writer);
        Ok(Self {
            stdin,
            stdout: write("stdout"),
            stderr: write("stderr"),
            resize,
            error: Box::new(error.outgoing),
            telling: if protocol == Old::V4 { Telling::Status } else { Telling::Text },
            kept,
        })
    }
}

/// Begins a session, passes on what it and the client write until it has ended, and tells the client how it did.
pub(crate) async fn run(ends: Ends, begin: impl Future<Output = Result<Session, Status>>) {
    let Ends { stdin, stdout, stderr, resize, mut error, telling, kept: _kept } = ends;
    let outcome = match begin.await {
        Ok(session) => converse(session, stdin, (stdout, stderr), resize).await,
        Err(status) => Err(status),
    };
    // If the client is gone, nobody is left to tell.
    if error.write_all(&telling.tell(&outcome)).await.is_ok() {
        let _ = error.shutdown().await;
    }
}

async fn converse(
    session: Session,
    stdin: Option<Reader>,
    (stdout, stderr): (Option<Writer>, Option<Writer>),
    resize: Option<Reader>,
) -> Result<i32, Status> {
    let ended = CancellationToken::new();
    let exit = async {
        let code = session.exit.await;
        ended.cancel();
        code
    };
    let outputs = async {
        tokio::join!(give(session.stdout, stdout, &ended), give(session.stderr, stderr, &ended));
    };
    let inputs = async {
        tokio::join!(feed(stdin, session.stdin), tell_sizes(resize, session.resize));
        // What the client has to say may end long before the command.
        pending::<()>().await;
    };
    tokio::select! {
        (code, ()) = async { tokio::join!(exit, outputs) } => {
            code.map_err(|error| Status::internal(format!("error executing the command: {error}")))
        }
        () = inputs => unreachable!("it is pending"),
    }
}

/// Passes on what a session writes, until it has ended.
async fn give<R, W>(from: Option<R>, to: Option<W>, ended: &CancellationToken)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    let mut piece = BytesMut::with_capacity(PIECE);
    loop {
        piece.clear();
        piece.reserve(PIECE);
        let read = {
            let mut reading = std::pin::pin!(from.read_buf(&mut piece));
            tokio::select! {
                biased;
                read = reading.as_mut() => read,
                () = ended.cancelled() => timeout(SILENCE, reading).await.unwrap_or(Ok(0)),
            }
        };
        if !matches!(read, Ok(1..)) || to.write_all(&piece).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Passes on what the client writes, and that it has ended.
async fn feed<R, W>(from: Option<R>, to: Option<W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    if tokio::io::copy(&mut from, &mut to).await.is_ok() {
        let _ = to.shutdown().await;
    }
}

/// The size of a terminal as clients write it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Passes on the sizes of the client's terminal.
async fn tell_sizes(from: Option<Reader>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut written = Vec::new();
    while let Ok(1..) = (&mut from).take(LONGEST_SIZE as u64).read_buf(&mut written).await {
        let (sizes, read) = sizes(&written);
        // Only where the terminal is now counts.
        if let Some(size) = sizes.last()
            && to.send(*size).await.is_err()
        {
            return;
        }
        written.drain(..read);
        if written.len() > LONGEST_SIZE {
            return;
        }
    }
}

/// The sizes that were written so far, and how many bytes they are. What is none is passed over.
fn sizes(written: &[u8]) -> (Vec<TerminalSize>, usize) {
    let mut values = serde_json::Deserializer::from_slice(written).into_iter::<Size>();
    let (mut sizes, mut read) = (Vec::new(), 0);
    loop {
        match values.next() {
            None => return (sizes, written.len()),
            Some(Ok(Size { width, height })) => {
                sizes.push(TerminalSize { width, height });
                read = values.byte_offset();
            }
            Some(Err(error)) if error.is_eof() => return (sizes, read),
            Some(Err(_)) => return (sizes, written.len()),
        }
    }
}

/// What a size is written as.
pub(crate) fn written(size: TerminalSize) -> Vec<u8> {
    serde_json::to_vec(&Size { width: size.width, height: size.height }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn sizes_are_read_as_they_come() {
        let size = |width, height| TerminalSize { width, height };
        let first = written(size(80, 24));
        assert_eq!(first, br#"{"Width":80,"Height":24}"#);
        for (text, sizes_are, read) in [
            (r#"{"Width":80,"Height":24}"#, vec![size(80, 24)], 24),
            ("{\"Width\":1,\"Height\":2}\n{\"Width\":3,\"Height\":4}\n", vec![size(1, 2), size(3, 4)], 46),
            (r#"{"Width":80,"Hei"#, vec![], 0),
            (r#"{"Width":1,"Height":2}{"Wi"#, vec![size(1, 2)], 22),
            (r#"{"Width":-1,"Height":2}"#, vec![], 23),
            ("nonsense", vec![], 8),
            ("", vec![], 0),
        ] {
            assert_eq!(sizes(text.as_bytes()), (sizes_are, read), "{text}");
        }
    }

    /// A command that has ended is told of though its output is still held open; and what it wrote before arrives.
    #[tokio::test(start_paused = true)]
    async fn what_a_command_leaves_behind_is_not_waited_for() {
        let (mut at_command, stdout) = duplex(1024);
        let (mut from_stdout, to_client) = duplex(1024);
        let (mut told, error) = duplex(1024);
        at_command.write_all(b"hello").await.unwrap();
        let session = Session {
            stdin: None,
            stdout: Some(Box::new(stdout)),
            stderr: None,
            resize: None,
            exit: async { Ok(7) }.boxed(),
        };
        let ends = Ends {
            stdin: None,
            stdout: Some(Box::new(to_client)),
            stderr: None,
            resize: None,
            error: Box::new(error),
            telling: Telling::Status,
            kept: Vec::new(),
        };
        let (mut output, mut status) = (Vec::new(), Vec::new());
        let reading = async {
            from_stdout.read_to_end(&mut output).await.unwrap();
            told.read_to_end(&mut status).await.unwrap();
        };
        tokio::join!(run(ends, async { Ok(session) }), reading);
        assert_eq!((output.as_slice(), super::super::outcome::read(&status).unwrap()), (&b"hello"[..], 7));
        drop(at_command);
    }
}
