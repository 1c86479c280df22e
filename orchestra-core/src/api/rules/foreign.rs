//! Reading objects strictly whose types are not Kubernetes' own: the types themselves are asked what they know.

use serde_json::Value;

use crate::api::mistyped::{self, Refusal, Step};
use crate::meta::Object;

/// Drops the fields of an object that its type does not read, and names them as a user would.
///
/// # Errors
/// What is mistyped, in the words of Go's decoder as far as the type gives them.
pub(super) fn fit<K: Object>(object: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    let decoded: Result<K, _> = serde_ignored::deserialize(&*object, |path| {
        let path = path.to_string();
        // Every object has these, also of a type that has no fields for them.
        if !matches!(path.as_str(), "apiVersion" | "kind") {
            unknown.push(path);
        }
    });
    match decoded {
        Ok(_) => {
            prune(object, &unknown);
            Ok(unknown.iter().map(|path| readable(path)).collect())
        }
        // Following the path costs time, so it is followed only when something is wrong.
        Err(error) => Err(match refusal::<K>(object) {
            Some(refused) => mistyped::explain(K::KIND, object, refused, &refusal::<K>),
            None => error.to_string(),
        }),
    }
}

/// Where and why a document is not an object of the type; `None` if it is one.
fn refusal<K: Object>(document: &Value) -> Option<Refusal> {
    use serde_path_to_error::Segment;
    let error = serde_path_to_error::deserialize::<_, K>(document).err()?;
    let steps = error.path().iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    Some((steps.collect(), error.inner().to_string()))
}

/// Removes the fields of these paths, as `serde_ignored` writes them: steps joined by dots, `?` for an option.
fn prune(object: &mut Value, unknown: &[String]) {
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
fn readable(path: &str) -> String {
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
    fn unknown_fields_are_pruned_and_named() {
        let mut object =
            serde_json::json!({"spec": {"x": 1, "list": [{"y": 1, "z": 2}], "m": {"a.b": {"c": 1}}}});
        let unknown = ["spec.?.x", "spec.?.list.?.0.y", "spec.m.a.b.c"].map(String::from);
        prune(&mut object, &unknown);
        assert_eq!(object, serde_json::json!({"spec": {"list": [{"z": 2}], "m": {"a.b": {}}}}));
        assert_eq!(readable(&unknown[1]), "spec.list[0].y");
    }
}
