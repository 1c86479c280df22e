//! Strategic merge: a merge patch that knows which lists are sets of named things.
//!
//! Directives are keys that begin with `$`: `$patch` (`replace` or `delete` a map or an element of a list),
//! `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD` and `$retainKeys`. As in Kubernetes they mean something
//! only where there is something to merge with: elsewhere `$patch` takes the value that holds it away, and the others
//! are fields like any, which no type has.

use serde_json::{Map, Value};

use super::list::{self, Element, Index};
use super::refusal::{Fields, Refusal, go, object};
use crate::api::document::Decoded;
use crate::api::schema::{Field, Place};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// Applies a patch to a document that begins at a place of the schema.
pub(crate) fn apply(place: Place, current: Value, patch: &[u8]) -> Result<Decoded, Refusal> {
    let kind = ["apiVersion", "kind"].map(|field| (field, current.get(field).cloned()));
    let mut patched = current;
    // Of these alone Kubernetes does not say that it was decoding the patch.
    let Some(Fields { fields: patch, repeated }) = object(patch).map_err(Refusal::Malformed)? else {
        return Ok(Decoded { value: patched, repeated: Vec::new() });
    };
    merge(&mut patched, patch, &place)?;
    // Kubernetes puts the outcome into the struct that it took the object from, whatever kind the patch gave it.
    for (field, ours) in kind {
        if let (Some(ours), Value::Object(fields)) = (ours, &mut patched) {
            fields.insert(field.to_owned(), ours);
        }
    }
    Ok(Decoded { value: patched, repeated })
}

/// Merges a patch into an object at a place of the schema.
fn merge(target: &mut Value, patch: Object, place: &Place) -> Result<(), Refusal> {
    if !target.is_object() {
        *target = Value::Object(Object::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    merge_map(target, patch, place)
}

fn merge_map(target: &mut Object, mut patch: Object, place: &Place) -> Result<(), Refusal> {
    if let Some(directive) = patch.remove(PATCH) {
        return replace_or_delete(target, patch, directive);
    }
    retain_keys(target, &mut patch)?;
    set_orders(target, &mut patch, place)?;
    for (key, value) in patch {
        if key.starts_with(DELETE_FROM) {
            let field = field_of(&key, DELETE_FROM)
                .ok_or_else(|| Refusal::Malformed("invalid patch format of primitive list".to_owned()))?;
            delete_from(target, field, value, place)?;
            continue;
        }
        merge_field(target, key, value, place)?;
    }
    Ok(())
}

/// The field that a directive names.
fn field_of<'k>(key: &'k str, directive: &str) -> Option<&'k str> {
    key.strip_prefix(directive)?.strip_prefix('/')
}

/// Takes elements out of a list. What is there and no list is merged with what the patch says, if it is of the same sort;
/// if it is of another, nothing is done.
fn delete_from(target: &mut Object, field: &str, gone: Value, place: &Place) -> Result<(), Refusal> {
    if gone.is_null() {
        target.remove(field);
        return Ok(());
    }
    let Some(held) = target.get_mut(field) else { return Ok(()) };
    match (held, gone) {
        (Value::Array(held), Value::Array(gone)) => {
            let step = place.step(field);
            if let Element::Keyed(_) = Element::of(step.facts, held, &gone)? {
                let merged = merge_list(std::mem::take(held), gone, step.facts, &step.place)?;
                *held = merged;
            } else {
                let gone = Index::of(&gone, Element::Primitive);
                held.retain(|item| gone.get(item).is_none());
            }
            Ok(())
        }
        (held, value) if std::mem::discriminant(held) == std::mem::discriminant(&value) => {
            merge_field(target, field.to_owned(), value, place)
        }
        _ => Ok(()),
    }
}

fn replace_or_delete(target: &mut Object, mut patch: Object, directive: Value) -> Result<(), Refusal> {
    *target = match directive.as_str() {
        // What replaces a map is taken as it is, nulls included.
        Some("replace") => patch,
        Some("delete") => Object::new(),
        _ => {
            patch.insert(PATCH.to_owned(), directive.clone());
            return Err(unknown_directive(&directive, &Value::Object(patch)));
        }
    };
    Ok(())
}

fn merge_field(target: &mut Object, key: String, value: Value, place: &Place) -> Result<(), Refusal> {
    if value.is_null() {
        target.remove(&key);
        return Ok(());
    }
    let step = place.step(&key);
    match (target.get_mut(&key), value) {
        (Some(Value::Object(held)), Value::Object(patch))
            if step.facts.is_none_or(|facts| !facts.replace) =>
        {
            merge_map(held, patch, &step.place)
        }
        (Some(Value::Array(held)), Value::Array(patch)) if step.facts.is_some_and(|facts| facts.merge) => {
            let merged = merge_list(std::mem::take(held), patch, step.facts, &step.place)?;
            *held = merged;
            Ok(())
        }
        // What replaces a list or an object that is there already is taken as it is, directives included.
        (Some(held @ Value::Array(_)), value @ Value::Array(_))
        | (Some(held @ Value::Object(_)), value @ Value::Object(_)) => {
            *held = value;
            Ok(())
        }
        (_, value) => {
            match without_directives(value) {
                Some(value) => target.insert(key, value),
                None => target.remove(&key),
            };
            Ok(())
        }
    }
}

/// Merges the elements of a list. Those of the patch stand in the patch's order, the others where they stood.
fn merge_list(
    held: Vec<Value>,
    patch: Vec<Value>,
    facts: Option<&'static Field>,
    within: &Place,
) -> Result<Vec<Value>, Refusal> {
    let element = Element::of(facts, &held, &patch)?;
    let before = held.clone();
    let (mut merged, patch) = match element {
        Element::Primitive => (held, patch),
        Element::Keyed(key) => special_elements(held, patch, key)?,
    };
    let mut index = Index::of(&merged, element);
    for item in &patch {
        if let Element::Keyed(key) = element {
            list::key_of(item, key)?;
        }
        match (index.get(item), item) {
            (Some(place), Value::Object(fields)) => merge(&mut merged[place], fields.clone(), within)?,
            (Some(_), _) => {}
            (None, item) => {
                if let Some(plain) = without_directives(item.clone()) {
                    index.add(item, merged.len());
                    merged.push(plain);
                }
            }
        }
    }
    Ok(list::reorder(merged, &patch, &before, element))
}

/// Acts on the elements of a patched list that are directives, and returns those that are not.
fn special_elements(
    mut held: Vec<Value>,
    patch: Vec<Value>,
    key: &'static str,
) -> Result<(Vec<Value>, Vec<Value>), Refusal> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut gone = Vec::new();
    let mut replace = false;
    for item in patch {
        match item.get(PATCH) {
            None => plain.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    list::key_of(&item, key)?;
                    gone.push(item);
                }
                Some("replace") => replace = true,
                Some("merge") => {
                    let why = "merging lists cannot yet be specified in the patch";
                    return Err(Refusal::Unforeseen(why.to_owned()));
                }
                _ => return Err(unknown_directive(directive, &item)),
            },
        }
    }
    let gone = Index::of(&gone, Element::Keyed(key));
    held.retain(|item| !replace && gone.get(item).is_none());
    Ok((held, plain))
}

/// Drops the fields that the patch does not say to keep.
fn retain_keys(target: &mut Object, patch: &mut Object) -> Result<(), Refusal> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else {
        return Err(bad_retain_keys());
    };
    let kept = |field: &str| keys.iter().any(|key| key.as_str() == Some(field));
    let listed = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    let mut given = patch.iter().filter(|(key, value)| !value.is_null() && !listed(key));
    if given.any(|(key, _)| !kept(key)) {
        return Err(bad_retain_keys());
    }
    target.retain(|field, _| kept(field));
    Ok(())
}

/// Merges each list whose order the patch sets, together with that order, and takes both out of the patch.
fn set_orders(target: &mut Object, patch: &mut Object, place: &Place) -> Result<(), Refusal> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            Some(other) => return Err(no_list(&other)),
            None => continue,
        };
        let field = field_of(&directive, SET_ORDER)
            .ok_or_else(|| Refusal::Malformed("invalid patch format of setElementOrder list".to_owned()))?;
        if let Some(other) =
            [target.get(field), patch.get(field)].into_iter().flatten().find(|v| !v.is_array())
        {
            return Err(no_list(other));
        }
        let changes = match patch.remove(field) {
            Some(Value::Array(changes)) => Some(changes),
            _ => None,
        };
        let step = place.step(field);
        if let (None, Place::Type(of)) = (step.facts, place) {
            let why =
                format!("unable to find api field in struct {} for the json field {field:?}", of.name());
            return Err(Refusal::Unforeseen(why));
        }
        let held = match target.get_mut(field) {
            Some(Value::Array(held)) => Some(std::mem::take(held)),
            _ => None,
        };
        if held.is_none() && changes.is_none() {
            continue;
        }
        let before = held.clone().unwrap_or_default();
        let element = Element::of(step.facts, &before, changes.as_deref().unwrap_or_default())?;
        list::check_order(changes.as_deref().unwrap_or_default(), &order, element)?;
        let merged = match (held, changes) {
            (Some(held), Some(changes)) if step.facts.is_some_and(|facts| facts.merge) => {
                merge_list(held, changes, step.facts, &step.place)?
            }
            (Some(held), None) => held,
            (_, changes) => changes.unwrap_or_default().into_iter().filter_map(without_directives).collect(),
        };
        let merged = list::reorder(merged, &order, &before, element);
        target.insert(field.to_owned(), Value::Array(merged));
    }
    Ok(())
}

/// What a patch's value becomes where there is nothing to merge it with: none for what is a directive itself.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(fields) if fields.contains_key(PATCH) => return None,
        Value::Object(fields) => {
            let given = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(given.filter_map(|(key, value)| Some((key, without_directives(value)?))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().filter_map(without_directives).collect()),
        value => value,
    })
}

/// What Kubernetes says of a value that should be a list, by the names of Go's types.
fn no_list(found: &Value) -> Refusal {
    let found = match found {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    Refusal::Unforeseen(format!("expected a []interface {{}}, but received a {found}"))
}

fn bad_retain_keys() -> Refusal {
    Refusal::Malformed("invalid patch format of retainKeys".to_owned())
}

fn unknown_directive(directive: &Value, map: &Value) -> Refusal {
    Refusal::Unforeseen(format!("unknown patch type: {} in map: {}", go(directive), go(map)))
}
