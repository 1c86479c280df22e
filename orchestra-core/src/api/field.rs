//! What is wrong with which field of an object: paths, and errors in the words of Kubernetes' field validation.

use std::collections::HashSet;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use serde_json::Value;
use smallvec::SmallVec;

/// The path of a field, such as `spec.containers[0].name` or `metadata.labels[app]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(SmallVec<[u8; INLINE]>);

/// How long a path may be before it is kept elsewhere. Each field that is validated has a path, wrong or not, and nearly all
/// are shorter.
const INLINE: usize = 96;

const DIGITS: &str = "0123456789";

impl Path {
    /// A field of the object itself.
    pub fn new(field: &str) -> Self {
        Self(SmallVec::from_slice(field.as_bytes()))
    }

    /// The object as a whole.
    pub fn root() -> Self {
        Self(SmallVec::new())
    }

    /// A field within this one. It may be several steps, as in `child("spec.replicas")`.
    #[must_use]
    pub fn child(&self, field: &str) -> Self {
        if self.0.is_empty() { Self::new(field) } else { self.with(b".", field, b"") }
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        match DIGITS.get(index..=index) {
            Some(digit) => self.key(digit),
            None => self.key(&index.to_string()),
        }
    }

    /// A value of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(b"[", key, b"]")
    }

    fn with(&self, before: &[u8], step: &str, after: &[u8]) -> Self {
        let parts = [&*self.0, before, step.as_bytes(), after];
        let length = parts.iter().map(|part| part.len()).sum();
        if length > INLINE {
            return Self(parts.concat().into());
        }
        // Put together in place: a validation makes a hundred paths, and next to none of them is told to anybody.
        let (mut text, mut end) = ([0; INLINE], 0);
        for part in parts {
            text[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Self(SmallVec::from_buf_and_len(text, length))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was put together of texts")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { self.as_str() })
    }
}

/// A value as an error shows it: JSON, with the fields of an object in the order in which Kubernetes has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// An object with these fields, in this order.
    pub fn object<'f>(fields: impl IntoIterator<Item = (&'f str, Self)>) -> Self {
        let shown = |value: Self| if value.0.starts_with('"') { for_pages(value.0) } else { value.0 };
        let fields =
            fields.into_iter().map(|(name, value)| format!("{}:{}", Value::from(name), shown(value)));
        Self(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
    }

    /// A list of these.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self(format!("[{}]", items.into_iter().map(|item| item.0).collect::<Vec<_>>().join(",")))
    }
}

impl Shown {
    /// No value: where Kubernetes leaves it out because it may be large.
    pub fn nothing() -> Self {
        Self(String::new())
    }

    /// The value as it stands before what is wrong with it.
    fn before(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("{}: ", self.0) }
    }
}

impl From<Value> for Shown {
    fn from(value: Value) -> Self {
        let text = value.to_string();
        if !value.is_string() {
            return Self(for_pages(text));
        }
        // A text by itself is quoted as Go quotes it, which differs from JSON where there is nothing to see.
        let escaped = text.contains("\\u00") || text.contains('\u{7f}');
        Self(if escaped { quoted(value.as_str().unwrap_or_default()) } else { text })
    }
}

/// JSON in which nothing means anything to a web page, as Go writes it.
fn for_pages(json: String) -> String {
    const MEANINGFUL: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !json.contains(MEANINGFUL) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match MEANINGFUL.contains(&character) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => out.push(character),
        }
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '\u{7}' => out.push_str("\\a"),
            '\u{b}' => out.push_str("\\v"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' => out.extend(['\\', character]),
            '\0'..' ' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which rule a field breaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// It is missing. The text says more, or is empty.
    Required(String),
    /// The value is not one that it may have.
    Invalid(Shown, String),
    /// The same, of a value that is not shown.
    Unfit(String),
    /// The value is of another JSON type, or not of the format that its schema asks for.
    TypeInvalid(Shown, String),
    /// The value is none of those that it may have.
    NotSupported(Shown, Vec<String>),
    /// The same value stands twice. The text says more, or is empty.
    Duplicate(Shown, String),
    /// It may not be set, or not be changed.
    Forbidden(String),
    /// It has more bytes than it may.
    TooLong(usize),
    /// It has more elements (the first number) than it may (the second).
    TooMany(usize, usize),
    /// What it refers to is not there.
    NotFound(Shown),
}

/// One broken rule, at one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The field.
    pub path: Path,
    /// The rule.
    pub problem: Problem,
}

impl Error {
    /// The error as an entry of a `Status`.
    pub fn cause(&self) -> StatusCause {
        let reason = match self.problem {
            Problem::Required(_) => "FieldValueRequired",
            Problem::Invalid(..) | Problem::Unfit(_) => "FieldValueInvalid",
            Problem::TypeInvalid(..) => "FieldValueTypeInvalid",
            Problem::NotSupported(..) => "FieldValueNotSupported",
            Problem::Duplicate(..) => "FieldValueDuplicate",
            Problem::Forbidden(_) => "FieldValueForbidden",
            Problem::TooLong(_) => "FieldValueTooLong",
            Problem::TooMany(..) => "FieldValueTooMany",
            Problem::NotFound(_) => "FieldValueNotFound",
        };
        StatusCause {
            reason: Some(reason.to_owned()),
            message: Some(self.problem.to_string()),
            field: Some(self.path.to_string()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required(detail) if detail.is_empty() => f.write_str("Required value"),
            Self::Required(detail) => write!(f, "Required value: {detail}"),
            Self::Invalid(value, detail) if detail.is_empty() => write!(f, "Invalid value: {value}"),
            Self::Unfit(detail) => write!(f, "Invalid value: {detail}"),
            Self::Invalid(value, detail) | Self::TypeInvalid(value, detail) => {
                write!(f, "Invalid value: {}{detail}", value.before())
            }
            Self::NotSupported(value, supported) => {
                write!(f, "Unsupported value: {value}")?;
                let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
                if quoted.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": supported values: {}", quoted.join(", "))
                }
            }
            Self::Duplicate(value, detail) if *value == Shown::nothing() && detail.is_empty() => {
                f.write_str("Duplicate value")
            }
            Self::Duplicate(value, detail) if detail.is_empty() => write!(f, "Duplicate value: {value}"),
            Self::Duplicate(value, detail) => write!(f, "Duplicate value: {value}: {detail}"),
            Self::Forbidden(detail) => write!(f, "Forbidden: {detail}"),
            Self::TooLong(1) => write!(f, "Too long: may not be more than 1 byte"),
            Self::TooLong(most) => write!(f, "Too long: may not be more than {most} bytes"),
            Self::TooMany(actual, most) => write!(f, "Too many: {actual}: must have at most {most} items"),
            Self::NotFound(value) => write!(f, "Not found: {value}"),
        }
    }
}

/// All as one text. What is said twice stands there once.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = HashSet::new();
        let list: Vec<String> =
            self.0.iter().map(ToString::to_string).filter(|text| said.insert(text.clone())).collect();
        match &list[..] {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

/// The broken rules of an object, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// No broken rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no rule is broken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The broken rules.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }

    /// The broken rules, to be told otherwise.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Error> {
        self.0.iter_mut()
    }

    /// Takes over the broken rules of others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Puts them into the order of their texts.
    pub fn sort(&mut self) {
        self.0.sort_by_cached_key(ToString::to_string);
    }

    /// Adds a broken rule.
    pub fn push(&mut self, path: &Path, problem: Problem) {
        self.0.push(Error { path: path.clone(), problem });
    }

    /// A field is missing.
    pub fn required(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(path, Problem::Required(detail.into()));
    }

    /// A value is not one that the field may have.
    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.invalid_object(path, value.into().into(), detail);
    }

    /// [`Errors::invalid`] for a value whose fields have an order.
    pub fn invalid_object(&mut self, path: &Path, value: Shown, detail: impl Into<String>) {
        self.push(path, Problem::Invalid(value, detail.into()));
    }

    /// A value, which is not shown, is not one that the field may have.
    pub fn unfit(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(path, Problem::Unfit(detail.into()));
    }

    /// A value is none of those that the field may have. They are listed as they are given: most often in order of the
    /// alphabet, but not always.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let supported = supported.iter().map(ToString::to_string).collect();
        self.push(path, Problem::NotSupported(value.into().into(), supported));
    }

    /// The same value stands twice.
    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(path, Problem::Duplicate(value.into().into(), String::new()));
    }

    /// What the field refers to is not there.
    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(path, Problem::NotFound(value.into().into()));
    }

    /// The field may not be set, or not be changed.
    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(path, Problem::Forbidden(detail.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_kubernetes_prints_them() {
        let mut errors = Errors::new();
        let spec = Path::new("spec");
        errors.required(&spec.child("selector"), "");
        errors.invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0");
        errors.not_supported(&spec.child("restartPolicy"), "Maybe", &["OnFailure", "Always"]);
        errors.duplicate(&spec.child("containers").index(1).child("name"), "web");
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "spec.selector: Required value",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "OnFailure", "Always""#,
                r#"spec.containers[1].name: Duplicate value: "web""#,
            ]
        );
    }
}
