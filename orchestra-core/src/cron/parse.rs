//! From text to schedules.

use std::str::FromStr;

use super::{Fields, InvalidSchedule, Schedule, Times, duration, time_zone};

/// The values of a field, and the names that some of them have.
struct Bounds {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// What a field says: its values, and whether one of them was written as a star.
#[derive(Clone, Copy, Default)]
struct Field {
    bits: u64,
    star: bool,
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        parse(text).map_err(InvalidSchedule)
    }
}

fn parse(text: &str) -> Result<Schedule, String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let named = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="));
    let (zone, rest) = match named {
        None => (None, text),
        Some(named) => {
            // What Kubernetes says of this is how its parser fails.
            let fail = "invalid schedule format: runtime error: slice bounds out of range [:-1]";
            let (zone, rest) = named.split_once(' ').ok_or(fail)?;
            let found = time_zone(zone)
                .ok_or_else(|| format!("provided bad location {zone}: unknown time zone {zone}"))?;
            (Some(found), rest.trim())
        }
    };
    let times = if rest.starts_with('@') { descriptor(rest)? } else { fields(rest)? };
    Ok(Schedule { times, zone })
}

fn descriptor(word: &str) -> Result<Times, String> {
    let usual = match word {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => {
            let Some(text) = other.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {other}"));
            };
            let delay = duration::parse(text)
                .map_err(|error| format!("failed to parse duration {other}: {error}"))?;
            return Ok(Times::Every(jiff::SignedDuration::from_secs(delay.as_secs().max(1))));
        }
    };
    fields(usual)
}

fn fields(text: &str) -> Result<Times, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = words[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", words.len(), words.join(" ")));
    };
    let minute = field(minute, &MINUTES)?.bits;
    let hour = field(hour, &HOURS)?.bits;
    let day = field(day, &DAYS)?;
    let month = field(month, &MONTHS)?.bits;
    let weekday = field(weekday, &WEEKDAYS)?;
    Ok(Times::Fields(Box::new(Fields {
        minute,
        hour,
        day: day.bits,
        month,
        weekday: weekday.bits,
        both_days: day.star || weekday.star,
    })))
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut field = Field::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let Field { bits, star } = range(part, bounds)?;
        field = Field { bits: field.bits | bits, star: field.star || star };
    }
    Ok(field)
}

/// One value, a range of them, or every so many-th.
fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let (ends, step) = match text.split_once('/') {
        None => (text, None),
        Some((ends, step)) => (ends, Some(step)),
    };
    let is_single = !ends.contains('-');
    let low = ends.split('-').next().unwrap_or_default();
    let is_star = matches!(low, "*" | "?");
    let (start, mut end) = if is_star { (bounds.min, bounds.max) } else { limits(ends, text, bounds)? };
    let step = match step {
        None => 1,
        Some(step) if step.contains('/') => return Err(format!("too many slashes: {text}")),
        Some(step) => {
            if is_single {
                end = bounds.max;
            }
            number(step)?
        }
    };
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step_by = usize::try_from(step).unwrap_or(usize::MAX);
    let bits = (start..=end).step_by(step_by).fold(0, |bits, value| bits | 1 << value);
    Ok(Field { bits, star: is_star && step == 1 })
}

/// The two ends of a range, which are the same of a single value.
fn limits(ends: &str, text: &str, bounds: &Bounds) -> Result<(u64, u64), String> {
    let mut parts = ends.split('-');
    let start = value(parts.next().unwrap_or_default(), bounds)?;
    match (parts.next(), parts.next()) {
        (None, _) => Ok((start, start)),
        (Some(end), None) => Ok((start, value(end, bounds)?)),
        _ => Err(format!("too many hyphens: {text}")),
    }
}

fn value(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let named = bounds.names.iter().zip(bounds.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map_or_else(|| number(text), |(_, value)| Ok(value))
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        ));
    }
    let number: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: value out of range")
    })?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_schedule_is_said_in_the_words_that_users_know() {
        let cases = [
            ("", "empty spec string"),
            ("Bad_Name!", "expected exactly 5 fields, found 1: [Bad_Name!]"),
            ("0 3 1 1 *x", "failed to parse int from *x: strconv.Atoi: parsing \"*x\": invalid syntax"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/2/3 * * * *", "too many slashes: */2/3"),
            ("* * * * */-1", "negative number (-1) not allowed: -1"),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value \
                 out of range",
            ),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("TZ=Nowhere 0 0 * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
            ("TZ=UTC", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse::<Schedule>().map_err(|error| error.to_string()), Err(wanted.to_owned()));
        }
        for text in ["? * ? * ?", "0 0 1,15 JAN-mar sun", "5/15 * * * *", "*-5 * * * *", "@every 0.5s"] {
            assert!(text.parse::<Schedule>().is_ok(), "{text}");
        }
    }
}
