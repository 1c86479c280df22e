//! Digests: what a blob is called, and whether it is what it is called.

use std::fmt;
use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256, SHA512};

/// The digest of a blob, such as `sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(String);

impl Digest {
    /// Reads a digest of an algorithm that can be checked. What it gives is safe as a name of a file.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (hex.len() == length && hex.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The SHA-256 of bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new("sha256:");
        hasher.update(bytes);
        hasher.finish()
    }

    /// A hasher of this digest's algorithm.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher::new(&self.0)
    }

    /// With its algorithm.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Without its algorithm.
    pub(crate) fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a digest of what it is given.
pub(crate) struct Hasher {
    algorithm: &'static str,
    context: Context,
}

impl Hasher {
    fn new(like: &str) -> Self {
        match like.starts_with("sha512:") {
            true => Self { algorithm: "sha512", context: Context::new(&SHA512) },
            false => Self { algorithm: "sha256", context: Context::new(&SHA256) },
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let sum = self.context.finish();
        let mut text = format!("{}:", self.algorithm);
        sum.as_ref().iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        Digest(text)
    }
}

/// Reads, and makes a digest of all that was read.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R, hasher: Hasher) -> Self {
        Self { inner, hasher }
    }

    /// The digest of what was read.
    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_made() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty).unwrap().hasher().finish().as_str(), empty);
        let long = format!("sha512:{}", "0".repeat(128));
        assert!(
            Digest::parse(&long).unwrap().hasher().finish().as_str().starts_with("sha512:cf83e1357eefb8bd")
        );
        for bad in
            ["", "sha256:", "sha256:../../etc", "md5:d41d8cd98f00b204e9800998ecf8427e", &empty.to_uppercase()]
        {
            assert_eq!(Digest::parse(bad), None, "{bad:?}");
        }
    }
}
