//! From gRPC's errors to the port's, by code and kind, never by their text.

use std::error::Error as _;

use orchestra_core::runtime::{PullFailure, RuntimeError};
use tonic::{Code, Status};

/// What a call was about, so that a bare code can be told apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    Sandbox(&'a str),
    Container(&'a str),
    Image(&'a str),
    /// The call concerns nothing that could be missing.
    Runtime,
}

/// The error of a call, given what it was about.
pub(super) fn of(about: About<'_>, status: Status) -> RuntimeError {
    match (about, status.code()) {
        _ if is_away(&status) => unavailable(&status),
        (About::Sandbox(id), Code::NotFound) => RuntimeError::no_sandbox(id),
        (About::Container(id), Code::NotFound) => RuntimeError::no_container(id),
        (About::Image(image), Code::NotFound) => RuntimeError::ImageNotFound { image: image.to_owned() },
        (_, Code::InvalidArgument) => RuntimeError::InvalidSpec { message: text(&status) },
        (_, Code::ResourceExhausted) => RuntimeError::Exhausted { message: text(&status) },
        _ => RuntimeError::Failed { message: text(&status) },
    }
}

/// The error of a pull.
pub(super) fn of_pull(image: &str, status: Status) -> RuntimeError {
    if is_away(&status) {
        return unavailable(&status);
    }
    let why = match status.code() {
        Code::NotFound => PullFailure::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => PullFailure::Unauthorized,
        Code::DeadlineExceeded => PullFailure::Unreachable,
        _ => PullFailure::Other,
    };
    RuntimeError::Pull { image: image.to_owned(), why, message: text(&status) }
}

/// Whether there is no such thing.
pub(super) fn is_not_found(status: &Status) -> bool {
    status.code() == Code::NotFound
}

/// Whether nobody answered. What a runtime answers has no cause on this side.
pub(super) fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable || (status.code() != Code::Ok && status.source().is_some())
}

/// Nothing happened if there is no such thing.
pub(super) fn unless_gone<T>(outcome: Result<T, Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if !is_not_found(&status) => Err(status),
        _ => Ok(()),
    }
}

fn unavailable(status: &Status) -> RuntimeError {
    RuntimeError::Unavailable { message: text(status) }
}

/// What was said, with what lies behind it.
fn text(status: &Status) -> String {
    let mut message = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !message.contains(&cause_text) {
            message = format!("{message}: {cause_text}");
        }
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_kinds() {
        let of = |about, code| of(about, Status::new(code, "why"));
        assert_eq!(of(About::Sandbox("s"), Code::NotFound), RuntimeError::no_sandbox("s"));
        assert_eq!(of(About::Container("c"), Code::NotFound), RuntimeError::no_container("c"));
        assert_eq!(of(About::Image("i"), Code::NotFound), RuntimeError::ImageNotFound { image: "i".into() });
        assert_eq!(of(About::Runtime, Code::NotFound), RuntimeError::Failed { message: "why".into() });
        assert_eq!(
            of(About::Runtime, Code::InvalidArgument),
            RuntimeError::InvalidSpec { message: "why".into() }
        );
        assert!(of(About::Container("c"), Code::Unavailable).is_unavailable());
        let pull = |code| match of_pull("i", Status::new(code, "why")) {
            RuntimeError::Pull { why, .. } => Some(why),
            _ => None,
        };
        assert_eq!(pull(Code::NotFound), Some(PullFailure::NotFound));
        assert_eq!(pull(Code::Unknown), Some(PullFailure::Other));
        assert_eq!(pull(Code::Unavailable), None);
    }

    #[test]
    fn who_broke_off_is_away() {
        let broken = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
        assert!(is_away(&broken), "{broken:?}");
        assert!(!is_away(&Status::unknown("it did not work")));
    }
}
