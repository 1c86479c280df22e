//! The formats of text that schemas may name, as the API extensions server of Kubernetes checks them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use jiff::civil::Date;
use regex::Regex;

use super::{Schema, Type};
use crate::api::names;
use crate::expression::parse_duration;

const OF_TEXT: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// A pattern of our own, which compiles.
fn own(pattern: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "a pattern of this file: the tests use each of them")]
    Regex::new(pattern).expect("the pattern is one")
}

static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    own(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
});
static CREDIT_CARD: LazyLock<Regex> = LazyLock::new(|| {
    own(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
    )
});
static SSN: LazyLock<Regex> = LazyLock::new(|| own(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static RGB: LazyLock<Regex> = LazyLock::new(|| {
    let part = "[\\t\\n\\x0C\\r ]*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[\\t\\n\\x0C\\r ]*";
    own(&format!(r"^rgb\({part},{part},{part}\)$"))
});
static DURATION: LazyLock<Regex> = LazyLock::new(|| own(r"([0-9]+)[\t\n\x0C\r ]*([A-Za-zµ]+)"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| own(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([zZ]|([+-])([0-9]{2}):([0-9]{2}))$"));

/// A format without its dashes, which say nothing.
fn normal(name: &str) -> String {
    name.replace('-', "")
}

/// Whether a format is looked at, of values that a schema describes. Others are passed over.
pub(super) fn applies(schema: &Schema, name: &str) -> bool {
    match &schema.kind {
        _ if schema.int_or_string => is_of_text(name),
        None => is_of_text(name),
        Some(kind) if kind.is_text() => is_of_text(name),
        Some(Type::Integer) => matches!(name, "int32" | "int64"),
        Some(Type::Number) => matches!(name, "float" | "double"),
        Some(_) => false,
    }
}

/// Whether a format is one of text.
pub(super) fn is_of_text(name: &str) -> bool {
    OF_TEXT.contains(&normal(name).as_str())
}

/// The formats in a schema that are looked at by nobody, in the order in which they stand.
pub fn unrecognized(schema: &Schema, found: &mut Vec<String>) {
    let values = schema.values();
    if let Some(format) = values.format.as_deref().filter(|name| !applies(schema, name)) {
        found.push(format.to_owned());
    }
    let alternatives = [&values.all_of, &values.any_of, &values.one_of].into_iter().flatten();
    let below = schema.items().into_iter().chain(alternatives).chain(values.not.as_deref());
    below.chain(schema.properties.values()).chain(schema.map_values()).for_each(|s| unrecognized(s, found));
}

/// Whether a text is of a format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match normal(format).as_str() {
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => SSN.is_match(text),
        "hexcolor" => is_hex_color(text),
        "rgbcolor" => RGB.is_match(text),
        "byte" => is_base64(text),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => names::label(text).is_empty(),
        "k8slongname" => names::subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What Go's `url.ParseRequestURI` takes: an absolute path, or something after a scheme.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return false;
    }
    let rest = match text.split_once(':') {
        _ if text.starts_with('/') => text,
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ => return false,
    };
    let escapes = rest.split('%').skip(1);
    escapes.into_iter().all(|after| after.get(..2).is_some_and(is_hex))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// One address, with a name before it or not.
fn is_email(text: &str) -> bool {
    let address = match text.trim().strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let atom = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c))
        })
    };
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || atom(local)) && (literal || atom(domain))
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && HOSTNAME.is_match(text) && text.split('.').all(|label| label.len() <= 63)
}

pub(crate) fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    digits && bits.parse::<u16>().is_ok_and(|bits| bits <= most)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, size: usize| {
        let groups: Vec<&str> = text.split(separator).collect();
        let all = groups.iter().all(|group| group.len() == size && is_hex(group));
        all.then_some(groups.len() * size / 2)
    };
    let length =
        [(':', 2), ('-', 2), ('.', 4)].into_iter().find_map(|(separator, size)| groups(separator, size));
    matches!(length, Some(6 | 8 | 20))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let (mut digits, mut rest) = (String::with_capacity(32), text);
    for length in [8, 4, 4, 4, 12] {
        let Some(group) = rest.get(..length).filter(|group| is_hex(group)) else { return false };
        digits.push_str(group);
        rest = &rest[length..];
        if digits.len() < 32 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
    }
    let at = |index: usize| digits.as_bytes().get(index).map(|byte| char::from(byte.to_ascii_lowercase()));
    let variant = match version {
        Some('4' | '5') => at(16).is_some_and(|c| "89ab".contains(c)),
        _ => true,
    };
    rest.is_empty() && version.is_none_or(|version| at(12) == Some(version)) && variant
}

fn isbn_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 10 {
        return false;
    }
    let mut sum = 0;
    for (index, c) in (1..).zip(digits.chars()) {
        match c.to_digit(10) {
            Some(digit) => sum += index * digit,
            None if c == 'X' && index == 10 => sum += 100,
            None => return false,
        }
    }
    sum % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits: Option<Vec<u32>> = isbn_digits(text).chars().map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 13) else { return false };
    let sum: u32 = digits.iter().zip([1, 3].into_iter().cycle()).map(|(digit, factor)| digit * factor).sum();
    sum.is_multiple_of(10)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let mut sum = 0;
    for (index, digit) in digits.chars().rev().filter_map(|c| c.to_digit(10)).enumerate() {
        let value = if index % 2 == 1 { digit * 2 } else { digit };
        sum += if value > 9 { value - 9 } else { value };
    }
    CREDIT_CARD.is_match(&digits) && sum.is_multiple_of(10)
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && is_hex(digits)
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['t', 'T']) else { return false };
    let Some(parts) = TIME.captures(time) else { return false };
    let number = |index: usize| parts.get(index).and_then(|part| part.as_str().parse::<u8>().ok());
    let within = |index: usize, most: u8| number(index).is_none_or(|number| number <= most);
    is_date(date) && within(1, 23) && within(2, 59) && within(3, 59) && within(7, 23) && within(8, 59)
}

/// As Go writes durations, or as Scala does.
fn is_duration(text: &str) -> bool {
    if parse_duration(text).is_some() {
        return true;
    }
    let known = |unit: &str| {
        let unit = unit.to_lowercase();
        let exact = ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"].contains(&unit.as_str());
        let words = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
        exact || words.iter().any(|word| unit.starts_with(word))
    };
    DURATION.captures_iter(text).any(|found| found.get(2).is_some_and(|unit| known(unit.as_str())))
}
