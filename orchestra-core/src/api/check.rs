//! Checks that many kinds share.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

use super::names;
use crate::api::field::{Errors, Path, Shown};

/// What is said of a field that may never change.
pub(crate) const IMMUTABLE: &str = "field is immutable";
/// What is said of a number below zero.
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";

/// Says each of some faults of a value.
pub(crate) fn say(errors: &mut Errors, path: &Path, value: &str, faults: Vec<String>) {
    for fault in faults {
        errors.invalid(path, value, fault);
    }
}

/// The JSON of a value, for an error to show.
pub(crate) fn shown<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A name that must be there and be a DNS label.
pub(crate) fn required_label(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        errors.required(path, "");
    } else {
        say(errors, path, name, names::label(name));
    }
}

/// A name that must be there and be such as can stand in a URL's path.
pub(crate) fn required_segment(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        errors.required(path, "");
    } else {
        say(errors, path, name, names::path_segment(name));
    }
}

/// A path within a domain, such as `acme.io/foo`.
pub(crate) fn domain_prefixed_path(errors: &mut Errors, path: &Path, text: &str) {
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) =
        text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        errors.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    say(errors, path, domain, names::subdomain(domain));
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(letter);
    if !rest.chars().all(fits) {
        let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(path, rest, detail);
    }
}

/// A number that may not be below zero.
pub(crate) fn not_negative(errors: &mut Errors, path: &Path, number: Option<impl Into<i64>>) {
    if let Some(number) = number.map(Into::into)
        && number < 0
    {
        errors.invalid(path, number, NEGATIVE);
    }
}

/// A number within bounds.
pub(crate) fn within(errors: &mut Errors, path: &Path, number: impl Into<i64>, from: i64, to: i64) {
    let number = number.into();
    if !(from..=to).contains(&number) {
        errors.invalid(path, number, format!("must be between {from} and {to}, inclusive"));
    }
}

/// The number of a port.
pub(crate) fn port_number(errors: &mut Errors, path: &Path, port: i32) {
    within(errors, path, port, 1, 65535);
}

/// A port by number or by name.
pub(crate) fn port(errors: &mut Errors, path: &Path, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => port_number(errors, path, *number),
        IntOrString::String(name) => say(errors, path, name, names::port(name)),
    }
}

/// A text out of a few.
pub(crate) fn one_of(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.required(path, "");
    } else if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// A text out of a few, among which the empty one may not be: a field that is left out is checked elsewhere.
pub(crate) fn supported(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// The protocols of ports.
pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// An IP address. Leading zeros and addresses of version 4 inside version 6 are legal in old objects only.
pub(crate) fn ip(errors: &mut Errors, path: &Path, text: &str) -> Option<IpAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        errors.invalid(path, text, names::NO_ADDRESS);
    }
    parsed
}

/// Labels.
pub(crate) fn labels(errors: &mut Errors, path: &Path, labels: Option<&BTreeMap<String, String>>) {
    for (key, value) in labels.into_iter().flatten() {
        say(errors, path, key, names::qualified(key));
        say(errors, path, value, names::label_value(value));
    }
}

/// A label selector with `matchLabels` and `matchExpressions`.
pub(crate) fn selector(errors: &mut Errors, path: &Path, selector: &LabelSelector) {
    labels(errors, &path.child("matchLabels"), selector.match_labels.as_ref());
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let LabelSelectorRequirement { operator, values, .. } = expression;
        if !operator_values(errors, &path, operator, values.as_deref().unwrap_or_default()) {
            errors.invalid(&path.child("operator"), operator.as_str(), "not a valid selector operator");
        }
        key_and_values(errors, &path, expression);
    }
}

/// The values that an operator of a requirement takes; `false` if there is no such operator.
pub(crate) fn operator_values(errors: &mut Errors, path: &Path, operator: &str, values: &[String]) -> bool {
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => return false,
    }
    true
}

/// The label that a requirement is about, and what it may be.
pub(crate) fn key_and_values(errors: &mut Errors, path: &Path, requirement: &LabelSelectorRequirement) {
    say(errors, &path.child("key"), &requirement.key, names::qualified(&requirement.key));
    for (index, value) in requirement.values.iter().flatten().enumerate() {
        say(errors, &path.child("values").index(index), value, names::label_value(value));
    }
}

/// A selector as errors show it.
pub(crate) fn shown_selector(selector: &LabelSelector) -> Shown {
    let mut fields = Vec::new();
    if let Some(labels) = selector.match_labels.as_ref().filter(|labels| !labels.is_empty()) {
        fields.push(("matchLabels", shown(labels).into()));
    }
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    if !expressions.is_empty() {
        let expressions = expressions.iter().map(|expression| {
            let mut fields = vec![
                ("key", Value::from(expression.key.as_str()).into()),
                ("operator", Value::from(expression.operator.as_str()).into()),
            ];
            if let Some(values) = expression.values.as_ref().filter(|values| !values.is_empty()) {
                fields.push(("values", shown(values).into()));
            }
            Shown::object(fields)
        });
        fields.push(("matchExpressions", Shown::list(expressions)));
    }
    Shown::object(fields)
}

/// A count or a percentage.
pub(crate) fn count_or_percent(errors: &mut Errors, path: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => not_negative(errors, path, Some(*number)),
        IntOrString::String(text) => {
            if percent(value).is_none() {
                errors.invalid(
                    path,
                    text.as_str(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                     '93%', regex used for validation is '[0-9]+%')",
                );
            }
        }
    }
}

/// The number of a percentage; `None` for a count, or for a text that is no percentage.
pub(crate) fn percent(value: &IntOrString) -> Option<u64> {
    let IntOrString::String(text) = value else { return None };
    let digits = text.strip_suffix('%')?;
    let fits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    fits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The number of a count or a percentage; 0 of a text that is neither.
pub(crate) fn amount(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => match percent(value) {
            Some(percent) => i64::try_from(percent).unwrap_or(i64::MAX),
            None => text.parse().unwrap_or_default(),
        },
    }
}

/// A percentage over a hundred, where that makes no sense.
pub(crate) fn at_most_all(errors: &mut Errors, path: &Path, value: &IntOrString) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.invalid(path, shown(value), "must not be greater than 100%");
    }
}

/// A relative path that does not leave the directory it begins in.
pub(crate) fn descending_path(errors: &mut Errors, path: &Path, text: &str) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    no_backsteps(errors, path, text);
}

/// A path without `..` in it.
pub(crate) fn no_backsteps(errors: &mut Errors, path: &Path, text: &str) {
    if text.split('/').any(|step| step == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

/// A range of addresses.
pub(crate) fn cidr(errors: &mut Errors, path: &Path, text: &str) {
    if family_of_cidr(text).is_none() {
        errors.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

/// The family of a range of addresses; `None` of a text that is none.
pub(crate) fn family_of_cidr(text: &str) -> Option<&'static str> {
    let (address, bits) = text.split_once('/')?;
    match (address.parse().ok()?, bits.parse::<u8>().ok()?) {
        (IpAddr::V4(_), 0..=32) => Some("IPv4"),
        (IpAddr::V6(_), 0..=128) => Some("IPv6"),
        _ => None,
    }
}

/// Says of a value that it stood before.
pub(crate) fn unique<'a>(errors: &mut Errors, seen: &mut HashSet<&'a str>, path: &Path, value: &'a str) {
    if !seen.insert(value) {
        errors.duplicate(path, value);
    }
}

/// Says of a value that it may not differ from the old one.
pub(crate) fn unchanged<T: PartialEq + Serialize>(errors: &mut Errors, path: &Path, new: &T, old: &T) {
    if new != old {
        errors.invalid(path, shown(new), IMMUTABLE);
    }
}
