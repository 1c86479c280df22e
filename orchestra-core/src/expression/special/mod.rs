//! What values of the libraries are in themselves: read from text, compared and written, before there is any value of the
//! language.

mod access;
mod duration;
mod semver;
mod url;

pub use self::access::{Access, AccessCheck, AccessDecision, KnownDecisions};
pub(super) use self::duration::duration_text;
pub use self::duration::parse_duration;
pub use self::semver::Semver;
pub use self::url::Url;
