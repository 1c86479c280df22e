//! What names may look like. Each function says what is wrong with a text, in the API server's words; nothing is
//! wrong with a text for which it says nothing.

use std::net::IpAddr;

use crate::api::NameRule;
use crate::selector::{key_faults, value_faults};

/// What is said of a text that is no IP address.
pub(crate) const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const UNDERSCORED: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";

/// What is wrong with an object's name. A name to be generated from may end with a hyphen.
pub(crate) fn object_name(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    let completed = match name.strip_suffix('-') {
        Some(stem) if prefix => format!("{stem}a"),
        _ => name.to_owned(),
    };
    match rule {
        NameRule::Subdomain => subdomain(&completed),
        // What such a name begins with is not looked at.
        NameRule::LongName if prefix => Vec::new(),
        NameRule::LongName => long_name(&completed),
        NameRule::Label => label(&completed),
        NameRule::Label1035 => label_1035(&completed),
        NameRule::PathSegment => segment(name, prefix),
        NameRule::Address => address(name),
    }
}

/// A DNS label (RFC 1123).
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 63);
    if !is_label(text) {
        faults.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            format!(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                 validation is '{LABEL}')"
            )
        });
    }
    faults
}

/// A DNS label of the older form (RFC 1035), which begins with a letter.
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 63);
    if !is_label(text) || !text.starts_with(|first: char| first.is_ascii_lowercase()) {
        faults.push(format!(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '{LABEL_1035}')"
        ));
    }
    faults
}

/// A DNS subdomain (RFC 1123).
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 253);
    if !is_subdomain(text) {
        faults.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{LABEL}(\\.{LABEL})*')"
        ));
    }
    faults
}

/// A DNS subdomain, whose length is said in bytes.
fn long_name(text: &str) -> Vec<String> {
    subdomain(text).into_iter().map(|fault| fault.replace(" 253 characters", " 253 bytes")).collect()
}

/// A DNS subdomain that may have underscores too, as a search path of a resolver.
pub(crate) fn subdomain_with_underscores(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 253);
    let is_step = |step: &str| {
        let plain = step.strip_prefix('_').unwrap_or(step);
        !plain.starts_with('_') && !plain.ends_with('_') && is_label(&plain.replace('_', "-"))
    };
    if !text.split('.').all(is_step) {
        faults.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{UNDERSCORED}(\\.{UNDERSCORED})*')"
        ));
    }
    faults
}

/// All subdomains of a domain, written with a star.
pub(crate) fn wildcard(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 253);
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        faults.push(format!(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
             of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. \
             '*.example.com', regex used for validation is '\\*\\.{LABEL}(\\.{LABEL})*')"
        ));
    }
    faults
}

/// An IP address, in the one way in which it is to be written.
fn address(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Err(_) => vec![NO_ADDRESS.to_owned()],
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        Ok(address) if address.to_string() != text => {
            vec![format!("must be in canonical form ({:?})", address.to_string())]
        }
        Ok(_) => Vec::new(),
    }
}

/// One step of a URL's path.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    segment(text, false)
}

fn segment(text: &str, prefix: bool) -> Vec<String> {
    if !prefix && (text == "." || text == "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|unfit| text.contains(unfit))
        .map(|unfit| format!("may not contain '{unfit}'"))
        .collect()
}

/// The key of a label, a finalizer, a condition's type: a name with an optional domain before it.
pub(crate) fn qualified(text: &str) -> Vec<String> {
    key_faults(text).iter().map(ToString::to_string).collect()
}

/// The value of a label.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    value_faults(text).iter().map(ToString::to_string).collect()
}

/// The name of an environment variable.
pub(crate) fn environment(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.chars().all(|letter| matches!(letter, ' '..='~') && letter != '=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// The name of a port, as IANA registers them.
pub(crate) fn port(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 15);
    let fits = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-');
    if text.is_empty() || !text.chars().all(fits) {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.contains(|letter: char| letter.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// A key of a ConfigMap or Secret: the name of a file.
pub(crate) fn data_key(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 253);
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(fits) {
        faults.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match text {
        "." => faults.push("must not be '.'".to_owned()),
        ".." => faults.push("must not be '..'".to_owned()),
        text if text.starts_with("..") => faults.push("must not start with '..'".to_owned()),
        _ => {}
    }
    faults
}

/// A name as a program in C could have it.
pub(crate) fn c_identifier(text: &str) -> Vec<String> {
    let letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    if text.starts_with(letter) && text.chars().all(|each| letter(each) || each.is_ascii_digit()) {
        return Vec::new();
    }
    vec![
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is \
         '[A-Za-z_][A-Za-z0-9_]*')"
            .to_owned(),
    ]
}

/// The name of an HTTP header.
pub(crate) fn header(text: &str) -> Vec<String> {
    if !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-') {
        return Vec::new();
    }
    vec![
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
         validation is '[-A-Za-z0-9]+')"
            .to_owned(),
    ]
}

fn too_long(text: &str, most: usize) -> Vec<String> {
    if text.len() > most { vec![format!("must be no more than {most} characters")] } else { Vec::new() }
}

fn is_label(text: &str) -> bool {
    let edge = |letter: Option<&u8>| letter.is_some_and(|l| l.is_ascii_lowercase() || l.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|l| edge(Some(l)) || *l == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_good_from_bad() {
        type Rule = fn(&str) -> Vec<String>;
        let cases: [(&str, Rule, &[&str], &[&str]); 10] = [
            ("label", label, &["a", "1a", "a-b"], &["", "-a", "a-", "A", "a_b", "a.b"]),
            ("1035", label_1035, &["a", "a1"], &["1a", "", "a."]),
            ("subdomain", subdomain, &["a.b", "a"], &["", "a..b", ".a", "a.-b", "ü"]),
            ("port", port, &["http", "a1", "1-a"], &["", "HTTP", "80", "a--b", "-a", "aaaaaaaaaaaaaaaa"]),
            ("data key", data_key, &["a.b", ".a", "A_b-c"], &["", ".", "..", "..a", "a/b"]),
            ("environment", environment, &["A", "a.b", "1x", "a b"], &["", "a=b", "ä", "a\n"]),
            ("header", header, &["X-A"], &["", "a b"]),
            ("qualified", qualified, &["a", "a.b/c"], &["", "a/", "/a", "a/b/c"]),
            ("wildcard", wildcard, &["*.a", "*.a.b"], &["", "*", "a.*", "*.*.a", "*a.b"]),
            (
                "address",
                address,
                &["10.0.0.1", "2001:db8::1"],
                &["", "a", "010.0.0.1", "2001:DB8::1", "::ffff:1.2.3.4"],
            ),
        ];
        for (what, rule, good, bad) in cases {
            for text in good {
                assert_eq!(rule(text), Vec::<String>::new(), "{what} {text:?}");
            }
            for text in bad {
                assert_ne!(rule(text), Vec::<String>::new(), "{what} {text:?}");
            }
        }
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
    }

    #[test]
    fn a_prefix_may_end_with_a_hyphen() {
        assert!(object_name(NameRule::Subdomain, "web-", true).is_empty());
        assert!(!object_name(NameRule::Subdomain, "web-", false).is_empty());
        assert!(!object_name(NameRule::Subdomain, "Web.", true).is_empty());
        assert!(object_name(NameRule::LongName, "Web.", true).is_empty());
        assert!(!object_name(NameRule::LongName, "Web.", false).is_empty());
        assert!(object_name(NameRule::PathSegment, "System:Web", false).is_empty());
        assert_eq!(object_name(NameRule::PathSegment, "a/b%", false).len(), 2);
    }
}
