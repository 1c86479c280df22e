//! As much of DER as a certificate is written in.

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;

/// A value with its tag and length.
pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            // A length of 8 bytes at most.
            out.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            out.extend(length);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A value that is a part of its context: [0], [1], …; `constructed` of other values.
pub(super) fn context(number: u8, constructed: bool, content: &[u8]) -> Vec<u8> {
    tagged(0x80 | (u8::from(constructed) << 5) | number, content)
}

/// Values in order.
pub(super) fn sequence<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut content = Vec::new();
    parts.into_iter().for_each(|part| content.extend_from_slice(part.as_ref()));
    tagged(SEQUENCE, &content)
}

/// A name of a kind of thing: its numbers, of which the first is 0 to 2 and the second below 40.
pub(super) fn object(numbers: &[u32]) -> Vec<u8> {
    let (first, rest) = numbers.split_at(numbers.len().min(2));
    let mut content = Vec::new();
    let head = first.iter().fold(0, |head, number| head * 40 + number);
    for number in std::iter::once(head).chain(rest.iter().copied()) {
        let mut septets = vec![u8::try_from(number & 0x7f).unwrap_or_default()];
        let mut left = number >> 7;
        while left > 0 {
            septets.push(0x80 | u8::try_from(left & 0x7f).unwrap_or_default());
            left >>= 7;
        }
        content.extend(septets.into_iter().rev());
    }
    tagged(OBJECT, &content)
}

/// A number that is not negative, of these bytes.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    tagged(INTEGER, &content)
}

/// Bits, of which the last `unused` of the last byte do not count.
pub(super) fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
    let mut content = vec![unused];
    content.extend_from_slice(bytes);
    tagged(BIT_STRING, &content)
}

/// A time, in seconds.
pub(super) fn time(time: Timestamp) -> Vec<u8> {
    let time = time.to_zoned(TimeZone::UTC);
    match time.year() {
        1950..=2049 => tagged(UTC_TIME, time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()),
        _ => tagged(GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_der_has_them() {
        assert_eq!(tagged(OCTET_STRING, &[7]), [4, 1, 7]);
        assert_eq!(tagged(OCTET_STRING, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tagged(OCTET_STRING, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(object(&[1, 2, 840, 10045, 4, 3, 2]), [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert_eq!(object(&[2, 5, 29, 15]), [6, 3, 0x55, 29, 15]);
        assert_eq!((unsigned(&[0, 0x80]), unsigned(&[])), (vec![2, 2, 0, 0x80], vec![2, 1, 0]));
        assert_eq!(sequence([unsigned(&[1]), unsigned(&[2])]), [0x30, 6, 2, 1, 1, 2, 1, 2]);
        let at = |text: &str| time(text.parse().unwrap());
        assert_eq!(at("2026-01-02T03:04:05.9Z"), [b"\x17\x0d".as_slice(), b"260102030405Z"].concat());
        assert_eq!(at("2050-01-02T03:04:05Z"), [b"\x18\x0f".as_slice(), b"20500102030405Z"].concat());
    }
}
