use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{ListType, Schema, Spot};
use crate::api::field::{Errors, Path};

/// Says which elements of sets and maps stand twice.
pub fn check_lists(schema: &Schema, value: &Value, errors: &mut Errors) {
    check(schema, value, &Spot::ROOT, errors);
}

fn check(schema: &Schema, value: &Value, at: &Spot<'_>, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            if let Some(of) = schema.map_values() {
                fields.iter().for_each(|(name, value)| check(of, value, &at.key(name), errors));
            }
            for (name, value) in fields {
                if let Some(property) = schema.properties.get(name.as_str()) {
                    check(property, value, &at.field(name), errors);
                }
            }
        }
        Value::Array(items) => {
            check_list(schema, items, at, errors);
            if let Some(of) = schema.items() {
                items.iter().enumerate().for_each(|(index, item)| check(of, item, &at.index(index), errors));
            }
        }
        _ => {}
    }
}

fn check_list(schema: &Schema, items: &[Value], at: &Spot<'_>, errors: &mut Errors) {
    let path = |index: usize| Path::new(&at.index(index).text());
    let shown: Vec<Value> = match schema.list {
        ListType::Atomic => return,
        ListType::Set => items.to_vec(),
        ListType::Map => {
            if let Some((index, item)) =
                items.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null())
            {
                let detail = "must be an object for an array of list-type map";
                return errors.invalid(&path(index), item.clone(), detail);
            }
            items.iter().map(|item| keys_of(schema, item)).collect()
        }
    };
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(shown.len());
    for (index, value) in shown.into_iter().enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        // The third and later ones are not said.
        if *times == 2 {
            errors.duplicate(&path(index), value);
        }
    }
}

/// The fields that tell an element from others.
fn keys_of(schema: &Schema, item: &Value) -> Value {
    let keys = schema.list_keys.iter();
    let held = keys.filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
    Value::Object(held.collect::<Map<_, _>>())
}

/// The element of the old list that an element is the next state of; `None` if there is none, or elements are not told
/// apart.
pub(crate) fn correlated<'o>(schema: &Schema, item: &Value, old: &'o [Value]) -> Option<&'o Value> {
    if schema.list != ListType::Map || !item.is_object() {
        return None;
    }
    let default = |key: &str| schema.items.as_ref()?.properties.get(key)?.default.as_ref();
    let same = |other: &&Value| {
        schema.list_keys.iter().all(|key| {
            let held = |value: &Value| value.get(&**key).or_else(|| default(key)).cloned();
            held(item) == held(other)
        })
    };
    old.iter().find(same)
}
