//! Image names, images, and the credentials to pull one.

use std::fmt;

use super::RuntimeError;
use crate::image_name::{Fault, ImageName};

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
    /// Checks a name: `[registry[:port]/]path[:tag][@sha256:digest]`, the path in lower case.
    ///
    /// # Errors
    /// [`RuntimeError::InvalidImageName`], in Docker's words.
    pub fn parse(written: &str) -> Result<Self, RuntimeError> {
        let invalid = |fault: Fault| RuntimeError::InvalidImageName {
            image: written.to_owned(),
            message: fault.to_string(),
        };
        let name = ImageName::parse(written).map_err(invalid)?;
        let ImageName { registry, path, tag, digest } = name;
        let registry = registry.filter(|registry| *registry != "index.docker.io").unwrap_or(DOCKER_HUB);
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
        let registry_end = registry.len();
        Ok(Self { written: written.to_owned(), full, tagged_latest: name.is_latest(), registry_end })
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
