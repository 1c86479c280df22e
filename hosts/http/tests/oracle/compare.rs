//! Two answers, field by field.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

static YEARS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\d+y(\d+d)?$").unwrap());

/// What a pointer leads to. In a list, `type=Ready` finds the element with that value and `#` is the length.
pub fn at<'v>(value: &'v Value, pointer: &str) -> Option<std::borrow::Cow<'v, Value>> {
    use std::borrow::Cow;
    let mut held = Cow::Borrowed(value);
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let count = match &*held {
            Value::Array(items) => Some(items.len()),
            Value::Object(fields) => Some(fields.len()),
            _ => None,
        };
        if step == "#" {
            held = Cow::Owned(count?.into());
            continue;
        }
        held = match held {
            Cow::Borrowed(value) => Cow::Borrowed(child(value, &step)?),
            Cow::Owned(value) => Cow::Owned(child(&value, &step)?.clone()),
        };
    }
    (!held.is_null()).then_some(held)
}

fn child<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    let Value::Array(items) = value else { return value.get(step) };
    if let Some((key, wanted)) = step.split_once('=') {
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return items.iter().find(|item| item.get(key).is_some_and(|held| shown(held) == wanted));
    }
    match step.parse::<i64>().ok()? {
        index @ 0.. => items.get(usize::try_from(index).ok()?),
        index => items.get(items.len().checked_sub(usize::try_from(-index).ok()?)?),
    }
}

/// An answer without what no server need imitate: a diff of Go structs at the end of a message, a cause said twice; and
/// with lists sorted that have no order.
pub fn plain(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, held)| (name.clone(), plain(held, last(name)))).collect()
        }
        Value::Array(items) => {
            let mut plainly: Vec<Value> = items.iter().map(|item| plain(item, key)).collect();
            if UNORDERED.contains(&key) && plainly.first().is_some_and(Value::is_object) {
                plainly.sort_by_cached_key(|item| rank(item, key));
            }
            if key == "causes" {
                plainly.dedup();
            }
            plainly.into()
        }
        // An age of years grows by a day every day, and the answers were recorded on another one.
        Value::String(text) if key == "cells" && YEARS.is_match(text) => "AGE".into(),
        Value::String(text) => text.split("\n@@ ").next().unwrap_or_default().trim_end().into(),
        other => other.clone(),
    }
}

/// Lists whose order means nothing.
const UNORDERED: [&str; 8] = [
    "conditions",
    "causes",
    "managedFields",
    "items",
    "rows",
    "resources",
    "resourceRules",
    "nonResourceRules",
];

fn rank(item: &Value, key: &str) -> String {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let first = match key {
        "managedFields" => {
            return ["manager", "operation", "subresource", "apiVersion"]
                .map(|field| text(&item[field]))
                .join("/");
        }
        "items" | "rows" => {
            let meta = &item["metadata"];
            format!("{}/{}", text(&meta["namespace"]), text(&meta["name"]))
        }
        "conditions" => text(&item["type"]),
        _ => String::new(),
    };
    format!("{first}{item}")
}

/// The last step of a key that is a pointer; the key, if it is none.
pub fn last(key: &str) -> &str {
    if key.starts_with('/') { key.rsplit('/').next().unwrap_or_default() } else { key }
}

/// Each place at which two answers differ, with both values.
pub fn differences(want: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(Some(want), Some(got), String::new(), &mut found);
    found
}

fn walk(want: Option<&Value>, got: Option<&Value>, path: String, found: &mut Vec<String>) {
    match (want, got) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let further = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(further) {
                walk(a.get(key), b.get(key), format!("{path}/{key}"), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                walk(a.get(index), b.get(index), format!("{path}/{index}"), found);
            }
        }
        _ if want == got => {}
        _ => found.push(format!("{path}: {} → {}", shown(want), shown(got))),
    }
}

fn shown(value: Option<&Value>) -> String {
    const WIDTH: usize = 400;
    let text = value.map_or("(absent)".to_owned(), Value::to_string);
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
