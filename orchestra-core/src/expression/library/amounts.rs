//! Quantities and versions.

use std::cmp::Ordering;

use super::P::{Bool, Double, Int, Of, Text};
use super::{Function, failed, mismatch, text_at};
use crate::expression::cost::Price;
use crate::expression::error::EvalError;
use crate::expression::special::Semver;
use crate::expression::types::Opaque;
use crate::expression::value::{Special, Val};
use crate::quantity::{Format, Quantity};

type Outcome<'v> = Result<Val<'v>, EvalError>;

const QUANTITY: super::P = Of(Opaque::Quantity);
const SEMVER: super::P = Of(Opaque::Semver);
const COMPARED: &[(&[super::P], super::P)] = &[(&[QUANTITY, QUANTITY], Bool), (&[SEMVER, SEMVER], Bool)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of("quantity", &[(&[Text], QUANTITY)], |args| match Quantity::parse(text_at(args, 0)?) {
        Ok(quantity) => Ok(Val::special(Special::Quantity(quantity))),
        Err(error) => failed(error.to_string()),
    })
    .price(Price::Text(0)),
    Function::of("isQuantity", &[(&[Text], Bool)], |args| {
        Ok(Val::Bool(Quantity::parse(text_at(args, 0)?).is_ok()))
    })
    .price(Price::Text(0)),
    Function::member("sign", &[(&[QUANTITY], Int)], |args| {
        let quantity = quantity(&args[0])?;
        Ok(Val::Int(if quantity.is_zero() {
            0
        } else if quantity.is_negative() {
            -1
        } else {
            1
        }))
    }),
    Function::member("isInteger", &[(&[QUANTITY], Bool)], |args| Ok(Val::Bool(whole(&args[0])?.is_some()))),
    Function::member("asInteger", &[(&[QUANTITY], Int)], |args| match whole(&args[0])? {
        Some(value) => Ok(Val::Int(value)),
        None => failed("cannot convert value to integer"),
    }),
    Function::member("asApproximateFloat", &[(&[QUANTITY], Double)], |args| {
        Ok(Val::Double(quantity(&args[0])?.to_f64()))
    }),
    Function::member("add", &[(&[QUANTITY, QUANTITY], QUANTITY), (&[QUANTITY, Int], QUANTITY)], |args| {
        Ok(Val::special(Special::Quantity(quantity(&args[0])? + amount(&args[1])?)))
    }),
    Function::member("sub", &[(&[QUANTITY, QUANTITY], QUANTITY), (&[QUANTITY, Int], QUANTITY)], |args| {
        Ok(Val::special(Special::Quantity(quantity(&args[0])? - amount(&args[1])?)))
    }),
    Function::member("isLessThan", COMPARED, |args| compare(args, Ordering::is_lt)),
    Function::member("isGreaterThan", COMPARED, |args| compare(args, Ordering::is_gt)),
    Function::member("compareTo", &[(&[QUANTITY, QUANTITY], Int), (&[SEMVER, SEMVER], Int)], |args| {
        match order(args) {
            Some(order) => Ok(Val::Int(order as i64)),
            None => mismatch(),
        }
    }),
    Function::of("semver", &[(&[Text], SEMVER), (&[Text, Bool], SEMVER)], |args| {
        match Semver::parse(text_at(args, 0)?, is_loose(args)) {
            Some(version) => Ok(Val::special(Special::Semver(version))),
            None => failed(why_no_version(text_at(args, 0)?)),
        }
    })
    .price(Price::Text(0)),
    Function::of("isSemver", &[(&[Text], Bool), (&[Text, Bool], Bool)], |args| {
        Ok(Val::Bool(Semver::parse(text_at(args, 0)?, is_loose(args)).is_some()))
    })
    .price(Price::Text(0)),
    Function::member("major", &[(&[SEMVER], Int)], |args| number(args, 0)),
    Function::member("minor", &[(&[SEMVER], Int)], |args| number(args, 1)),
    Function::member("patch", &[(&[SEMVER], Int)], |args| number(args, 2)),
];

fn quantity(value: &Val<'_>) -> Result<Quantity, EvalError> {
    match value {
        Val::Opaque(special) => match &**special {
            Special::Quantity(quantity) => Ok(*quantity),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}

fn amount(value: &Val<'_>) -> Result<Quantity, EvalError> {
    match value {
        Val::Int(value) => Ok(Quantity::from_value(*value, Format::DecimalSi)),
        other => quantity(other),
    }
}

/// The quantity as a whole number, if it is one.
fn whole(value: &Val<'_>) -> Result<Option<i64>, EvalError> {
    let quantity = quantity(value)?;
    let whole = quantity.value();
    Ok((Quantity::from_value(whole, quantity.format()) == quantity).then_some(whole))
}

fn order(args: &[Val<'_>]) -> Option<Ordering> {
    let (Val::Opaque(one), Val::Opaque(other)) = (&args[0], &args[1]) else { return None };
    match (&**one, &**other) {
        (Special::Quantity(one), Special::Quantity(other)) => Some(one.cmp(other)),
        (Special::Semver(one), Special::Semver(other)) => Some(one.order(other)),
        _ => None,
    }
}

fn compare<'v>(args: &[Val<'v>], holds: fn(Ordering) -> bool) -> Outcome<'v> {
    match order(args) {
        Some(order) => Ok(Val::Bool(holds(order))),
        None => mismatch(),
    }
}

fn is_loose(args: &[Val<'_>]) -> bool {
    args.get(1).and_then(Val::as_bool) == Some(true)
}

fn number<'v>(args: &[Val<'v>], index: usize) -> Outcome<'v> {
    match &args[0] {
        Val::Opaque(special) => match &**special {
            Special::Semver(version) => {
                Ok(Val::Int(i64::try_from(version.numbers[index]).unwrap_or(i64::MAX)))
            }
            _ => mismatch(),
        },
        _ => mismatch(),
    }
}

/// Why a text is no version, in the words of Kubernetes' library.
fn why_no_version(text: &str) -> String {
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, _] = parts[..] else { return "No Major.Minor.Patch elements found".to_owned() };
    let number = |which: &str, part: &str| {
        if part.is_empty() || part.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Some(format!("Invalid character(s) found in {which} number {part:?}"));
        }
        (part.len() > 1 && part.starts_with('0'))
            .then(|| format!("{which} number must not contain leading zeroes {part:?}"))
    };
    let major = number("major", major).map(|why| why.replacen("major number must", "Major number must", 1));
    let minor =
        || number("minor", minor).map(|why| why.replacen("minor number must", "Minor number must", 1));
    major.or_else(minor).unwrap_or_else(|| format!("invalid semantic version {text:?}"))
}
