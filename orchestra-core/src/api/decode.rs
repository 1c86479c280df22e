//! Reading a request's object strictly: what stands twice and what the kind does not have is found, and said.

use serde_json::Value;

use super::document::Decoded;
use super::{Body, Reason, Status, protobuf, syntax};

#[cfg(test)]
thread_local! {
    /// How often this thread has decoded bodies, for tests of what a write costs.
    pub(crate) static DECODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Reads an object that is to be of a kind, in whichever form it came.
///
/// # Errors
/// When it cannot be read: as JSON, UTF-8 and not nested deeper than any object is; as YAML, of which the first document is read; as the
/// protobuf of a built-in kind.
pub(crate) fn body(body: Body, kind: &str) -> Result<Decoded, Status> {
    #[cfg(test)]
    DECODED.with(|count| count.set(count.get() + 1));
    match body {
        Body::Json(text) => syntax::read(&text).map_err(|why| {
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

impl From<protobuf::Undecodable> for Status {
    fn from(undecodable: protobuf::Undecodable) -> Self {
        let why = undecodable.to_string();
        match undecodable {
            protobuf::Undecodable::Malformed(_) => Self::bad_request(why),
            protobuf::Undecodable::Unsupported(_) => Self::new(Reason::UnsupportedMediaType, why),
        }
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
