//! Reading a request's object strictly: what stands twice and what the kind does not have is found, and said.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Body, Status, protobuf};

/// A JSON value, and the paths of the keys that stood twice in it. The last of two wins.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) repeated: Vec<String>,
}

/// Reads an object in whichever form it came.
///
/// # Errors
/// As [`json`], [`yaml`] and [`protobuf::decode`].
pub(crate) fn body(body: Body) -> Result<Decoded, Status> {
    match body {
        Body::Json(text) => json(&text),
        Body::Yaml(text) => yaml(&text),
        Body::Protobuf(bytes) => Ok(Decoded { value: protobuf::decode(&bytes)?, repeated: Vec::new() }),
        Body::Value(value) => Ok(Decoded { value, repeated: Vec::new() }),
    }
}

/// Reads JSON text.
///
/// # Errors
/// When it is not JSON, is not UTF-8, or is nested deeper than any object can be.
pub(crate) fn json(text: &[u8]) -> Result<Decoded, Status> {
    serde_json::from_slice(text)
        .map_err(|error| Status::bad_request(format!("the body of the request is not valid JSON: {error}")))
}

/// Reads YAML text of one document.
///
/// # Errors
/// When it is not YAML of one document.
pub(crate) fn yaml(text: &[u8]) -> Result<Decoded, Status> {
    super::yaml::decode(text).map_err(|error| Status::bad_request(error.to_string()))
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

/// Says of an object that does not fit its kind's type what the type wants, in the form that clients know.
pub(crate) fn mistyped(kind: &str, version: &str, error: &impl fmt::Display, path: &str) -> Status {
    let text = error.to_string();
    let what = match text.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
        Some((found, wanted)) => {
            let found = found.split([' ', '`']).next().unwrap_or_default();
            let found = match found {
                "integer" | "floating" => "number",
                "map" => "object",
                "sequence" => "array",
                "boolean" => "bool",
                other => other,
            };
            let wanted = match wanted {
                "i32" => "int32",
                "i64" => "int64",
                "f64" => "float64",
                "a string" => "string",
                "a boolean" => "bool",
                "a sequence" => "array",
                "a map" => "object",
                other => other.strip_prefix("struct ").unwrap_or(other),
            };
            format!("json: cannot unmarshal {found} into Go struct field {kind}.{path} of type {wanted}")
        }
        None => format!("{path}: {text}"),
    };
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {what}"))
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

    #[test]
    fn a_mistyped_field_is_named_with_what_it_should_be() {
        let status =
            mistyped("Deployment", "v1", &"invalid type: string \"three\", expected i32", "spec.replicas");
        assert_eq!(
            status.message(),
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into \
             Go struct field Deployment.spec.replicas of type int32"
        );
    }
}
