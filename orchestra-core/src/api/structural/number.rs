use serde_json::{Number, Value};

use super::outcome::{Outcome, Reason};
use super::{Schema, Spot, Type, Values};

/// Beyond this, not every whole number is a floating-point number.
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

/// Whether a number of JSON is a whole one.
pub(super) fn is_whole(value: f64) -> bool {
    value.is_finite() && value.abs() <= MAX_WHOLE && value.fract() == 0.0
}

/// Whether two values are the same, whichever way their numbers are written.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() != other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        _ => one == other,
    }
}

/// A number as Go prints it.
pub(super) fn go(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

pub(super) fn check(schema: &Schema, values: &Values, given: &Number, at: &Spot<'_>, out: &mut Outcome) {
    check_range(schema, values, given, at, out);
    let whole = given.as_i64().filter(|_| !given.is_f64());
    let float = given.as_f64().unwrap_or(0.0);
    // A bound of a whole number is a whole number too, as Kubernetes has it.
    let bound = |bound: f64| if whole.is_some() { bound.trunc() } else { bound };
    if let Some(factor) = values.multiple_of.filter(|factor| whole.is_some() && factor.trunc() < 1.0) {
        // The factor is made a whole number for a value that is one, and may be none then.
        let (name, factor) = (at.text(), go(factor.trunc()));
        let message = format!("factor MultipleOf declared for {name} must be positive: {factor}");
        out.fault(name, 0.into(), Reason::Other, message);
    }
    let mut say = |what: String| {
        let name = at.text();
        let message = format!("{name} in body should be {what}");
        out.fault(name, Value::Number(given.clone()), Reason::Other, message);
    };
    if let Some(factor) = values.multiple_of.filter(|factor| whole.is_none() || factor.trunc() >= 1.0)
        && !is_multiple(whole, float, factor)
    {
        say(format!("a multiple of {}", go(bound(factor))));
    }
    if let Some(least) = values.minimum.map(bound)
        && (float < least || values.exclusive_minimum && float <= least)
    {
        let or_equal = if values.exclusive_minimum { "" } else { " or equal to" };
        say(format!("greater than{or_equal} {}", go(least)));
    }
    if let Some(most) = values.maximum.map(bound)
        && (float > most || values.exclusive_maximum && float >= most)
    {
        let or_equal = if values.exclusive_maximum { "" } else { " or equal to" };
        say(format!("less than{or_equal} {}", go(most)));
    }
}

fn is_multiple(whole: Option<i64>, float: f64, factor: f64) -> bool {
    match whole {
        Some(value) => value % (factor.trunc() as i64) == 0,
        None if factor <= 0.0 => false,
        None if factor < 1.0 => is_whole(1.0 / factor * float),
        None => is_whole(float / factor),
    }
}

/// A number must be one of the format that its schema names.
fn check_range(schema: &Schema, values: &Values, given: &Number, at: &Spot<'_>, out: &mut Outcome) {
    let (kind, format) = match (&schema.kind, values.format.as_deref()) {
        _ if schema.int_or_string => return,
        (Some(Type::Integer), Some(format @ ("int32" | "int64"))) => ("integer", format),
        (Some(Type::Number), Some("float")) => ("number", "float"),
        (Some(Type::Integer), _) => ("integer", ""),
        _ => return,
    };
    let fits = match format {
        "int32" => {
            given.as_i64().is_some_and(|value| i32::try_from(value).is_ok()) || float_within(given, 31)
        }
        "float" => given.as_f64().is_some_and(|value| value.abs() <= f64::from(f32::MAX)),
        _ => given.as_i64().is_some() || float_within(given, 63),
    };
    if fits {
        return;
    }
    let which =
        if format.is_empty() { " (default format)".to_owned() } else { format!(" with format {format}") };
    let message = format!("Checked value must be of type {kind}{which} in {}", at.text());
    out.fault(String::new(), Value::Null, Reason::Schema, message);
}

/// Whether a number that is written with a point is a whole one of so many bits.
fn float_within(given: &Number, bits: i32) -> bool {
    given.is_f64() && given.as_f64().is_some_and(|value| is_whole(value) && value.abs() < 2_f64.powi(bits))
}
