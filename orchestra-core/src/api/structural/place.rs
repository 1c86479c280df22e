//! Paths into a schema, as selectable fields and rules name them: `.spec.color`, `.map['a key']`.

use super::Schema;

/// A place in a schema.
#[derive(Clone, Debug)]
pub struct Place<'s> {
    /// The path as errors write it, without a dot before it.
    pub path: String,
    /// The first step.
    pub first: String,
    /// What is there.
    pub schema: &'s Schema,
}

/// Finds a place in a schema.
///
/// # Errors
/// Why the path is not one, or leads nowhere, in Kubernetes' words.
pub fn find<'s>(schema: &'s Schema, path: &str, keys_allowed: bool) -> Result<Place<'s>, String> {
    let mut tokens = Tokens(path);
    let mut place = Place { path: String::new(), first: String::new(), schema };
    while let Some(token) = tokens.next() {
        match token {
            "[" if !keys_allowed => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let token = tokens.next().ok_or("unexpected end of JSON path")?;
                let quoted = token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let Some(quoted) = quoted else {
                    return Err(format!("expected single quoted string but got {token}"));
                };
                place.step(&unescape(quoted)?)?;
                match tokens.next() {
                    None => return Err("unexpected end of JSON path".to_owned()),
                    Some("]") => {}
                    Some(other) => return Err(format!("expected ] but got {other}")),
                }
            }
            "." => place.step(tokens.next().ok_or("unexpected end of JSON path")?)?,
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(place)
}

impl Place<'_> {
    fn step(&mut self, name: &str) -> Result<(), String> {
        const NOWHERE: &str = "does not refer to a valid field";
        if self.schema.properties.is_empty() {
            let values = self.schema.map_values().ok_or(NOWHERE)?;
            self.path.push_str(&format!("[{name}]"));
            self.schema = values;
        } else {
            self.schema = self.schema.properties.get(name).ok_or(NOWHERE)?;
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(name);
        }
        if self.first.is_empty() {
            name.clone_into(&mut self.first);
        }
        Ok(())
    }
}

/// The tokens of a path: the delimiters `.`, `[` and `]`, texts in single quotes, and what is between.
struct Tokens<'p>(&'p str);

impl<'p> Iterator for Tokens<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        let rest = self.0;
        let first = rest.chars().next()?;
        let length = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let mut escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, c)| {
                    let ends = *c == '\'' && !escaped;
                    escaped = *c == '\\';
                    ends
                });
                end.map_or(rest.len(), |(at, _)| at + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        let (token, rest) = rest.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let (mut out, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0C',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0B',
            Some('\'') => '\'',
            Some('\\') | None => '\\',
            Some(other) => return Err(format!("invalid string literal: invalid escape char \\{other}")),
        });
    }
    Ok(out)
}
