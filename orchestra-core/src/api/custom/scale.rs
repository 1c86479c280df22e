//! What the scale of a custom object may say, as the object has it.

use serde_json::Value;

use crate::api::ScalePaths;
use crate::api::field::{Errors, Path, Shown};

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
    if let Some(other) = at(object, selector).filter(|value| !value.is_string() && !value.is_null()) {
        let detail = accessor(selector, other, "string");
        errors.invalid(&Path::new(&format!(".{selector}")), "", detail);
    }
}

fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(object, |value, step| value.get(step))
}

fn check_replicas(object: &Value, path: &str, errors: &mut Errors) {
    let Some(value) = at(object, path) else { return };
    let field = Path::new(&format!(".{path}"));
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
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = Shown::from(found.clone());
    format!(".{path} accessor error: {shown} is of the type {kind}, expected {wanted}")
}
