//! Where a webhook is.

use k8s_openapi::api::admissionregistration::v1::{ServiceReference, WebhookClientConfig};

use super::names;
use crate::api::field::{Errors, Path};

const FORM: &str = "; desired format: https://host[/path]";

pub(super) fn client(config: &WebhookClientConfig, path: &Path, errors: &mut Errors) {
    match (&config.url, &config.service) {
        (Some(url), None) => at_url(url, &path.child("url"), errors),
        (None, Some(service)) => at_service(service, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// The parts of a URL that matter here.
#[derive(Debug, Default, PartialEq)]
struct Url<'u> {
    scheme: String,
    user: Option<&'u str>,
    host: &'u str,
    query: &'u str,
    fragment: &'u str,
}

impl<'u> Url<'u> {
    /// The parts, or why the text is no URL.
    fn parse(text: &'u str) -> Result<Self, String> {
        let fault = |why: &str| Err(format!("parse {text:?}: {why}"));
        if text.chars().any(|letter| letter.is_ascii_control()) {
            return fault("net/url: invalid control character in URL");
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = match rest.split_once(':') {
            Some(("", _)) => return fault("missing protocol scheme"),
            Some((scheme, after)) if is_scheme(scheme) => (scheme.to_lowercase(), after),
            _ => (String::new(), rest),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.strip_prefix("//").map(|after| after.split('/').next().unwrap_or_default());
        let (user, host) = match authority.unwrap_or_default().rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority.unwrap_or_default()),
        };
        if host.contains(' ') {
            return fault("invalid character \" \" in host name");
        }
        Ok(Self { scheme, user, host, query, fragment })
    }
}

fn is_scheme(text: &str) -> bool {
    let inside = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(inside)
}

/// Says what is wrong with the URL of a webhook.
pub(in crate::objects) fn at_url(text: &str, path: &Path, errors: &mut Errors) {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(why) => return errors.required(path, format!("url must be a valid URL: {why}{FORM}")),
    };
    if url.scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(path, url.scheme.as_str(), detail);
    }
    if url.host.is_empty() {
        errors.invalid(path, url.host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    for (part, what) in [(url.fragment, "fragments"), (url.query, "query parameters")] {
        if !part.is_empty() {
            errors.invalid(path, part, format!("{what} are not permitted in the URL"));
        }
    }
}

/// Kubernetes takes the name for the namespace here and the other way round, which shows when one is missing.
fn at_service(service: &ServiceReference, path: &Path, errors: &mut Errors) {
    for (field, text) in [("name", &service.namespace), ("namespace", &service.name)] {
        if text.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    at_port(service.port.unwrap_or_default(), &path.child("port"), errors);
    at_path(service.path.as_deref().unwrap_or_default(), &path.child("path"), errors);
}

/// Says what is wrong with the port of a webhook's service.
pub(in crate::objects) fn at_port(port: i32, path: &Path, errors: &mut Errors) {
    if !(1..=65535).contains(&port) {
        errors.invalid(path, port, "port is not valid: must be between 1 and 65535, inclusive");
    }
}

/// Says what is wrong with the path of a URL that a webhook's service is asked for.
pub(in crate::objects) fn at_path(text: &str, path: &Path, errors: &mut Errors) {
    match text {
        "" | "/" => return,
        "//" => return errors.invalid(path, text, "segment[0] may not be empty"),
        _ => {}
    }
    if !text.starts_with('/') {
        errors.invalid(path, text, "must start with a '/'");
    }
    // Kubernetes passes over the first byte, whatever character it is of.
    let inner = String::from_utf8_lossy(&text.as_bytes()[1..]);
    for (index, step) in inner.strip_suffix('/').unwrap_or(&inner).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(path, text, format!("segment[{index}] may not be empty"));
            continue;
        }
        for fault in names::subdomain(step) {
            errors.invalid(path, text, format!("segment[{index}]: {fault}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_go_does() {
        let url = Url::parse("HTTPS://me:pw@host:8443/a/b?x=1#y").unwrap();
        let wanted = Url {
            scheme: "https".to_owned(),
            user: Some("me:pw"),
            host: "host:8443",
            query: "x=1",
            fragment: "y",
        };
        assert_eq!(url, wanted);
        assert_eq!(Url::parse("Bad_Name!").unwrap(), Url::default());
        assert_eq!(Url::parse("a/b:c").unwrap(), Url::default());
        for text in [":x", "https://a\nb", "https://a b/"] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }
}
