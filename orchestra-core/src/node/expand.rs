//! `$(NAME)` in commands, arguments and environment values.

/// Replaces each `$(NAME)` that `value` knows. `$$` stands for one `$`; a name that is not known, or a reference that
/// is not closed, stays as it is written.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(&value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_kubernetes_expands() {
        let value = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B" => Some("$(A)".to_owned()),
            "" => Some("empty".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)z", "x1y1z"),
            ("$(B)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$", "$"),
            ("$", "$"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: $5 $(A)", "cost: $5 1"),
            ("ü$(A)ü", "ü1ü"),
            ("$()", "empty"),
        ] {
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_holds_no_dollar_never_changes(text in "[^$]*") {
            proptest::prop_assert_eq!(expand(&text, |_| Some("x".into())), text);
        }

        #[test]
        fn never_panics(text in "[$()ab\u{e9}]*") {
            expand(&text, |name| (name == "a").then(|| "1".into()));
        }
    }
}
