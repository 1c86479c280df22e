//! What a label may look like: an optional DNS-subdomain prefix and a name for a key, a short word for a value.
//!
//! This file depends on nothing but `std`, because it is compiled twice: here, and (by `#[path]`) in the crate of
//! the [`selector!`](crate::selector::selector) macro, which checks the same rules while a program is compiled.
//! The messages are those that the Kubernetes API server v1.36 prints; the position is ours.

use std::fmt;

/// The longest name part of a key, and the longest value, in bytes.
pub const MAX_NAME: usize = 63;
/// The longest prefix of a key, in bytes.
pub const MAX_PREFIX: usize = 253;

const NAME_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                              '-' or '.', and must start and end with an alphanumeric character";

/// One thing that is wrong with a label's key or value. `Display` is the API server's message for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A key has more than one `/`; the position of the second.
    Slashes(usize),
    /// A key begins with its `/`.
    PrefixEmpty,
    /// The prefix has more than [`MAX_PREFIX`] bytes.
    PrefixLong,
    /// The prefix is not a DNS subdomain; the position of the first byte that does not fit.
    PrefixSyntax(usize),
    /// Nothing stands for a name; the position where it was to begin.
    NameEmpty(usize),
    /// The name part has more than [`MAX_NAME`] bytes; the position of the first byte too many.
    NameLong(usize),
    /// The name part holds, begins or ends with a byte it may not; the position of that byte.
    NameSyntax(usize),
    /// A value has more than [`MAX_NAME`] bytes.
    ValueLong,
    /// A value holds, begins or ends with a byte it may not; the position of that byte.
    ValueSyntax(usize),
}

impl Fault {
    /// The byte, counted from the beginning of the key or value, at which the fault stands.
    pub fn position(&self) -> usize {
        match *self {
            Fault::PrefixEmpty => 0,
            Fault::PrefixLong => MAX_PREFIX,
            Fault::ValueLong => MAX_NAME,
            Fault::Slashes(at)
            | Fault::PrefixSyntax(at)
            | Fault::NameEmpty(at)
            | Fault::NameLong(at)
            | Fault::NameSyntax(at)
            | Fault::ValueSyntax(at) => at,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_examples = format_args!(
            "{NAME_RULE} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{NAME_FORMAT}')"
        );
        match self {
            Fault::Slashes(_) => write!(
                f,
                "a valid label key {name_examples} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            ),
            Fault::PrefixEmpty => write!(f, "prefix part must be non-empty"),
            Fault::PrefixLong => write!(f, "prefix part must be no more than {MAX_PREFIX} bytes"),
            Fault::PrefixSyntax(_) => write!(
                f,
                "prefix part {SUBDOMAIN_RULE} (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_FORMAT}')"
            ),
            Fault::NameEmpty(_) => write!(f, "name part must be non-empty"),
            Fault::NameLong(_) => write!(f, "name part must be no more than {MAX_NAME} bytes"),
            Fault::NameSyntax(_) => write!(f, "name part {name_examples}"),
            Fault::ValueLong => write!(f, "must be no more than {MAX_NAME} bytes"),
            Fault::ValueSyntax(_) => write!(
                f,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
                 regex used for validation is '({NAME_FORMAT})?')"
            ),
        }
    }
}

/// Everything that is wrong with a label key, in the order the API server reports it; nothing for a good one.
pub fn key_faults(key: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (start, name) = match key.split_once('/') {
        None => (0, key),
        Some((prefix, name)) => {
            if let Some(second) = name.find('/') {
                return vec![Fault::Slashes(prefix.len() + 1 + second)];
            }
            if prefix.is_empty() {
                faults.push(Fault::PrefixEmpty);
            } else {
                if prefix.len() > MAX_PREFIX {
                    faults.push(Fault::PrefixLong);
                }
                faults.extend(subdomain_fault(prefix.as_bytes()).map(Fault::PrefixSyntax));
            }
            (prefix.len() + 1, name)
        }
    };
    if name.is_empty() {
        faults.push(Fault::NameEmpty(start));
    } else if name.len() > MAX_NAME {
        faults.push(Fault::NameLong(start + MAX_NAME));
    }
    faults.extend(name_fault(name.as_bytes()).map(|at| Fault::NameSyntax(start + at)));
    faults
}

/// Everything that is wrong with a label value; the empty value is a good one.
pub fn value_faults(value: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if value.len() > MAX_NAME {
        faults.push(Fault::ValueLong);
    }
    if !value.is_empty() {
        faults.extend(name_fault(value.as_bytes()).map(Fault::ValueSyntax));
    }
    faults
}

/// Where `name` stops being letters, digits and inner `-`, `_`, `.`.
fn name_fault(name: &[u8]) -> Option<usize> {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match name {
        [] => Some(0),
        [first, ..] if !first.is_ascii_alphanumeric() => Some(0),
        [.., last] => name
            .iter()
            .position(|byte| !inner(byte))
            .or_else(|| (!last.is_ascii_alphanumeric()).then(|| name.len() - 1)),
    }
}

/// Where `prefix` stops being dot-separated words of lower-case letters, digits and inner hyphens.
fn subdomain_fault(prefix: &[u8]) -> Option<usize> {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut previous = b'.';
    for (at, &byte) in prefix.iter().enumerate() {
        let fits = match byte {
            b'.' => edge(previous),
            b'-' => previous != b'.',
            byte => edge(byte),
        };
        if !fits {
            return Some(at);
        }
        previous = byte;
    }
    (!edge(previous)).then(|| prefix.len().saturating_sub(1))
}
