//! From Docker's errors to the port's, by status code and kind, never by their text.

use bollard::errors::Error;
use orchestra_core::runtime::{PullFailure, RuntimeError};

/// What a call was about, so that a bare status code can be told apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    Sandbox(&'a str),
    Container(&'a str),
    Image(&'a str),
    /// The call concerns nothing that could be missing.
    Daemon,
}

/// The error of a call, given what it was about.
pub(super) fn of(about: About<'_>, error: Error) -> RuntimeError {
    match (about, status(&error)) {
        (About::Sandbox(id), Some(404)) => RuntimeError::no_sandbox(id),
        (About::Container(id), Some(404)) => RuntimeError::no_container(id),
        (About::Image(image), Some(404)) => RuntimeError::ImageNotFound { image: image.to_owned() },
        (About::Image(image), Some(409)) => RuntimeError::InUse { what: "image", id: image.to_owned() },
        (_, Some(400)) => RuntimeError::InvalidSpec { message: text(error) },
        (_, Some(_)) => RuntimeError::Failed { message: text(error) },
        (_, None) => unanswered(error),
    }
}

/// The error of creating a sandbox or a container from an image.
pub(super) fn of_create(what: &'static str, name: &str, image: &str, error: Error) -> RuntimeError {
    match status(&error) {
        Some(404) => RuntimeError::ImageNotFound { image: image.to_owned() },
        Some(409) => RuntimeError::AlreadyExists { what, name: name.to_owned() },
        _ => of(About::Daemon, error),
    }
}

/// The error of a pull. What the registry said comes as the daemon's own status, or as a message in the stream.
pub(super) fn of_pull(image: &str, error: Error) -> RuntimeError {
    let why = match status(&error) {
        Some(404) => PullFailure::NotFound,
        Some(401 | 403) => PullFailure::Unauthorized,
        Some(400) => {
            return RuntimeError::InvalidImageName { image: image.to_owned(), message: text(error) };
        }
        Some(_) => PullFailure::Other,
        None if matches!(error, Error::DockerStreamError { .. }) => PullFailure::Other,
        None => return unanswered(error),
    };
    RuntimeError::Pull { image: image.to_owned(), why, message: text(error) }
}

/// The status the daemon answered with, if it answered.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the daemon said, without the library's frame around it.
pub(super) fn text(error: Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error,
        other => chain(&other),
    }
}

fn unanswered(error: Error) -> RuntimeError {
    match error {
        Error::RequestTimeoutError
        | Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::SocketNotFoundError(_) => {
            RuntimeError::Unavailable { message: format!("Docker: {}", chain(&error)) }
        }
        other => RuntimeError::Failed { message: format!("Docker: {}", chain(&other)) },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !message.ends_with(&cause_text) {
            message = format!("{message}: {cause_text}");
        }
        source = cause.source();
    }
    message
}
