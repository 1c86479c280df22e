//! Reading a request's object strictly: what stands twice and what the kind does not have is found, and said.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::document::{self, Decoded};
use super::patch::mistaken;
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
/// protobuf of a built-in kind. Or when what is read is no object, or says in no text of what kind it is.
pub(crate) fn body(body: Body, kind: &str) -> Result<Decoded, Status> {
    read(body, |why, text| unrecognized(kind, why, text))
}

/// The same of options, of which it is said only why they cannot be read.
///
/// # Errors
/// As for [`body`].
pub(crate) fn options(body: Body) -> Result<Decoded, Status> {
    read(body, |why, _| Status::bad_request(why))
}

fn read(body: Body, unread: impl Fn(&str, &[u8]) -> Status) -> Result<Decoded, Status> {
    #[cfg(test)]
    DECODED.with(|count| count.set(count.get() + 1));
    let (mut decoded, text) = match body {
        Body::Json(text) => {
            let read = syntax::read(&text).map_err(|why| unparsed(&why));
            (read.map_err(|why| unread(&why, &text))?, text)
        }
        Body::Yaml(text) => {
            let read = super::yaml::decode(&text);
            (read.map_err(|error| unread(&error.to_string(), &text))?, text)
        }
        Body::Protobuf(bytes) => (Decoded { value: protobuf::decode(&bytes)?, repeated: Vec::new() }, bytes),
        Body::Value(value) => (Decoded { value, repeated: Vec::new() }, Bytes::new()),
    };
    if decoded.value.is_null() {
        // Nothing is as good as an object without fields.
        decoded.value = Value::Object(Map::new());
    }
    version_and_kind(&decoded.value).map_err(|why| unread(&why, &text))?;
    Ok(decoded)
}

fn unparsed(why: &str) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

/// Whether an object says of which version and kind it is, if it does, in a form that can be read; else what Kubernetes
/// says of it.
pub(super) fn version_and_kind(object: &Value) -> Result<(), String> {
    const HEAD: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let Value::Object(fields) = object else { return Err(unparsed(&mistaken(object, HEAD))) };
    for name in ["apiVersion", "kind"] {
        match fields.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let why = mistaken(other, "string").replace("value of", &format!("struct field .{name} of"));
                return Err(unparsed(&why));
            }
        }
    }
    let version = fields.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    match version.matches('/').count() {
        0 | 1 => Ok(()),
        _ => Err(format!("unexpected GroupVersion string: {version}")),
    }
}

/// What is wrong with the fields of a text, in the order in which they stand in it.
pub(crate) fn faults(text: Option<&[u8]>, unknown: &[String], repeated: &[String]) -> Vec<String> {
    let say_unknown = |path: &String| format!("unknown field \"{path}\"");
    let say_repeated = |path: &String| format!("duplicate field \"{path}\"");
    let Some(text) = text.filter(|_| unknown.len() + repeated.len() > 1) else {
        return unknown.iter().map(say_unknown).chain(repeated.iter().map(say_repeated)).collect();
    };
    // Sets, for there may be as many as fit into a body.
    let set = |paths: &[String]| -> HashSet<String> { paths.iter().cloned().collect() };
    let (unknown, repeated) = (set(unknown), set(repeated));
    let (mut seen, mut said) = (HashSet::new(), Vec::new());
    for path in document::keys(text) {
        if unknown.contains(&path) {
            said.push(say_unknown(&path));
        } else if seen.contains(&path) && repeated.contains(&path) {
            said.push(say_repeated(&path));
        }
        seen.insert(path);
    }
    let mut told = HashSet::new();
    said.retain(|fault| told.insert(fault.clone()));
    said
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
pub(super) fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
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

    /// Each is looked up once: with one scan of the others for each, this would take minutes.
    #[test]
    fn a_body_may_have_any_number_of_faults() {
        let names = Vec::from_iter((0..100_000).map(|number| format!("f{number}")));
        let fields: Vec<String> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let text = format!("{{{0},{0}}}", fields.join(","));
        let said = faults(Some(text.as_bytes()), &names, &names);
        assert_eq!((said.len(), said[99_999].as_str()), (100_000, "unknown field \"f99999\""));
        assert_eq!(faults(Some(text.as_bytes()), &[], &names)[99_999], "duplicate field \"f99999\"");
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
}
