//! Names of images, taken apart.

use super::digest::Digest;

/// A full name: registry, repository, and a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl Reference {
    /// Reads a name that has its registry and tag filled in, as `ImageRef::full` gives it. `None` for one whose digest
    /// is of an algorithm that cannot be checked.
    pub(crate) fn parse(full: &str) -> Option<Self> {
        let (rest, digest) = match full.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (full, None),
        };
        let (registry, path) = rest.split_once('/')?;
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        let reference =
            Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest };
        (reference.tag.is_some() || reference.digest.is_some()).then_some(reference)
    }

    /// What it is known by when it was got by its tag.
    pub(crate) fn name(&self) -> Option<String> {
        let tag = self.tag.as_ref().filter(|_| self.digest.is_none())?;
        Some(format!("{}/{}:{tag}", self.registry, self.repository))
    }

    /// What it is known by as a registry has it.
    pub(crate) fn with_digest(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }

    /// What a registry is asked for: the digest if there is one, which says more than a tag.
    pub(crate) fn wanted(&self) -> &str {
        let digest = self.digest.as_ref().map(Digest::as_str);
        digest.or(self.tag.as_deref()).unwrap_or("latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let sum = format!("sha256:{}", "ab".repeat(32));
        for (full, registry, repository, wanted, name) in [
            (
                "docker.io/library/nginx:1",
                "docker.io",
                "library/nginx",
                "1",
                Some("docker.io/library/nginx:1"),
            ),
            (
                "localhost:5000/a/b:latest",
                "localhost:5000",
                "a/b",
                "latest",
                Some("localhost:5000/a/b:latest"),
            ),
            (&format!("r.example/x@{sum}"), "r.example", "x", &sum, None),
            (&format!("r.example/x:1@{sum}"), "r.example", "x", &sum, None),
        ] {
            let read = Reference::parse(full).unwrap();
            assert_eq!((read.registry.as_str(), read.repository.as_str()), (registry, repository));
            assert_eq!((read.wanted(), read.name().as_deref()), (wanted, name), "{full}");
        }
        for bad in ["nginx", "docker.io/nginx", "docker.io/nginx@md5:00", ""] {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
    }
}
