//! Amounts of a resource: `500m`, `1.5Gi`, `2e3`.
//!
//! [`Quantity`] is the arithmetic of Kubernetes' `resource.Quantity`. It parses every spelling the API accepts,
//! compares, adds and subtracts without floating point, and prints the canonical spelling. A value is kept to
//! the nano; a finer one is rounded away from zero, so that whoever asks for some of a resource gets some.
//!
//! The schema's own type is a string (`k8s_openapi`'s `Quantity`); this one is what the string means. Validation
//! parses with [`Quantity::parse`] and stores what [`canonicalize`] says; the scheduler and the node agent count
//! with [`Quantity::value`] and [`Quantity::milli_value`].

mod parse;
mod print;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use parse::respelled;
pub use parse::{ParseQuantityError, canonicalize};

/// The finest power of ten that is kept.
const NANO: i32 = -9;

/// The family of suffixes a quantity was written in and is printed in again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n u m k M G T P E`: powers of a thousand, the usual form of processor time.
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`: powers of 1,024, the usual form of memory.
    BinarySi,
    /// `e3`, `E-6`: powers of ten.
    DecimalExponent,
}

/// An exact decimal amount with the [`Format`] it prints in.
///
/// Equality, ordering and hashing go by the amount alone: `1000m == 1`. Magnitudes up to about 10²⁹ are exact to
/// the nano; beyond that 38 significant digits are kept, and the magnitude is bounded only by the exponent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    /// The amount is `mantissa × 10^scale`.
    mantissa: i128,
    /// [`NANO`], or the smallest scale above it at which the mantissa fits: one amount has one representation.
    scale: ScaleAboveNano,
    format: Format,
}

/// A scale stored as its distance from [`NANO`], so that zero is the common case and the default.
type ScaleAboveNano = u32;

impl Quantity {
    /// None of it.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0, format: Format::DecimalSi };

    /// Reads a quantity as the API does.
    ///
    /// # Errors
    /// The text is not of the form `<sign><number><suffix>`, or the suffix is none of Kubernetes'. The error's
    /// text is the one Kubernetes prints.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
        parse::parse(text)
    }

    /// `whole` units, for example bytes or pods.
    pub const fn from_value(whole: i64, format: Format) -> Self {
        Self { mantissa: whole as i128 * 1_000_000_000, scale: 0, format }
    }

    /// `milli` thousandths, for example milli-CPUs.
    pub const fn from_milli(milli: i64, format: Format) -> Self {
        Self { mantissa: milli as i128 * 1_000_000, scale: 0, format }
    }

    /// The suffixes this quantity prints in.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The same amount, printed in another family of suffixes.
    #[must_use]
    pub const fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Whether the amount is nothing.
    pub const fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// Whether the amount is less than nothing.
    pub const fn is_negative(&self) -> bool {
        self.mantissa < 0
    }

    /// Whole units, rounded away from zero; saturates at the bounds of `i64`.
    pub fn value(&self) -> i64 {
        self.scaled_to(0)
    }

    /// Thousandths, rounded away from zero; saturates at the bounds of `i64`.
    pub fn milli_value(&self) -> i64 {
        self.scaled_to(-3)
    }

    /// The nearest floating-point value, for ratios and metrics only.
    pub fn to_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.exponent())
    }

    /// The power of ten the mantissa counts.
    const fn exponent(&self) -> i32 {
        NANO.saturating_add_unsigned(self.scale)
    }

    fn scaled_to(&self, exponent: i32) -> i64 {
        let places = self.exponent() - exponent;
        let scaled = if places >= 0 {
            power_of_ten(places.unsigned_abs()).and_then(|p| self.mantissa.checked_mul(p))
        } else {
            Some(power_of_ten(places.unsigned_abs()).map_or(0, |p| divide_away_from_zero(self.mantissa, p)))
        };
        let saturated = if self.mantissa < 0 { i64::MIN } else { i64::MAX };
        scaled.and_then(|v| i64::try_from(v).ok()).unwrap_or(saturated)
    }

    /// Brings any `mantissa × 10^exponent` into the one representation of that amount.
    fn normalized(mut mantissa: i128, mut exponent: i32, format: Format) -> Self {
        if mantissa == 0 {
            return Self { format, ..Self::ZERO };
        }
        if exponent < NANO {
            let excess = power_of_ten(NANO.abs_diff(exponent));
            let rounded = excess.map_or(mantissa.signum(), |p| divide_away_from_zero(mantissa, p));
            return Self { mantissa: rounded, scale: 0, format };
        }
        while exponent > NANO {
            let Some(wider) = mantissa.checked_mul(10) else { break };
            mantissa = wider;
            exponent -= 1;
        }
        Self { mantissa, scale: exponent.abs_diff(NANO), format }
    }

    /// The sum, at the finer scale that holds it. Digits too small to fit beside a huge amount are rounded away.
    fn plus(self, other: Self, format: Format) -> Self {
        let (low, high) = if self.scale <= other.scale { (self, other) } else { (other, self) };
        if low.scale == high.scale
            && let Some(mantissa) = low.mantissa.checked_add(high.mantissa)
        {
            return Self::normalized(mantissa, low.exponent(), format);
        }
        // One digit of room, so that the sum of two mantissas cannot overflow.
        let exponent = high.exponent().saturating_add(1);
        let places = exponent.abs_diff(low.exponent());
        let small =
            power_of_ten(places).map_or(low.mantissa.signum(), |p| divide_away_from_zero(low.mantissa, p));
        Self::normalized(divide_away_from_zero(high.mantissa, 10) + small, exponent, format)
    }
}

/// 10^`places`, when an `i128` holds it.
fn power_of_ten(places: u32) -> Option<i128> {
    10i128.checked_pow(places)
}

/// `value / divisor` for a positive divisor, rounded away from zero.
const fn divide_away_from_zero(value: i128, divisor: i128) -> i128 {
    let quotient = value / divisor;
    if value % divisor == 0 { quotient } else { quotient + value.signum() }
}

impl Add for Quantity {
    type Output = Self;

    /// Zero takes the other side's format, as in Kubernetes, so that sums start from [`Quantity::ZERO`].
    fn add(self, other: Self) -> Self {
        self.plus(other, if self.is_zero() { other.format } else { self.format })
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { mantissa: self.mantissa.saturating_neg(), ..self }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.mantissa.signum();
        sign.cmp(&other.mantissa.signum()).then_with(|| {
            // A larger scale is only used when the smaller one overflows, so it means a larger magnitude.
            let by_scale = self.scale.cmp(&other.scale);
            let by_scale = if sign < 0 { by_scale.reverse() } else { by_scale };
            by_scale.then(self.mantissa.cmp(&other.mantissa))
        })
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        (self.mantissa, self.scale) == (other.mantissa, other.scale)
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.mantissa, self.scale).hash(state);
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = ParseQuantityError;

    fn try_from(
        quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    ) -> Result<Self, Self::Error> {
        Self::parse(&quantity.0)
    }
}

impl From<Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// A string, or a bare JSON number, which manifests use for whole processors.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(parse::QuantityVisitor)
    }
}
