//! YAML as Kubernetes reads and writes it: the JSON that it stands for.
//!
//! What counts as a number or a boolean follows the YAML 1.1 that Kubernetes' own parser speaks: `defaultMode: 0644`
//! is 420, `yes` is true. Keys become text from what they are: `on: 1` has the key `true`, `010: 1` the key `8`. References are followed within bounds, so that a
//! small document cannot become a large one.

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options};

use super::document::{Decoded, FromYaml};

/// As deep as a document may be nested: reading takes up to 17 KB of stack a level in a debug build.
const DEEPEST: usize = 64;
/// As many values as a document may have; one of 3 MiB has fewer.
const MOST_NODES: usize = 2_000_000;
/// As many values as references may add.
const MOST_REPLAYED: usize = 100_000;

/// Why a text is not YAML that stands for JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamlError {
    /// The text is not UTF-8.
    #[error("error converting YAML to JSON: yaml: the text is not UTF-8: {0}")]
    NotText(#[from] std::str::Utf8Error),
    /// It is not YAML, or has no counterpart in JSON, or is made to grow without bounds.
    #[error("error converting YAML to JSON: yaml: {0}")]
    Syntax(String),
    /// There is no document in it.
    #[error("the body of the request has no YAML document")]
    Empty,
    /// The value cannot be written.
    #[error("cannot be written as YAML: {0}")]
    Write(String),
}

/// Reads every document of a text. Empty ones are left out.
///
/// # Errors
/// When the text is not YAML.
pub fn read(text: &[u8]) -> Result<Vec<Value>, YamlError> {
    Ok(documents(text)?.into_iter().map(|document| document.value).collect())
}

/// Writes a value as one document.
///
/// # Errors
/// When the value is nested too deep.
pub fn write(value: &Value) -> Result<String, YamlError> {
    serde_saphyr::to_string(value).map_err(|error| YamlError::Write(error.to_string()))
}

/// Reads the first document of a text, and finds the keys that stand twice in it. What follows is left unread, as
/// Kubernetes leaves it.
pub(crate) fn decode(text: &[u8]) -> Result<Decoded, YamlError> {
    let text = std::str::from_utf8(text)?;
    documents(first(text).as_bytes())?.into_iter().next().ok_or(YamlError::Empty)
}

/// The first document of a text, and what stands before it.
fn first(text: &str) -> &str {
    let (mut begun, mut at) = (false, 0);
    for line in text.split_inclusive('\n') {
        let is_mark = |mark: &str| {
            line.strip_prefix(mark)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        };
        if begun && (is_mark("---") || is_mark("...")) {
            return &text[..at];
        }
        let is_nothing = line.trim().is_empty() || line.starts_with(['#', '%']) || line.trim_end() == "---";
        begun |= !is_nothing;
        at += line.len();
    }
    text
}

fn documents(text: &[u8]) -> Result<Vec<Decoded>, YamlError> {
    let text = std::str::from_utf8(text)?;
    let documents: Vec<FromYaml> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| YamlError::Syntax(said(&error)))?;
    Ok(documents.into_iter().map(|FromYaml(document)| document).collect())
}

/// What is wrong with a text, with its line in front as Kubernetes' parser has it, which says none of the first.
fn said(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let why = message.rfind(" at line ").map_or(&*message, |end| &message[..end]);
    match error.location().map(|location| location.line()) {
        Some(line) if line > 1 => format!("line {line}: {why}"),
        _ => why.to_owned(),
    }
}

/// The line of the first key of a text that stands twice in its map.
pub(crate) fn line_of_repeated(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut strict = options();
    strict.duplicate_keys = DuplicateKeyPolicy::Error;
    let error = serde_saphyr::from_str_with_options::<serde::de::IgnoredAny>(first(text), strict).err()?;
    error.location().map(|location| location.line())
}

fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_events: 2 * MOST_NODES,
            max_nodes: MOST_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_REPLAYED,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        decode(text.as_bytes()).unwrap().value
    }

    #[test]
    fn scalars_are_what_kubernetes_takes_them_for() {
        for (text, value) in [
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("-3", json!(-3)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("010", json!(8)),
            ("y", json!(true)),
            ("0.5", json!(0.5)),
            ("true", json!(true)),
            ("yes", json!(true)),
            ("off", json!(false)),
            ("'yes'", json!("yes")),
            ("\"0644\"", json!("0644")),
            ("~", json!(null)),
            ("null", json!(null)),
            ("", json!(null)),
            ("2020-01-01", json!("2020-01-01")),
            ("1.2.3", json!("1.2.3")),
            ("100m", json!("100m")),
            ("12:30:45", json!("12:30:45")),
            ("|\n  a\n  b\n", json!("a\nb\n")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ] {
            assert_eq!(one(&format!("a: {text}")), json!({"a": value}), "{text}");
        }
    }

    #[test]
    fn keys_become_text_from_what_they_are() {
        for (key, text) in [
            ("80", "80"),
            ("010", "8"),
            ("0x10", "16"),
            ("true", "true"),
            ("on", "true"),
            ("yes", "true"),
            ("y", "true"),
            ("Off", "false"),
            ("'on'", "on"),
            ("\"010\"", "010"),
            ("1.5", "1.5"),
            ("1.0", "1"),
            ("on-call", "on-call"),
        ] {
            assert_eq!(one(&format!("a:\n  {key}: b\n")), json!({"a": {text: "b"}}), "{key}");
        }
    }

    #[test]
    fn keys_that_stand_twice_are_found() {
        let decoded = decode(b"spec:\n  a: 1\n  a: 2\nlist:\n- b: 1\n  b: 2\n").unwrap();
        assert_eq!(decoded.repeated, ["spec.a", "list[0].b"]);
        assert_eq!(decoded.value["spec"]["a"], 2);
        let decoded = decode(b"a: &x {a: 1, b: 2}\nc:\n  <<: *x\n  b: 3\n").unwrap();
        assert_eq!(decoded.repeated, ["c.b"], "through a merge key");
        assert_eq!(decoded.value["c"], json!({"a": 1, "b": 3}));
        assert_eq!(one("<<: [{a: 1}, {b: 2}]\nc: 3\n"), json!({"a": 1, "b": 2, "c": 3}));
        assert!(decode(b"<<: 7\n").is_err());
    }

    #[test]
    fn what_follows_the_first_document_is_left_unread() {
        for text in [
            "kind: A\n---\nkind: B\n",
            "---\nkind: A\n---\n: : not yaml [\n",
            "# first\n\n--- \nkind: A\n...\nrest",
            "kind: A\n--- {kind: B}\n",
            "--- {kind: A}\n---\nkind: B",
        ] {
            assert_eq!(one(text), json!({"kind": "A"}), "{text:?}");
        }
        assert_eq!(one("a: |\n  x\n  ---\n  y\n"), json!({"a": "x\n---\ny\n"}));
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_left_out() {
        let text = b"# first\n---\nkind: A\n---\n---\n# nothing\n---\nkind: B\n...\n";
        assert_eq!(read(text).unwrap(), [json!({"kind": "A"}), json!({"kind": "B"})]);
        assert!(matches!(decode(b""), Err(YamlError::Empty)));
        assert_eq!(
            read(br#"{"kind": "A", "list": [1, 2]}"#).unwrap(),
            [json!({"kind": "A", "list": [1, 2]})]
        );
    }

    #[test]
    fn references_are_followed_but_bombs_are_not() {
        assert_eq!(one("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n")["d"], json!({"b": 1, "e": 2}));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        assert!(matches!(decode(bomb.as_bytes()), Err(YamlError::Syntax(_))));
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        for (text, says) in [
            ("a: 1\n b: 2\n", "yaml: line 2: "),
            // Of the first line it is not said which it is.
            ("a: [1, 2\n", "yaml: unclosed bracket"),
            ("a: *nobody\n", "yaml: "),
            ("a: 1\n\tb: 2\n", "yaml: "),
            (": :\n  - :\n -", "yaml: "),
        ] {
            let error = decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("error converting YAML to JSON: yaml: "), "{error}");
            assert!(error.contains(says) && !error.contains("line 1:"), "{text:?}: {error}");
        }
        assert!(matches!(decode(b"a: \xff"), Err(YamlError::NotText(_))));
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
        assert!(decode("- ".repeat(5_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_written_reads_back() {
        let value =
            json!({"a": "yes", "b": "0644", "c": [1, {"d": null}], "e": "x: y\nz\n", "f": "", "g": 1.5});
        assert_eq!(one(&write(&value).unwrap()), value);
    }
}
