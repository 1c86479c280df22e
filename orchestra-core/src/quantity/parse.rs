//! Text to [`Quantity`].

use super::{Format, NANO, Quantity, divide_away_from_zero, power_of_ten};

/// The letters that may stand in a suffix. Which of their combinations mean something is decided later, because
/// Kubernetes tells the two mistakes apart.
const SUFFIX_LETTERS: &[u8] = b"eEinumkKMGTP";

/// Why a text is not a quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseQuantityError {
    /// The text does not have the form of a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The form is right, but there is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A text taken apart; no part has been looked at beyond which characters it holds.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

/// The spelling the API stores for `text`: the canonical one, except that Kubernetes leaves some spellings as
/// they are written when they could be canonical (`1.234`, `+5`, `1E3`), and clients see that.
///
/// # Errors
/// As [`Quantity::parse`].
pub fn canonicalize(text: &str) -> Result<String, ParseQuantityError> {
    Ok(respelled(text)?.unwrap_or_else(|| text.to_owned()))
}

/// [`canonicalize`], if it gives another text than it is given.
pub(crate) fn respelled(text: &str) -> Result<Option<String>, ParseQuantityError> {
    let quantity = parse(text)?;
    if is_left_as_written(text, quantity) {
        return Ok(None);
    }
    let mut canonical = quantity.to_string();
    if quantity.format == Format::BinarySi && !canonical.ends_with('i') {
        // No binary suffix fits it. Kubernetes stores it without one, reads that as decimal, and answers it so.
        canonical = parse(&canonical)?.to_string();
    }
    Ok((canonical != text).then_some(canonical))
}

fn is_left_as_written(text: &str, quantity: Quantity) -> bool {
    let Ok(parts) = split(text) else { return false };
    let Some((format, exponent)) = interpret(parts.suffix) else { return false };
    let digits = parts.whole.len().max(1) + parts.fraction.len();
    match format {
        Format::BinarySi => {
            let fits = 15 - digits as i64 - i64::from(exponent) * 3 / 10 > 0;
            let last = parts.whole.parse::<i64>().unwrap_or(0);
            fits && parts.fraction.is_empty() && last & 7 != 0
        }
        Format::DecimalSi | Format::DecimalExponent => {
            let scale = i64::from(exponent) - parts.fraction.len() as i64;
            let whole = parts.whole;
            digits <= 18
                && scale >= i64::from(NANO)
                && scale % 3 == 0
                && trailing_zeros(whole, parts.fraction) < 3
                && !whole.is_empty()
                && !quantity.is_zero()
        }
    }
}

/// The zeros at the end of a number, on both sides of its point.
fn trailing_zeros(whole: &str, fraction: &str) -> usize {
    let digits = fraction.bytes().rev().chain(whole.bytes().rev());
    digits.take_while(|digit| *digit == b'0').count()
}

pub(super) fn parse(text: &str) -> Result<Quantity, ParseQuantityError> {
    if text.is_empty() {
        return Err(ParseQuantityError::Format);
    }
    let parts = split(text)?;
    let (format, exponent) = interpret(parts.suffix).ok_or(ParseQuantityError::Suffix)?;
    let magnitude = match format {
        Format::BinarySi => binary(&parts, exponent),
        Format::DecimalSi | Format::DecimalExponent => decimal(&parts, exponent, format),
    };
    Ok(if parts.negative { -magnitude } else { magnitude })
}

fn split(text: &str) -> Result<Parts<'_>, ParseQuantityError> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = leading_digits(unsigned);
    let whole = whole.trim_start_matches('0');
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), leading_digits);
    let letters = suffix.bytes().take_while(|b| SUFFIX_LETTERS.contains(b)).count();
    // The letters are ASCII, so the cut is on a character.
    let power = suffix.get(letters..).unwrap_or_default();
    let power = power.strip_prefix(['-', '+']).unwrap_or(power);
    if !power.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseQuantityError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix })
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The family of a suffix and its exponent, of ten or of two.
fn interpret(suffix: &str) -> Option<(Format, i32)> {
    let known = match suffix {
        "n" => (Format::DecimalSi, -9),
        "u" => (Format::DecimalSi, -6),
        "m" => (Format::DecimalSi, -3),
        "" => (Format::DecimalSi, 0),
        "k" => (Format::DecimalSi, 3),
        "M" => (Format::DecimalSi, 6),
        "G" => (Format::DecimalSi, 9),
        "T" => (Format::DecimalSi, 12),
        "P" => (Format::DecimalSi, 15),
        "E" => (Format::DecimalSi, 18),
        "Ki" => (Format::BinarySi, 10),
        "Mi" => (Format::BinarySi, 20),
        "Gi" => (Format::BinarySi, 30),
        "Ti" => (Format::BinarySi, 40),
        "Pi" => (Format::BinarySi, 50),
        "Ei" => (Format::BinarySi, 60),
        _ => {
            let power = suffix.strip_prefix(['e', 'E'])?;
            return Some((Format::DecimalExponent, power.parse().ok()?));
        }
    };
    Some(known)
}

/// How many digits a mantissa takes in without overflowing.
const DIGITS: usize = 38;

fn decimal(parts: &Parts<'_>, exponent: i32, format: Format) -> Quantity {
    let digits = parts.whole.bytes().chain(parts.fraction.bytes()).map(|b| i128::from(b - b'0'));
    let digits = digits.skip_while(|d| *d == 0);
    let count = digits.clone().count();
    let kept = digits.clone().take(DIGITS).fold(0, |n, d| n * 10 + d);
    let dropped = count.saturating_sub(DIGITS);
    let inexact = digits.skip(DIGITS).any(|d| d != 0);
    let exponent = i64::from(exponent) - parts.fraction.len() as i64 + dropped as i64;
    let exponent = exponent.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    Quantity::normalized(kept + i128::from(inexact), exponent, format)
}

/// Digits after the point that a binary quantity looks at; more could not be multiplied by 2⁶⁰ in an `i128`.
const BINARY_FRACTION_DIGITS: usize = 20;

fn binary(parts: &Parts<'_>, exponent: i32) -> Quantity {
    const MAX: i128 = i64::MAX as i128;
    let factor = 1i128 << exponent;
    let whole = if parts.whole.is_empty() { Some(0) } else { parts.whole.parse::<i64>().ok() };
    let whole = whole.map_or(MAX, |w| (i128::from(w) * factor).min(MAX));
    let nanos = whole * 1_000_000_000 + binary_fraction(parts.fraction, factor);
    let nanos = nanos.min(MAX * 1_000_000_000);
    // Below one unit a binary suffix could not be printed without rounding.
    let format = if nanos > 0 && nanos < 1_000_000_000 { Format::DecimalSi } else { Format::BinarySi };
    Quantity::normalized(nanos, NANO, format)
}

/// Nanos of `0.<fraction> × factor`, rounded up.
fn binary_fraction(fraction: &str, factor: i128) -> i128 {
    let (kept, rest) = fraction.split_at(fraction.len().min(BINARY_FRACTION_DIGITS));
    let digits = kept.bytes().fold(0i128, |n, b| n * 10 + i128::from(b - b'0'));
    let unit = power_of_ten(kept.len() as u32).unwrap_or(1);
    let scaled = digits * factor;
    let sticky = i128::from(rest.bytes().any(|b| b != b'0'));
    scaled / unit * 1_000_000_000 + divide_away_from_zero(scaled % unit * 1_000_000_000 + sticky, unit)
}

/// Reads a quantity from a JSON string or number.
pub(super) struct QuantityVisitor;

impl serde::de::Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a quantity: a string or a number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, whole: i64) -> Result<Quantity, E> {
        Ok(Quantity::from_value(whole, Format::DecimalSi))
    }

    fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Quantity, E> {
        Ok(Quantity::normalized(i128::from(whole), 0, Format::DecimalSi))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Quantity, E> {
        parse(&number.to_string()).map_err(E::custom)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Quantity, E> {
        Ok(Quantity::ZERO)
    }
}
