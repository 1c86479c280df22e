//! Names of images, taken apart by the grammar that registries and runtimes share; pure.
//!
//! `[registry[:port]/]path[:tag][@algorithm:digits]`. What stands before the first slash is a registry if it looks like one:
//! if it has a dot, a colon or a capital letter, or is `localhost`.

use std::fmt;

/// The longest path, in bytes, with the folder of images that are in no other.
const MAX_PATH: usize = 255;
const LIBRARY: &str = "library/";
const MAX_TAG: usize = 128;
/// The fewest digits of a digest.
const MIN_DIGITS: usize = 32;

/// A name that fits the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageName<'n> {
    /// The registry with its port, if the name has one.
    pub(crate) registry: Option<&'n str>,
    /// The path in the registry.
    pub(crate) path: &'n str,
    /// What follows the colon.
    pub(crate) tag: Option<&'n str>,
    /// What follows the at sign.
    pub(crate) digest: Option<&'n str>,
}

/// Why a text is no name of an image, in Docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not fit the grammar.
    Format,
    /// Its path has capital letters.
    UpperCase,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "invalid reference format",
            Self::UpperCase => "invalid reference format: repository name must be lowercase",
        })
    }
}

impl<'n> ImageName<'n> {
    /// Takes a name apart.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(text: &'n str) -> Result<Self, Fault> {
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        let last = named.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match named[last..].split_once(':') {
            Some((end, tag)) => (&named[..last + end.len()], Some(tag)),
            None => (named, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (Some(first), rest),
            _ => (None, name),
        };
        if path.bytes().any(|letter| letter.is_ascii_uppercase()) {
            return Err(Fault::UpperCase);
        }
        // An id of an image is no name of one.
        let is_id = name.len() == 64 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let folder = if registry.is_none() && !path.contains('/') { LIBRARY.len() } else { 0 };
        let fits = registry.is_none_or(is_host)
            && folder + path.len() <= MAX_PATH
            && path.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest)
            && !is_id;
        if fits { Ok(Self { registry, path, tag, digest }) } else { Err(Fault::Format) }
    }

    /// Whether it means whatever is newest, which is asked for again each time unless it is said otherwise.
    pub(crate) fn is_latest(&self) -> bool {
        self.tag.map_or(self.digest.is_none(), |tag| tag == "latest")
    }
}

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|letter| letter.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    // An address of IPv6 has colons of its own, within brackets.
    let port_at = host.rfind(':').filter(|at| *at > host.rfind(']').unwrap_or(0));
    let (host, port) = port_at.map_or((host, None), |at| (&host[..at], Some(&host[at + 1..])));
    let is_label = |label: &str| {
        let inner = label.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.bytes().all(|letter| letter.is_ascii_hexdigit() || letter == b':'),
        None => host.split('.').all(is_label),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    is_host && port.is_none_or(is_port)
}

/// Small letters and digits, with a dot, one or two underscores or any dashes between them.
fn is_component(text: &str) -> bool {
    let is_between =
        |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|letter| letter == b'-');
    let is_word = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    text.starts_with(is_word) && text.ends_with(is_word) && text.split(is_word).all(is_between)
}

fn is_tag(text: &str) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.len() <= MAX_TAG
        && text.starts_with(is_word)
        && text.chars().all(|letter| is_word(letter) || matches!(letter, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && part.bytes().all(|letter| letter.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && digits.len() >= MIN_DIGITS
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, registry, path, tag) in [
            ("nginx", None, "nginx", None),
            ("a/b__c/d-e.f:1", None, "a/b__c/d-e.f", Some("1")),
            ("host:5000/nginx", Some("host:5000"), "nginx", None),
            ("[::1]:5000/nginx:_", Some("[::1]:5000"), "nginx", Some("_")),
            ("[::1]/nginx", Some("[::1]"), "nginx", None),
            ("Host/nginx", Some("Host"), "nginx", None),
            ("localhost/nginx", Some("localhost"), "nginx", None),
        ] {
            assert_eq!(ImageName::parse(text), Ok(ImageName { registry, path, tag, digest: None }), "{text}");
            let pinned = format!("{text}@{digest}");
            let digest = Some(&*digest);
            assert_eq!(ImageName::parse(&pinned), Ok(ImageName { registry, path, tag, digest }), "{pinned}");
        }
    }

    #[test]
    fn what_is_newest_is_known() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, latest) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.25", false),
            (&format!("nginx@{digest}"), false),
            (&format!("nginx:latest@{digest}"), true),
        ] {
            assert_eq!(ImageName::parse(text).unwrap().is_latest(), latest, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(ImageName::parse("Nginx"), Err(Fault::UpperCase));
        for text in [
            "",
            "a b",
            "a//b",
            "/a",
            "a/",
            "a___b",
            "a-",
            "a..b",
            "-.x/a",
            "x:y/a",
            "x:/a",
            "nginx:",
            "nginx:-",
            "nginx@sha256:abc",
            "nginx@sha256",
            &"0".repeat(64),
            &"a".repeat(256),
            &format!("a:{}", "b".repeat(129)),
        ] {
            assert_eq!(ImageName::parse(text), Err(Fault::Format), "{text}");
        }
    }
}
