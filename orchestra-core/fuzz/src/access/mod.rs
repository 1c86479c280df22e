//! What of `orchestra_core::access` parses bytes from outside.

pub(crate) mod tokens;
