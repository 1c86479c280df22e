//! Lays an applied configuration over an object, and takes paths out of one.

use std::collections::BTreeMap;

use serde_json::{Map as Fields, Value};

use super::element::Element;
use super::set::FieldSet;
use super::types::{List, Map, NodeId, Relation, Schema, Shape};
use super::walk::element_of;

/// Lays a configuration over an object. Nothing is removed: where both have a value, the configuration's stands. Lists
/// keep the order of the object where the configuration does not touch them, and have that of the configuration where
/// it does. Both fit the schema.
pub fn merge(schema: &Schema, node: NodeId, live: Value, config: &Value) -> Value {
    let held = schema.node(node);
    let after = held.of(Some(config));
    let other_shape = !live.is_null() && !config.is_null() && !held.of(Some(&live)).equal(after);
    if other_shape {
        return config.clone();
    }
    let shape = if config.is_null() { held.of(Some(&live)).first() } else { after.first() };
    match (shape, live, config) {
        (Shape::Scalar(_), _, config) => config.clone(),
        (Shape::Map(map), _, config) if map.atomic => config.clone(),
        (Shape::List(List { relation: Relation::Atomic, .. }), _, config) => config.clone(),
        (Shape::Map(map), Value::Object(live), Value::Object(config))
            if !(live.is_empty() && config.is_empty()) =>
        {
            merge_maps(schema, map, live, config).into()
        }
        (Shape::List(list), Value::Array(live), Value::Array(config))
            if !(live.is_empty() && config.is_empty()) =>
        {
            merge_lists(schema, list, live, config).into()
        }
        // Nothing laid over something leaves it.
        (Shape::Map(_), Value::Object(live), Value::Null) if !live.is_empty() => live.into(),
        (Shape::List(_), Value::Array(live), Value::Null) if !live.is_empty() => live.into(),
        (_, _, config) => config.clone(),
    }
}

fn merge_maps(
    schema: &Schema,
    map: &Map,
    mut live: Fields<String, Value>,
    config: &Fields<String, Value>,
) -> Fields<String, Value> {
    for (name, config) in config {
        let of = map.type_of(name).unwrap_or(NodeId::DEDUCED);
        match live.get_mut(name) {
            Some(held) => *held = merge(schema, of, held.take(), config),
            None => drop(live.insert(name.clone(), config.clone())),
        }
    }
    live
}

/// An item of the object's list, until it is taken.
struct Held {
    item: Option<Value>,
    /// Which item of the configuration is the same.
    same: Option<usize>,
}

fn merge_lists(schema: &Schema, list: &List, live: Vec<Value>, config: &[Value]) -> Vec<Value> {
    let (mut held, places) = paired(schema, list, live, config);
    let mut out = Vec::with_capacity(held.len().max(config.len()));
    // The items that both have, in the order of the configuration; the first is the one that is awaited.
    let mut shared = (0..config.len()).filter(|right| !places[*right].is_empty()).peekable();
    let (mut left, mut right) = (0, 0);
    while left < held.len() || right < config.len() {
        if left < held.len() && right < config.len() {
            if held[left].same == Some(right) {
                out.push(merged(schema, list, &mut held, &places[right], &config[right]));
                (left, right) = (left + 1, right + 1);
                shared.next();
                continue;
            }
            let awaited = shared.peek().copied();
            if held[left].same.is_some() && awaited.is_some() && held[left].same != awaited {
                left += 1;
                continue;
            }
        }
        if left < held.len() {
            if held[left].same.is_none() {
                out.extend(held[left].item.take());
                left += 1;
                continue;
            }
            left += usize::from(held[left].item.is_none());
        }
        if right < config.len() {
            out.push(merged(schema, list, &mut held, &places[right], &config[right]));
            shared.next_if_eq(&right);
            right += 1;
        }
    }
    out
}

/// Which items of an object's list and of a configuration's are the same: for each item of the configuration the places
/// in the object, which are several if it stands there more than once.
fn paired(schema: &Schema, list: &List, live: Vec<Value>, config: &[Value]) -> (Vec<Held>, Vec<Vec<usize>>) {
    let mut ours: BTreeMap<Element<'_>, Vec<usize>> = BTreeMap::new();
    for (place, item) in live.iter().enumerate() {
        if let Ok(element) = element_of(schema, list, item) {
            ours.entry(element).or_default().push(place);
        }
    }
    let mut place_of = |item| element_of(schema, list, item).ok().and_then(|element| ours.remove(&element));
    let places: Vec<Vec<usize>> = config.iter().map(&mut place_of).map(Option::unwrap_or_default).collect();
    drop(ours);
    let mut held: Vec<Held> = live.into_iter().map(|item| Held { item: Some(item), same: None }).collect();
    for (right, places) in places.iter().enumerate() {
        for place in places {
            held[*place].same = Some(right);
        }
    }
    (held, places)
}

/// The configuration's item, laid over the object's, which is taken out of it.
fn merged(schema: &Schema, list: &List, held: &mut [Held], places: &[usize], config: &Value) -> Value {
    match places {
        [place] => match held[*place].item.take() {
            Some(live) => merge(schema, list.element, live, config),
            None => config.clone(),
        },
        places => {
            for place in places {
                held[*place].item = None;
            }
            config.clone()
        }
    }
}

/// Takes paths out of a value; null, if nothing is left of it.
pub(super) fn remove(schema: &Schema, node: NodeId, value: Value, paths: &FieldSet<'_>) -> Value {
    match (schema.node(node).of(Some(&value)).first(), value) {
        (Shape::Map(map), Value::Object(fields)) if !map.atomic && !fields.is_empty() => {
            let mut touched = false;
            let kept = fields.into_iter().filter_map(|(name, value)| {
                let Some(node) = paths.get(&Element::field(&name)) else { return Some((name, value)) };
                if node.member {
                    return None;
                }
                touched = true;
                let of = map.type_of(&name).unwrap_or(NodeId::DEDUCED);
                let value = within(schema, of, value, &node.below);
                Some((name, value))
            });
            let kept: Fields<String, Value> = kept.collect();
            if kept.is_empty() && !touched { Value::Null } else { kept.into() }
        }
        (Shape::List(list), Value::Array(items))
            if !matches!(list.relation, Relation::Atomic) && !items.is_empty() =>
        {
            let mut touched = false;
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                let found = element_of(schema, list, &item).ok().and_then(|element| paths.get(&element));
                match found {
                    Some(node) if node.member => {}
                    Some(node) => {
                        touched = true;
                        kept.push(within(schema, list.element, item, &node.below));
                    }
                    None => kept.push(item),
                }
            }
            if kept.is_empty() && !touched { Value::Null } else { kept.into() }
        }
        (Shape::Scalar(_), value) => value,
        _ => Value::Null,
    }
}

/// Takes paths out of what stays: what was a map or a list before is one after.
fn within(schema: &Schema, node: NodeId, value: Value, paths: &FieldSet<'_>) -> Value {
    let empty = match &value {
        Value::Object(_) => Value::Object(Fields::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    };
    match remove(schema, node, value, paths) {
        Value::Null => empty,
        left => left,
    }
}
