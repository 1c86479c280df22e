//! The client's side of [streams](crate::streams): a session of a server elsewhere.

use futures::FutureExt as _;
use http::header::{
    HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
};
use orchestra_core::api::{Reason, Status};
use orchestra_core::runtime::{AttachOptions, RuntimeError, Session, TerminalSize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::AbortOnDropHandle;

use super::{Call, Channel, escape};
use crate::streams::channels::{Channels, websocket};
use crate::streams::command::{self, COUNT, ERROR, RESIZE, STDERR, STDIN, STDOUT};
use crate::streams::handshake::{accept_of, key};
use crate::streams::outcome;
use crate::streams::session::report;
use crate::streams::upgrade::Raw;
use crate::streams::version::Version;

/// How much may be said of why a command did not end as it should.
const LONGEST_OUTCOME: u64 = 64 * 1024;

/// The streams that are wanted, as the words of a query.
pub(crate) fn query(streams: &AttachOptions) -> Vec<String> {
    let AttachOptions { stdin, stdout, stderr, tty } = *streams;
    let all = [("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("tty", tty)];
    all.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| format!("{name}=true")).collect()
}

/// A command, as the words of a query.
pub(crate) fn command_query(command: &[String]) -> Vec<String> {
    command.iter().map(|word| format!("command={}", escape(word))).collect()
}

/// Opens the session of a path.
///
/// # Errors
/// What the server says.
pub(crate) async fn begin(
    channel: &Channel,
    path: String,
    streams: &AttachOptions,
) -> Result<Session, Status> {
    let (version, connection) = open(channel, path, &Version::PROPOSED).await?;
    let mut channels = Channels::new(version, COUNT);
    let AttachOptions { stdin, stdout, stderr, tty } = *streams;
    let stdin = stdin.then(|| channels.outgoing(STDIN));
    let stdout = stdout.then(|| channels.incoming(STDOUT));
    let stderr = stderr.then(|| channels.incoming(STDERR));
    let sizes = tty.then(|| channels.outgoing(RESIZE));
    let told = channels.incoming(ERROR);
    let (resize, changes) = mpsc::channel(4);
    let carrying = async move {
        let carried = channels.run(websocket(connection, Role::Client).await, Role::Client);
        let telling = async {
            tell_sizes(changes, sizes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            carried = carried => report(carried),
            () = telling => {}
        }
    };
    // It ends with whoever waits for the end.
    let carrier = AbortOnDropHandle::new(tokio::spawn(carrying));
    let exit = async move {
        let _carrier = carrier;
        let mut text = Vec::new();
        let read = told.take(LONGEST_OUTCOME).read_to_end(&mut text).await;
        read.map_err(|error| RuntimeError::Failed { message: error.to_string() })?;
        if text.is_empty() {
            let message = "the connection ended before the command".to_owned();
            return Err(RuntimeError::Unavailable { message });
        }
        outcome::read(&text).map_err(|status| RuntimeError::Failed { message: status.message().to_owned() })
    };
    Ok(Session {
        stdin: stdin.map(|pipe| Box::new(pipe) as _),
        stdout: stdout.map(|pipe| Box::new(pipe) as _),
        stderr: stderr.map(|pipe| Box::new(pipe) as _),
        resize: tty.then_some(resize),
        exit: exit.boxed(),
    })
}

async fn tell_sizes(mut changes: mpsc::Receiver<TerminalSize>, to: Option<DuplexStream>) {
    let Some(mut to) = to else { return };
    while let Some(size) = changes.recv().await {
        if to.write_all(&command::written(size)).await.is_err() {
            return;
        }
    }
}

/// Agrees with the server on one of these protocols.
pub(super) async fn open<P: Copy>(
    channel: &Channel,
    path: String,
    protocols: &[(&'static str, P)],
) -> Result<(P, Raw), Status> {
    let failed = |why: &str| Status::new(Reason::InternalError, format!("no session: the server {why}"));
    let key = key()?;
    let names: Vec<&str> = protocols.iter().map(|(name, _)| *name).collect();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, key.as_str()),
        (SEC_WEBSOCKET_PROTOCOL, names.join(", ").as_str()),
    ] {
        headers.insert(name, HeaderValue::from_str(value).map_err(Status::internal)?);
    }
    let (answer, connection) = channel.upgrade(Call::get(path), "websocket", headers).await?;
    let said = |name: HeaderName| answer.get(name).and_then(|value| value.to_str().ok());
    if said(SEC_WEBSOCKET_ACCEPT) != Some(accept_of(&key).as_str()) {
        return Err(failed("did not answer the key of the WebSocket"));
    }
    let chosen = protocols.iter().find(|(name, _)| said(SEC_WEBSOCKET_PROTOCOL) == Some(name));
    let (_, protocol) = chosen.ok_or_else(|| failed("speaks none of the protocols"))?;
    Ok((*protocol, connection))
}
