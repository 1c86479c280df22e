//! Durations as Go writes them, such as `1h30m` or `1.5s`.

use jiff::SignedDuration;

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The duration of a text; of one that is none, what is wrong with it.
pub(super) fn parse(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (amount, unit, after) = part(rest, text)?;
        total = total.checked_add(amount_in(amount, unit).ok_or_else(invalid)?).ok_or_else(invalid)?;
        rest = after;
    }
    let nanos = i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())?;
    Ok(SignedDuration::from_nanos(nanos))
}

/// The first number of a text, how many nanoseconds its unit has, and what comes after it.
fn part<'t>(rest: &'t str, text: &str) -> Result<(&'t str, i128, &'t str), String> {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let (amount, after) = rest.split_at(rest.find(|letter| !is_number(letter)).unwrap_or(rest.len()));
    if !amount.contains(|letter: char| letter.is_ascii_digit()) {
        return Err(format!("time: invalid duration {text:?}"));
    }
    let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
    if unit.is_empty() {
        return Err(format!("time: missing unit in duration {text:?}"));
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, nanos) = known.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
    Ok((amount, *nanos, after))
}

/// A decimal number of units, in nanoseconds; `None` if it is too large or no number.
fn amount_in(amount: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than these say nothing of a nanosecond.
    let fraction = fraction.get(..fraction.len().min(15))?;
    let parts: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    whole.checked_mul(unit)?.checked_add(parts.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, millis) in
            [("0", 0), ("1h30m", 5_400_000), ("1.5s", 1_500), (".5s", 500), ("-2m", -120_000), ("+1ms", 1)]
        {
            assert_eq!(parse(text), Ok(SignedDuration::from_millis(millis)), "{text}");
        }
        for (text, wanted) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            (".s", "time: invalid duration \".s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
        ] {
            assert_eq!(parse(text), Err(wanted.to_owned()));
        }
    }
}
