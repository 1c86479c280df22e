//! Field selectors: `status.phase=Running,spec.nodeName!=`.
//!
//! A field is compared as text, and a field that is not there is the empty text, as in the API server. Which fields a
//! kind has is the kind's business: the selector asks for a path and is given a value.

use std::fmt;
use std::str::FromStr;

/// Conditions on the fields of an object, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldRequirement {
    /// The path, such as `metadata.name`.
    pub path: String,
    /// How it is compared.
    pub operator: FieldOperator,
    /// With what.
    pub value: String,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldOperator {
    /// `=` and `==`: the field has this value.
    Equals,
    /// `!=`: the field has another value.
    NotEquals,
}

/// Why a text is not a field selector. `Display` is the API server's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldParseError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    NoOperator {
        /// The whole text.
        selector: String,
        /// The term.
        term: String,
    },
    /// A backslash stands before something else than `\`, `,` or `=`.
    #[error("invalid field selector: invalid escape sequence: {sequence}")]
    Escape {
        /// The backslash and what follows it.
        sequence: String,
    },
    /// A value holds a bare `,` or `=`.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.character))]
    Unescaped {
        /// The character.
        character: char,
    },
}

impl FieldSelector {
    /// The selector that every object fulfils.
    pub fn everything() -> Self {
        Self::default()
    }

    /// A selector of these requirements.
    pub fn new(requirements: impl IntoIterator<Item = FieldRequirement>) -> Self {
        let mut requirements: Vec<_> = requirements.into_iter().collect();
        requirements.sort_unstable();
        requirements.dedup();
        FieldSelector { requirements }
    }

    /// Reads the text form: terms `path=value`, `path==value` or `path!=value`, separated by commas; `\`, `,` and
    /// `=` in a value are escaped with a backslash.
    ///
    /// # Errors
    /// A term without an operator, or a value that is escaped wrongly.
    pub fn parse(text: &str) -> Result<Self, FieldParseError> {
        let terms = terms(text).into_iter().filter(|term| !term.is_empty());
        let mut requirements = terms.map(|term| requirement(text, term)).collect::<Result<Vec<_>, _>>()?;
        // As in Kubernetes, a bare operator asks for nothing.
        requirements.retain(|requirement| !requirement.path.is_empty() || !requirement.value.is_empty());
        Ok(Self::new(requirements))
    }

    /// Whether an object fulfils every requirement. `field` gives the value at a path, none where there is none.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.admits(field(&requirement.path)))
    }

    /// The same conditions on fields that go by other names.
    ///
    /// # Errors
    /// What `rename` says of the first field for which it has no name.
    pub fn renamed<E>(&self, rename: impl Fn(&str) -> Result<String, E>) -> Result<Self, E> {
        let renamed = self.requirements.iter().map(|requirement| {
            Ok(FieldRequirement { path: rename(&requirement.path)?, ..requirement.clone() })
        });
        renamed.collect::<Result<Vec<_>, _>>().map(Self::new)
    }

    /// Whether there is no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements, ordered by path, operator and value.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The value that a field must have, if the selector fixes it. An index over the field can begin there.
    pub fn required(&self, path: &str) -> Option<&str> {
        let fixes = |r: &&FieldRequirement| r.path == path && r.operator == FieldOperator::Equals;
        self.requirements.iter().find(fixes).map(|requirement| requirement.value.as_str())
    }
}

impl FieldRequirement {
    /// Whether the field's value, or its absence, fulfils the requirement.
    pub fn admits(&self, value: Option<&str>) -> bool {
        let same = value.unwrap_or_default() == self.value;
        same == (self.operator == FieldOperator::Equals)
    }
}

impl FromStr for FieldSelector {
    type Err = FieldParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            FieldOperator::Equals => "=",
            FieldOperator::NotEquals => "!=",
        };
        write!(f, "{}{operator}", self.path)?;
        for character in self.value.chars() {
            if matches!(character, '\\' | ',' | '=') {
                write!(f, "\\")?;
            }
            write!(f, "{character}")?;
        }
        Ok(())
    }
}

/// The text between commas that no backslash stands before.
fn terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        if character == ',' && !escaped {
            terms.extend(text.get(start..at));
            start = at + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    terms.extend(text.get(start..));
    terms
}

fn requirement(selector: &str, term: &str) -> Result<FieldRequirement, FieldParseError> {
    let operator_at = term.char_indices().map(|(at, _)| at).find_map(|at| {
        let (path, rest) = term.split_at_checked(at)?;
        let (operator, value) = match rest.strip_prefix("!=") {
            Some(value) => (FieldOperator::NotEquals, value),
            None => (FieldOperator::Equals, rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?),
        };
        Some((path, operator, value))
    });
    let Some((path, operator, value)) = operator_at else {
        return Err(FieldParseError::NoOperator { selector: selector.to_owned(), term: term.to_owned() });
    };
    Ok(FieldRequirement { path: path.to_owned(), operator, value: unescape(value)? })
}

fn unescape(value: &str) -> Result<String, FieldParseError> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence = ['\\'].into_iter().chain(other).collect();
                    return Err(FieldParseError::Escape { sequence });
                }
            },
            ',' | '=' => return Err(FieldParseError::Unescaped { character }),
            other => plain.push(other),
        }
    }
    Ok(plain)
}
