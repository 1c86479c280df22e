//! What the scale of a custom object may say, as the object has it.

use serde_json::Value;

use crate::api::ScalePaths;
use crate::api::field::{Errors, Path};

/// The most replicas that can be asked for.
const MOST: i64 = i32::MAX as i64;

/// Says what is wrong with the replicas that are wanted.
pub(super) fn check_spec(object: &Value, paths: &ScalePaths<impl AsRef<str>>, errors: &mut Errors) {
    check_replicas(object, paths.spec_replicas.as_ref(), errors);
}

/// Says what is wrong with the replicas that there are, and with the selector of them.
pub(super) fn check_status(object: &Value, paths: &ScalePaths<impl AsRef<str>>, errors: &mut Errors) {
    check_replicas(object, paths.status_replicas.as_ref(), errors);
    let selector = paths.selector.as_ref();
    if selector.is_empty() {
        return;
    }
    let detail = match at(object, selector) {
        Ok(None | Some(Value::String(_) | Value::Null)) => return,
        Ok(Some(other)) => accessor(selector, other, "string"),
        Err(why) => why,
    };
    errors.invalid(&Path::new(&format!(".{selector}")), "", detail);
}

/// The value that a path leads to, if there is one.
///
/// # Errors
/// When the path leads through what has no fields, in the words of Kubernetes.
fn at<'v>(object: &'v Value, path: &str) -> Result<Option<&'v Value>, String> {
    let mut value = object;
    let mut passed = 0;
    for step in path.split('.') {
        passed += step.len();
        value = match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(step) {
                Some(value) => value,
                None => return Ok(None),
            },
            other => return Err(accessor(&path[..passed], other, "map[string]interface{}")),
        };
        passed += 1;
    }
    Ok(Some(value))
}

fn check_replicas(object: &Value, path: &str, errors: &mut Errors) {
    let field = Path::new(&format!(".{path}"));
    let value = match at(object, path) {
        Ok(Some(value)) => value,
        Ok(None) => return,
        Err(why) => return errors.invalid(&field, 0, why),
    };
    match value.as_i64() {
        None => errors.invalid(&field, 0, accessor(path, value, "int64")),
        Some(count) if count < 0 => errors.invalid(&field, count, "should be a non-negative integer"),
        Some(count) if count > MOST => {
            errors.invalid(&field, count, format!("should be less than or equal to {MOST}"));
        }
        Some(_) => {}
    }
}

/// What Kubernetes says of a field that is of another type than it looks for.
fn accessor(path: &str, found: &Value, wanted: &str) -> String {
    let kind = match found {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!(".{path} accessor error: {} is of the type {kind}, expected {wanted}", go(found))
}

/// A value as Go prints it.
fn go(value: &Value) -> String {
    let all = |items: Vec<String>| items.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", all(items.iter().map(go).collect())),
        Value::Object(fields) => {
            format!(
                "map[{}]",
                all(fields.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect())
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As kube-apiserver 1.36 was seen to say it.
    #[test]
    fn what_is_no_number_of_replicas_is_told_as_go_prints_it() {
        let paths = ScalePaths {
            spec_replicas: "spec.size",
            status_replicas: "status.n",
            selector: "",
            strict: true,
        };
        for (spec, told) in [
            (json!(1), "1 is of the type int64, expected map[string]interface{}"),
            (json!("bad"), "bad is of the type string, expected map[string]interface{}"),
            (json!({"size": {}}), "map[] is of the type map[string]interface {}, expected int64"),
            (json!({"size": ["a", null]}), "[a <nil>] is of the type []interface {}, expected int64"),
            (json!({"size": "5"}), "5 is of the type string, expected int64"),
        ] {
            let mut errors = Errors::new();
            check_spec(&json!({"spec": spec}), &paths, &mut errors);
            let said = format!("{errors}");
            assert!(said.ends_with(&format!(".spec.size accessor error: {told}")), "{said}");
        }
        for spec in [json!(null), json!({}), json!({"size": 3})] {
            let mut errors = Errors::new();
            check_spec(&json!({"spec": spec}), &paths, &mut errors);
            assert!(errors.is_empty());
        }
    }
}
