//! What can go wrong with an image, told apart by what somebody can do about it.

use std::io;

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Whoever was asked does not have it.
    #[error("{0}")]
    NotFound(String),
    /// The registry wants (other) credentials.
    #[error("{0}")]
    Unauthorized(String),
    /// The registry does not answer, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// What was got is not what it should be: another digest, another platform, nothing that is an image.
    #[error("{0}")]
    Invalid(String),
    /// It is more than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// A container uses it.
    #[error("image {0} is used by a container")]
    InUse(String),
    /// The disk did not do what it should.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The result of what is done with images.
pub type Result<T, E = ImageError> = std::result::Result<T, E>;

/// [`ImageError::Invalid`] with these words.
pub(super) fn invalid(message: impl Into<String>) -> ImageError {
    ImageError::Invalid(message.into())
}

/// [`ImageError::TooLarge`] with these words.
pub(super) fn too_large(message: impl Into<String>) -> ImageError {
    ImageError::TooLarge(message.into())
}
