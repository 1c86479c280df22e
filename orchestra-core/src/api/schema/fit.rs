//! Whether a document fits its type: what its decoder in Go refuses, and the fields that the type does not have.

use serde_json::Value;

use super::{Field, Kind, Other, Place, Shape, Type, canonical, go};
use crate::api::spot::Spot;

/// Drops the fields that the type of a place does not have, and names them as a user would. Of a place that is not of the
/// table nothing is known, and nothing is dropped.
///
/// # Errors
/// The first value that is not of its field's type, in Go's words.
pub(crate) fn fit(place: Place, document: &mut Value) -> Result<Vec<String>, String> {
    let Place::Type(of) = place else { return Ok(Vec::new()) };
    let mut fitting = Fitting { place, unknown: Vec::new() };
    fitting.message(of, document, &Spot::ROOT)?;
    Ok(fitting.unknown)
}

struct Fitting {
    /// Where the document begins.
    place: Place,
    unknown: Vec<String>,
}

impl Fitting {
    fn message(&mut self, of: &Type, value: &mut Value, at: &Spot<'_>) -> Result<(), String> {
        let Value::Object(fields) = value else { return Err(self.misfit(value, at)) };
        let (mut hint, mut unknown) = (0, Vec::new());
        for (name, value) in fields.iter_mut() {
            let at = at.field(name);
            if let Some(field) = of.field_after(&mut hint, name) {
                self.field(field, value, &at)?;
                continue;
            }
            let says_of_what_kind = matches!(name.as_str(), "apiVersion" | "kind");
            if !says_of_what_kind || !of.is_kind() {
                self.unknown.push(at.text());
                unknown.push(name.clone());
            } else if !value.is_string() && !value.is_null() {
                return Err(self.misfit(value, &at));
            }
        }
        // Few objects have such fields, and to remove them as one goes would cost all others more.
        for name in unknown {
            fields.remove(&name);
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, value: &mut Value, at: &Spot<'_>) -> Result<(), String> {
        match (field.shape, value) {
            (_, Value::Null) => Ok(()),
            (Shape::Plain | Shape::Pointer, value) => self.single(field.of, value, at),
            (Shape::List, Value::Array(items)) => self.elements(field.of, items, at),
            (Shape::Map, Value::Object(entries)) => {
                entries.iter_mut().try_for_each(|(key, value)| self.element(field.of, value, &at.field(key)))
            }
            (Shape::MapOfLists, Value::Object(entries)) => {
                entries.iter_mut().try_for_each(|(key, value)| match (value, at.field(key)) {
                    (Value::Null, _) => Ok(()),
                    (Value::Array(items), at) => self.elements(field.of, items, &at),
                    (other, at) => Err(self.misfit(other, &at)),
                })
            }
            (_, other) => Err(self.misfit(other, at)),
        }
    }

    fn elements(&mut self, of: Kind, items: &mut [Value], at: &Spot<'_>) -> Result<(), String> {
        items.iter_mut().enumerate().try_for_each(|(index, item)| self.element(of, item, &at.index(index)))
    }

    /// Null stands for zero in lists and maps. There is no time of zero that readers of such a list could take, though.
    fn element(&mut self, of: Kind, value: &mut Value, at: &Spot<'_>) -> Result<(), String> {
        match (of, &*value) {
            (Kind::Time | Kind::MicroTime, Value::Null) => Err(self.misfit(value, at)),
            (_, Value::Null) => Ok(()),
            _ => self.single(of, value, at),
        }
    }

    fn single(&mut self, of: Kind, value: &mut Value, at: &Spot<'_>) -> Result<(), String> {
        match of {
            Kind::Message(of) => self.message(of.get(), value, at),
            Kind::Either(of, other) => self.either(of.get(), other, value, at),
            of if of.holds(value) => Ok(()),
            // Bytes may be a list of numbers, if they are.
            Kind::Bytes if value.is_array() => {
                let items = value.as_array().into_iter().flatten();
                let wrong = items.into_iter().find(|item| canonical::byte(item).is_none());
                wrong.map_or(Ok(()), |wrong| Err(self.misfit_as(Some("uint8"), wrong, at)))
            }
            _ => Err(self.misfit(value, at)),
        }
    }

    fn either(&mut self, of: &Type, other: Other, value: &mut Value, at: &Spot<'_>) -> Result<(), String> {
        match (other, value) {
            (Other::Bool, Value::Bool(_)) => Ok(()),
            (Other::Messages, Value::Array(items)) => self.elements(Kind::Message(of.at()), items, at),
            (Other::Strings, Value::Array(items)) => self.elements(Kind::String, items, at),
            (_, value) => self.message(of, value, at),
        }
    }

    fn misfit(&self, found: &Value, at: &Spot<'_>) -> String {
        self.misfit_as(None, found, at)
    }

    /// The same where another type is wanted than the field's.
    fn misfit_as(&self, wanted: Option<&str>, found: &Value, at: &Spot<'_>) -> String {
        let named = go::name(self.place, &at.steps());
        let of_field = || named.as_ref().map_or("string", |named| named.of.as_str());
        let wanted = wanted.unwrap_or_else(of_field);
        let found = match found {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
            Value::Number(number) => go::number(&number.to_string(), wanted),
        };
        match named.as_ref().and_then(|named| named.field.as_ref()) {
            Some((owner, field)) => {
                format!(
                    "json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {wanted}"
                )
            }
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fitted(api_version: &str, kind: &str, mut document: Value) -> (Result<Vec<String>, String>, Value) {
        let outcome = fit(Place::of_kind(api_version, kind).unwrap(), &mut document);
        (outcome, document)
    }

    #[test]
    fn what_the_type_does_not_have_is_dropped_and_named() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "x": 1,
            "metadata": {"kind": "y", "labels": {"a.b/c": "d"}},
            "spec": {"containers": [{"name": "c"}, {"name": "d", "imagee": {}}], "nodeSelector": null},
        });
        let left = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"a.b/c": "d"}},
            "spec": {"containers": [{"name": "c"}, {"name": "d"}], "nodeSelector": null},
        });
        let mut named = vec!["metadata.kind", "spec.containers[1].imagee", "x"];
        let (outcome, document) = fitted("v1", "Pod", pod);
        let mut unknown = outcome.unwrap();
        unknown.sort();
        named.sort_unstable();
        assert_eq!((unknown, document), (named.into_iter().map(str::to_owned).collect(), left));
    }

    /// Objects within objects have headers of their own, and what is raw may be anything.
    #[test]
    fn what_may_be_anything_is_left() {
        for (api_version, kind, document) in [
            (
                "apps/v1",
                "StatefulSet",
                json!({"spec": {"volumeClaimTemplates": [{"kind": "PersistentVolumeClaim", "metadata": {}}]}}),
            ),
            ("apps/v1", "ControllerRevision", json!({"data": {"any": [1, {"thing": null}]}})),
            (
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
                    "items": [{"type": "string"}], "additionalProperties": false, "default": [1],
                    "properties": {"a": {"items": {"enum": [1, "b"]}, "additionalProperties": {"type": "object"}}},
                }}}]}}),
            ),
            ("v1", "Node", json!({"spec": {"taints": [null, {"key": "a", "effect": "b"}]}})),
        ] {
            assert_eq!(fitted(api_version, kind, document.clone()), (Ok(Vec::new()), document));
        }
    }

    #[test]
    fn the_first_value_of_another_type_is_told_in_the_words_of_go() {
        for (document, says) in [
            (json!({"spec": "a"}), "string into Go struct field Pod.spec of type v1.PodSpec"),
            (
                json!({"spec": {"containers": {}}}),
                "object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                json!({"spec": {"priority": 3_000_000_000_i64}}),
                "number 3000000000 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                json!({"spec": {"terminationGracePeriodSeconds": 1.5}}),
                "number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
            ),
            (
                json!({"spec": {"nodeSelector": {"a": 1}}}),
                "number into Go struct field PodSpec.spec.nodeSelector of type string",
            ),
            (json!([]), "array into Go value of type v1.Pod"),
        ] {
            let (outcome, _) = fitted("v1", "Pod", document.clone());
            assert_eq!(outcome, Err(format!("json: cannot unmarshal {says}")), "{document}");
        }
    }
}
