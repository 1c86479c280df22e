//! JSON patch (RFC 6902), as liberal as Kubernetes is: an index may be negative, which counts from the end, or have
//! leading zeros; `replace` may add a field; what is missing equals null.

use serde_json::{Map, Value};

use super::refusal::{Refusal, mistaken, parse};

/// As many operations as one patch may have.
const MOST_OPERATIONS: usize = 10_000;
/// As many bytes as all `copy` operations of one patch may add: without a limit, thirty of them fill any memory.
const MOST_COPIED: usize = 3 << 20;
/// As deep as the outcome may be nested. Operations can build towers that no parser would read back.
const DEEPEST: usize = 100;

/// Why an operation cannot be applied. Kubernetes says no more than that it cannot.
#[derive(Debug)]
struct Failed;

/// Applies a patch.
pub(crate) fn apply(current: Value, patch: &[u8]) -> Result<Value, Refusal> {
    let operations = match parse(patch).map_err(Refusal::undecodable)? {
        Value::Null => Vec::new(),
        Value::Array(operations) => operations,
        other => return Err(Refusal::undecodable(mistaken(&other, "[]handlers.jsonPatchOp"))),
    };
    check_types(&operations)?;
    if operations.len() > MOST_OPERATIONS {
        return Err(Refusal::TooLong { most: MOST_OPERATIONS, count: operations.len() });
    }
    let mut patched = current;
    let mut room = MOST_COPIED;
    for operation in operations {
        let Value::Object(operation) = operation else { return Err(Refusal::Unfit) };
        perform(&mut patched, operation, &mut room).map_err(|Failed| Refusal::Unfit)?;
    }
    if depth(&patched) > DEEPEST {
        return Err(Refusal::Unfit);
    }
    Ok(patched)
}

/// Sees that every operation is one, with text where text has to be.
fn check_types(operations: &[Value]) -> Result<(), Refusal> {
    for operation in operations {
        let Some(fields) = operation.as_object() else {
            return Err(Refusal::undecodable(mistaken(operation, "handlers.jsonPatchOp")));
        };
        for name in ["op", "path", "from"] {
            let given = fields.get(name).filter(|given| !given.is_string() && !given.is_null());
            if let Some(given) = given {
                let why = mistaken(given, "string")
                    .replace("Go value of", &format!("Go struct field jsonPatchOp.{name} of"));
                return Err(Refusal::undecodable(why));
            }
        }
    }
    Ok(())
}

fn perform(document: &mut Value, mut operation: Map<String, Value>, room: &mut usize) -> Result<(), Failed> {
    let value = operation.remove("value");
    let text = |name: &str| operation.get(name).and_then(Value::as_str).ok_or(Failed);
    match text("op")? {
        "add" => add(document, text("path")?, value.unwrap_or_default()),
        "remove" => remove(document, text("path")?).map(drop),
        "replace" => replace(document, text("path")?, value.unwrap_or_default()),
        "move" => {
            let value = remove(document, text("from")?)?;
            add(document, text("path")?, value)
        }
        "copy" => {
            let value = get(document, text("from")?)?.cloned().unwrap_or_default();
            *room = room.checked_sub(size(&value)).ok_or(Failed)?;
            add(document, text("path")?, value)
        }
        "test" => test(document, text("path")?, &value.unwrap_or_default()),
        _ => Err(Failed),
    }
}

/// What holds the last step of a path, and that step.
fn parent<'d>(document: &'d mut Value, path: &str) -> Result<(&'d mut Value, String), Failed> {
    let (within, last) = path.rsplit_once('/').ok_or(Failed)?;
    let mut held = document;
    for step in within.split('/').skip(1).map(decoded) {
        held = match held {
            Value::Object(fields) => fields.get_mut(&step),
            Value::Array(items) => index(&step, items.len()).and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or(Failed)?;
    }
    if held.is_object() || held.is_array() { Ok((held, decoded(last))) } else { Err(Failed) }
}

fn decoded(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The place that a step names in a list of that length.
fn index(step: &str, length: usize) -> Option<usize> {
    let given: i64 = step.parse().ok()?;
    let back = usize::try_from(given.unsigned_abs()).ok()?;
    let at = if given < 0 { length.checked_sub(back)? } else { back };
    (at < length).then_some(at)
}

/// The value at a path; `None` if it is missing from an object.
fn get<'d>(document: &'d mut Value, path: &str) -> Result<Option<&'d Value>, Failed> {
    match parent(document, path)? {
        (Value::Object(fields), last) => Ok(fields.get(&last)),
        (Value::Array(items), last) => index(&last, items.len()).map(|at| items.get(at)).ok_or(Failed),
        _ => Err(Failed),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), Failed> {
    match parent(document, path)? {
        (Value::Object(fields), last) => {
            fields.insert(last, value);
        }
        (Value::Array(items), last) => {
            let at = if last == "-" { items.len() } else { index(&last, items.len() + 1).ok_or(Failed)? };
            items.insert(at, value);
        }
        _ => return Err(Failed),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, Failed> {
    match parent(document, path)? {
        (Value::Object(fields), last) => fields.remove(&last).ok_or(Failed),
        (Value::Array(items), last) => index(&last, items.len()).map(|at| items.remove(at)).ok_or(Failed),
        _ => Err(Failed),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Failed> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err(Failed);
        }
        *document = value;
        return Ok(());
    }
    match parent(document, path)? {
        (Value::Object(fields), last) => {
            fields.insert(last, value);
        }
        (Value::Array(items), last) => {
            let at = index(&last, items.len()).ok_or(Failed)?;
            items[at] = value;
        }
        _ => return Err(Failed),
    }
    Ok(())
}

fn test(document: &mut Value, path: &str, value: &Value) -> Result<(), Failed> {
    let same = if path.is_empty() {
        &*document == value
    } else {
        get(document, path)?.unwrap_or(&Value::Null) == value
    };
    if same { Ok(()) } else { Err(Failed) }
}

/// How many levels of maps and lists there are. The budget of copies keeps this recursion within a thousand.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Roughly the bytes that a value has as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>() + 2
        }
    }
}
