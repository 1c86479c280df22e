//! Image names, images, and the credentials to pull one.

use std::fmt;

use super::RuntimeError;

/// The name of an image, checked, with its registry and tag filled in as Docker does.
///
/// `nginx` is `docker.io/library/nginx:latest`. It prints as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    written: String,
    full: String,
    tagged_latest: bool,
    registry_end: usize,
}

impl ImageRef {
    /// Checks a name. `[registry[:port]/]path[:tag][@sha256:digest]`, the path in lower case.
    pub fn parse(written: &str) -> Result<Self, RuntimeError> {
        let invalid = |message: &str| RuntimeError::InvalidImageName {
            image: written.to_owned(),
            message: message.to_owned(),
        };
        let (rest, digest) = match written.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (written, None),
        };
        if let Some(digest) = digest
            && !valid_digest(digest)
        {
            return Err(invalid("invalid reference format"));
        }
        let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[after_slash..].find(':') {
            Some(colon) => (&rest[..after_slash + colon], Some(&rest[after_slash + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !valid_tag(tag)) {
            return Err(invalid("invalid reference format"));
        }
        let (registry, path) = split_registry(name);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(invalid("invalid reference format: repository name must be lowercase"));
        }
        if path.len() > 255 || !path.split('/').all(valid_component) {
            return Err(invalid("invalid reference format"));
        }
        let official = registry == DOCKER_HUB && !path.contains('/');
        let mut full = format!("{registry}/{}{path}", if official { "library/" } else { "" });
        match (tag, digest) {
            (Some(tag), _) => full.extend([":", tag]),
            (None, None) => full.push_str(":latest"),
            (None, Some(_)) => {}
        }
        if let Some(digest) = digest {
            full.extend(["@", digest]);
        }
        let tagged_latest = digest.is_none() && tag.is_none_or(|tag| tag == "latest");
        Ok(Self { written: written.to_owned(), full, tagged_latest, registry_end: registry.len() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// With registry and tag, `docker.io/library/nginx:latest`: two names of one image have the same.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The registry, `docker.io` where none is written.
    pub fn registry(&self) -> &str {
        &self.full[..self.registry_end]
    }

    /// Whether it means "whatever is newest", which Kubernetes pulls each time by default.
    pub fn is_latest(&self) -> bool {
        self.tagged_latest
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

const DOCKER_HUB: &str = "docker.io";

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DOCKER_HUB, path),
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => (DOCKER_HUB, name),
    }
}

fn valid_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|&b| alnum(b))
        && bytes.last().is_some_and(|&b| alnum(b))
        && bytes.iter().all(|&b| alnum(b) || matches!(b, b'.' | b'_' | b'-'))
        && !part.contains("..")
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn valid_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// An image on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The runtime's id for it, `sha256:…`.
    pub id: String,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests, as a registry knows it.
    pub digests: Vec<String>,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// The user the image runs as, by number. `None` when it names one or says nothing.
    pub uid: Option<i64>,
    /// The user the image runs as, by name.
    pub username: Option<String>,
}

impl Image {
    /// What pod status calls `imageID`: the first digest, else the id.
    pub fn reported_id(&self) -> &str {
        self.digests.first().unwrap_or(&self.id)
    }
}

/// What to show a registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RegistryCredentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
    /// The registry they are for, as the pull secret names it.
    pub server: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("server", &self.server)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
