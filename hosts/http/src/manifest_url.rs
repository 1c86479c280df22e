//! Manifests of static pods at a URL.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use orchestra_core::node::{HostError, Manifest, Manifests};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::body::Bounds;
use crate::webhook::trust;

/// How often the URL is asked.
const PERIOD: Duration = Duration::from_secs(20);
/// How long it may take, and how much it may say.
const BOUNDS: Bounds = Bounds { bytes: 10 << 20, time: Duration::from_secs(10) };

/// A URL, of `http` or `https`, that says which pods a node is to run: a Pod or a list of them, in YAML or JSON. A server
/// of `https` is believed if an authority that the machine trusts has signed for it.
pub struct ManifestUrl {
    uri: Uri,
    period: Duration,
}

impl fmt::Debug for ManifestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// A URL that is none of manifests.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the URL of manifests; it should be as http://10.0.0.1/pods.yaml")]
pub struct ManifestUrlError(String);

impl ManifestUrl {
    /// A URL to ask.
    ///
    /// # Errors
    /// When it is none of `http` or `https`.
    pub fn new(url: &str) -> Result<Self, ManifestUrlError> {
        let uri: Uri = url.parse().map_err(|_| ManifestUrlError(url.to_owned()))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(_)) => Ok(Self { uri, period: PERIOD }),
            _ => Err(ManifestUrlError(url.to_owned())),
        }
    }

    /// Asks so often.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let tls = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        if !tls {
            return self.ask(TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let client = trust::client(None, None).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(client.of_http1()).connect(name, stream).await;
        self.ask(TokioIo::new(stream.map_err(|error| error.to_string())?)).await
    }

    async fn ask<S>(&self, stream: TokioIo<S>) -> Result<Bytes, String>
    where
        TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(|error| error.to_string())?;
        // It ends with the answer, as both sides are told that there is but one.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "the connection to a URL of manifests ended");
            }
        });
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::CONNECTION, "close")
            .header(header::ACCEPT, "application/yaml, application/json, */*")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the server answers {}", answer.status()));
        }
        BOUNDS.read(answer.into_body()).await.map_err(|status| status.message().to_owned())
    }
}

#[async_trait]
impl Manifests for ManifestUrl {
    fn source(&self) -> &'static str {
        "http"
    }

    async fn read(&self) -> Result<Vec<Manifest>, HostError> {
        let origin = self.uri.to_string();
        let failed = |message: String| HostError::Io { path: origin.clone(), message };
        let text = match timeout(BOUNDS.time, self.fetch()).await {
            Ok(text) => text.map_err(failed)?,
            Err(_) => return Err(failed("it does not answer".to_owned())),
        };
        // As Kubernetes has it: nothing is no answer, and not the answer that there are none.
        if text.is_empty() {
            return Err(failed("it says nothing".to_owned()));
        }
        Ok(vec![Manifest { origin, text: text.to_vec() }])
    }

    async fn changed(&self) {
        tokio::time::sleep(self.period).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives one answer after the other.
    async fn answering(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).await.unwrap();
                assert!(asked[..read].starts_with(b"GET /pods?x=1 HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}/pods?x=1")
    }

    #[tokio::test]
    async fn what_a_url_says_is_the_manifest_and_what_is_no_answer_is_an_error() {
        let url = answering(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nkind: Pod",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ])
        .await;
        let place = ManifestUrl::new(&url).unwrap();
        let read = place.read().await.unwrap();
        assert_eq!((read[0].text.as_slice(), read[0].origin.as_str()), (&b"kind: Pod"[..], url.as_str()));
        for why in ["the server answers 404 Not Found", "it says nothing"] {
            assert!(place.read().await.unwrap_err().to_string().ends_with(why));
        }
        assert!(place.read().await.is_err(), "nobody listens any more");
        for url in ["", "pods.yaml", "ftp://a/b", "http://"] {
            assert!(ManifestUrl::new(url).is_err(), "{url}");
        }
    }
}
