//! What a client proposes to speak instead of HTTP, and the answer to it; pure.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Response, StatusCode};
use orchestra_core::api::{Reason, Status};

use crate::reply::{self, Body};

/// What tells which streams a client of SPDY knows.
pub(crate) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// How a protocol begins that is a token.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// What is added to a key, by RFC 6455.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A proposal that names what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handshake<P, Q> {
    /// A WebSocket.
    WebSocket {
        /// The answer to the client's key.
        accept: String,
        /// Which of its protocols is spoken.
        protocol: P,
    },
    /// SPDY/3.1.
    Spdy {
        /// Which of its protocols is spoken.
        protocol: Q,
    },
}

/// A protocol by its name.
pub(crate) type Named<P> = (&'static str, P);

impl<P: Copy, Q: Copy> Handshake<P, Q> {
    /// The proposal of a request, of which the protocol is chosen that the client names first.
    ///
    /// # Errors
    /// 400 when it is none, or names nothing that is served.
    pub(crate) fn of(headers: &HeaderMap, websocket: &[Named<P>], spdy: &[Named<Q>]) -> Result<Self, Status> {
        let upgrades = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
        let asks = |name: &str| tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case(name));
        match upgrades {
            true if asks("websocket") => {
                let protocol = choose(headers, &SEC_WEBSOCKET_PROTOCOL, websocket)?;
                Ok(Self::WebSocket { accept: accept(headers)?, protocol })
            }
            true if asks("SPDY/3.1") => Ok(Self::Spdy { protocol: choose(headers, &STREAM_PROTOCOL, spdy)? }),
            true => {
                let message = "unable to upgrade: only websocket and SPDY/3.1 are spoken here";
                Err(Status::bad_request(message))
            }
            false => Err(Status::bad_request("Upgrade request required")),
        }
    }

    /// The proposal of a WebSocket, if the request is one.
    ///
    /// # Errors
    /// 400 when it names nothing that is served.
    pub(crate) fn of_socket(headers: &HeaderMap, served: &[Named<P>]) -> Result<Option<Self>, Status> {
        let upgrades = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
        if !upgrades || !tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")) {
            return Ok(None);
        }
        let protocol = choose(headers, &SEC_WEBSOCKET_PROTOCOL, served)?;
        Ok(Some(Self::WebSocket { accept: accept(headers)?, protocol }))
    }

    /// The answer that agrees to it, by the names of the protocols.
    pub(crate) fn answer(
        &self,
        websocket: impl Fn(P) -> &'static str,
        spdy: impl Fn(Q) -> &'static str,
    ) -> Response<Body> {
        let mut response = reply::text(101, "");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.clear();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::WebSocket { accept, protocol } => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                let name = websocket(*protocol);
                if !name.is_empty() {
                    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
                }
                if let Ok(accept) = HeaderValue::from_str(accept) {
                    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
                }
            }
            Self::Spdy { protocol } => {
                headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(spdy(*protocol)));
            }
        }
        response
    }
}

/// The answer to the key of a WebSocket.
pub(crate) fn accept_of(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID.as_bytes());
    STANDARD.encode(hash.finish().as_ref())
}

/// A key of a client.
///
/// # Errors
/// When the machine has no randomness.
pub(crate) fn key() -> Result<String, Status> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(Status::internal)?;
    Ok(STANDARD.encode(random))
}

fn accept(headers: &HeaderMap) -> Result<String, Status> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if text(SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Status::bad_request("unable to upgrade: Sec-WebSocket-Version must be 13"));
    }
    let key = text(SEC_WEBSOCKET_KEY).unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Status::bad_request("unable to upgrade: Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    Ok(accept_of(key))
}

/// The first protocol of the client's that is served; the one without a name, if there is such, for who names none.
fn choose<P: Copy>(headers: &HeaderMap, header: &HeaderName, served: &[Named<P>]) -> Result<P, Status> {
    let find = |token: &str| served.iter().find(|(name, _)| *name == token);
    // By a bearer's token a browser shows who it is, and says nothing of what it speaks.
    let mut named = tokens(headers, header).filter(|token| !token.starts_with(BEARER)).peekable();
    let found = if named.peek().is_none() { find("") } else { named.find_map(find) };
    if let Some((_, protocol)) = found {
        return Ok(*protocol);
    }
    let asked: Vec<&str> = tokens(headers, header).collect();
    let names: Vec<&str> = served.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
    let message = match asked.as_slice() {
        [] => format!("unable to upgrade: {header} is required, one of {names:?}"),
        asked => {
            format!("unable to upgrade: none of the protocols {asked:?} in {header} is served, but {names:?}")
        }
    };
    Err(Status::new(Reason::BadRequest, message))
}

/// The values of a header that may hold several, and may be there several times.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn of(lines: &[(&str, &str)]) -> Result<Handshake<u8, u8>, String> {
        let websocket = [("v5.channel.k8s.io", 5), ("v4.channel.k8s.io", 4)];
        Handshake::of(&headers(lines), &websocket, &[("v4.channel.k8s.io", 4)])
            .map_err(|status| status.message().to_owned())
    }

    /// The key and its answer are those of RFC 6455.
    #[test]
    fn a_proposal_is_taken_by_the_first_protocol_that_is_served() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        let socket = |protocols: &str| {
            of(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "WebSocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", KEY),
                ("sec-websocket-protocol", protocols),
            ])
        };
        assert_eq!(
            socket("v4.channel.k8s.io"),
            Ok(Handshake::WebSocket { accept: accept.clone(), protocol: 4 })
        );
        assert_eq!(
            socket("base64url.bearer.authorization.k8s.io.abc, v5.channel.k8s.io,v4.channel.k8s.io"),
            Ok(Handshake::WebSocket { accept, protocol: 5 })
        );
        assert!(
            socket("v9.channel.k8s.io")
                .unwrap_err()
                .contains("none of the protocols [\"v9.channel.k8s.io\"]")
        );
        assert!(socket("").unwrap_err().contains("sec-websocket-protocol is required"));
        let spdy = [
            ("connection", "upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v9.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ];
        assert_eq!(of(&spdy), Ok(Handshake::Spdy { protocol: 4 }));
    }

    #[test]
    fn who_asks_for_one_stream_need_not_name_what_is_spoken() {
        let of = |protocols: &[&'static str]| {
            let mut lines = vec![
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", KEY),
            ];
            lines.extend(protocols.iter().map(|protocol| ("sec-websocket-protocol", *protocol)));
            let found = Handshake::<u8, u8>::of_socket(&headers(&lines), &[("binary.k8s.io", 2), ("", 1)]);
            found.map_err(|status| status.code())
        };
        let spoken = |found: Result<Option<Handshake<u8, u8>>, u16>| match found {
            Ok(Some(Handshake::WebSocket { protocol, .. })) => Ok(protocol),
            Ok(other) => panic!("{other:?}"),
            Err(code) => Err(code),
        };
        let bearer = "base64url.bearer.authorization.k8s.io.abc";
        assert_eq!(spoken(of(&[])), Ok(1));
        assert_eq!(spoken(of(&[bearer])), Ok(1));
        assert_eq!(spoken(of(&[bearer, "binary.k8s.io"])), Ok(2));
        assert_eq!(spoken(of(&["v5.channel.k8s.io"])), Err(400));
        assert_eq!(Handshake::<u8, u8>::of_socket(&headers(&[]), &[]), Ok(None));
        let unnamed = of(&[]).unwrap().unwrap().answer(|_| "", |_| "");
        assert!(!unnamed.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn what_is_no_proposal_is_refused_by_name() {
        let socket = [("connection", "upgrade"), ("upgrade", "websocket")];
        let with = |more: &[(&'static str, &'static str)]| of(&[&socket[..], more].concat()).unwrap_err();
        let protocol = ("sec-websocket-protocol", "v5.channel.k8s.io");
        assert!(with(&[protocol]).contains("Sec-WebSocket-Version must be 13"));
        for key in ["", "abc", "dGhlIHNhbXBsZQ=="] {
            let version = ("sec-websocket-version", "13");
            assert!(with(&[protocol, version, ("sec-websocket-key", key)]).contains("16 bytes"), "{key}");
        }
        assert_eq!(of(&[]).unwrap_err(), "Upgrade request required");
        assert_eq!(of(&[("upgrade", "websocket")]).unwrap_err(), "Upgrade request required");
        assert!(of(&[("connection", "upgrade"), ("upgrade", "h2c")]).unwrap_err().contains("SPDY/3.1"));
    }
}
