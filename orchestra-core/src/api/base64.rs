//! Base64 as Go's decoder reads it: with line breaks anywhere, and with bits after the last byte.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Where a text stops being base64, in Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {0}")]
pub(crate) struct CorruptInput(usize);

/// The text of bytes, as Go writes it.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of a text in the alphabet for URLs, without padding.
///
/// # Errors
/// Where it stops being such a text.
pub(crate) fn decode_url(text: &str) -> Result<Vec<u8>, CorruptInput> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut group = Group::default();
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| !is_break(*byte)) {
        let standard = match byte {
            b'-' => b'+',
            b'_' => b'/',
            b'+' | b'/' => return Err(CorruptInput(at)),
            byte => byte,
        };
        group.push(value(standard).ok_or(CorruptInput(at))?, &mut bytes);
    }
    match group.held {
        1 => Err(CorruptInput(text.len() - 1)),
        _ => {
            group.end(&mut bytes);
            Ok(bytes)
        }
    }
}

/// Up to four digits, which are three bytes.
#[derive(Default)]
struct Group {
    bits: u32,
    held: usize,
}

impl Group {
    /// Takes a digit, and gives the bytes of four.
    fn push(&mut self, digit: u8, bytes: &mut Vec<u8>) {
        self.bits = self.bits << 6 | u32::from(digit);
        self.held += 1;
        if self.held == 4 {
            bytes.extend_from_slice(&self.bits.to_be_bytes()[1..]);
            *self = Self::default();
        }
    }

    /// Gives the bytes of two or three digits, after which there are none.
    fn end(self, bytes: &mut Vec<u8>) {
        let whole = self.bits << (6 * (4 - self.held));
        bytes.extend_from_slice(&whole.to_be_bytes()[1..self.held.max(1)]);
    }
}

/// The text as it is stored, if that is another one.
///
/// # Errors
/// Where it stops being base64.
pub(crate) fn respelled(text: &str) -> Result<Option<String>, CorruptInput> {
    if is_canonical(text.as_bytes()) {
        return Ok(None);
    }
    let bytes = decode(text.as_bytes())?;
    let encoded = BASE64_STANDARD.encode(bytes);
    Ok((encoded != text).then_some(encoded))
}

/// Whether a text is what an encoder writes. Bits that are beyond the last byte are zero.
fn is_canonical(text: &[u8]) -> bool {
    let (digits, beyond) = match text {
        [digits @ .., b'=', b'='] => (digits, 0b1111),
        [digits @ .., b'='] => (digits, 0b11),
        digits => (digits, 0),
    };
    let last = digits.last().and_then(|last| value(*last)).unwrap_or(0);
    text.len().is_multiple_of(4) && last & beyond == 0 && digits.iter().all(|digit| value(*digit).is_some())
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn decode(text: &[u8]) -> Result<Vec<u8>, CorruptInput> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut group = Group::default();
    for (at, byte) in text.iter().enumerate().filter(|(_, byte)| !is_break(**byte)) {
        match value(*byte) {
            Some(digit) => group.push(digit, &mut bytes),
            None if *byte == b'=' && group.held >= 2 => {
                check_padding(text, at, group.held)?;
                group.end(&mut bytes);
                return Ok(bytes);
            }
            None => return Err(CorruptInput(at)),
        }
    }
    // Go counts back by the digits that it has, whether or not line breaks are between them.
    if group.held == 0 { Ok(bytes) } else { Err(CorruptInput(text.len() - group.held)) }
}

/// Sees that from the first `=` on there is nothing but padding.
fn check_padding(text: &[u8], first: usize, held: usize) -> Result<(), CorruptInput> {
    let mut rest = (first + 1..text.len()).filter(|at| !is_break(text[*at]));
    if held == 2 {
        match rest.next() {
            None => return Err(CorruptInput(text.len())),
            Some(at) if text[at] != b'=' => return Err(CorruptInput(at)),
            Some(_) => {}
        }
    }
    rest.next().map_or(Ok(()), |at| Err(CorruptInput(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_stray_bits_are_read_and_not_written() {
        for (text, stored) in [
            ("", None),
            ("eA==", None),
            ("eHk=", None),
            ("eHl6", None),
            ("eHl6\n", Some("eHl6")),
            ("e\r\nA=\n=\n", Some("eA==")),
            ("eB==", Some("eA==")),
            ("eHl=", Some("eHk=")),
            ("\n", Some("")),
        ] {
            assert_eq!(respelled(text), Ok(stored.map(ToOwned::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused_where_it_stops_being_so() {
        for (text, at) in [
            ("%", 0),
            ("abc%", 3),
            ("e", 0),
            ("eA", 0),
            ("eHl6eA", 4),
            ("=", 0),
            ("e===", 1),
            ("eA=", 3),
            ("eA=A", 3),
            ("eA==A", 4),
            ("eHk=eHk=", 4),
            ("eHl6 ", 4),
        ] {
            assert_eq!(respelled(text), Err(CorruptInput(at)), "{text:?}");
        }
        assert_eq!(CorruptInput(4).to_string(), "illegal base64 data at input byte 4");
    }

    #[test]
    fn in_urls_there_is_no_padding() {
        for (text, bytes) in
            [("", ""), ("eA", "x"), ("eB", "x"), ("eHk", "xy"), ("e\nHl6", "xyz"), ("Pz8_", "???")]
        {
            assert_eq!(decode_url(text).as_deref(), Ok(bytes.as_bytes()), "{text:?}");
        }
        for (text, at) in [("e", 0), ("eHl6e", 4), ("eA==", 2), ("made.up", 4), ("Pz8/", 3), ("e\n", 1)] {
            assert_eq!(decode_url(text), Err(CorruptInput(at)), "{text:?}");
        }
    }
}
