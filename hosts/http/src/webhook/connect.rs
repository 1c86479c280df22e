use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use orchestra_core::webhook::Connect;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::{ClientTls, TlsPipe};

/// How long a connection may take to be made. What a call may take is a matter of the call.
const CONNECT: Duration = Duration::from_secs(30);
/// How long one address is tried while there is another.
const NEXT: Duration = Duration::from_secs(1);

/// Makes connections to one place.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    to: Connect,
}

impl Connector {
    pub(super) fn new(tls: ClientTls, to: Connect) -> Self {
        Self { tls: TlsConnector::from(tls.0), to }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TlsPipe;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TlsPipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, to } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(host.clone()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, "the host is no name and no address")
            })?;
            let connecting = async {
                let stream = match &to {
                    Connect::Addresses(addresses) => first_of(addresses).await?,
                    Connect::Host(host, port) => dial((host.as_str(), *port), host).await?,
                    _ => dial((host.as_str(), uri.port_u16().unwrap_or(443)), &host).await?,
                };
                stream.set_nodelay(true)?;
                tls.connect(name, stream).await
            };
            match timeout(CONNECT, connecting).await {
                Ok(connected) => Ok(TlsPipe::new(connected?)),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection was made in time")),
            }
        })
    }
}

/// A connection to the first address that takes one.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no address to connect to"));
    };
    for address in others {
        if let Ok(Ok(stream)) = timeout(NEXT, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    dial(*last, &last.to_string()).await
}

/// A connection, or why there is none in the words of Go's dialer, which people know from Kubernetes.
async fn dial(to: impl tokio::net::ToSocketAddrs, shown: &str) -> io::Result<TcpStream> {
    TcpStream::connect(to).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("dial tcp {shown}: {why}"))
    })
}
