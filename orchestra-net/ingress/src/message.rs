//! What of a request and of an answer is passed on. Pure.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};

/// The body of an answer.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// What is of one connection only.
const OF_CONNECTION: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "trailer",
    "upgrade",
];

/// How a client came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) is_tls: bool,
    /// The port that it came to.
    pub(crate) port: u16,
}

/// The host that a request is for, as the client sent it.
pub(crate) fn host(head: &Parts) -> String {
    let said = head.headers.get(HOST).and_then(|value| value.to_str().ok());
    head.uri.authority().map(|authority| authority.as_str()).or(said).unwrap_or_default().to_owned()
}

/// The protocol that a request asks to change to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

/// Makes the head of a request what its backend gets. Whatever the client says of where it comes from is not believed.
pub(crate) fn forwarded(head: &mut Parts, client: &Client) {
    let (host, upgrade) = (host(head), upgrade(&head.headers));
    strip(&mut head.headers);
    if let Some(protocol) = upgrade.filter(|_| head.version <= Version::HTTP_11) {
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(UPGRADE, protocol);
    }
    // In HTTP/2 each may come by itself.
    let cookies: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(one) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        head.headers.insert(COOKIE, one);
    }
    let scheme = if client.is_tls { "https" } else { "http" };
    let address = client.address.ip().to_canonical().to_string();
    for (name, value) in [
        ("host", host.as_str()),
        ("x-forwarded-for", &address),
        ("x-real-ip", &address),
        ("x-forwarded-host", &host),
        ("x-forwarded-port", &client.port.to_string()),
        ("x-forwarded-proto", scheme),
        ("x-forwarded-scheme", scheme),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            head.headers.insert(HeaderName::from_static(name), value);
        }
    }
    head.headers.remove("forwarded");
    let below = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = below.parse().unwrap_or_else(|_| Uri::from_static("/"));
    head.version = Version::HTTP_11;
}

/// Takes out of an answer what is of the connection to the backend only.
pub(crate) fn answered(headers: &mut HeaderMap) {
    strip(headers);
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .collect();
    // That a client takes trailers is true of every hop, and gRPC asks for it.
    let trailers = headers.get(TE).is_some_and(|value| value == "trailers");
    for name in OF_CONNECTION.iter().copied().chain(named.iter().map(String::as_str)) {
        if name != "host" && !name.starts_with("x-forwarded-") {
            headers.remove(name);
        }
    }
    headers.remove(TRANSFER_ENCODING);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// An answer of our own.
pub(crate) fn own(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{text}\n"))).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn passed(request: http::request::Builder, is_tls: bool) -> Vec<String> {
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let client = Client { address: "203.0.113.9:4000".parse().unwrap(), is_tls, port: 8443 };
        forwarded(&mut head, &client);
        let mut lines: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.insert(0, format!("{} {} {:?}", head.method, head.uri, head.version));
        lines
    }

    #[test]
    fn a_backend_is_told_where_a_request_comes_from() {
        let request = Request::get("https://shop.example.com/a?b=c")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("x-forwarded-for", "10.0.0.1")
            .header("forwarded", "for=10.0.0.1");
        assert_eq!(
            passed(request, true),
            [
                "GET /a?b=c HTTP/1.1",
                "cookie: a=1; b=2",
                "host: shop.example.com",
                "te: trailers",
                "x-forwarded-for: 203.0.113.9",
                "x-forwarded-host: shop.example.com",
                "x-forwarded-port: 8443",
                "x-forwarded-proto: https",
                "x-forwarded-scheme: https",
                "x-real-ip: 203.0.113.9",
            ]
        );
    }

    #[test]
    fn what_is_of_the_connection_stays_there_but_for_an_upgrade() {
        let request = |connection: &str| {
            Request::get("/ws")
                .header("host", "a:80")
                .header("connection", connection)
                .header("upgrade", "websocket")
                .header("x-hop", "1")
                .header("keep-alive", "timeout=5")
                .header("transfer-encoding", "chunked")
        };
        let kept = |lines: Vec<String>| {
            lines
                .into_iter()
                .filter(|line| !line.starts_with("x-") && !line.starts_with("host"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kept(passed(request("keep-alive, X-Hop, Upgrade"), false)),
            ["GET /ws HTTP/1.1", "connection: Upgrade", "upgrade: websocket"]
        );
        assert_eq!(kept(passed(request("x-hop"), false)), ["GET /ws HTTP/1.1"]);
        // Nobody can have the host, or who asked, left out.
        assert!(
            passed(request("host, x-forwarded-for"), false)
                .contains(&"x-forwarded-for: 203.0.113.9".to_owned())
        );
    }
}
