//! Sockets in another network namespace.
//!
//! A socket belongs to the namespace it was made in, wherever it is used later. So one is made by a short-lived thread
//! that has gone there, and handed back to the async runtime.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use orchestra_core::runtime::{Result, RuntimeError};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;

/// How long a connection on a loopback may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Runs a closure on a thread of its own within a network namespace.
pub(crate) fn within<T: Send + 'static>(
    netns: &Path,
    action: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let namespace = File::open(netns)?;
    let thread = std::thread::Builder::new().name("netns".into()).spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        action()
    })?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
}

/// Connects to a TCP port on the loopback of a namespace.
pub(crate) async fn connect(netns: &Path, port: u16) -> Result<TcpStream> {
    let netns = netns.to_owned();
    let connected = tokio::task::spawn_blocking(move || within(&netns, move || dial(port)));
    let stream = connected.await.map_err(io::Error::other).flatten().and_then(TcpStream::from_std);
    stream.map_err(|error| RuntimeError::Failed { message: format!("connecting to port {port}: {error}") })
}

fn dial(port: u16) -> io::Result<StdStream> {
    let first = StdStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), CONNECT);
    let stream = match first {
        Ok(stream) => stream,
        Err(refused) => StdStream::connect_timeout(&SocketAddr::from((Ipv6Addr::LOCALHOST, port)), CONNECT)
            .map_err(|_| refused)?,
    };
    stream.set_nonblocking(true)?;
    Ok(stream)
}
