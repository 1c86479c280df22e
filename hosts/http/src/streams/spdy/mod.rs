//! SPDY/3.1, as much of it as clients of Kubernetes speak: a client begins streams on a connection, and each is bytes in
//! both directions that end for themselves.
//!
//! | module | what |
//! | --- | --- |
//! | `frame` | frames as bytes and back; pure |
//! | `headers` | the headers of streams, compressed over the whole connection; pure |
//! | `connection` | the streams of a connection |

mod connection;
mod frame;
mod headers;

pub(crate) use connection::{Spdy, SpdyStream};
