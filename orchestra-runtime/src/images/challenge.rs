//! What a registry says it wants to be shown: the header `WWW-Authenticate`. Pure.

use std::collections::BTreeMap;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token of whoever is at this address.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Reads a header. `None` for what is not understood.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        let realm = parameters.remove("realm")?;
        Some(Self::Bearer { realm, service: parameters.remove("service"), scope: parameters.remove("scope") })
    }
}

/// `name="value"` or `name=value`, with commas between, some of which are in quotes.
fn parameters(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).trim().to_ascii_lowercase();
        let (value, rest) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => match rest.split_once(',') {
                Some((value, rest)) => (value.trim().to_owned(), rest),
                None => (rest.trim().to_owned(), ""),
            },
        };
        found.insert(name, value);
        text = rest;
    }
    found
}

fn quoted_value(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (place, letter) in text.char_indices() {
        match letter {
            '"' if !escaped => return (value, &text[place + 1..]),
            '\\' if !escaped => escaped = true,
            letter => {
                value.push(letter);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        for (header, read) in [
            (r#"Basic realm="registry""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#,
                bearer("https://auth.example/token", Some("r.example"), Some("repository:a/b:pull,push")),
            ),
            (r#"Bearer  realm=https://a/t , Scope = "x\"y""#, bearer("https://a/t", None, Some("x\"y"))),
            (r#"Bearer service="x""#, None),
            ("Negotiate", None),
            ("", None),
            (r#"Bearer realm="unclosed"#, bearer("unclosed", None, None)),
        ] {
            assert_eq!(Challenge::parse(header), read, "{header}");
        }
    }
}
