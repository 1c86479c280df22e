//! The functions of the language itself: operators, conversions, sizes, optionals.

use std::cmp::Ordering;
use std::rc::Rc;

use super::P::{
    A, Any, Bool, Bytes, Double, Duration, Int, Kind, List, ListA, Map, MapA, OptionalA, Text, Time, Uint,
};
use super::{Function, failed, mismatch, text_at, time};
use crate::expression::cost::{Price, Size};
use crate::expression::error::EvalError;
use crate::expression::special::duration_text;
use crate::expression::value::Val;

type Outcome<'v> = Result<Val<'v>, EvalError>;

const ORDER: &[(&[super::P], super::P)] = &[
    (&[Bool, Bool], Bool),
    (&[Int, Int], Bool),
    (&[Int, Uint], Bool),
    (&[Int, Double], Bool),
    (&[Uint, Int], Bool),
    (&[Uint, Uint], Bool),
    (&[Uint, Double], Bool),
    (&[Double, Int], Bool),
    (&[Double, Uint], Bool),
    (&[Double, Double], Bool),
    (&[Text, Text], Bool),
    (&[Bytes, Bytes], Bool),
    (&[Time, Time], Bool),
    (&[Duration, Duration], Bool),
];
const NUMBERS: &[(&[super::P], super::P)] =
    &[(&[Int, Int], Int), (&[Uint, Uint], Uint), (&[Double, Double], Double)];
const SIZES: &[(&[super::P], super::P)] = &[(&[Text], Int), (&[Bytes], Int), (&[List], Int), (&[Map], Int)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of("_==_", &[(&[A, A], Bool)], |args| Ok(Val::Bool(args[0].equals(&args[1]))))
        .price(Price::Compare),
    Function::of("_!=_", &[(&[A, A], Bool)], |args| Ok(Val::Bool(!args[0].equals(&args[1]))))
        .price(Price::Compare),
    Function::of("_<_", ORDER, |args| order(args, Ordering::is_lt)).price(Price::Compare),
    Function::of("_<=_", ORDER, |args| order(args, Ordering::is_le)).price(Price::Compare),
    Function::of("_>_", ORDER, |args| order(args, Ordering::is_gt)).price(Price::Compare),
    Function::of("_>=_", ORDER, |args| order(args, Ordering::is_ge)).price(Price::Compare),
    Function::of("@in", &[(&[A, ListA], Bool), (&[A, MapA], Bool)], contained).price(Price::Elements(1)),
    Function::of(
        "_+_",
        &[
            (&[Int, Int], Int),
            (&[Uint, Uint], Uint),
            (&[Double, Double], Double),
            (&[Text, Text], Text),
            (&[Bytes, Bytes], Bytes),
            (&[ListA, ListA], ListA),
            (&[Time, Duration], Time),
            (&[Duration, Time], Time),
            (&[Duration, Duration], Duration),
        ],
        add,
    )
    .price(Price::Concat)
    .size(Size::Sum),
    Function::of(
        "_-_",
        &[
            (&[Int, Int], Int),
            (&[Uint, Uint], Uint),
            (&[Double, Double], Double),
            (&[Time, Time], Duration),
            (&[Time, Duration], Time),
            (&[Duration, Duration], Duration),
        ],
        subtract,
    ),
    Function::of("_*_", NUMBERS, |args| {
        arithmetic(args, i64::checked_mul, u64::checked_mul, |one, other| one * other)
    }),
    Function::of("_/_", NUMBERS, divide),
    Function::of("_%_", &[(&[Int, Int], Int), (&[Uint, Uint], Uint)], remainder),
    Function::of("!_", &[(&[Bool], Bool)], |args| {
        args[0].as_bool().map(|value| Val::Bool(!value)).ok_or_else(EvalError::no_overload)
    }),
    Function::of("-_", &[(&[Int], Int), (&[Double], Double)], |args| match &args[0] {
        Val::Int(value) => value.checked_neg().map(Val::Int).ok_or_else(EvalError::overflow),
        Val::Double(value) => Ok(Val::Double(-value)),
        _ => mismatch(),
    }),
    Function::of("size", SIZES, size),
    Function::member("size", SIZES, size),
    Function::of("dyn", &[(&[Any], Any)], |args| Ok(args[0].clone())).size(Size::Like(0)),
    Function::of("type", &[(&[Any], Kind)], |args| Ok(Val::Type(args[0].type_name()))),
    Function::of("bool", &[(&[Bool], Bool), (&[Text], Bool)], to_bool),
    Function::of(
        "int",
        &[(&[Int], Int), (&[Uint], Int), (&[Double], Int), (&[Text], Int), (&[Time], Int)],
        to_int,
    ),
    Function::of("uint", &[(&[Uint], Uint), (&[Int], Uint), (&[Double], Uint), (&[Text], Uint)], to_uint),
    Function::of(
        "double",
        &[(&[Double], Double), (&[Int], Double), (&[Uint], Double), (&[Text], Double)],
        to_double,
    ),
    Function::of(
        "string",
        &[
            (&[Text], Text),
            (&[Bool], Text),
            (&[Int], Text),
            (&[Uint], Text),
            (&[Double], Text),
            (&[Bytes], Text),
            (&[Time], Text),
            (&[Duration], Text),
            (&[super::P::Of(crate::expression::types::Opaque::Ip)], Text),
            (&[super::P::Of(crate::expression::types::Opaque::Cidr)], Text),
            (&[super::P::Of(crate::expression::types::Opaque::Quantity)], Text),
        ],
        |args| to_text(&args[0]).map(Val::text),
    )
    .price(Price::Text(0)),
    Function::of("bytes", &[(&[Bytes], Bytes), (&[Text], Bytes)], |args| match &args[0] {
        Val::Bytes(bytes) => Ok(Val::Bytes(Rc::clone(bytes))),
        other => match other.as_str() {
            Some(text) => Ok(Val::Bytes(text.as_bytes().into())),
            None => mismatch(),
        },
    })
    .price(Price::Text(0))
    .size(Size::Like(0)),
    Function::of("optional.none", &[(&[], OptionalA)], |_| Ok(Val::Optional(None))),
    Function::of("optional.of", &[(&[A], OptionalA)], |args| Ok(Val::some(args[0].clone())))
        .size(Size::Like(0)),
    Function::of("optional.ofNonZeroValue", &[(&[A], OptionalA)], |args| {
        Ok(if is_zero(&args[0]) { Val::Optional(None) } else { Val::some(args[0].clone()) })
    })
    .size(Size::Like(0)),
    Function::member("hasValue", &[(&[OptionalA], Bool)], |args| match &args[0] {
        Val::Optional(value) => Ok(Val::Bool(value.is_some())),
        _ => mismatch(),
    }),
    Function::member("value", &[(&[OptionalA], A)], |args| match &args[0] {
        Val::Optional(Some(value)) => Ok((**value).clone()),
        Val::Optional(None) => failed("optional.none() dereference"),
        _ => mismatch(),
    })
    .size(Size::Like(0)),
    Function::member("or", &[(&[OptionalA, OptionalA], OptionalA)], |args| match &args[0] {
        Val::Optional(Some(_)) => Ok(args[0].clone()),
        Val::Optional(None) => Ok(args[1].clone()),
        _ => mismatch(),
    })
    .size(Size::Sum),
    Function::member("orValue", &[(&[OptionalA, A], A)], |args| match &args[0] {
        Val::Optional(Some(value)) => Ok((**value).clone()),
        Val::Optional(None) => Ok(args[1].clone()),
        _ => mismatch(),
    })
    .size(Size::Sum),
];

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Optional(None) => true,
        Val::Bool(value) => !value,
        Val::Int(value) | Val::Duration(value) => *value == 0,
        Val::Uint(value) => *value == 0,
        Val::Double(value) => *value == 0.0,
        other => other.size() == Some(0),
    }
}

fn order<'v>(args: &[Val<'v>], holds: fn(Ordering) -> bool) -> Outcome<'v> {
    args[0].compare(&args[1]).map(|order| Val::Bool(holds(order))).ok_or_else(EvalError::no_overload)
}

fn contained<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    if let Some(mut elements) = args[1].elements() {
        return Ok(Val::Bool(elements.any(|element| element.equals(&args[0]))));
    }
    match args[1].keys() {
        Some(_) => Ok(Val::Bool(args[1].entry(&args[0]).is_some())),
        None => mismatch(),
    }
}

fn arithmetic<'v>(
    args: &[Val<'v>],
    ints: fn(i64, i64) -> Option<i64>,
    uints: fn(u64, u64) -> Option<u64>,
    doubles: fn(f64, f64) -> f64,
) -> Outcome<'v> {
    match (&args[0], &args[1]) {
        (Val::Int(one), Val::Int(other)) => ints(*one, *other).map(Val::Int).ok_or_else(EvalError::overflow),
        (Val::Uint(one), Val::Uint(other)) => uints(*one, *other)
            .map(Val::Uint)
            .ok_or_else(|| EvalError::Failed("unsigned integer overflow".into())),
        (Val::Double(one), Val::Double(other)) => Ok(Val::Double(doubles(*one, *other))),
        _ => mismatch(),
    }
}

fn add<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    if let (Some(one), Some(other)) = (args[0].as_str(), args[1].as_str()) {
        return Ok(Val::text(format!("{one}{other}")));
    }
    match (&args[0], &args[1]) {
        (Val::Bytes(one), Val::Bytes(other)) => Ok(Val::Bytes([&**one, &**other].concat().into())),
        (Val::JsonList(..) | Val::List(_), Val::JsonList(..) | Val::List(_)) => {
            let all = args.iter().filter_map(Val::elements).flatten();
            Ok(Val::list(all.collect()))
        }
        (Val::Time(time), Val::Duration(by)) | (Val::Duration(by), Val::Time(time)) => {
            time::shifted(*time, *by)
        }
        (Val::Duration(one), Val::Duration(other)) => {
            one.checked_add(*other).map(Val::Duration).ok_or_else(EvalError::overflow)
        }
        _ => arithmetic(args, i64::checked_add, u64::checked_add, |one, other| one + other),
    }
}

fn subtract<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    match (&args[0], &args[1]) {
        (Val::Time(time), Val::Duration(by)) => match by.checked_neg() {
            Some(by) => time::shifted(*time, by),
            None => Err(EvalError::overflow()),
        },
        (Val::Time(one), Val::Time(other)) => {
            let nanos = one.as_nanosecond() - other.as_nanosecond();
            i64::try_from(nanos).map(Val::Duration).map_err(|_| EvalError::overflow())
        }
        (Val::Duration(one), Val::Duration(other)) => {
            one.checked_sub(*other).map(Val::Duration).ok_or_else(EvalError::overflow)
        }
        _ => arithmetic(args, i64::checked_sub, u64::checked_sub, |one, other| one - other),
    }
}

fn divide<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    match &args[1] {
        Val::Int(0) | Val::Uint(0) => failed("division by zero"),
        _ => arithmetic(args, i64::checked_div, u64::checked_div, |one, other| one / other),
    }
}

fn remainder<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    match (&args[0], &args[1]) {
        (_, Val::Int(0) | Val::Uint(0)) => failed("modulus by zero"),
        (Val::Double(_), _) => mismatch(),
        _ => arithmetic(args, i64::checked_rem, u64::checked_rem, |one, other| one % other),
    }
}

fn size<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let size = args[0].size().and_then(|size| i64::try_from(size).ok());
    size.map(Val::Int).ok_or_else(EvalError::no_overload)
}

fn to_bool<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    if let Some(value) = args[0].as_bool() {
        return Ok(Val::Bool(value));
    }
    match text_at(args, 0)? {
        "true" | "True" | "TRUE" | "t" | "1" => Ok(Val::Bool(true)),
        "false" | "False" | "FALSE" | "f" | "0" => Ok(Val::Bool(false)),
        _ => failed("type conversion error from 'string' to 'bool'"),
    }
}

fn to_int<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    match &args[0] {
        Val::Int(value) => Ok(Val::Int(*value)),
        Val::Uint(value) => i64::try_from(*value).map(Val::Int).map_err(|_| EvalError::overflow()),
        Val::Double(value) if value.abs() < 9.2e18 => Ok(Val::Int(*value as i64)),
        Val::Double(_) => Err(EvalError::overflow()),
        Val::Time(time) => Ok(Val::Int(time.as_second())),
        _ => match text_at(args, 0)?.parse() {
            Ok(value) => Ok(Val::Int(value)),
            Err(_) => failed("type conversion error from 'string' to 'int'"),
        },
    }
}

fn to_uint<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    match &args[0] {
        Val::Uint(value) => Ok(Val::Uint(*value)),
        Val::Int(value) => u64::try_from(*value).map(Val::Uint).map_err(|_| EvalError::overflow()),
        Val::Double(value) if (0.0..1.8e19).contains(value) => Ok(Val::Uint(*value as u64)),
        Val::Double(_) => Err(EvalError::overflow()),
        _ => match text_at(args, 0)?.parse() {
            Ok(value) => Ok(Val::Uint(value)),
            Err(_) => failed("type conversion error from 'string' to 'uint'"),
        },
    }
}

fn to_double<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    match &args[0] {
        Val::Double(value) => Ok(Val::Double(*value)),
        Val::Int(value) => Ok(Val::Double(*value as f64)),
        Val::Uint(value) => Ok(Val::Double(*value as f64)),
        _ => match text_at(args, 0)?.parse() {
            Ok(value) => Ok(Val::Double(value)),
            Err(_) => failed("type conversion error from 'string' to 'double'"),
        },
    }
}

/// A value as text.
pub(super) fn to_text(value: &Val<'_>) -> Result<String, EvalError> {
    Ok(match value {
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::Double(value) => value.to_string(),
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Val::Time(time) => time.to_string(),
        Val::Duration(nanos) => duration_text(*nanos),
        Val::Opaque(special) => super::net::special_text(special).ok_or_else(EvalError::no_overload)?,
        other => other.as_str().ok_or_else(EvalError::no_overload)?.to_owned(),
    })
}
