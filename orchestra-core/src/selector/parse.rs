//! The text form of a selector, as `kubectl -l` and the API's `labelSelector` parameter write it.
//!
//! The grammar and the messages are the API server's, oddities included: `in ()` is `in` the empty value, empty
//! places in a list are empty values, `in` and `notin` are words that may also be keys and values, and anything that
//! is no space and no operator belongs to a word and is judged by the label grammar. One thing is stricter: a NUL is
//! a bad character and not the end of the text.

use std::fmt;

use super::Selector;
use super::grammar::{Fault, key_faults, value_faults};
use super::requirement::{InvalidRequirement, Operator, Requirement, joined};

/// Why a text is not a selector. `Display` is the API server's message; the position is in [`position`](Self::position).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    position: usize,
    fault: ParseFault,
}

/// What was wrong in the text of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseFault {
    /// Something else was expected here.
    Unexpected {
        /// What stood there; empty at the end of the text.
        found: String,
        /// What could have stood there.
        expected: Expected,
    },
    /// A key that no label can have.
    Key {
        /// The key as written.
        key: String,
        /// What is wrong with it.
        faults: Vec<Fault>,
    },
    /// Values that no label can have, or that the operator cannot compare with.
    Values(InvalidRequirement),
}

/// What the parser would have accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The beginning of a requirement, or the end.
    Requirement,
    /// A key, after `!`.
    Key,
    /// A key, after a comma.
    AnotherRequirement,
    /// A comma or the end, after a requirement.
    Separator,
    /// An operator, after a key.
    Operator,
    /// `(`, after `in` or `notin`.
    Open,
    /// A list of values or its end, after `(`.
    Values,
    /// A comma or `)`, after a value.
    ValuesGoOn,
    /// A value or a comma, in a list.
    Value,
    /// The one value of `=`, `!=`, `>` or `<`.
    SingleValue,
}

impl ParseError {
    /// The byte of the text at which the fault stands; the length of the text if something is missing at its end.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What is wrong there.
    pub fn fault(&self) -> &ParseFault {
        &self.fault
    }

    /// The message with the text below it and a caret under the fault, for a person at a terminal.
    ///
    /// ```
    /// # use orchestra_core::selector::Selector;
    /// let text = "app=web,tier in front";
    /// let error = Selector::parse(text).unwrap_err();
    /// assert!(error.point_in(text).ends_with("app=web,tier in front\n                ^"));
    /// ```
    pub fn point_in(&self, text: &str) -> String {
        let before = text.get(..self.position).unwrap_or(text);
        format!("{self}\n{text}\n{:width$}^", "", width = before.chars().count())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            ParseFault::Unexpected { found, expected } => {
                let (context, expected) = expected.message();
                let comma = if expected == "'('" { "" } else { "," };
                write!(f, "{context}found '{found}'{comma} expected: {expected}")
            }
            ParseFault::Key { key, faults } => {
                let faults = joined(faults, "; ");
                write!(f, "unable to parse requirement: <nil>: Invalid value: {key:?}: {faults}")
            }
            ParseFault::Values(invalid) => write!(f, "unable to parse requirement: {invalid}"),
        }
    }
}

impl std::error::Error for ParseError {}

impl Expected {
    /// What the message begins with, and what it says was expected.
    fn message(self) -> (&'static str, &'static str) {
        const WITHIN: &str = "unable to parse requirement: ";
        match self {
            Expected::Requirement => ("", "!, identifier, or 'end of string'"),
            Expected::AnotherRequirement => ("", "identifier after ','"),
            Expected::Separator => ("", "',' or 'end of string'"),
            Expected::Key | Expected::SingleValue => (WITHIN, "identifier"),
            Expected::Operator => (WITHIN, "in, notin, =, ==, !=, gt, lt"),
            Expected::Open => (WITHIN, "'('"),
            Expected::Values => (WITHIN, "',', ')' or identifier"),
            Expected::ValuesGoOn => (WITHIN, "',' or ')'"),
            Expected::Value => (WITHIN, "',', or identifier"),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Selector, ParseError> {
    Parser { text, next: scan(text, 0), bad_value: None }.selector()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    Comma,
    Open,
    Close,
    End,
}

/// A piece of the text, `start..end`.
#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

/// The first token at or after `from`.
fn scan(text: &str, from: usize) -> Token {
    let bytes = text.as_bytes();
    let rest = bytes.get(from..).unwrap_or_default();
    let start = from + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    let (kind, length) = match bytes.get(start..).unwrap_or_default() {
        [] => (Kind::End, 0),
        [b'=', b'=', ..] => (Kind::Equals, 2),
        [b'!', b'=', ..] => (Kind::NotEquals, 2),
        [b'=', ..] => (Kind::Equals, 1),
        [b'!', ..] => (Kind::Not, 1),
        [b'>', ..] => (Kind::Greater, 1),
        [b'<', ..] => (Kind::Less, 1),
        [b',', ..] => (Kind::Comma, 1),
        [b'(', ..] => (Kind::Open, 1),
        [b')', ..] => (Kind::Close, 1),
        word => (Kind::Word, word.iter().take_while(|byte| !ends_word(**byte)).count()),
    };
    Token { kind, start, end: start + length }
}

fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

struct Parser<'a> {
    text: &'a str,
    next: Token,
    /// The first byte that no value may have at its place.
    bad_value: Option<usize>,
}

impl<'a> Parser<'a> {
    fn take(&mut self) -> Token {
        let token = self.next;
        self.next = scan(self.text, token.end);
        token
    }

    fn word(&self, token: Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn unexpected(&self, token: Token, expected: Expected) -> ParseError {
        let fault = ParseFault::Unexpected { found: self.word(token).to_owned(), expected };
        ParseError { position: token.start, fault }
    }

    fn selector(mut self) -> Result<Selector, ParseError> {
        let mut requirements = Vec::with_capacity(4);
        let mut expected = Expected::Requirement;
        loop {
            match self.next.kind {
                Kind::Word | Kind::Not => requirements.push(self.requirement()?),
                Kind::End if expected == Expected::Requirement => break,
                _ => return Err(self.unexpected(self.next, expected)),
            }
            let after = self.take();
            match after.kind {
                Kind::End => break,
                Kind::Comma => expected = Expected::AnotherRequirement,
                _ => return Err(self.unexpected(after, Expected::Separator)),
            }
        }
        Ok(Selector::of(requirements))
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let negated = self.next.kind == Kind::Not;
        if negated {
            self.take();
        }
        let key = self.key()?;
        if negated {
            return Ok(Requirement::unchecked(key, Operator::DoesNotExist, Vec::new()));
        }
        if matches!(self.next.kind, Kind::End | Kind::Comma) {
            return Ok(Requirement::unchecked(key, Operator::Exists, Vec::new()));
        }
        let operator = self.operator()?;
        let values_at = self.next.start;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.single_value()?],
        };
        let requirement = Requirement::unchecked(key, operator, values);
        let numeric = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        if self.bad_value.is_some() || (numeric && requirement.bound().is_none()) {
            let mut faults = Vec::new();
            requirement.check_values(&mut faults);
            let fault = ParseFault::Values(InvalidRequirement { faults });
            return Err(ParseError { position: self.bad_value.unwrap_or(values_at), fault });
        }
        Ok(requirement)
    }

    fn key(&mut self) -> Result<String, ParseError> {
        let token = self.take();
        if token.kind != Kind::Word {
            return Err(self.unexpected(token, Expected::Key));
        }
        let key = self.word(token);
        let faults = key_faults(key);
        match faults.first() {
            None => Ok(key.to_owned()),
            Some(first) => Err(ParseError {
                position: token.start + first.position(),
                fault: ParseFault::Key { key: key.to_owned(), faults },
            }),
        }
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        let token = self.take();
        Ok(match (token.kind, self.word(token)) {
            (Kind::Equals, _) => Operator::Equals,
            (Kind::NotEquals, _) => Operator::NotEquals,
            (Kind::Greater, _) => Operator::GreaterThan,
            (Kind::Less, _) => Operator::LessThan,
            (Kind::Word, "in") => Operator::In,
            (Kind::Word, "notin") => Operator::NotIn,
            _ => return Err(self.unexpected(token, Expected::Operator)),
        })
    }

    /// The text of a value, looked at once: the place of the first bad byte is kept for the error.
    fn value(&mut self, token: Token) -> String {
        let value = self.word(token);
        if let Some(fault) = value_faults(value).first() {
            self.bad_value.get_or_insert(token.start + fault.position());
        }
        value.to_owned()
    }

    /// The value after `=`, `!=`, `>` or `<`: nothing there is the empty value.
    fn single_value(&mut self) -> Result<String, ParseError> {
        match self.next.kind {
            Kind::End | Kind::Comma => Ok(String::new()),
            Kind::Word => {
                let token = self.take();
                Ok(self.value(token))
            }
            _ => Err(self.unexpected(self.next, Expected::SingleValue)),
        }
    }

    /// The list after `in` or `notin`, with its parentheses. Every place with nothing in it is the empty value.
    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        let open = self.take();
        match (open.kind, self.next.kind) {
            (Kind::Open, Kind::Word | Kind::Comma) => self.value_list(),
            (Kind::Open, Kind::Close) => {
                self.take();
                Ok(vec![String::new()])
            }
            (Kind::Open, _) => Err(self.unexpected(self.next, Expected::Values)),
            _ => Err(self.unexpected(open, Expected::Open)),
        }
    }

    fn value_list(&mut self) -> Result<Vec<String>, ParseError> {
        let mut values = Vec::with_capacity(2);
        loop {
            let token = self.take();
            match (token.kind, self.next.kind) {
                (Kind::Word, Kind::Comma | Kind::Close) => values.push(self.value(token)),
                (Kind::Word, _) => return Err(self.unexpected(self.next, Expected::ValuesGoOn)),
                (Kind::Comma, Kind::Comma) => {
                    values.push(String::new());
                    self.take();
                    // The API server takes two commas as one place and must then see a value or a third.
                    continue;
                }
                (Kind::Comma, after) if values.is_empty() || after == Kind::Close => {
                    values.push(String::new())
                }
                (Kind::Comma, _) => {}
                _ => return Err(self.unexpected(token, Expected::Value)),
            }
            if self.next.kind == Kind::Close {
                self.take();
                return Ok(values);
            }
        }
    }
}
