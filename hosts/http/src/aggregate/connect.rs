//! A connection to a service, for one request.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use orchestra_core::webhook::Connect;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Api, Shared};
use crate::pki::Issued;
use crate::reply::Body;
use crate::tls::ClientTls;
use crate::webhook::trust;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How many ways to know services are kept.
const MOST: usize = 256;

impl Shared {
    /// A connection to the service of an API.
    pub(super) async fn connect(&self, api: &Api) -> io::Result<SendRequest<Body>> {
        let place = self.services.locate(&api.service).map_err(io::Error::other)?;
        let tls = self.trust(api)?;
        let name = ServerName::try_from(api.service.host()).map_err(io::Error::other)?;
        let connecting = async {
            let stream = dial(place).await?;
            stream.set_nodelay(true)?;
            let mut config = (*tls.0).clone();
            // What upgrades a connection is not HTTP/2.
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        let stream = timeout(CONNECT, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // It ends with the answer, or with the upgraded connection.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    fn trust(&self, api: &Api) -> io::Result<ClientTls> {
        let key = (api.bundle.clone(), api.insecure);
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = trusted.get(&key) {
            return Ok(tls.clone());
        }
        let tls = match api.insecure {
            true => ClientTls::credulous_with(&self.identity).map_err(io::Error::other)?,
            false => {
                let Issued { certificate, key } = self.identity.clone();
                let bundle = Some(&api.bundle).filter(|bundle| !bundle.is_empty());
                trust::client(bundle, Some(&(certificate.into(), key.into()))).map_err(io::Error::other)?
            }
        };
        if trusted.len() >= MOST {
            trusted.clear();
        }
        trusted.insert(key, tls.clone());
        Ok(tls)
    }
}

async fn dial(place: Connect) -> io::Result<TcpStream> {
    match place {
        Connect::Addresses(addresses) => TcpStream::connect(&*addresses).await,
        Connect::Host(host, port) => TcpStream::connect((host, port)).await,
        _ => Err(io::Error::other("a service is at addresses or a host")),
    }
}
