//! Reading a request's object strictly: what stands twice and what the kind does not have is found, and said.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::{Body, Status, protobuf};

/// A JSON value, and the paths of the keys that stood twice in it. The last of two wins.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) repeated: Vec<String>,
}

#[cfg(test)]
thread_local! {
    /// How often this thread has decoded bodies, for tests of what a write costs.
    pub(crate) static DECODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Reads an object that is to be of a kind, in whichever form it came.
///
/// # Errors
/// When it cannot be read: as JSON, UTF-8 and not nested deeper than any object is; as YAML of one document; as the
/// protobuf of a built-in kind.
pub(crate) fn body(body: Body, kind: &str) -> Result<Decoded, Status> {
    #[cfg(test)]
    DECODED.with(|count| count.set(count.get() + 1));
    match body {
        Body::Json(text) => serde_json::from_slice(&text).map_err(|error| {
            let why = match error.classify() {
                Category::Eof => "unexpected end of JSON input".to_owned(),
                _ => error.to_string(),
            };
            let why = format!("couldn't get version/kind; json parse error: {why}");
            unrecognized(kind, &why, &text)
        }),
        Body::Yaml(text) => {
            super::yaml::decode(&text).map_err(|error| unrecognized(kind, &error.to_string(), &text))
        }
        Body::Protobuf(bytes) => Ok(Decoded { value: protobuf::decode(&bytes)?, repeated: Vec::new() }),
        Body::Value(value) => Ok(Decoded { value, repeated: Vec::new() }),
    }
}

/// What Kubernetes says of a body in which it finds no kind, with the beginning of the body: as text, if it looks
/// like JSON.
fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    const SHOWN: usize = 30;
    let beginning = &body[..body.len().min(SHOWN)];
    let mut summary = match beginning.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(beginning).into_owned(),
        Some(_) => beginning.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN {
        summary.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let repeated = RefCell::default();
        let value = Strict { path: String::new(), repeated: &repeated }.deserialize(deserializer)?;
        Ok(Self { value, repeated: repeated.into_inner() })
    }
}

struct Strict<'r> {
    path: String,
    repeated: &'r RefCell<Vec<String>>,
}

impl Strict<'_> {
    fn below(&self, step: fmt::Arguments<'_>) -> Self {
        Self { path: format!("{}{step}", self.path), repeated: self.repeated }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a JSON number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(self.below(format_args!("[{}]", list.len())))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let dot = if self.path.is_empty() { "" } else { "." };
            let below = self.below(format_args!("{dot}{key}"));
            let path = below.path.clone();
            let value = map.next_value_seed(below)?;
            if fields.insert(key, value).is_some() {
                self.repeated.borrow_mut().push(path);
            }
        }
        Ok(Value::Object(fields))
    }
}

/// Removes the fields of these paths, as `serde_ignored` writes them: steps joined by dots, `?` for an option.
pub(crate) fn prune(object: &mut Value, unknown: &[String]) {
    for path in unknown {
        let steps: Vec<&str> = path.split('.').filter(|step| *step != "?").collect();
        remove(object, &steps);
    }
}

fn remove(value: &mut Value, steps: &[&str]) {
    match (value, steps) {
        (Value::Object(fields), [last]) => {
            fields.remove(*last);
        }
        // Keys may have dots in them, so the longest key that fits is taken.
        (Value::Object(fields), steps) => {
            for taken in 1..=steps.len() {
                let key = steps[..taken].join(".");
                if taken == steps.len() {
                    fields.remove(&key);
                } else if let Some(inner) = fields.get_mut(&key) {
                    return remove(inner, &steps[taken..]);
                }
            }
        }
        (Value::Array(items), [index, rest @ ..]) => {
            if let Some(item) = index.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

/// A path of `serde_ignored` as Kubernetes writes it: `spec.containers[0].imagee`.
pub(crate) fn readable(path: &str) -> String {
    let mut out = String::new();
    for step in path.split('.').filter(|step| *step != "?") {
        if step.bytes().all(|byte| byte.is_ascii_digit()) && !step.is_empty() {
            out.push_str(&format!("[{step}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(step);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &[u8]) -> Result<Decoded, Status> {
        body(Body::Json(text.to_vec().into()), "Pod")
    }

    #[test]
    fn repeated_keys_are_named_and_the_last_wins() {
        let read = json(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":3}]}"#).unwrap();
        assert_eq!(read.value, serde_json::json!({"a": {"b": 2}, "c": [{"d": 3}]}));
        assert_eq!(read.repeated, ["a.b", "c[0].d"]);
    }

    #[test]
    fn what_is_not_json_is_a_bad_request() {
        let deep = "[".repeat(1000);
        for text in [&b"{"[..], b"\xff", b"{} {}", b"", deep.as_bytes()] {
            assert_eq!(json(text).unwrap_err().code(), 400);
        }
        let message = |text: &[u8]| json(text).unwrap_err().message().to_owned();
        let cut = "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse \
                   error: unexpected end of JSON input";
        assert_eq!(message(b""), format!("{cut} (<empty>)"));
        assert_eq!(message(b"{"), format!("{cut} ({{)"));
        assert_eq!(message(b"[["), format!("{cut} (5b5b)"));
        assert!(message(deep.as_bytes()).ends_with(&format!("({} ...)", "5b".repeat(30))));
    }

    #[test]
    fn unknown_fields_are_pruned_and_named() {
        let mut object =
            serde_json::json!({"spec": {"x": 1, "list": [{"y": 1, "z": 2}], "m": {"a.b": {"c": 1}}}});
        let unknown = ["spec.?.x", "spec.?.list.?.0.y", "spec.m.a.b.c"].map(String::from);
        prune(&mut object, &unknown);
        assert_eq!(object, serde_json::json!({"spec": {"list": [{"z": 2}], "m": {"a.b": {}}}}));
        assert_eq!(readable(&unknown[1]), "spec.list[0].y");
    }
}
