//! Points and lengths of time.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::P::{Duration, Int, Text, Time};
use super::{Function, failed, mismatch, text_at};
use crate::expression::error::EvalError;
use crate::expression::special::parse_duration;
use crate::expression::value::Val;

type Outcome<'v> = Result<Val<'v>, EvalError>;

const SECOND: i64 = 1_000_000_000;

const PART: &[(&[super::P], super::P)] = &[(&[Time], Int), (&[Time, Text], Int)];
const PART_OF_EITHER: &[(&[super::P], super::P)] =
    &[(&[Time], Int), (&[Time, Text], Int), (&[Duration], Int)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::of("duration", &[(&[Text], Duration), (&[Duration], Duration)], |args| match &args[0] {
        Val::Duration(nanos) => Ok(Val::Duration(*nanos)),
        _ => match parse_duration(text_at(args, 0)?) {
            Some(nanos) => Ok(Val::Duration(nanos)),
            None => failed("type conversion error from 'string' to 'google.protobuf.Duration'"),
        },
    }),
    Function::of("timestamp", &[(&[Text], Time), (&[Time], Time), (&[Int], Time)], |args| match &args[0] {
        Val::Time(time) => Ok(Val::Time(*time)),
        Val::Int(seconds) => match Timestamp::from_second(*seconds) {
            Ok(time) => Ok(Val::Time(time)),
            Err(_) => failed("timestamp overflow"),
        },
        _ => match text_at(args, 0)?.parse() {
            Ok(time) => Ok(Val::Time(time)),
            Err(_) => failed("type conversion error from 'string' to 'google.protobuf.Timestamp'"),
        },
    }),
    Function::member("getFullYear", PART, |args| part(args, |time| time.year().into())),
    Function::member("getMonth", PART, |args| part(args, |time| i64::from(time.month()) - 1)),
    Function::member("getDate", PART, |args| part(args, |time| time.day().into())),
    Function::member("getDayOfMonth", PART, |args| part(args, |time| i64::from(time.day()) - 1)),
    Function::member("getDayOfWeek", PART, |args| {
        part(args, |time| time.weekday().to_sunday_zero_offset().into())
    }),
    Function::member("getDayOfYear", PART, |args| part(args, |time| i64::from(time.day_of_year()) - 1)),
    Function::member("getHours", PART_OF_EITHER, |args| {
        either(args, 3600 * SECOND, |time| time.hour().into())
    }),
    Function::member("getMinutes", PART_OF_EITHER, |args| {
        either(args, 60 * SECOND, |time| time.minute().into())
    }),
    Function::member("getSeconds", PART_OF_EITHER, |args| either(args, SECOND, |time| time.second().into())),
    Function::member("getMilliseconds", PART_OF_EITHER, |args| {
        either(args, 1_000_000, |time| time.millisecond().into())
    }),
];

/// A point in time, later by so many nanoseconds.
pub(super) fn shifted<'v>(time: Timestamp, by: i64) -> Outcome<'v> {
    match time.checked_add(SignedDuration::from_nanos(by)) {
        Ok(time) => Ok(Val::Time(time)),
        Err(_) => failed("timestamp overflow"),
    }
}

fn part<'v>(args: &[Val<'v>], of: fn(&Zoned) -> i64) -> Outcome<'v> {
    let Val::Time(time) = &args[0] else { return mismatch() };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(_) => zone(text_at(args, 1)?)?,
    };
    Ok(Val::Int(of(&time.to_zoned(zone))))
}

fn either<'v>(args: &[Val<'v>], unit: i64, of: fn(&Zoned) -> i64) -> Outcome<'v> {
    match &args[0] {
        Val::Duration(nanos) => Ok(Val::Int(nanos / unit)),
        _ => part(args, of),
    }
}

/// A zone as an offset, such as `+02:00`, or `UTC`. Names of places need a database that is not here.
fn zone(text: &str) -> Result<TimeZone, EvalError> {
    if matches!(text, "UTC" | "" | "Z") {
        return Ok(TimeZone::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let offset = rest.split_once(':').and_then(|(hours, minutes)| {
        let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
        Offset::from_seconds(sign * hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?).ok()
    });
    match offset {
        Some(offset) => Ok(TimeZone::fixed(offset)),
        None => failed(format!("unknown time zone {text}")),
    }
}
