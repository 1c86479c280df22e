use std::io;
use std::path::PathBuf;

use redb::StorageError;

use crate::store::StoreError;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory or a file in it cannot be made, read or written.
    #[error("cannot open the store at {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A running process has the directory open.
    #[error(
        "the data directory {} is in use by {}; stop it, or choose another directory",
        path.display(),
        holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that has it, when that is known.
        holder: Option<u32>,
    },
    /// The file was written by another version of this program.
    #[error(
        "{} has format {found}, and this version reads {supported}; run the version that wrote it, make a backup \
         with it, and restore that",
        path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u64,
        /// The format that this version reads.
        supported: u64,
    },
    /// The file is not a store, or what it holds cannot be read back.
    #[error(
        "{} is damaged ({detail}); move it away and restore a backup, or start again without it",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// What an error of the file means to a caller of the store.
pub(super) fn translate(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) if is_full(&error) => StoreError::OutOfSpace(Box::new(error)),
        redb::Error::Corrupted(detail) => StoreError::Damaged(detail),
        redb::Error::DatabaseClosed => StoreError::Closed,
        other => StoreError::Unavailable(Box::new(other)),
    }
}

pub(super) fn storage(error: StorageError) -> StoreError {
    translate(error)
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
