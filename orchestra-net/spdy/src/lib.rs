//! SPDY/3.1, as much of it as Kubernetes speaks: a client begins streams on a connection, and each is bytes in both
//! directions that end for themselves.
//!
//! | module | what |
//! | --- | --- |
//! | `frame` | frames as bytes and back; pure |
//! | `headers` | the headers of streams, compressed over the whole connection; pure |
//! | `connection` | the streams of a connection: [`Spdy::new`] for a server, [`Spdy::begin`] for a client |
//!
//! It starts no task: a connection is carried for as long as its future is polled.

mod connection;
mod frame;
mod headers;

pub use connection::{Spdy, SpdyError, SpdyStream};
pub use frame::FrameError;
pub use headers::HeaderError;

use std::time::Duration;

/// How many bytes wait in a pipe for their reader.
const PIPE: usize = 64 * 1024;
/// How often the other side is sent something. What it sends is not read while a pipe is full: that it is gone shows then
/// only by what cannot be sent to it.
const PING: Duration = Duration::from_secs(5);
/// How many bytes are sent at a time.
const PIECE: usize = 32 * 1024;
