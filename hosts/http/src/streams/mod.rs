//! What flows between a client and a container: commands, terminals and connections to ports.
//!
//! A request becomes a connection that is no longer HTTP's ([`handshake`], [`upgrade`]). What clients speak on it is
//! taken apart into pipes of bounded size, one for each stream and direction, so that who reads slowly slows the writer
//! down, and nothing grows:
//!
//! | module | what |
//! | --- | --- |
//! | [`handshake`] | what a client proposes to speak, and the answer to it; pure |
//! | [`upgrade`] | the connection after the answer, which is worked on by the task that accepted it |
//! | [`options`] | which streams of which container are asked for; pure |
//! | [`channels`] | WebSockets whose messages begin with the number of a stream |
//! | [`version`] | the protocols by which that is done, `v5.channel.k8s.io` and those before it, also as text; pure |
//! | [`messages`] | WebSockets by which one stream is sent: `binary.k8s.io`, `base64.binary.k8s.io` |
//! | [`tunnel`] | a WebSocket in which something else is spoken |
//! | [`port_forward`] | connections to ports, many by one connection |
//! | [`command`] | the streams of a command: to and fro until it ends, and then its exit code |
//! | [`relay`] | what is proxied, once it has been upgraded to something that is not looked at |
//! | [`session`] | a session or a forward over one connection, until either ends |
//! | [`outcome`] | how the end of a command is told; pure |
//!
//! `frontend::connect` leads from a permitted request here; `remote::session` and `remote::forward` are the client's side:
//! of this server to its nodes, and of Rust programs.
//!
//! Whatever ends first ends the rest: who drops the connection drops the session, and a session that is dropped ends its
//! command.

pub(crate) mod channels;
pub(crate) mod command;
pub(crate) mod handshake;
pub(crate) mod messages;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod port_forward;
pub(crate) mod relay;
pub(crate) mod session;
pub(crate) mod tunnel;
pub(crate) mod upgrade;
pub(crate) mod version;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

/// What is read from.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What is written to.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// As what ports are forwarded by SPDY.
pub(crate) const FORWARD: &str = "portforward.k8s.io";
/// A WebSocket in which ports are forwarded as by SPDY.
pub(crate) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// How many bytes wait in a pipe for their reader.
pub(crate) const PIPE: usize = 64 * 1024;
/// How often the other side is sent something. What it sends is not read while a pipe is full: that it is gone shows then
/// only by what cannot be sent to it.
pub(crate) const PING: Duration = Duration::from_secs(5);
/// How many bytes are passed on at a time.
pub(crate) const PIECE: usize = 32 * 1024;
