//! Functions of text.

use super::P::{Bool, Int, List, ListText, Text};
use super::{Function, failed, int_at, pattern, text_at};
use crate::expression::cost::{Price, Size};
use crate::expression::error::EvalError;
use crate::expression::value::Val;

type Outcome<'v> = Result<Val<'v>, EvalError>;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member("startsWith", &[(&[Text, Text], Bool)], |args| {
        Ok(Val::Bool(text_at(args, 0)?.starts_with(text_at(args, 1)?)))
    })
    .price(Price::Text(1)),
    Function::member("endsWith", &[(&[Text, Text], Bool)], |args| {
        Ok(Val::Bool(text_at(args, 0)?.ends_with(text_at(args, 1)?)))
    })
    .price(Price::Text(1)),
    Function::member("contains", &[(&[Text, Text], Bool)], |args| {
        Ok(Val::Bool(text_at(args, 0)?.contains(text_at(args, 1)?)))
    })
    .price(Price::TextIn),
    Function::member("matches", &[(&[Text, Text], Bool)], matches).price(Price::Pattern),
    Function::of("matches", &[(&[Text, Text], Bool)], matches).price(Price::Pattern),
    Function::member("lowerAscii", &[(&[Text], Text)], |args| {
        Ok(Val::text(text_at(args, 0)?.to_ascii_lowercase()))
    })
    .price(Price::Text(0))
    .size(Size::Like(0)),
    Function::member("upperAscii", &[(&[Text], Text)], |args| {
        Ok(Val::text(text_at(args, 0)?.to_ascii_uppercase()))
    })
    .price(Price::Text(0))
    .size(Size::Like(0)),
    Function::member("trim", &[(&[Text], Text)], |args| Ok(Val::text(text_at(args, 0)?.trim())))
        .price(Price::Text(0))
        .size(Size::Like(0)),
    Function::member("charAt", &[(&[Text, Int], Text)], |args| {
        let (text, at) = (text_at(args, 0)?, int_at(args, 1)?);
        let length = text.chars().count();
        match usize::try_from(at) {
            Ok(at) if at == length => Ok(Val::text("")),
            Ok(at) => match text.chars().nth(at) {
                Some(c) => Ok(Val::text(c.to_string())),
                None => failed(format!("index out of range: {at}")),
            },
            Err(_) => failed(format!("index out of range: {at}")),
        }
    })
    .price(Price::Text(0))
    .size(Size::One),
    Function::member("substring", &[(&[Text, Int], Text), (&[Text, Int, Int], Text)], substring)
        .price(Price::Text(0))
        .size(Size::Like(0)),
    Function::member("replace", &[(&[Text, Text, Text], Text), (&[Text, Text, Text, Int], Text)], replace)
        .price(Price::Rewrite),
    Function::member("split", &[(&[Text, Text], ListText), (&[Text, Text, Int], ListText)], split)
        .price(Price::Rewrite)
        .size(Size::Like(0)),
    Function::member("join", &[(&[ListText], Text), (&[ListText, Text], Text)], join)
        .price(Price::Join)
        .size(Size::Joined),
    Function::member("format", &[(&[Text, List], Text)], format).price(Price::Text(0)),
    Function::of("jsonpatch.escapeKey", &[(&[Text], Text)], |args| {
        Ok(Val::text(text_at(args, 0)?.replace('~', "~0").replace('/', "~1")))
    })
    .price(Price::Text(0)),
    Function::of("strings.quote", &[(&[Text], Text)], |args| {
        Ok(Val::text(format!("{:?}", text_at(args, 0)?)))
    })
    .price(Price::Text(0)),
    Function::member("find", &[(&[Text, Text], Text)], |args| {
        let regex = compiled(text_at(args, 1)?)?;
        Ok(Val::text(regex.find(text_at(args, 0)?).map_or("", |found| found.as_str())))
    })
    .price(Price::Pattern)
    .size(Size::Like(0)),
    Function::member("findAll", &[(&[Text, Text], ListText), (&[Text, Text, Int], ListText)], find_all)
        .price(Price::Pattern)
        .size(Size::Like(0)),
    Function::member(
        "indexOf",
        &[(&[Text, Text], Int), (&[Text, Text, Int], Int), (&[super::P::ListA, super::P::A], Int)],
        |args| index_of(args, false),
    )
    .price(Price::Search),
    Function::member(
        "lastIndexOf",
        &[(&[Text, Text], Int), (&[Text, Text, Int], Int), (&[super::P::ListA, super::P::A], Int)],
        |args| index_of(args, true),
    )
    .price(Price::Search),
];

fn compiled(text: &str) -> Result<regex::Regex, EvalError> {
    pattern::compile(text).map_err(EvalError::Failed)
}

fn matches<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let regex = compiled(text_at(args, 1)?)?;
    Ok(Val::Bool(regex.is_match(text_at(args, 0)?)))
}

fn substring<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let text = text_at(args, 0)?;
    let length = text.chars().count();
    let bound = |index: i64| match usize::try_from(index) {
        Ok(index) if index <= length => Ok(index),
        _ => failed(format!("index out of range: {index}")),
    };
    let from = bound(int_at(args, 1)?)?;
    let to = if args.len() > 2 { bound(int_at(args, 2)?)? } else { length };
    if to < from {
        return failed(format!("invalid substring range. start: {from}, end: {to}"));
    }
    Ok(Val::text(text.chars().skip(from).take(to - from).collect::<String>()))
}

/// What a text may become in a replacement: more would be a bomb.
const MAX_MADE: usize = 4 * 1024 * 1024;

fn replace<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let (text, from, to) = (text_at(args, 0)?, text_at(args, 1)?, text_at(args, 2)?);
    let limit = if args.len() > 3 { int_at(args, 3)? } else { -1 };
    let count = text.matches(from).count().min(usize::try_from(limit).unwrap_or(usize::MAX));
    if text.len().saturating_add(count.saturating_mul(to.len())) > MAX_MADE {
        return failed("the text that a replacement would make is too long");
    }
    Ok(Val::text(text.replacen(from, to, count)))
}

fn split<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let (text, separator) = (text_at(args, 0)?, text_at(args, 1)?);
    let limit = if args.len() > 2 { int_at(args, 2)? } else { -1 };
    let made = |part: &str| Val::text(part);
    let parts: Vec<Val<'v>> = match usize::try_from(limit) {
        Ok(limit) if separator.is_empty() => text.chars().take(limit).map(|c| made(&c.to_string())).collect(),
        Ok(limit) => text.splitn(limit, separator).map(made).collect(),
        Err(_) if separator.is_empty() => text.chars().map(|c| made(&c.to_string())).collect(),
        Err(_) => text.split(separator).map(made).collect(),
    };
    Ok(Val::list(parts))
}

fn join<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let separator = if args.len() > 1 { text_at(args, 1)? } else { "" };
    let mut out = String::new();
    for (index, element) in args[0].elements().ok_or_else(EvalError::no_overload)?.enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(element.as_str().ok_or_else(EvalError::no_overload)?);
        if out.len() > MAX_MADE {
            return failed("the text that is joined is too long");
        }
    }
    Ok(Val::text(out))
}

fn find_all<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let regex = compiled(text_at(args, 1)?)?;
    let limit = if args.len() > 2 { int_at(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = regex.find_iter(text_at(args, 0)?).take(limit);
    Ok(Val::list(found.map(|found| Val::text(found.as_str())).collect()))
}

fn index_of<'v>(args: &[Val<'v>], last: bool) -> Outcome<'v> {
    if let Some(mut elements) = args[0].elements() {
        let is = |element: Val<'v>| element.equals(&args[1]);
        let all: Vec<Val<'v>> = elements.by_ref().collect();
        let mut all = all.into_iter();
        let found = if last { all.rposition(is) } else { all.position(is) };
        return Ok(Val::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)));
    }
    let (text, part) = (text_at(args, 0)?, text_at(args, 1)?);
    let length = text.chars().count();
    let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let offset = match args.get(2) {
        None => None,
        Some(_) => match usize::try_from(int_at(args, 2)?) {
            Ok(offset) if offset <= length => Some(byte(offset)),
            _ => return failed(format!("index out of range: {}", int_at(args, 2)?)),
        },
    };
    let found = match (last, offset) {
        (false, offset) => {
            let from = offset.unwrap_or(0);
            text[from..].find(part).map(|at| at + from)
        }
        (true, None) => text.rfind(part),
        (true, Some(until)) => {
            let until = (until + part.len()).min(text.len());
            text.get(..until).and_then(|text| text.rfind(part))
        }
    };
    let chars = found.map(|at| text[..at].chars().count());
    Ok(Val::Int(chars.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

/// `'%s of %d'.format([…])`.
fn format<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let (template, mut values) = (text_at(args, 0)?, args[1].elements().ok_or_else(EvalError::no_overload)?);
    let (mut out, mut chars) = (String::new(), template.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        let mut clause = chars.next();
        if clause == Some('.') {
            let mut digits = String::new();
            clause = chars.next();
            while let Some(digit) = clause.filter(char::is_ascii_digit) {
                digits.push(digit);
                clause = chars.next();
            }
            precision = digits.parse::<usize>().ok().map(|precision| precision.min(1000));
        }
        let Some(clause) = clause else { return failed("unexpected end of string") };
        if clause == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            return failed("no argument for the clause of a format");
        };
        push_clause(&mut out, clause, precision, &value)?;
        if out.len() > MAX_MADE {
            return failed("the text that a format makes is too long");
        }
    }
    Ok(Val::text(out))
}

fn push_clause(
    out: &mut String,
    clause: char,
    precision: Option<usize>,
    value: &Val<'_>,
) -> Result<(), EvalError> {
    let wrong = || failed(format!("could not convert argument of type {} for %{clause}", value.type_name()));
    let text = match (clause, value) {
        ('s', value) => shown(value),
        ('d', Val::Int(value)) => value.to_string(),
        ('d', Val::Uint(value)) => value.to_string(),
        ('f', Val::Double(value)) => format!("{value:.*}", precision.unwrap_or(6)),
        ('f', Val::Int(value)) => format!("{:.*}", precision.unwrap_or(6), *value as f64),
        ('e', Val::Double(value)) => {
            let text = format!("{value:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        ('b', Val::Int(value)) if *value < 0 => format!("-{:b}", value.unsigned_abs()),
        ('b', Val::Int(value)) => format!("{value:b}"),
        ('b', Val::Uint(value)) => format!("{value:b}"),
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('o', Val::Int(value)) => format!("{value:o}"),
        ('x', Val::Int(value)) => format!("{value:x}"),
        ('X', Val::Int(value)) => format!("{value:X}"),
        ('x', Val::Uint(value)) => format!("{value:x}"),
        ('X', Val::Uint(value)) => format!("{value:X}"),
        ('x' | 'X', value) => {
            let bytes = match value {
                Val::Bytes(bytes) => bytes.to_vec(),
                other => match other.as_str() {
                    Some(text) => text.as_bytes().to_vec(),
                    None => return wrong(),
                },
            };
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if clause == 'X' { digits.to_uppercase() } else { digits }
        }
        ('d' | 'f' | 'e' | 'b' | 'o', _) => return wrong(),
        _ => return failed(format!("unrecognized formatting clause \"{clause}\"")),
    };
    out.push_str(&text);
    Ok(())
}

/// A value as `%s` shows it.
fn shown(value: &Val<'_>) -> String {
    if let Some(elements) = value.elements() {
        let all: Vec<String> = elements.map(|element| shown(&element)).collect();
        return format!("[{}]", all.join(", "));
    }
    if let Some(keys) = value.keys() {
        let entry = |key: &Val<'_>| value.entry(key).map(|of| format!("{}: {}", shown(key), shown(&of)));
        let mut all: Vec<String> = keys.iter().filter_map(entry).collect();
        all.sort();
        return format!("{{{}}}", all.join(", "));
    }
    match value {
        Val::Null => "null".to_owned(),
        Val::Type(name) => (*name).to_owned(),
        other => super::to_text(other).unwrap_or_else(|_| other.type_name().to_owned()),
    }
}
