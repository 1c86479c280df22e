//! What the path of a request to `proxy` says; pure.

use http::Uri;
use orchestra_core::api::Status;

/// What is named: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'n> {
    pub(super) tls: bool,
    pub(super) name: &'n str,
    pub(super) port: &'n str,
}

impl<'n> Named<'n> {
    /// Reads the name of one of a kind.
    ///
    /// # Errors
    /// 400 when it is none of the three forms.
    pub(super) fn parse(kind: &str, text: &'n str) -> Result<Self, Status> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => ("", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(Status::bad_request(format!("invalid {kind} request {text:?}")));
        }
        Ok(Self { tls: scheme == "https", name, port })
    }

    /// The port of those who name none.
    pub(super) fn usual_port(&self) -> i32 {
        if self.tls { 443 } else { 80 }
    }
}

/// A path, split into what leads to the proxy and what is passed on. The latter may be empty.
pub(super) fn split(path: &str) -> (&str, &str) {
    // The name of a resource, a namespace or an object may be the same: the step is the first after an object's name.
    let steps = if path.starts_with("/api/v1/namespaces/") { 7 } else { 5 };
    match path.match_indices('/').nth(steps) {
        Some((end, _)) => path.split_at(end),
        None => (path, ""),
    }
}

/// Where a service's link leads, as seen by its client: `base` is what leads to the proxy, `host` how the service is
/// called. `None` if it leads there as it is.
pub(super) fn moved(link: &str, base: &str, host: &str) -> Option<String> {
    let uri: Uri = link.parse().ok()?;
    let absolute = uri.authority().is_none_or(|authority| authority == host);
    if !absolute || !uri.path().starts_with('/') || link.starts_with(base) {
        return None;
    }
    let below = link.find(uri.path()).filter(|_| uri.authority().is_some()).map_or(link, |at| &link[at..]);
    Some(format!("{base}{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_and_where() {
        let of = |text| {
            Named::parse("pod", text).map(|Named { tls, name, port }| (tls, name, port)).map_err(|_| ())
        };
        assert_eq!(of("web"), Ok((false, "web", "")));
        assert_eq!(of("web:http"), Ok((false, "web", "http")));
        assert_eq!(of("https:web:443"), Ok((true, "web", "443")));
        assert_eq!(of(":web:80"), Ok((false, "web", "80")));
        for text in ["", "ftp:web:21", "a:b:c:d", ":80", "http::80"] {
            assert_eq!(of(text), Err(()), "{text}");
        }
        let refused = Named::parse("service", "ftp:web:21").unwrap_err();
        assert_eq!(refused.message(), "invalid service request \"ftp:web:21\"");
    }

    #[test]
    fn what_is_below_the_proxy_is_passed_on() {
        let base = "/api/v1/namespaces/proxy/services/proxy:80/proxy";
        assert_eq!(split(&format!("{base}/a//b%2Fc/")), (base, "/a//b%2Fc/"));
        assert_eq!(split(&format!("{base}/")), (base, "/"));
        assert_eq!(split(base), (base, ""));
        assert_eq!(split("/api/v1/nodes/proxy/proxy/stats"), ("/api/v1/nodes/proxy/proxy", "/stats"));
    }

    #[test]
    fn links_of_a_service_lead_through_the_proxy() {
        let base = "/api/v1/namespaces/a/services/b/proxy";
        let moved = |link: &str| moved(link, base, "10.0.0.7:80");
        assert_eq!(moved("/login?to=/a/"), Some(format!("{base}/login?to=/a/")));
        assert_eq!(moved("http://10.0.0.7:80/login"), Some(format!("{base}/login")));
        for as_it_is in
            ["https://elsewhere/", "further", "?page=2", "#top", &format!("{base}/login"), "mailto:a@b"]
        {
            assert_eq!(moved(as_it_is), None, "{as_it_is}");
        }
    }
}
