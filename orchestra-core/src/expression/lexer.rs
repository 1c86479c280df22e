//! From text to tokens.

use std::sync::Arc;

use super::error::Fault;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i64),
    /// A whole number that only fits with a sign before it.
    Least,
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    Name(Arc<str>),
    /// A name in back quotes, which stands nowhere.
    Quoted,
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// After so many faults nothing more is read.
const MOST_FAULTS: usize = 100;

/// A token, and where in the text it stands.
pub(super) struct Lexed {
    pub(super) token: Token,
    /// The byte at which it begins.
    pub(super) at: usize,
    /// The byte after it.
    pub(super) end: usize,
}

/// Reads all tokens. What is none is told and passed over.
pub(super) fn tokens(text: &str) -> Result<(Vec<Lexed>, Vec<Fault>), Vec<Fault>> {
    let mut lexer = Lexer { text, at: 0, faults: Vec::new() };
    let mut found = Vec::new();
    loop {
        lexer.skip_space();
        let at = lexer.at;
        let token = match lexer.token() {
            Ok(Some(token)) => token,
            Ok(None) if lexer.faults.len() >= MOST_FAULTS => return Err(lexer.faults),
            Ok(None) => continue,
            Err(fault) => {
                lexer.faults.push(fault);
                return Err(lexer.faults);
            }
        };
        let ended = token == Token::End;
        found.push(Lexed { token, at, end: lexer.at });
        if ended {
            return Ok((found, lexer.faults));
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    faults: Vec<Fault>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0C']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// The next token; `None` if what stands there is none.
    fn token(&mut self) -> Result<Option<Token>, Fault> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Some(Token::End)) };
        if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            return self.number().map(Some);
        }
        match self.quoted()? {
            Quoted::Token(token) => return Ok(Some(token)),
            Quoted::Endless => return Ok(self.pass(rest.len())),
            Quoted::Nothing => {}
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += end;
            return Ok(Some(Token::Name(rest[..end].into())));
        }
        if first == '`'
            && let Some(end) = rest[1..].find('`')
        {
            self.at += end + 2;
            return Ok(Some(Token::Quoted));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            self.at += sign.len();
            return Ok(Some(Token::Sign(sign)));
        }
        // Half of a sign is passed over with what stands in the place of its other half.
        let half = matches!(first, '=' | '&' | '|');
        let length = rest.chars().take(1 + usize::from(half)).map(char::len_utf8).sum();
        Ok(self.pass(length))
    }

    /// Passes over what is no token.
    fn pass(&mut self, length: usize) -> Option<Token> {
        let passed = &self.rest()[..length];
        let message = format!("Syntax error: token recognition error at: '{passed}'");
        self.faults.push(Fault::new(self.at, message));
        self.at += length;
        None
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            let (digits, after) = digits.split_at(end);
            let value = u64::from_str_radix(digits, 16);
            let unsigned = after.starts_with(['u', 'U']);
            let start = self.at;
            self.at += 2 + end + usize::from(unsigned);
            let wrong = |_| Fault::new(start, "invalid int literal".to_owned());
            let value = value.map_err(wrong)?;
            return match unsigned {
                true => Ok(Token::Uint(value)),
                false => i64::try_from(value)
                    .map(Token::Int)
                    .map_err(|_| Fault::new(start, "invalid int literal".to_owned())),
            };
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(rest);
        let mut float = false;
        if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
            float = true;
            end += 1 + digits(&rest[end + 1..]);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let after = &rest[end + 1..];
            let sign = usize::from(after.starts_with(['+', '-']));
            let count = digits(&after[sign..]);
            if count > 0 {
                float = true;
                end += 1 + sign + count;
            }
        }
        let (start, text) = (self.at, &rest[..end]);
        self.at += end;
        if float {
            let value = text.parse().map_err(|_| Fault::new(start, "invalid double literal".to_owned()))?;
            return Ok(Token::Double(value));
        }
        if rest[end..].starts_with(['u', 'U']) {
            self.at += 1;
            let value = text.parse().map_err(|_| Fault::new(start, "invalid uint literal".to_owned()))?;
            return Ok(Token::Uint(value));
        }
        match text.parse::<i64>() {
            Ok(value) => Ok(Token::Int(value)),
            Err(_) if text.trim_start_matches('0') == "9223372036854775808" => Ok(Token::Least),
            Err(_) => Err(Fault::new(start, "invalid int literal".to_owned())),
        }
    }

    /// A text or bytes, if one begins here.
    fn quoted(&mut self) -> Result<Quoted, Fault> {
        let rest = self.rest();
        // No further than prefixes go: to look for one through all the rest would be done for every token.
        let prefix = rest.bytes().take(3).position(|byte| matches!(byte, b'\'' | b'"'));
        let Some(prefix) = prefix else { return Ok(Quoted::Nothing) };
        let (raw, bytes) = match rest[..prefix].to_ascii_lowercase().as_str() {
            "" => (false, false),
            "r" => (true, false),
            "b" => (false, true),
            "rb" | "br" => (true, true),
            _ => return Ok(Quoted::Nothing),
        };
        let body = &rest[prefix..];
        let quote = &body[..1];
        let triple = quote.repeat(3);
        let open = if body.starts_with(&triple) { triple.as_str() } else { quote };
        let start = self.at;
        let inside = &body[open.len()..];
        let end = closing(inside, open, raw);
        let Some(end) = end else { return Ok(Quoted::Endless) };
        self.at += prefix + open.len() * 2 + end;
        let content = &inside[..end];
        let value = if raw {
            content.as_bytes().to_vec()
        } else {
            unescape(content, bytes).map_err(|why| Fault::new(start, why))?
        };
        if bytes {
            return Ok(Quoted::Token(Token::Bytes(value.into())));
        }
        let text = String::from_utf8(value).map_err(|_| Fault::new(start, "invalid UTF-8".to_owned()))?;
        Ok(Quoted::Token(Token::Text(text.into())))
    }
}

/// What begins with a quote, or does not.
enum Quoted {
    Token(Token),
    /// A text without its other quote.
    Endless,
    Nothing,
}

/// Where the text within quotes ends.
fn closing(inside: &str, open: &str, raw: bool) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' && !raw {
            escaped = true;
        } else if inside[at..].starts_with(open) {
            return Some(at);
        } else if open.len() == 1 && matches!(c, '\n' | '\r') {
            return None;
        }
    }
    None
}

fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, String> {
    let wrong = || "unable to unescape string".to_owned();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let code = rest.chars().next().ok_or_else(wrong)?;
        let plain = match code {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            '\\' | '\'' | '"' | '`' | '?' => Some(code as u8),
            _ => None,
        };
        if let Some(byte) = plain {
            out.push(byte);
            rest = &rest[1..];
            continue;
        }
        let (skip, length, radix) = match code {
            'x' | 'X' => (1, 2, 16),
            'u' if !bytes => (1, 4, 16),
            'U' if !bytes => (1, 8, 16),
            '0'..='3' => (0, 3, 8),
            _ => return Err(wrong()),
        };
        let digits = rest.get(skip..skip + length).ok_or_else(wrong)?;
        let value = u32::from_str_radix(digits, radix).map_err(|_| wrong())?;
        rest = &rest[skip + length..];
        if bytes {
            out.push(u8::try_from(value).map_err(|_| wrong())?);
        } else {
            let c = char::from_u32(value).ok_or_else(wrong)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}
