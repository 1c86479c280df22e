//! Times as Go reads and writes them.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// The form of most times. A fraction of a second may be sent; it is not kept.
pub(super) const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// The form of times that are exact to the microsecond, all six digits of which must be there.
pub(super) const MICROSECONDS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Go's time of zero.
pub(super) const ZERO: &str = "0001-01-01T00:00:00Z";

/// Why a text is not a time, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseTimeError {
    #[error("parsing time {text} as \"{layout}\": cannot parse {rest} as \"{part}\"", text = quote(.text), rest = quote(.rest))]
    Form { text: String, layout: &'static str, rest: String, part: &'static str },
    #[error("parsing time {text}: {part} out of range", text = quote(.text))]
    Range { text: String, part: &'static str },
    #[error("parsing time {text}: extra text: {rest}", text = quote(.text), rest = quote(.rest))]
    Extra { text: String, rest: String },
}

/// A text as Go quotes it in these messages.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            byte => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

/// The text as it is stored, if that is another one.
pub(super) fn respelled(text: &str, layout: &'static str) -> Result<Option<String>, ParseTimeError> {
    let (time, offset) = Parser { text, rest: text, layout }.time()?;
    let written =
        if layout == SECONDS { text.len() == 20 } else { text.len() == 27 && text.as_bytes()[19] == b'.' };
    if written && text.ends_with('Z') {
        return Ok(None);
    }
    let in_utc = |time: DateTime| Offset::UTC.to_timestamp(time).ok()?.checked_sub(offset).ok();
    let utc = in_utc(time).ok_or_else(|| ParseTimeError::Range { text: text.to_owned(), part: "year" })?;
    Ok(Some(format(utc, layout)))
}

fn format(time: Timestamp, layout: &str) -> String {
    let form = if layout == SECONDS { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%6fZ" };
    time.strftime(form).to_string()
}

/// Whether a stored text is Go's zero time, which it takes for none.
pub(super) fn is_zero(text: &str) -> bool {
    text.starts_with("0001-01-01T00:00:00")
        && text.bytes().skip(19).all(|byte| matches!(byte, b'.' | b'0' | b'Z'))
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    layout: &'static str,
}

impl Parser<'_> {
    fn time(mut self) -> Result<(DateTime, SignedDuration), ParseTimeError> {
        let year = self.digits(4, "2006")?;
        self.literal("-")?;
        let month = self.number("01", "month", 1..=12)?;
        self.literal("-")?;
        let day = self.digits(2, "02")?;
        self.literal("T")?;
        let hour = self.hour()?;
        self.literal(":")?;
        let minute = self.number("04", "minute", 0..=59)?;
        self.literal(":")?;
        let second = self.number("05", "second", 0..=59)?;
        let nanos = if self.layout == SECONDS { self.optional_fraction() } else { self.microseconds()? };
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(ParseTimeError::Extra { text: self.text.to_owned(), rest: self.rest.to_owned() });
        }
        let small = |number: i32| i8::try_from(number).unwrap_or(-1);
        let time = DateTime::new(
            i16::try_from(year).unwrap_or(-1),
            small(month),
            small(day),
            small(hour),
            small(minute),
            small(second),
            nanos,
        );
        Ok((time.map_err(|_| self.out_of_range("day"))?, offset))
    }

    fn unlike(&self, part: &'static str) -> ParseTimeError {
        let (text, rest) = (self.text.to_owned(), self.rest.to_owned());
        ParseTimeError::Form { text, layout: self.layout, rest, part }
    }

    fn out_of_range(&self, part: &'static str) -> ParseTimeError {
        ParseTimeError::Range { text: self.text.to_owned(), part }
    }

    fn literal(&mut self, text: &'static str) -> Result<(), ParseTimeError> {
        self.rest = self.rest.strip_prefix(text).ok_or_else(|| self.unlike(text))?;
        Ok(())
    }

    /// So many digits, no more and no fewer.
    fn digits(&mut self, count: usize, part: &'static str) -> Result<i32, ParseTimeError> {
        let number = self.rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.unlike(part))?;
        self.rest = &self.rest[count..];
        Ok(number)
    }

    fn number(
        &mut self,
        part: &'static str,
        name: &'static str,
        range: std::ops::RangeInclusive<i32>,
    ) -> Result<i32, ParseTimeError> {
        let number = self.digits(2, part)?;
        if range.contains(&number) { Ok(number) } else { Err(self.out_of_range(name)) }
    }

    /// Go takes hours of one digit too.
    fn hour(&mut self) -> Result<i32, ParseTimeError> {
        let second = self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let hour = self.digits(if second { 2 } else { 1 }, "15")?;
        if hour < 24 { Ok(hour) } else { Err(self.out_of_range("hour")) }
    }

    /// A fraction that the form does not ask for. What is finer than nanoseconds is cut off.
    fn optional_fraction(&mut self) -> i32 {
        let Some(digits) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        self.rest = &digits[count..];
        let nanos = digits[..count].bytes().chain(std::iter::repeat(b'0')).take(9);
        nanos.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'))
    }

    fn microseconds(&mut self) -> Result<i32, ParseTimeError> {
        const PART: &str = ".000000";
        let start = self.rest;
        let digits = start.strip_prefix(['.', ',']).ok_or_else(|| self.unlike(PART))?;
        self.rest = digits;
        let micros = self.digits(6, PART);
        micros.map(|micros| micros * 1000).map_err(|_| {
            self.rest = start;
            self.unlike(PART)
        })
    }

    fn offset(&mut self) -> Result<SignedDuration, ParseTimeError> {
        const PART: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(SignedDuration::ZERO);
        }
        let two = |from: usize| {
            let digits = self.rest.get(from..from + 2)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
        };
        let colon = self.rest.as_bytes().get(3) == Some(&b':');
        let (Some(hours), Some(minutes), true) = (two(1), two(4), colon) else {
            return Err(self.unlike(PART));
        };
        let sign = match self.rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.unlike(PART)),
        };
        // So far Go goes, as some write offsets of 24 hours or 60 minutes.
        for (number, most, name) in
            [(hours, 24, "time zone offset hour"), (minutes, 60, "time zone offset minute")]
        {
            if number > most {
                return Err(self.out_of_range(name));
            }
        }
        self.rest = &self.rest[6..];
        Ok(SignedDuration::from_secs(sign * 60 * (hours * 60 + minutes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str, layout: &'static str) -> String {
        respelled(text, layout).unwrap().unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn times_are_written_in_utc_and_whole_seconds() {
        for (text, written) in [
            ("2022-06-23T18:10:50Z", "2022-06-23T18:10:50Z"),
            ("2022-06-23T18:10:50.999999999Z", "2022-06-23T18:10:50Z"),
            ("2022-06-23T18:10:50,5Z", "2022-06-23T18:10:50Z"),
            ("2022-06-23T8:10:50Z", "2022-06-23T08:10:50Z"),
            ("2022-06-23T00:10:50+02:00", "2022-06-22T22:10:50Z"),
            ("2022-12-31T23:10:50-24:60", "2023-01-02T00:10:50Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(stored(text, SECONDS), written);
        }
        for (text, written) in [
            ("2022-06-23T18:10:50.278000Z", "2022-06-23T18:10:50.278000Z"),
            ("2022-06-23T18:10:50,278000Z", "2022-06-23T18:10:50.278000Z"),
            ("2022-06-23T18:10:50.278001+01:00", "2022-06-23T17:10:50.278001Z"),
        ] {
            assert_eq!(stored(text, MICROSECONDS), written);
        }
        assert!(is_zero("0001-01-01T00:00:00Z") && is_zero("0001-01-01T00:00:00.000000Z"));
        assert!(!is_zero("0001-01-01T00:00:01Z") && !is_zero(""));
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        let form = |rest: &str, part: &str| format!(": cannot parse {rest:?} as {part:?}");
        for (text, layout, says) in [
            ("", SECONDS, form("", "2006")),
            ("2022", SECONDS, form("", "-")),
            ("2022-06-23 18:10:50Z", SECONDS, form(" 18:10:50Z", "T")),
            ("2022-06-23T18:10:50", SECONDS, form("", "Z07:00")),
            ("2022-06-23t18:10:50z", SECONDS, form("t18:10:50z", "T")),
            ("2022-06-23T18:10:50z", SECONDS, form("z", "Z07:00")),
            ("2022-06-23T18:10:50*01:00", SECONDS, form("*01:00", "Z07:00")),
            ("2022-06-23T18:10:50.278Z", MICROSECONDS, form(".278Z", ".000000")),
            ("2022-06-23T18:10:50Z", MICROSECONDS, form("Z", ".000000")),
            ("2022-06-23T18:10:50.123456789Z", MICROSECONDS, form("789Z", "Z07:00")),
        ] {
            let error = respelled(text, layout).unwrap_err().to_string();
            assert_eq!(error, format!("parsing time {text:?} as {layout:?}{says}"));
        }
        for (text, says) in [
            ("2022-13-23T18:10:50Z", "month out of range"),
            ("2023-02-29T18:10:50Z", "day out of range"),
            ("2022-06-23T24:10:50Z", "hour out of range"),
            ("2022-06-23T18:10:60Z", "second out of range"),
            ("2022-06-23T18:10:50+25:00", "time zone offset hour out of range"),
            ("2022-06-23T18:10:50Z0", "extra text: \"0\""),
        ] {
            assert_eq!(
                respelled(text, SECONDS).unwrap_err().to_string(),
                format!("parsing time {text:?}: {says}")
            );
        }
    }
}
