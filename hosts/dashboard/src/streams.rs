//! A command in a container, by a WebSocket: the browser's connection is the API's, with the credentials of who looks.
//!
//! Another site's page may open a WebSocket here, and the browser would send its cookies along. So the URL carries the
//! secret that forms carry, which no other site can read.

use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Request, Response};

use crate::answer;
use crate::api::{Api, Body};
use crate::route::{Query, Spot, escape, pods};
use crate::session::Session;

/// What of a request makes a WebSocket of it. Extensions are left out: nobody in between has to know any.
const HANDSHAKE: [HeaderName; 6] =
    [CONNECTION, HOST, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION];
/// A shell, the best that an image has.
const SHELL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "TERM=xterm-256color; export TERM; if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi",
];

/// The words of a command that somebody typed; none of them are a shell.
pub(crate) fn command(typed: &str) -> Vec<&str> {
    let words: Vec<&str> = typed.split_whitespace().collect();
    if words.is_empty() { SHELL.to_vec() } else { words }
}

/// The path by which a command is run in a container, with a terminal.
fn path(spot: &Spot, query: &Query) -> String {
    let words: String =
        command(query.get("cmd")).iter().map(|word| format!("&command={}", escape(word))).collect();
    let container = escape(query.get("c"));
    format!("{}/exec?container={container}&stdin=true&stdout=true&tty=true{words}", spot.path())
}

/// Has the API take over the connection of a request.
pub(crate) async fn open(api: &dyn Api, head: &Parts, session: &Session, query: &Query) -> Response<Body> {
    let upgrades =
        head.headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let spot = Spot::of(query);
    if !upgrades || !spot.is_sound() || spot.place != pods() || !query.is_set("c") {
        return answer::text(400, "a WebSocket and a container of a pod are asked for here\n");
    }
    if !session.sent(&head.headers, query) {
        return answer::text(403, "this was not asked for by a page of the dashboard\n");
    }
    let mut request = Request::new(Bytes::new());
    match path(&spot, query).parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return answer::text(400, "the command is too long\n"),
    }
    *request.extensions_mut() = head.extensions.clone();
    let headers = request.headers_mut();
    headers.extend(session.credentials.clone());
    for name in HANDSHAKE {
        headers.extend(head.headers.get(&name).map(|value| (name, value.clone())));
    }
    api.send(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_was_typed() {
        assert_eq!(command(" ls  -l /etc "), ["ls", "-l", "/etc"]);
        assert_eq!(command("")[0], "/bin/sh");
        let query = Query::parse("r=pods&in=shop&n=web&c=main&cmd=psql+-c+a%26b%3D1");
        let expected = "/api/v1/namespaces/shop/pods/web/exec?container=main&stdin=true&stdout=true&tty=true\
                        &command=psql&command=-c&command=a%26b%3D1";
        assert_eq!(path(&Spot::of(&query), &query), expected);
    }
}
