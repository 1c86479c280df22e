//! What Go's decoder says of a text that is not JSON. Clients show it, so it is said in the same words.

use serde_json::error::Category;

/// Reads JSON.
///
/// # Errors
/// Why it is not JSON, in Go's words.
pub(crate) fn read<'t, T: serde::Deserialize<'t>>(text: &'t [u8]) -> Result<T, String> {
    // Of what is known to be text, each string need not be looked at again.
    let read = match std::str::from_utf8(text) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(text),
    };
    read.map_err(|error| match error.classify() {
        Category::Eof => CUT_OFF.to_owned(),
        _ => fault(text).unwrap_or_else(|| error.to_string()),
    })
}

const CUT_OFF: &str = "unexpected end of JSON input";

/// What the next character may be.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    /// A value or the end of the list.
    FirstItem,
    Key,
    /// A key or the end of the object.
    FirstKey,
    Colon,
    /// A comma, or the end of what the value is in.
    Next,
}

/// The first fault of a text; `None` if there is none.
fn fault(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0 }.document().err().map(|fault| match fault {
        Fault::End => CUT_OFF.to_owned(),
        Fault::Character(character, context) => {
            format!("invalid character {} {context}", quoted(character))
        }
    })
}

enum Fault {
    End,
    Character(u8, String),
}

fn quoted(character: u8) -> String {
    match character {
        b'\'' => r"'\''".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0..0x20 | 0x7f => format!(r"'\x{character:02x}'"),
        0x80..0xa0 => format!(r"'\u{character:04x}'"),
        character => format!("'{}'", char::from(character)),
    }
}

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn unexpected<T>(&self, context: impl Into<String>) -> Result<T, Fault> {
        Err(self.peek().map_or(Fault::End, |character| Fault::Character(character, context.into())))
    }

    fn document(mut self) -> Result<(), Fault> {
        // Whether each thing that is open is an object.
        let mut open: Vec<bool> = Vec::new();
        let mut expect = Expect::Value;
        loop {
            while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            let end = |closing| match expect {
                Expect::FirstItem => closing == b']',
                Expect::FirstKey => closing == b'}',
                Expect::Next => {
                    open.last().is_some_and(|object| closing == if *object { b'}' } else { b']' })
                }
                _ => false,
            };
            expect = match (expect, self.peek()) {
                (Expect::Next, None) if open.is_empty() => return Ok(()),
                (_, Some(closing)) if end(closing) => {
                    self.at += 1;
                    open.pop();
                    Expect::Next
                }
                (Expect::Value | Expect::FirstItem, _) => self.value(&mut open)?,
                (Expect::Key | Expect::FirstKey, Some(b'"')) => {
                    self.string()?;
                    Expect::Colon
                }
                (Expect::Key | Expect::FirstKey, _) => {
                    return self.unexpected("looking for beginning of object key string");
                }
                (Expect::Colon, Some(b':')) => {
                    self.at += 1;
                    Expect::Value
                }
                (Expect::Colon, _) => return self.unexpected("after object key"),
                (Expect::Next, found) => match (open.last(), found) {
                    (None, _) => return self.unexpected("after top-level value"),
                    (Some(object), Some(b',')) => {
                        self.at += 1;
                        if *object { Expect::Key } else { Expect::Value }
                    }
                    (Some(true), _) => return self.unexpected("after object key:value pair"),
                    (Some(false), _) => return self.unexpected("after array element"),
                },
            };
        }
    }

    fn value(&mut self, open: &mut Vec<bool>) -> Result<Expect, Fault> {
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                open.push(true);
                return Ok(Expect::FirstKey);
            }
            Some(b'[') => {
                self.at += 1;
                open.push(false);
                return Ok(Expect::FirstItem);
            }
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return self.unexpected("looking for beginning of value"),
        }
        Ok(Expect::Next)
    }

    fn literal(&mut self, name: &str) -> Result<(), Fault> {
        for wanted in name.bytes() {
            if self.peek() != Some(wanted) {
                return self.unexpected(format!("in literal {name} (expecting '{}')", char::from(wanted)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        loop {
            self.at += 1;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                None | Some(0..0x20) => return self.unexpected("in string literal"),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => return Ok(()),
            Some(b'u') => {}
            _ => return self.unexpected("in string escape code"),
        }
        for _ in 0..4 {
            self.at += 1;
            if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return self.unexpected("in \\u hexadecimal character escape");
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self, context: &str) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.unexpected(context);
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn faults_are_named_as_gos_decoder_names_them() {
        for (text, says) in [
            ("", CUT_OFF),
            ("{\"a\":", CUT_OFF),
            ("\"a", CUT_OFF),
            ("not json", "invalid character 'o' in literal null (expecting 'u')"),
            ("[{]", "invalid character ']' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1}", "invalid character '}' after array element"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("kind: Pod", "invalid character 'k' looking for beginning of value"),
        ] {
            assert_eq!(read::<Value>(text.as_bytes()), Err(says.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_number_with_more_digits_than_fit_is_the_one_that_is_nearest() {
        let read: f64 = read(b"999999999999999999999999999999999999999991.5").unwrap();
        assert_eq!(read.to_bits(), 1e42_f64.to_bits());
    }

    proptest! {
        /// A field that nobody changes keeps its value however often an object is read and written.
        #[test]
        fn numbers_are_read_to_the_nearest(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let read: f64 = read(serde_json::to_string(&number).unwrap().as_bytes()).unwrap();
            prop_assert_eq!(read.to_bits(), bits);
        }

        /// What is JSON has no fault, and what has no fault is JSON, but for numbers out of range and lone surrogates.
        #[test]
        fn it_agrees_with_the_decoder(text in r#"[\[\]{}":,a0-2\-.etrunlfs \\]{0,14}"#) {
            let decoded = serde_json::from_str::<Value>(&text);
            if decoded.is_ok() {
                prop_assert_eq!(fault(text.as_bytes()), None);
            } else if fault(text.as_bytes()).is_none() {
                let why = decoded.unwrap_err().to_string();
                prop_assert!(why.contains("out of range") || why.contains("surrogate"), "{}: {}", text, why);
            }
        }
    }
}
