//! [`Quantity`] to its canonical text: no fraction, no digit lost, and the largest suffix that allows both.

use std::fmt;

use super::{Format, NANO, Quantity};

const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        match self.whole_for_binary() {
            Some(whole) => write_binary(f, whole),
            None => self.write_decimal(f),
        }
    }
}

impl Quantity {
    /// The amount in whole units, when it is to be printed in binary and can be without losing anything.
    fn whole_for_binary(&self) -> Option<i128> {
        const UNIT: i128 = 1_000_000_000;
        let exact = self.format == Format::BinarySi && self.scale == 0 && self.mantissa % UNIT == 0;
        let whole = self.mantissa / UNIT;
        (exact && whole.abs() >= 1024).then_some(whole)
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent());
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.saturating_add(1);
        }
        let zeros = exponent.rem_euclid(3) as usize;
        let exponent = exponent.saturating_sub_unsigned(zeros as u32);
        write!(f, "{mantissa}{}", &"00"[..zeros])?;
        let index = (exponent - NANO) as usize / 3;
        match (self.format, DECIMAL_SUFFIXES.get(index)) {
            (Format::DecimalExponent, _) if exponent == 0 => Ok(()),
            (Format::DecimalExponent, _) | (_, None) => write!(f, "e{exponent}"),
            (_, Some(suffix)) => f.write_str(suffix),
        }
    }
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut whole: i128) -> fmt::Result {
    let mut power = 0;
    while whole % 1024 == 0 && power + 1 < BINARY_SUFFIXES.len() {
        whole /= 1024;
        power += 1;
    }
    write!(f, "{whole}{}", BINARY_SUFFIXES[power])
}
