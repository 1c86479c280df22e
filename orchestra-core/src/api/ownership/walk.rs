//! Walks over one value: whether it fits its schema, and which paths it has.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::element::Element;
use super::fault::Faults;
use super::set::FieldSet;
use super::types::{List, Map, NodeId, Relation, Scalar, Schema, Shape};

/// Whether elements of a list may stand in it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// They may, as in an object that is there.
    Allowed,
    /// They may not, as in a configuration that is applied.
    Refused,
}

/// The element by which an item of a list is told apart.
///
/// # Errors
/// When nothing tells it apart.
pub(super) fn element_of<'a>(
    schema: &'a Schema,
    list: &'a List,
    item: &'a Value,
) -> Result<Element<'a>, String> {
    let Relation::Keyed(keys) = &list.relation else { return set_element(item) };
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let map = schema.node(list.element).map.as_ref();
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let default = || map.and_then(|map| map.field(key)).and_then(|field| field.default.as_deref());
        if let Some(value) = fields.get(&**key).or_else(default) {
            found.push((Cow::Borrowed(&**key), Cow::Borrowed(value)));
        }
    }
    if found.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
             values for any key fields)",
            keys.join(" ")
        ));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Element::Key(found))
}

fn set_element(item: &Value) -> Result<Element<'_>, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(Element::Value(Cow::Borrowed(scalar))),
    }
}

/// Says what of a value does not fit its schema.
///
/// # Errors
/// All that does not.
pub fn check(schema: &Schema, node: NodeId, value: &Value, repeated: Repeated) -> Result<(), Faults> {
    let faults = faults(schema, node, value, repeated);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn faults(schema: &Schema, node: NodeId, value: &Value, repeated: Repeated) -> Faults {
    match (schema.node(node).of(Some(value)).first(), value) {
        (Shape::Scalar(scalar), value) => unfit(scalar, value).map(Faults::of).unwrap_or_default(),
        (Shape::Map(_) | Shape::List(_), Value::Null) => Faults::default(),
        (Shape::Map(map), Value::Object(fields)) => {
            let mut faults = Faults::default();
            for (name, value) in fields {
                let element = Element::field(name);
                let Some(of) = map.type_of(name) else {
                    faults.extend(Faults::of("field not declared in schema").below(&element));
                    break;
                };
                faults.extend(self::faults(schema, of, value, repeated).below(&element));
            }
            faults
        }
        (Shape::Map(_), value) => Faults::of(format!("expected map, got {}", go(value))),
        (Shape::List(list), Value::Array(items)) => list_faults(schema, list, items, repeated),
        (Shape::List(_), value) => Faults::of(format!("expected list, got {}", go(value))),
    }
}

fn list_faults(schema: &Schema, list: &List, items: &[Value], repeated: Repeated) -> Faults {
    let mut faults = Faults::default();
    let mut seen = BTreeSet::new();
    for (place, item) in items.iter().enumerate() {
        let element = match list.relation {
            Relation::Atomic => Element::Index(place as i64),
            Relation::Set | Relation::Keyed(_) => match element_of(schema, list, item) {
                Ok(element) => element,
                Err(why) => {
                    faults.extend(Faults::of(format!("element {place}: {why}")));
                    return faults;
                }
            },
        };
        let below = self::faults(schema, list.element, item, repeated).below(&element);
        if repeated == Repeated::Refused && !matches!(list.relation, Relation::Atomic) {
            if seen.contains(&element) {
                faults.extend(Faults::of(format!("duplicate entries for key {element}")));
            } else {
                seen.insert(element);
            }
        }
        faults.extend(below);
    }
    faults
}

/// Why a value is not of a scalar's type. Null is of every type.
pub(super) fn unfit(scalar: Scalar, value: &Value) -> Option<String> {
    match (scalar, value) {
        (_, Value::Null)
        | (Scalar::Numeric | Scalar::Untyped, Value::Number(_))
        | (Scalar::String | Scalar::Untyped, Value::String(_))
        | (Scalar::Boolean | Scalar::Untyped, Value::Bool(_)) => None,
        (Scalar::Numeric, value) => Some(format!("expected numeric (int or float), got {}", go_type(value))),
        (Scalar::String, value) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)))
        }
        (Scalar::Boolean, value) => Some(format!("expected boolean, got {}", go(value))),
        (Scalar::Untyped, value) => Some(format!("expected any scalar, got {}", go(value))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value within its wrapper, as Go's `%v` writes it.
fn go(value: &Value) -> String {
    format!("&{{{}}}", crate::api::patch::go(value))
}

/// A value as Go's `%#v` writes it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name:?}:{}", go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// The paths that a value has: all that a manager owns who applies it. It fits the schema.
pub fn field_set<'a>(schema: &'a Schema, node: NodeId, value: &'a Value) -> FieldSet<'a> {
    paths(schema, node, value).1
}

/// Whether the path to a value is in the set, and what is below.
fn paths<'a>(schema: &'a Schema, node: NodeId, value: &'a Value) -> (bool, FieldSet<'a>) {
    match (schema.node(node).of(Some(value)).first(), value) {
        (Shape::Scalar(_), _) => (true, FieldSet::default()),
        (Shape::Map(map), _) if map.atomic => (true, FieldSet::default()),
        (Shape::List(List { relation: Relation::Atomic, .. }), _) => (true, FieldSet::default()),
        (Shape::Map(map), Value::Object(fields)) => (false, map_paths(schema, map, fields.iter())),
        (Shape::List(list), Value::Array(items)) => (false, list_paths(schema, list, items)),
        _ => (false, FieldSet::default()),
    }
}

fn map_paths<'a>(
    schema: &'a Schema,
    map: &'a Map,
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
) -> FieldSet<'a> {
    let mut set = FieldSet::default();
    for (name, value) in fields {
        let (field, of) = (map.field(name), map.type_of(name).unwrap_or(NodeId::DEDUCED));
        let (member, below) = paths(schema, of, value);
        let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        set.push(Element::field(name), member || empty || field.is_none(), below);
    }
    set
}

fn list_paths<'a>(schema: &'a Schema, list: &'a List, items: &'a [Value]) -> FieldSet<'a> {
    let mut set = FieldSet::default();
    for (element, items) in grouped(schema, list, items).unwrap_or_default() {
        // Of what stands there twice only that it does is owned.
        let below = match &*items {
            [item] => paths(schema, list.element, item).1,
            _ => FieldSet::default(),
        };
        set.push(element, true, below);
    }
    set
}

/// The items of a list by the elements that tell them apart, in the elements' order.
///
/// # Errors
/// When nothing tells one apart.
pub(super) fn grouped<'a>(
    schema: &'a Schema,
    list: &'a List,
    items: &'a [Value],
) -> Result<Vec<(Element<'a>, Vec<&'a Value>)>, Faults> {
    let mut found = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        match element_of(schema, list, item) {
            Ok(element) => found.push((element, vec![item])),
            Err(why) => return Err(Faults::of(format!("element {place}: {why}"))),
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.dedup_by(|(element, items), (first, all)| {
        let same = element == first;
        if same {
            all.append(items);
        }
        same
    });
    Ok(found)
}
