//! Formats of text by name, such as `format.dns1123Label()`.

use super::P::{Of, OptionalFormat, OptionalListText, Text};
use super::{Function, mismatch, text_at};
use crate::expression::cost::Price;
use crate::expression::error::EvalError;
use crate::expression::special::Url;
use crate::expression::types::Opaque;
use crate::expression::value::{Special, Val};

type Outcome<'v> = Result<Val<'v>, EvalError>;

const FORMAT: super::P = Of(Opaque::Format);

/// A row for each format: the function that gives it.
macro_rules! formats {
    ($($name:literal => $full:literal),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];

        pub(super) const FUNCTIONS: &[Function] = &[
            $(Function::of($full, &[(&[], FORMAT)], |_| Ok(Val::special(Special::Format($name)))),)*
            Function::of("format.named", &[(&[Text], OptionalFormat)], |args| {
                let wanted = text_at(args, 0)?;
                let found = NAMES.iter().find(|name| **name == wanted);
                Ok(found.map_or(Val::Optional(None), |name| Val::some(Val::special(Special::Format(name)))))
            }),
            Function::member("validate", &[(&[FORMAT, Text], OptionalListText)], validate).price(Price::Format),
        ];
    };
}

formats! {
    "dns1123Label" => "format.dns1123Label",
    "dns1123LabelPrefix" => "format.dns1123LabelPrefix",
    "dns1123Subdomain" => "format.dns1123Subdomain",
    "dns1123SubdomainPrefix" => "format.dns1123SubdomainPrefix",
    "dns1035Label" => "format.dns1035Label",
    "dns1035LabelPrefix" => "format.dns1035LabelPrefix",
    "qualifiedName" => "format.qualifiedName",
    "labelValue" => "format.labelValue",
    "uri" => "format.uri",
    "uuid" => "format.uuid",
    "byte" => "format.byte",
    "date" => "format.date",
    "datetime" => "format.datetime",
}

fn validate<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let Val::Opaque(special) = &args[0] else { return mismatch() };
    let Special::Format(name) = &**special else { return mismatch() };
    let faults = faults(name, text_at(args, 1)?);
    if faults.is_empty() {
        return Ok(Val::Optional(None));
    }
    Ok(Val::some(Val::list(faults.into_iter().map(Val::text).collect())))
}

/// What is wrong with a text.
fn faults(format: &str, text: &str) -> Vec<String> {
    let prefix = text.strip_suffix('-').map(|stem| format!("{stem}a"));
    let completed = prefix.as_deref().unwrap_or(text);
    let wrong = |fits: bool, why: &str| if fits { Vec::new() } else { vec![why.to_owned()] };
    let label = |text: &str| is_label(text) && text.len() <= 63;
    let subdomain = |text: &str| text.len() <= 253 && text.split('.').all(is_label);
    let label_1035 = |text: &str| label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    match format {
        "dns1123Label" => wrong(label(text), "must be a lowercase RFC 1123 label"),
        "dns1123LabelPrefix" => wrong(label(completed), "must be a lowercase RFC 1123 label"),
        "dns1123Subdomain" => wrong(subdomain(text), "must be a lowercase RFC 1123 subdomain"),
        "dns1123SubdomainPrefix" => wrong(subdomain(completed), "must be a lowercase RFC 1123 subdomain"),
        "dns1035Label" => wrong(label_1035(text), "must be a DNS-1035 label"),
        "dns1035LabelPrefix" => wrong(label_1035(completed), "must be a DNS-1035 label"),
        "qualifiedName" => plain(crate::selector::key_faults(text)),
        "labelValue" => plain(crate::selector::value_faults(text)),
        "uri" => wrong(Url::is_uri(text), "invalid URI"),
        "uuid" => wrong(is_uuid(text), "does not match the UUID format"),
        "byte" => wrong(is_base64(text), "invalid base64"),
        "date" => wrong(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date"),
        "datetime" => wrong(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
        _ => Vec::new(),
    }
}

fn plain(faults: Vec<impl ToString>) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}
