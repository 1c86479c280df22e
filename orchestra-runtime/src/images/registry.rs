//! A registry, asked over HTTP as the OCI distribution specification has it.
//!
//! Each request is a connection of its own: an image is a dozen of them. Registries of this machine may be spoken to without
//! TLS, as Docker does; all others may not. What a registry is shown (a password, a token) is shown to it and to whom it names
//! for tokens, and never to where it redirects.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use orchestra_core::runtime::PullProgress;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::challenge::Challenge;
use super::digest::Digest;
use super::error::{ImageError, Result, invalid, too_large};
use super::manifest::{self, Descriptor};
use super::reference::Reference;

/// Where Docker Hub's images are.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// Bytes of an answer that is no image.
const ANSWER: u64 = 256 * 1024;

/// How long a registry is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until it is connected to.
    pub connect: Duration,
    /// Until it begins to answer.
    pub answer: Duration,
    /// Without a byte of what it sends.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(30), answer: seconds(60), stall: seconds(60) }
    }
}

/// Who asks.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// One repository of a registry.
pub(super) struct Registry {
    host: String,
    repository: String,
    /// Whether it is this machine's.
    local: bool,
    /// `http` or `https`, once that is known.
    scheme: Option<&'static str>,
    basic: Option<String>,
    /// What it wants to be shown.
    shown: Option<String>,
    patience: Patience,
}

impl Registry {
    pub(super) fn new(
        reference: &Reference,
        credentials: Option<&Credentials>,
        patience: Patience,
    ) -> Result<Self> {
        let host = match reference.registry.as_str() {
            name if name == DOCKER_HUB.0 => DOCKER_HUB.1,
            name => name,
        };
        let uri: Uri =
            format!("https://{host}/").parse().map_err(|_| invalid(format!("{host} is no registry")))?;
        let local = is_loopback(uri.host().unwrap_or_default());
        let basic = credentials
            .map(|who| format!("Basic {}", STANDARD.encode(format!("{}:{}", who.username, who.password))));
        Ok(Self {
            host: host.to_owned(),
            repository: reference.repository.clone(),
            local,
            scheme: (!local).then_some("https"),
            basic,
            shown: None,
            patience,
        })
    }

    /// A manifest or an index by a tag or a digest, which is not checked.
    pub(super) async fn manifest(&mut self, wanted: &str, limit: u64) -> Result<Bytes> {
        if self.scheme.is_none() {
            self.scheme = Some(self.find_scheme().await);
        }
        let path = format!("manifests/{wanted}");
        let mut answer = self.get(&path, manifest::ACCEPTED).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.shown = self.answer_challenge(&answer).await?;
            answer = self.get(&path, manifest::ACCEPTED).await?;
        }
        let answer = self.good(answer, wanted).await?;
        self.read(answer, limit).await
    }

    /// The manifest that an index has chosen.
    pub(super) async fn manifest_of(&self, of: &Descriptor, limit: u64) -> Result<Bytes> {
        let digest = of.digest()?;
        let answer = self.get(&format!("manifests/{digest}"), manifest::ACCEPTED).await?;
        let answer = self.good(answer, digest.as_str()).await?;
        checked(&digest, self.read(answer, limit).await?)
    }

    /// A blob that is kept in memory.
    pub(super) async fn document(&self, of: &Descriptor, limit: u64) -> Result<Bytes> {
        let digest = of.digest()?;
        let answer = self.get(&format!("blobs/{digest}"), "*/*").await?;
        let answer = self.good(answer, digest.as_str()).await?;
        checked(&digest, self.read(answer, limit).await?)
    }

    /// Writes a blob to a file. It is no more and no less than was said, and what it is called.
    pub(super) async fn blob(&self, of: &Descriptor, path: &Path, progress: &PullProgress) -> Result<()> {
        let digest = of.digest()?;
        let answer = self.get(&format!("blobs/{digest}"), "*/*").await?;
        let mut body = self.good(answer, digest.as_str()).await?.into_body();
        let mut file = tokio::io::BufWriter::new(tokio::fs::File::create(path).await?);
        let (mut hasher, mut size) = (digest.hasher(), 0);
        while let Some(data) = self.next(&mut body).await? {
            size += data.len() as u64;
            if size > of.size {
                return Err(invalid(format!(
                    "the registry sends more than the {} bytes of {digest}",
                    of.size
                )));
            }
            hasher.update(&data);
            file.write_all(&data).await?;
            progress.came(data.len() as u64);
        }
        file.flush().await?;
        let found = hasher.finish();
        match found == digest && size == of.size {
            true => Ok(()),
            false => Err(invalid(format!("the registry sent {size} bytes that are {found}, for {digest}"))),
        }
    }

    /// Whether a registry of this machine speaks TLS. Who gets a request in plain text and speaks TLS says so by refusing it.
    async fn find_scheme(&self) -> &'static str {
        let uri = format!("http://{}/v2/", self.host).parse::<Uri>();
        match uri.ok().map(|uri| self.ask(uri, "*/*", None)) {
            Some(asked) => match asked.await {
                Ok(answer) if answer.status() != StatusCode::BAD_REQUEST => "http",
                Err(ImageError::Unreachable(message)) if message.contains(REFUSED) => "http",
                _ => "https",
            },
            None => "https",
        }
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Response<Incoming>> {
        let scheme = self.scheme.unwrap_or("https");
        let mut uri: Uri = format!("{scheme}://{}/v2/{}/{path}", self.host, self.repository)
            .parse()
            .map_err(|error| invalid(format!("{path}: {error}")))?;
        let mut shown = self.shown.as_deref();
        for _ in 0..=REDIRECTS {
            let answer = self.ask(uri.clone(), accept, shown).await?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let next = redirected(&uri, &answer)?;
            if next.authority() != uri.authority() {
                shown = None;
            }
            if next.scheme_str() != Some("https")
                && !(self.local && is_loopback(next.host().unwrap_or_default()))
            {
                return Err(invalid(format!("the registry leads to {next}, where nothing is encrypted")));
            }
            uri = next;
        }
        Err(ImageError::Unreachable(format!("{} leads from one address to another without end", self.host)))
    }

    /// What is to be shown, as the registry says; user and password go nowhere without encryption.
    async fn answer_challenge(&self, answer: &Response<Incoming>) -> Result<Option<String>> {
        let wanted = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = wanted.filter_map(|header| Challenge::parse(header.to_str().ok()?)).next();
        let (realm, service, scope) = match challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(self.basic.clone()),
            Some(Challenge::Bearer { realm, service, scope }) => (realm, service, scope),
        };
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
        let mut query = format!("scope={}", encoded(&scope));
        if let Some(service) = service {
            query.push_str(&format!("&service={}", encoded(&service)));
        }
        let joint = if realm.contains('?') { '&' } else { '?' };
        let uri: Uri = format!("{realm}{joint}{query}")
            .parse()
            .map_err(|_| invalid(format!("{} says to ask at {realm:?}, which is no address", self.host)))?;
        if uri.scheme_str() != Some("https") && !(self.local && is_loopback(uri.host().unwrap_or_default())) {
            return Err(invalid(format!("{} says to ask at {realm}, where nothing is encrypted", self.host)));
        }
        let answer = self.ask(uri, "application/json", self.basic.as_deref()).await?;
        let answer = self.good(answer, "a token").await?;
        // Some give it by both names.
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let given = serde_json::from_slice(&self.read(answer, ANSWER).await?).ok();
        let token = given.and_then(|given: Given| given.token.or(given.access_token));
        let token = token.ok_or_else(|| invalid(format!("{realm} gives no token")))?;
        Ok(Some(format!("Bearer {token}")))
    }

    /// The answer, if it is one that was hoped for.
    async fn good(&self, answer: Response<Incoming>, wanted: &str) -> Result<Response<Incoming>> {
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let said = self.read(answer, ANSWER).await.unwrap_or_default();
        let why = words(&said).unwrap_or_else(|| status.to_string());
        let message = format!("{}/{}: {wanted}: {why}", self.host, self.repository);
        Err(match status {
            StatusCode::NOT_FOUND => ImageError::NotFound(message),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ImageError::Unauthorized(message),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                ImageError::Unreachable(message)
            }
            _ => invalid(message),
        })
    }

    async fn read(&self, answer: Response<Incoming>, limit: u64) -> Result<Bytes> {
        let (mut body, mut read) = (answer.into_body(), Vec::new());
        while let Some(data) = self.next(&mut body).await? {
            if (read.len() + data.len()) as u64 > limit {
                return Err(too_large(format!("{} sends more than {limit} bytes", self.host)));
            }
            read.extend_from_slice(&data);
        }
        Ok(read.into())
    }

    /// The next piece of an answer; one that does not come is not waited for.
    async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>> {
        loop {
            let stall = self.patience.stall;
            let frame = timeout(stall, body.frame())
                .await
                .map_err(|_| self.unreachable(format!("it has sent nothing for {stall:?}")))?;
            match frame.transpose().map_err(|error| self.unreachable(error))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> ImageError {
        ImageError::Unreachable(format!("{}: {why}", self.host))
    }

    async fn ask(&self, uri: Uri, accept: &str, shown: Option<&str>) -> Result<Response<Incoming>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let failed = |why: String| ImageError::Unreachable(format!("{host}:{port}: {why}"));
        let request = request(&uri, accept, shown)?;
        let connected = timeout(self.patience.connect, TcpStream::connect((host.as_str(), port))).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(failed(REFUSED.to_owned()));
            }
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no connection within {:?}", self.patience.connect))),
        };
        let answered = async {
            if !tls {
                return send(TokioIo::new(stream), request).await;
            }
            let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
            let connector = connector().ok_or("TLS is not available")?;
            let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
            send(TokioIo::new(stream), request).await
        };
        match timeout(self.patience.answer, answered).await {
            Ok(answered) => answered.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {:?}", self.patience.answer))),
        }
    }
}

/// What is said where nobody listens.
const REFUSED: &str = "connection refused";

fn request(uri: &Uri, accept: &str, shown: Option<&str>) -> Result<Request<Empty<Bytes>>> {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, accept)
        .header(USER_AGENT, concat!("orchestra/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    if let Some(shown) = shown {
        request = request.header(AUTHORIZATION, shown);
    }
    request.body(Empty::new()).map_err(|error| invalid(error.to_string()))
}

async fn send<S>(stream: TokioIo<S>, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(stream).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // It ends with the answer, as both sides were told that there is but one.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// A connector that believes whom the machine believes.
fn connector() -> Option<TlsConnector> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Some(Arc::new(builder.ok()?.with_root_certificates(roots).with_no_client_auth()))
    };
    CONFIG.get_or_init(read).clone().map(TlsConnector::from)
}

fn redirected(from: &Uri, answer: &Response<Incoming>) -> Result<Uri> {
    let lost = || invalid(format!("{from} leads to nowhere"));
    let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).ok_or_else(lost)?;
    let to = match to.starts_with('/') {
        true => format!(
            "{}://{}{to}",
            from.scheme_str().unwrap_or("https"),
            from.authority().map_or("", |authority| authority.as_str())
        ),
        false => to.to_owned(),
    };
    to.parse().map_err(|_| lost())
}

fn checked(digest: &Digest, bytes: Bytes) -> Result<Bytes> {
    let mut hasher = digest.hasher();
    hasher.update(&bytes);
    let found = hasher.finish();
    match found == *digest {
        true => Ok(bytes),
        false => Err(invalid(format!("the registry sent something that is {found}, for {digest}"))),
    }
}

/// What a registry says is wrong, in its own words.
fn words(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let said: Said = serde_json::from_slice(answer).ok()?;
    let fault = said.errors.into_iter().next()?;
    let text = if fault.message.is_empty() { fault.code } else { fault.message };
    (!text.is_empty()).then(|| text.chars().filter(|letter| !letter.is_control()).take(300).collect())
}

/// Whether a host is this machine, without asking anybody.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A value of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (host, local) in [
            ("localhost", true),
            ("127.0.0.9", true),
            ("[::1]", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("registry.example", false),
        ] {
            assert_eq!(is_loopback(host), local, "{host}");
        }
    }

    #[test]
    fn what_a_registry_says_is_told() {
        let said = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[1m unknown"}]}"#;
        assert_eq!(words(said).as_deref(), Some("manifest[1m unknown"));
        assert_eq!(words(br#"{"errors":[{"code":"DENIED"}]}"#).as_deref(), Some("DENIED"));
        assert_eq!(words(b"<html>"), None);
        assert_eq!(encoded("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
    }
}
