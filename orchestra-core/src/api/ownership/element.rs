//! One step of a path into an object: a field, or an element of a list by its keys, its value or its place.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug)]
pub enum Element<'a> {
    /// A field of an object, or an entry of a map.
    Field(Cow<'a, str>),
    /// The element of a list whose fields have these values, ordered by name.
    Key(Vec<(Cow<'a, str>, Cow<'a, Value>)>),
    /// The element of a set.
    Value(Cow<'a, Value>),
    /// The element at that place.
    Index(i64),
}

/// Why a text is no step of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseElementError {
    /// A later version of Kubernetes may know what it is; it is left out.
    #[error("unknown path element type")]
    Unknown,
    /// It is damaged.
    #[error("{0}")]
    Malformed(String),
}

impl<'a> Element<'a> {
    /// A field of that name.
    pub const fn field(name: &'a str) -> Self {
        Self::Field(Cow::Borrowed(name))
    }

    /// Reads a key of `fieldsV1`, such as `f:spec` or `k:{"name":"web"}`.
    pub fn parse(text: &'a str) -> Result<Self, ParseElementError> {
        let malformed = |why: String| ParseElementError::Malformed(why);
        let rest = match text.as_bytes() {
            [_, b':', ..] => &text[2..],
            [_, _, ..] => return Err(malformed(format!("missing colon: {text}"))),
            _ => return Err(malformed("key must be 2 characters long:".to_owned())),
        };
        let json = |error: serde_json::Error| malformed(error.to_string());
        match text.as_bytes()[0] {
            b'f' => Ok(Self::field(rest)),
            b'v' => Ok(Self::Value(Cow::Owned(serde_json::from_str(rest).map_err(json)?))),
            b'k' => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(json)?;
                let keys = keys.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)));
                Ok(Self::Key(keys.collect()))
            }
            b'i' => rest.parse().map(Self::Index).map_err(|error| malformed(error.to_string())),
            _ => Err(ParseElementError::Unknown),
        }
    }

    /// The same, of nobody else's text.
    pub fn into_owned(self) -> Element<'static> {
        match self {
            Self::Field(name) => Element::Field(Cow::Owned(name.into_owned())),
            Self::Key(keys) => {
                let owned = |(name, value): (Cow<'_, str>, Cow<'_, Value>)| {
                    (Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned()))
                };
                Element::Key(keys.into_iter().map(owned).collect())
            }
            Self::Value(value) => Element::Value(Cow::Owned(value.into_owned())),
            Self::Index(place) => Element::Index(place),
        }
    }

    /// The key of `fieldsV1` that stands for it.
    pub fn to_key(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Key(keys) => {
                let mut out = String::with_capacity(48);
                out.push_str("k:{");
                for (place, (name, value)) in keys.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    push_text(name, &mut out);
                    out.push(':');
                    match value.as_ref() {
                        Value::String(text) => push_text(text, &mut out),
                        value => drop(write!(out, "{value}")),
                    }
                }
                out.push('}');
                out
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(place) => format!("i:{place}"),
        }
    }
}

/// Appends a text as a JSON string.
pub(super) fn push_text(text: &str, out: &mut String) {
    out.push('"');
    push_escaped(text, out);
    out.push('"');
}

/// Appends what a text is within the quotes of a JSON string.
pub(super) fn push_escaped(text: &str, out: &mut String) {
    let mut rest = text;
    // Nearly all that are keys are names, in which nothing needs an escape.
    while let Some(place) = rest.bytes().position(|byte| ESCAPED[usize::from(byte)]) {
        let (plain, from) = rest.split_at(place);
        let (special, after) = from.split_at(1);
        out.push_str(plain);
        match special {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            control => out.push_str(Value::from(control).to_string().trim_matches('"')),
        }
        rest = after;
    }
    out.push_str(rest);
}

/// Whether a JSON string has a byte only escaped.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut control = 0;
    while control < b' ' {
        escaped[control as usize] = true;
        control += 1;
    }
    escaped[b'"' as usize] = true;
    escaped[b'\\' as usize] = true;
    escaped
};

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(ours), Self::Field(theirs)) => ours.cmp(theirs),
            (Self::Key(ours), Self::Key(theirs)) => {
                for ((name, value), (other_name, other_value)) in ours.iter().zip(theirs) {
                    let order = name.cmp(other_name).then_with(|| order(value, other_value));
                    if order.is_ne() {
                        return order;
                    }
                }
                ours.len().cmp(&theirs.len())
            }
            (Self::Value(ours), Self::Value(theirs)) => order(ours, theirs),
            (Self::Index(ours), Self::Index(theirs)) => ours.cmp(theirs),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Element<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element<'_> {}

/// As paths are written in conflicts: `.spec`, `[name="web"]`, `[="a"]`, `[3]`.
impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                for (place, (name, value)) in keys.iter().enumerate() {
                    write!(f, "{}{name}={}", if place == 0 { "[" } else { "," }, value.as_ref())?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={}]", value.as_ref()),
            Self::Index(place) => write!(f, "[{place}]"),
        }
    }
}

/// Whether Kubernetes takes two values for the same: whole numbers and fractions are numbers.
pub(super) fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(_), Value::Number(_)) => order(ours, theirs).is_eq(),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|((ours, mine), (theirs, other))| ours == theirs && same(mine, other))
        }
        _ => ours == theirs,
    }
}

/// The order of Kubernetes: numbers, texts, booleans, lists, maps, null.
fn order(ours: &Value, theirs: &Value) -> Ordering {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differs = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|order| order.is_ne());
            differs.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = a.iter().zip(b);
            let differs = pairs.map(|((a, x), (b, y))| a.cmp(b).then_with(|| order(x, y)));
            differs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(ours).cmp(&rank(theirs)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}
