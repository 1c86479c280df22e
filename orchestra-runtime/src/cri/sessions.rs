//! Exec and attach: the runtime names a URL, and streams are begun there by SPDY, which has an end for each of them.

use std::io;

use super::proto::{AttachRequest, ExecRequest};
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use orchestra_core::runtime::{
    AttachOptions, ContainerId, ExecOptions, Result, RuntimeError, Session, TerminalSize,
};
use orchestra_spdy::{Spdy, SpdyStream};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::CriRuntime;
use super::error::{self, About};

/// How the end of a command is told: as a Status of Kubernetes' API.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// How much may be said of it.
const LONGEST_OUTCOME: u64 = 64 * 1024;
/// How much waits of what is typed.
const PIPE: usize = 64 * 1024;
/// How soon the runtime answers at its URL.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(30);

impl CriRuntime {
    pub(super) async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        self.check_running(id).await?;
        let AttachOptions { stdin, stdout, stderr, tty } = options.streams;
        let cmd = options.command.clone();
        let request = ExecRequest { container_id: id.to_string(), cmd, tty, stdin, stdout, stderr };
        let answer = self.ask(request).await;
        let answer = answer.map_err(|status| error::of(About::Container(id.as_str()), status))?;
        open(&answer.url, &options.streams).await
    }

    pub(super) async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        self.check_running(id).await?;
        let AttachOptions { stdin, stdout, stderr, tty } = *options;
        let request = AttachRequest { container_id: id.to_string(), stdin, tty, stdout, stderr };
        let answer = self.ask(request).await;
        let answer = answer.map_err(|status| error::of(About::Container(id.as_str()), status))?;
        open(&answer.url, options).await
    }
}

/// Opens the session of a URL.
async fn open(url: &str, wanted: &AttachOptions) -> Result<Session> {
    let failed = |error: io::Error| RuntimeError::Failed {
        message: format!("no streams from the container runtime: {error}"),
    };
    let connected = tokio::time::timeout(ANSWER, connect(url)).await;
    let connection = connected.map_err(io::Error::from).flatten().map_err(failed)?;
    let all = [
        ("error", true),
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr && !wanted.tty),
        ("resize", wanted.tty),
    ];
    let names: Vec<&str> = all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    let headers: Vec<[(&str, &str); 1]> = names.iter().map(|name| [("streamtype", *name)]).collect();
    let headers: Vec<&[(&str, &str)]> = headers.iter().map(|headers| headers.as_slice()).collect();
    let (spdy, streams) = Spdy::begin(connection, &headers);
    let mut streams: Vec<(&str, Option<SpdyStream>)> =
        names.into_iter().zip(streams.into_iter().map(Some)).collect();
    let mut take = |wanted: &str| {
        streams.iter_mut().find(|(name, _)| *name == wanted).and_then(|(_, stream)| stream.take())
    };
    let told = take("error").map(|stream| stream.incoming);
    let (stdin, unread) = take("stdin").map(|stream| (stream.outgoing, stream.incoming)).unzip();
    let (stdin, typed) = match stdin {
        // A terminal has no end of its input, and a runtime that is told of one shows nothing any more.
        Some(to) if wanted.tty => {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            (Some(ours), Some((theirs, to)))
        }
        stdin => (stdin, None),
    };
    let carrier = Carrier(tokio::spawn(carry(spdy, typed)));
    let (stdout, stderr) = (take("stdout"), take("stderr"));
    let (resize, sizes) = (wanted.tty).then(|| mpsc::channel(4)).unzip();
    let exit = ended(carrier, told, sizes.zip(take("resize").map(|stream| stream.outgoing)));
    Ok(Session {
        stdin: stdin.map(|pipe| Box::new(pipe) as _),
        stdout: stdout.map(|stream| Box::new(stream.incoming) as _),
        stderr: stderr.map(|stream| Box::new(stream.incoming) as _),
        resize,
        exit: async move {
            // Nothing comes on it, but its end would be taken for the word to send no more.
            let _unread = unread;
            exit.await
        }
        .boxed(),
    })
}

/// Carries a session, and what is typed into its terminal.
async fn carry(spdy: Spdy<TokioIo<Upgraded>>, typed: Option<(DuplexStream, DuplexStream)>) {
    let typing = async {
        if let Some((mut from, mut to)) = typed {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            // It is kept open to the end.
            std::future::pending::<()>().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = spdy.run() => if let Err(error) = ended {
            tracing::debug!(%error, "a session broke off");
        },
        () = typing => {}
    }
}

/// Carries a session until it is dropped.
struct Carrier(JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Passes sizes on until it is told how the command ended.
async fn ended(
    carrier: Carrier,
    told: Option<DuplexStream>,
    sizes: Option<(mpsc::Receiver<TerminalSize>, DuplexStream)>,
) -> Result<i32> {
    let _carrier = carrier;
    let telling = async {
        if let Some((mut sizes, mut to)) = sizes {
            while let Some(TerminalSize { width, height }) = sizes.recv().await {
                let text = format!("{{\"Width\":{width},\"Height\":{height}}}");
                if to.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let mut text = Vec::new();
    let reading = async {
        match told {
            Some(told) => told.take(LONGEST_OUTCOME).read_to_end(&mut text).await,
            None => Ok(0),
        }
    };
    tokio::select! {
        read = reading => read.map_err(|error| RuntimeError::Failed { message: error.to_string() })?,
        () = telling => 0,
    };
    code(&text)
}

/// What is told of a command that ended.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome {
    status: String,
    message: String,
    reason: String,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

/// The exit code in what is told.
fn code(text: &[u8]) -> Result<i32> {
    if text.is_empty() {
        let message = "the connection to the container runtime ended before the command".to_owned();
        return Err(RuntimeError::Unavailable { message });
    }
    let outcome: Outcome = serde_json::from_slice(text)
        .map_err(|_| RuntimeError::Failed { message: String::from_utf8_lossy(text).trim().to_owned() })?;
    if outcome.status == "Success" {
        return Ok(0);
    }
    let code = outcome.details.causes.iter().find(|cause| cause.reason == "ExitCode");
    match code.and_then(|cause| cause.message.parse().ok()) {
        Some(code) if outcome.reason == "NonZeroExitCode" => Ok(code),
        _ => Err(RuntimeError::Failed { message: outcome.message }),
    }
}

/// A connection to a URL that speaks SPDY.
async fn connect(url: &str) -> io::Result<TokioIo<Upgraded>> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let authority = uri.authority().ok_or_else(|| io::Error::other(format!("{url:?} names no server")))?;
    let stream = TcpStream::connect(authority.as_str()).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(io::Error::other(format!("the server answers {}", response.status())));
        }
        hyper::upgrade::on(response).await.map_err(io::Error::other)
    };
    let (_, answered) = tokio::join!(connection.with_upgrades(), answered);
    answered.map(TokioIo::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_command_has_a_code() {
        assert!(code(b"").unwrap_err().is_unavailable());
        assert_eq!(code(br#"{"metadata":{},"status":"Success"}"#), Ok(0));
        let exit = br#"{"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"4"}]}}"#;
        assert_eq!(code(exit), Ok(4));
        let failed = br#"{"status":"Failure","message":"no such program","reason":"InternalError"}"#;
        assert_eq!(code(failed), Err(RuntimeError::Failed { message: "no such program".into() }));
        assert_eq!(code(b"odd"), Err(RuntimeError::Failed { message: "odd".into() }));
    }
}
