//! Regular expressions as Go's `regexp` reads them. They run in time linear in the text.

use regex::{Regex, RegexBuilder};

/// How large a compiled pattern may be, in bytes.
const MAX_SIZE: usize = 1 << 20;

/// Compiles a pattern.
///
/// # Errors
/// What is wrong with it, in Go's words as far as it has the same.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern);
    RegexBuilder::new(&translated).size_limit(MAX_SIZE).build().map_err(|error| explain(pattern, &error))
}

/// The pattern in the syntax of `regex`, where a digit, a letter of a word and white space are those of ASCII only, as
/// in Go.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let (mut chars, mut in_class) = (pattern.chars().peekable(), false);
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => push_escape(&mut out, escaped, in_class),
                None => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                // What stands first in a class is meant literally, though it would end it.
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str("\\]");
                }
            }
            '[' if chars.peek() == Some(&':') => out.push('['),
            '[' => out.push_str("\\["),
            ']' if in_class => {
                // A class such as `[:alpha:]` ends within the class that it is in.
                let named =
                    out.ends_with(':') && out.rfind("[:").is_some_and(|at| !out[at + 2..].contains(']'));
                in_class = named && out.len() > 2;
                out.push(']');
            }
            // `regex` knows set operations within classes, and Go does not.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && out.ends_with('-') && !out.ends_with("\\-") => out.push_str("\\-"),
            other => out.push(other),
        }
    }
    out
}

fn push_escape(out: &mut String, escaped: char, in_class: bool) {
    let class = match escaped {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\x0C\\r ",
        'D' if !in_class => return out.push_str("[^0-9]"),
        'W' if !in_class => return out.push_str("[^0-9A-Za-z_]"),
        'S' if !in_class => return out.push_str("[^\\t\\n\\x0C\\r ]"),
        'b' if !in_class => return out.push_str("(?-u:\\b)"),
        other => {
            out.push('\\');
            return out.push(other);
        }
    };
    if in_class {
        out.push_str(class);
    } else {
        out.push('[');
        out.push_str(class);
        out.push(']');
    }
}

fn explain(pattern: &str, error: &regex::Error) -> String {
    let regex::Error::Syntax(text) = error else {
        return "expression nests too deeply or is too large".to_owned();
    };
    let says = |what: &str| text.contains(what);
    let why = if says("unclosed group") {
        format!("missing closing ): `{pattern}`")
    } else if says("unopened group") {
        format!("unexpected ): `{pattern}`")
    } else if says("unclosed character class") {
        let from = pattern.find('[').unwrap_or(0);
        format!("missing closing ]: `{}`", &pattern[from..])
    } else if says("repetition operator missing expression") {
        let operator = pattern.chars().find(|c| matches!(c, '*' | '+' | '?')).unwrap_or('*');
        format!("missing argument to repetition operator: `{operator}`")
    } else if let Some(at) = ["(?=", "(?!"].iter().filter_map(|look| pattern.find(look)).min() {
        format!("invalid or unsupported Perl syntax: `{}`", &pattern[at..at + 3])
    } else if says("unrecognized escape sequence") {
        "invalid escape sequence".to_owned()
    } else {
        let last =
            text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("invalid syntax");
        last.to_owned()
    };
    format!("error parsing regexp: {why}")
}
