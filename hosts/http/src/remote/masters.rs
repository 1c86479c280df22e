//! The masters of a cluster: where they are, and which of them is spoken to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, info};

/// How long a connection may take to be made to the only master that there is, and to one of several.
const ALONE: Duration = Duration::from_secs(10);
const ONE_OF_SEVERAL: Duration = Duration::from_secs(4);

/// A server that is not one to send requests to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The URL is none, or not one of HTTPS.
    #[error("{0:?} is not the address of a server; it should be as https://10.0.0.1:6443")]
    Url(String),
}

/// The masters of one cluster. One of them is spoken to until no connection to it is made any more; then it is the next.
/// Cheap to clone; all clones are one.
///
/// Some are told by whoever starts a program, and these stay; what the cluster says of itself is
/// [found](Self::found), and may be others each time. Whoever answers at an address has to prove that it is of the
/// cluster, so an address that is wrong leads nowhere.
#[derive(Clone)]
pub struct Masters(Arc<watch::Sender<State>>);

#[derive(Default)]
pub(crate) struct State {
    told: Vec<Place>,
    found: Vec<Place>,
    /// The one that was reached last.
    current: Option<Place>,
}

/// Where one master is.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    /// As `https://10.0.0.1:6443`.
    url: String,
    host: String,
    port: u16,
}

impl fmt::Debug for Masters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.urls().join(" or "))
    }
}

impl Masters {
    /// Masters at URLs such as `https://10.0.0.1:6443`, the first of which is spoken to first.
    ///
    /// # Errors
    /// When a URL is none, or there is none.
    pub fn new<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, AddressError> {
        let told = urls.into_iter().map(|url| Place::read(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if told.is_empty() {
            return Err(AddressError::Url(String::new()));
        }
        Ok(Self(Arc::new(watch::Sender::new(State { told, ..State::default() }))))
    }

    /// Takes what the cluster says where its masters are, in place of what it said before. Whether that is news.
    pub fn found(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> bool {
        let now: Vec<Place> = addresses.into_iter().map(Place::at).collect();
        self.0.send_if_modified(|state| {
            let news = state.found != now;
            state.found = now;
            news
        })
    }

    /// All of them, as URLs.
    pub fn urls(&self) -> Vec<String> {
        self.0.borrow().all().map(|place| place.url.clone()).collect()
    }

    /// Told whenever others are found.
    pub(crate) fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// The URL under which all of them are known as one server.
    pub(super) fn base(&self) -> String {
        self.0.borrow().all().next().map(|place| place.url.clone()).unwrap_or_default()
    }

    /// A connection to one of them: to the one that was reached last, if it can be reached, or to the next.
    pub(super) async fn connect(
        &self,
        tls: &TlsConnector,
        name: Option<&ServerName<'static>>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let places = self.in_turn();
        let patience = if places.len() > 1 { ONE_OF_SEVERAL } else { ALONE };
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "there is no address to connect to");
        for place in places {
            match timeout(patience, place.connect(tls, name)).await {
                Ok(Ok(stream)) => {
                    self.reached(place);
                    return Ok(stream);
                }
                Ok(Err(error)) => failed = error,
                Err(_) => {
                    failed = io::Error::new(io::ErrorKind::TimedOut, "no connection was made in time");
                }
            }
            debug!(url = place.url, error = %failed, "no connection");
        }
        Err(failed)
    }

    fn in_turn(&self) -> Vec<Place> {
        let state = self.0.borrow();
        let known = |place: &&Place| state.all().any(|held| held == *place);
        let current = state.current.as_ref().filter(known);
        let others = state.all().filter(|place| Some(*place) != current);
        current.into_iter().chain(others).cloned().collect()
    }

    fn reached(&self, place: Place) {
        // Nobody is told: it is no other master.
        self.0.send_if_modified(|state| {
            if state.current.as_ref().is_some_and(|before| *before != place) {
                info!(url = place.url, "another master is spoken to");
            }
            state.current = Some(place);
            false
        });
    }
}

impl State {
    fn all(&self) -> impl Iterator<Item = &Place> {
        let found = self.found.iter().filter(|place| !self.told.contains(place));
        self.told.iter().chain(found)
    }
}

impl Place {
    fn read(url: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        Ok(Self {
            url: format!("https://{authority}"),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }

    fn at(address: SocketAddr) -> Self {
        Self { url: format!("https://{address}"), host: address.ip().to_string(), port: address.port() }
    }

    async fn connect(
        &self,
        tls: &TlsConnector,
        name: Option<&ServerName<'static>>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let named = |_| io::Error::new(io::ErrorKind::InvalidInput, "the host is no name and no address");
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(self.host.clone()).map_err(named)?,
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        tls.connect(name, stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stays_and_what_is_found_is_as_it_was_found_last() {
        let masters = Masters::new(["https://10.0.0.1:6443", "https://[fd00::1]"]).unwrap();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(masters.found([at("10.0.0.2:6443"), at("10.0.0.1:6443")]));
        assert!(!masters.found([at("10.0.0.2:6443"), at("10.0.0.1:6443")]));
        assert_eq!(masters.urls(), ["https://10.0.0.1:6443", "https://[fd00::1]", "https://10.0.0.2:6443"]);
        let places = masters.in_turn();
        assert_eq!((places[1].host.as_str(), places[1].port), ("fd00::1", 443));

        masters.reached(places[2].clone());
        assert_eq!(masters.in_turn()[0].url, "https://10.0.0.2:6443");
        assert!(masters.found([at("10.0.0.3:6443")]));
        let turn: Vec<String> = masters.in_turn().into_iter().map(|place| place.url).collect();
        assert_eq!(turn, ["https://10.0.0.1:6443", "https://[fd00::1]", "https://10.0.0.3:6443"]);
        for wrong in ["http://10.0.0.1:6443", "10.0.0.1:6443", ""] {
            assert!(Masters::new([wrong]).is_err(), "{wrong}");
        }
        assert!(Masters::new::<&str>([]).is_err());
    }
}
