//! Links to what listens in pods and behind services: requests below them are passed on through the API's proxy.
//!
//! What answers there is somebody's program, and its pages would come from where the dashboard does. So each of its answers
//! is put into a sandbox of the browser: it has an origin of its own, reads no page of the dashboard, and no cookie of ours
//! is sent with what it asks. By what its own requests are known then is a ticket in their path: it is sealed by a key of
//! this process, names one port and who opened it, and is good for some hours.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL,
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue,
    LOCATION, REFERRER_POLICY, SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answer;
use crate::api::{Api, Body, credentials};
use crate::route::{Spot, escape};
use crate::session::Session;

/// Where they are, below the dashboard.
const BELOW: &str = "port/";
/// How long a link is good.
const HOURS: i64 = 8;
/// How long a page may be for its links to be looked at.
const LONGEST_PAGE: usize = 4 * 1024 * 1024;
/// The page is somebody's: scripts and forms work, and the dashboard is another site to it.
const SANDBOX: &str =
    "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads; frame-ancestors 'none'";

/// The key that seals tickets.
#[derive(Clone)]
pub(crate) struct Ports(Option<Arc<RandomizedNonceKey>>);

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// What a ticket says.
struct Ticket {
    /// The path of the API's proxy, with a slash at its end.
    base: String,
    /// The token of who opened it, if there is one.
    token: String,
}

impl Ports {
    /// With a key of its own. Without chance there is none, and no link leads anywhere.
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        let drawn = aws_lc_rs::rand::fill(&mut key).ok();
        Self(drawn.and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &key).ok()).map(Arc::new))
    }

    /// The link to a port of a pod or a service, for who looks.
    pub(crate) fn link(&self, session: &Session, spot: &Spot, port: &str, is_tls: bool) -> Option<String> {
        let name =
            if is_tls { format!("https:{}:{port}", spot.name) } else { format!("{}:{port}", spot.name) };
        let base = format!("{}/{}/proxy/", spot.place.path(&spot.namespace), escape(&name));
        let token = session.credentials.get(AUTHORIZATION).filter(|_| session.has_token);
        let token = token.and_then(|token| token.to_str().ok()).unwrap_or_default();
        let until = Timestamp::now().as_second() + HOURS * 3600;
        let mut sealed = json!({"base": base, "token": token, "until": until}).to_string().into_bytes();
        let nonce = self.0.as_ref()?.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        let ticket = [nonce.as_ref(), &*sealed].concat();
        Some(format!("{BELOW}{}/", URL_SAFE_NO_PAD.encode(ticket)))
    }

    /// What a ticket says, if it is one of ours and still good.
    fn read(&self, ticket: &str) -> Option<Ticket> {
        let bytes = URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(12)?;
        let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
        let opened = self.0.as_ref()?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let said: Value = serde_json::from_slice(opened).ok()?;
        let text = |field: &str| said[field].as_str().map(str::to_owned);
        let is_good = said["until"].as_i64()? > Timestamp::now().as_second();
        Some(Ticket { base: text("base")?, token: text("token")? }).filter(|_| is_good)
    }

    /// The ticket of a path below the dashboard, and what follows it.
    fn ticket<'p>(&self, below: &'p str) -> Option<(Ticket, &'p str, &'p str)> {
        let (ticket, rest) = below.strip_prefix(BELOW)?.split_once('/')?;
        Some((self.read(ticket)?, ticket, rest))
    }

    /// Whether a path has a ticket that is good: who knows one need show nothing else.
    pub(crate) fn knows(&self, below: &str) -> bool {
        self.ticket(below).is_some()
    }

    /// What a ticket says of who sends a request.
    pub(crate) fn credentials(&self, below: &str, headers: &HeaderMap) -> Option<HeaderMap> {
        self.ticket(below).map(|(ticket, ..)| ticket.credentials(headers))
    }

    /// Passes a request on; `None` when the path is not one of these.
    pub(crate) async fn answer(
        &self,
        api: &dyn Api,
        mount: &str,
        below: &str,
        head: &Parts,
        body: &Bytes,
    ) -> Option<Response<Body>> {
        below.strip_prefix(BELOW)?;
        let Some((ticket, sealed, rest)) = self.ticket(below) else {
            return Some(answer::text(
                403,
                "this link is too old: open the port from the page of its pod or service\n",
            ));
        };
        if head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Some(allowed(&head.headers));
        }
        let Some(request) = passed(&ticket, rest, head, body) else {
            return Some(answer::text(400, "the path leads elsewhere\n"));
        };
        let here = format!("{mount}/{BELOW}{sealed}/");
        Some(boxed(api.send(request).await, &ticket.base, &here).await)
    }
}

impl Ticket {
    fn credentials(&self, headers: &HeaderMap) -> HeaderMap {
        let mut all = credentials(headers);
        if let Ok(mut token) = HeaderValue::from_str(&self.token)
            && !token.is_empty()
        {
            token.set_sensitive(true);
            all.insert(AUTHORIZATION, token);
        }
        all
    }
}

/// The request to the API's proxy.
fn passed(ticket: &Ticket, rest: &str, head: &Parts, body: &Bytes) -> Option<Request<Bytes>> {
    let decoded = percent_decode_str(rest).decode_utf8_lossy();
    if decoded.split(['/', '\\']).any(|step| step == ".." || step == ".") {
        return None;
    }
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = Request::new(body.clone());
    *request.uri_mut() = format!("{}{rest}{query}", ticket.base).parse().ok()?;
    *request.method_mut() = head.method.clone();
    *request.extensions_mut() = head.extensions.clone();
    let headers = request.headers_mut();
    let is_ours = |name: &HeaderName| {
        *name == COOKIE
            || *name == AUTHORIZATION
            || ["impersonate-", "x-remote-"].iter().any(|begin| name.as_str().starts_with(begin))
    };
    let given = head.headers.iter().filter(|(name, _)| !is_ours(name));
    headers.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    headers.extend(ticket.credentials(&head.headers));
    Some(request)
}

/// What a script of the page may ask for: anything below its ticket.
fn allowed(asked: &HeaderMap) -> Response<Body> {
    let mut response = answer::text(204, "");
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    for (from, to) in [
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        headers.extend(asked.get(from).map(|value| (to, value.clone())));
    }
    response
}

/// An answer in its sandbox, with the links of its page leading here.
async fn boxed(response: Response<Body>, base: &str, here: &str) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let headers = &mut head.headers;
    // Of our own origin nothing is theirs to say.
    for name in [
        SET_COOKIE,
        STRICT_TRANSPORT_SECURITY,
        HeaderName::from_static("clear-site-data"),
        HeaderName::from_static("service-worker-allowed"),
    ] {
        headers.remove(name);
    }
    headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    for (name, value) in [
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let moved = |text: &str| text.replace(base, here);
    if let Some(to) = headers.get(LOCATION).and_then(|to| to.to_str().ok()).map(moved)
        && let Ok(to) = HeaderValue::from_str(&to)
    {
        headers.insert(LOCATION, to);
    }
    let said =
        |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !said(&CONTENT_TYPE).starts_with("text/html") || !matches!(said(&CONTENT_ENCODING), "" | "identity") {
        return Response::from_parts(head, body);
    }
    let Ok(page) = Limited::new(body, LONGEST_PAGE).collect().await else {
        return answer::text(502, "the page is too long to be shown here\n");
    };
    headers.remove(CONTENT_LENGTH);
    let page = moved(&String::from_utf8_lossy(&page.to_bytes()));
    Response::from_parts(head, answer::whole(page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::pods;

    fn session(cookie: &str) -> Session {
        Session::of(&HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())]))
    }

    #[test]
    fn a_ticket_names_one_port_and_who_opened_it() {
        let (ports, spot) = (Ports::new(), Spot::new(pods(), "shop", "web"));
        let link = ports.link(&session("orchestra-token=secret-token"), &spot, "8080", false).unwrap();
        assert!(!link.contains("secret-token") && link.ends_with('/'), "{link}");
        let (ticket, _, rest) =
            ports.ticket(&format!("{link}a/b")).map(|it| (it.0, (), it.2.to_owned())).unwrap();
        assert_eq!((&*ticket.base, &*rest), ("/api/v1/namespaces/shop/pods/web%3A8080/proxy/", "a/b"));
        assert_eq!(ticket.credentials(&HeaderMap::new())[AUTHORIZATION], "Bearer secret-token");
        // One of another process, a changed one, or none, is not taken.
        assert!(!Ports::new().knows(&link));
        let changed = link.replacen(|letter: char| letter.is_ascii_lowercase() && letter != 'p', "A", 9);
        assert!(!ports.knows(&changed) && !ports.knows("port/AAAA/") && !ports.knows("port/"));
    }

    #[test]
    fn nothing_but_the_port_is_reached() {
        let ticket =
            Ticket { base: "/api/v1/namespaces/a/pods/b/proxy/".to_owned(), token: "Bearer t".to_owned() };
        let asked = |path: &str| {
            let request = Request::builder().uri(path).header(COOKIE, "c=d").header("x-remote-user", "admin");
            let request = request.header("impersonate-user", "admin").header("x-own", "1");
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            head.headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic x"));
            let rest = path.trim_start_matches('/').split('?').next().unwrap().to_owned();
            passed(&ticket, &rest, &head, &Bytes::new())
        };
        let request = asked("/x/y?z=1").unwrap();
        assert_eq!(request.uri(), "/api/v1/namespaces/a/pods/b/proxy/x/y?z=1");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer t");
        assert!(request.headers().contains_key("x-own") && !request.headers().contains_key(COOKIE));
        for path in ["/../../secrets", "/a/%2e%2e/b", "/a%2f..%2fb", "/a/./b", "/..%5cb"] {
            assert!(asked(path).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_page_is_put_into_a_sandbox() {
        let text = "<a href=\"/api/v1/x/proxy/b\">b</a>";
        let response =
            Response::builder().header(SET_COOKIE, "orchestra-form=0").header(CONTENT_TYPE, "text/html");
        let response = response.header(LOCATION, "/api/v1/x/proxy/c").header(CONTENT_LENGTH, text.len());
        let response = response.body(answer::whole(text.as_bytes())).unwrap();
        let response = boxed(response, "/api/v1/x/proxy/", "/ui/port/t/").await;
        let headers = response.headers().clone();
        assert!(headers[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("sandbox "));
        assert!(!headers[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("same-origin"));
        assert!(!headers.contains_key(SET_COOKIE) && !headers.contains_key(CONTENT_LENGTH));
        assert_eq!(headers[LOCATION], "/ui/port/t/c");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "<a href=\"/ui/port/t/b\">b</a>");
    }
}
