//! What a request says at the place of a fault. What is empty is dropped from objects as they are read, so that it is told
//! as null; Kubernetes can still tell the two apart then, and shows what it was given.

use bytes::Bytes;
use serde_json::Value;

use crate::api::field::{Errors, Path, Problem, Shown};
use crate::api::schema::{Field, Place, Shape};

/// What an object was read from.
pub(super) enum Given {
    /// From a text of JSON.
    Text(Bytes),
    /// From what a patch made of an object.
    Value(Value),
}

impl Given {
    /// Shows what is empty as it was given, where errors show null. `place`: what is known of the object's fields.
    pub(super) fn show(&self, place: Place, errors: &mut Errors) {
        let null = Shown::from(Value::Null);
        let hidden = |problem: &Problem| match problem {
            Problem::Invalid(shown, _) | Problem::NotSupported(shown, _) => *shown == null,
            _ => false,
        };
        if !errors.iter().any(|error| hidden(&error.problem)) {
            return;
        }
        let read;
        let given = match self {
            Self::Value(value) => value,
            Self::Text(text) => {
                read = serde_json::from_slice::<Value>(text).unwrap_or_default();
                &read
            }
        };
        for error in errors.iter_mut().filter(|error| hidden(&error.problem)) {
            let Some((value, facts)) = find(given, place, &error.path) else { continue };
            if is_empty(value, facts)
                && let Problem::Invalid(shown, _) | Problem::NotSupported(shown, _) = &mut error.problem
            {
                *shown = value.clone().into();
            }
        }
    }
}

/// At the path of an object that is always there something within it is told, and null is that.
fn is_empty(value: &Value, facts: Option<&Field>) -> bool {
    match value {
        Value::Object(fields) => {
            fields.is_empty() && facts.is_some_and(|facts| matches!(facts.shape, Shape::Map | Shape::Pointer))
        }
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// The value at a path, and what is known of the field that it stands in.
fn find<'v>(document: &'v Value, place: Place, path: &Path) -> Option<(&'v Value, Option<&'static Field>)> {
    let (mut at, mut rest, mut place, mut facts) = (document, path.as_str(), place, None);
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (key, after) = inside.split_once(']')?;
            at = match at {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
                other => other.get(key)?,
            };
            facts = None;
            rest = after;
        } else {
            let step = rest.strip_prefix('.').unwrap_or(rest);
            let end = step.find(['.', '[']).unwrap_or(step.len());
            let (field, after) = step.split_at(end);
            at = at.get(field)?;
            let known = place.step(field);
            (facts, place, rest) = (known.facts, known.place, after);
        }
    }
    Some((at, facts))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Given;
    use crate::api::field::{Errors, Path};
    use crate::api::schema::Place;

    #[test]
    fn what_is_empty_is_shown_as_it_was_given() {
        let given = json!({
            "metadata": { "labels": {}, "annotations": { "x.y/z": "" }, "finalizers": ["f"] },
            "spec": { "strategy": {}, "template": { "spec": {}, "metadata": { "labels": {} } },
                "selector": { "matchExpressions": [{ "values": [] }] } },
        });
        let place = || Place::of_kind("apps/v1", "Deployment").unwrap();
        for given in [Given::Text(given.to_string().into()), Given::Value(given)] {
            for (path, shown) in [
                ("metadata.labels", "{}"),
                ("metadata.annotations[x.y/z]", "\"\""),
                ("metadata.finalizers", "null"),
                ("spec.template.metadata.labels", "{}"),
                ("spec.template.spec", "null"),
                ("spec.selector.matchExpressions[0].values", "[]"),
                ("spec.selector.matchExpressions[7].values", "null"),
                ("spec.strategy", "null"),
                ("spec.missing", "null"),
                ("spec[", "null"),
            ] {
                let mut errors = Errors::new();
                errors.invalid(&Path::new(path), Value::Null, "no");
                given.show(place(), &mut errors);
                let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
                assert_eq!(told, [format!("{path}: Invalid value: {shown}: no")]);
            }
        }
    }
}
