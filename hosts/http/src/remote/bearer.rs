//! The token that requests carry: one that stays, or the one that a file has at the time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::HeaderValue;

use super::Credential;

/// For how long the token that a file had is taken for the one that it has, as by Kubernetes' own clients. Tokens of pods are
/// renewed long before they end.
const FRESH: Duration = Duration::from_mins(1);

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// It cannot be sent.
    #[error("the token has letters that no token has")]
    Letters,
    /// The file that should have it cannot be read.
    #[error("the token cannot be read from {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// There is nothing in the file.
    #[error("{} should have a token in it, and is empty", .0.display())]
    Empty(PathBuf),
}

/// A token. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub(crate) enum Bearer {
    Fixed(HeaderValue),
    File(Arc<TokenFile>),
}

pub(crate) struct TokenFile {
    path: PathBuf,
    read: Mutex<Read>,
}

struct Read {
    value: HeaderValue,
    at: Instant,
}

impl Bearer {
    /// The token of a credential, if that is what it is. A file must have it already.
    pub(crate) fn of(credential: &Credential) -> Result<Option<Self>, BearerError> {
        Ok(match credential {
            Credential::Token(token) => Some(Self::Fixed(header(token)?)),
            Credential::TokenFile(path) => {
                let read = Mutex::new(Read { value: read(path)?, at: Instant::now() });
                Some(Self::File(Arc::new(TokenFile { path: path.clone(), read })))
            }
            Credential::Certificate(_) => None,
        })
    }

    /// The value of the header `Authorization` now.
    pub(crate) fn header(&self) -> HeaderValue {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::File(file) => file.at(Instant::now()),
        }
    }
}

impl TokenFile {
    fn at(&self, now: Instant) -> HeaderValue {
        let mut held = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(held.at) >= FRESH {
            held.at = now;
            match read(&self.path) {
                Ok(value) => held.value = value,
                // The one before may hold for a while yet, and if not the server says so.
                Err(error) => tracing::warn!(%error, "the token is the one that was read before"),
            }
        }
        held.value.clone()
    }
}

fn read(path: &Path) -> Result<HeaderValue, BearerError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| BearerError::File { path: path.to_owned(), source })?;
    match text.trim() {
        "" => Err(BearerError::Empty(path.to_owned())),
        token => header(token),
    }
}

fn header(token: &str) -> Result<HeaderValue, BearerError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| BearerError::Letters)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_file_is_read_again_and_never_lost() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let of_file = || Bearer::of(&Credential::TokenFile(path.clone()));
        assert!(matches!(of_file(), Err(BearerError::File { .. })));
        fs::write(&path, " \n").unwrap();
        assert!(matches!(of_file(), Err(BearerError::Empty(_))));
        fs::write(&path, "one\n").unwrap();
        let Ok(Some(Bearer::File(file))) = of_file() else { panic!("it is in a file") };
        let start = file.read.lock().unwrap().at;
        fs::write(&path, "two").unwrap();
        let mut shown = Vec::new();
        for seconds in [59, 60, 119] {
            shown.push(file.at(start + Duration::from_secs(seconds)));
        }
        fs::remove_file(&path).unwrap();
        shown.push(file.at(start + Duration::from_secs(120)));
        fs::write(&path, "three").unwrap();
        shown.push(file.at(start + Duration::from_secs(180)));
        assert_eq!(shown, ["Bearer one", "Bearer two", "Bearer two", "Bearer two", "Bearer three"]);
        assert!(shown.iter().all(HeaderValue::is_sensitive));
        assert!(matches!(Bearer::of(&Credential::Token("a\nb".into())), Err(BearerError::Letters)));
    }
}
