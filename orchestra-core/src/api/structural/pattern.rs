use std::fmt;
use std::sync::OnceLock;

use regex::Regex;

use crate::expression::go_pattern;

/// A regular expression as Go's `regexp` reads it, compiled when it is first used. It runs in time linear in the text.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

impl Pattern {
    /// A pattern that has not been compiled yet.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a text has what the pattern describes; `None` if the pattern is not one.
    pub fn matches(&self, text: &str) -> Option<bool> {
        let compiled = self.compiled.get_or_init(|| go_pattern::compile(&self.text).ok());
        compiled.as_ref().map(|regex| regex.is_match(text))
    }
}
