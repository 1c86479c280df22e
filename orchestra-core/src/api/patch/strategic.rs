//! Strategic merge: a merge patch that knows which lists are sets of named things.
//!
//! Directives are keys that begin with `$`: `$patch` (`replace` or `delete` a map or an element of a list),
//! `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD` and `$retainKeys`. None of them is ever stored.

use serde_json::{Map, Value};

use super::list::{self, Element, Index};
use crate::api::Status;
use crate::api::schema::{Field, Place};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// Merges a patch into an object at a place of the schema.
pub(super) fn merge(target: &mut Value, patch: Object, place: &Place) -> Result<(), Status> {
    if !target.is_object() {
        *target = Value::Object(Object::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    merge_map(target, patch, place)
}

fn merge_map(target: &mut Object, mut patch: Object, place: &Place) -> Result<(), Status> {
    if let Some(directive) = patch.remove(PATCH) {
        return replace_or_delete(target, patch, &directive);
    }
    retain_keys(target, &mut patch)?;
    set_orders(target, &mut patch, place)?;
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            let gone = primitives(value, &key)?;
            if let Some(Value::Array(held)) = target.get_mut(field) {
                let gone = Index::of(&gone, Element::Primitive);
                held.retain(|item| gone.get(item).is_none());
            }
            continue;
        }
        merge_field(target, key, value, place)?;
    }
    Ok(())
}

fn replace_or_delete(target: &mut Object, patch: Object, directive: &Value) -> Result<(), Status> {
    *target = match directive.as_str() {
        Some("replace") => plain_fields(patch)?,
        Some("delete") => Object::new(),
        _ => return Err(unknown_directive(directive)),
    };
    Ok(())
}

fn merge_field(target: &mut Object, key: String, value: Value, place: &Place) -> Result<(), Status> {
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
        (_, value) => {
            target.insert(key, without_directives(value)?);
            Ok(())
        }
    }
}

/// Merges the elements of a list. Those of the patch stand in the patch's order, the others where they stood.
fn merge_list(
    held: Vec<Value>,
    patch: Vec<Value>,
    facts: Option<Field>,
    within: &Place,
) -> Result<Vec<Value>, Status> {
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
                index.add(item, merged.len());
                merged.push(without_directives(item.clone())?);
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
) -> Result<(Vec<Value>, Vec<Value>), Status> {
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
                    return Err(Status::bad_request("merging lists cannot yet be specified in the patch"));
                }
                _ => return Err(unknown_directive(directive)),
            },
        }
    }
    let gone = Index::of(&gone, Element::Keyed(key));
    held.retain(|item| !replace && gone.get(item).is_none());
    Ok((held, plain))
}

/// Drops the fields that the patch does not say to keep.
fn retain_keys(target: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else {
        return Err(Status::bad_request("invalid patch format of retainKeys"));
    };
    let kept = |field: &str| keys.iter().any(|key| key.as_str() == Some(field));
    if let Some(stray) =
        patch.iter().find(|(key, value)| !value.is_null() && !key.starts_with('$') && !kept(key))
    {
        let stray = stray.0;
        let message = format!(
            "invalid patch format of retainKeys: it must name every field of the patch, as {stray:?}"
        );
        return Err(Status::bad_request(message));
    }
    target.retain(|field, _| kept(field));
    Ok(())
}

/// Merges each list whose order the patch sets, together with that order, and takes both out of the patch.
fn set_orders(target: &mut Object, patch: &mut Object, place: &Place) -> Result<(), Status> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            Some(Value::Null) | None => continue,
            Some(_) => return Err(Status::bad_request("invalid patch format of setElementOrder list")),
        };
        let field = &directive[SET_ORDER.len()..];
        // A list that the patch deletes or gives another type is not this directive's business.
        if patch.get(field).is_some_and(|value| !value.is_array()) {
            continue;
        }
        let changes = match patch.remove(field) {
            Some(Value::Array(changes)) => Some(changes),
            _ => None,
        };
        let step = place.step(field);
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
            (_, changes) => match without_directives(Value::Array(changes.unwrap_or_default()))? {
                Value::Array(items) => items,
                _ => Vec::new(),
            },
        };
        let merged = list::reorder(merged, &order, &before, element);
        target.insert(field.to_owned(), Value::Array(merged));
    }
    Ok(())
}

/// What a patch's value becomes where there is nothing to merge it with.
fn without_directives(value: Value) -> Result<Value, Status> {
    match value {
        Value::Object(mut fields) => match fields.remove(PATCH) {
            None => plain_fields(fields).map(Value::Object),
            Some(directive) => {
                let mut target = Object::new();
                replace_or_delete(&mut target, fields, &directive)?;
                Ok(Value::Object(target))
            }
        },
        Value::Array(items) => {
            let plain = items.into_iter().filter(|item| item.get(PATCH).is_none());
            plain.map(without_directives).collect::<Result<_, _>>().map(Value::Array)
        }
        value => Ok(value),
    }
}

/// The fields of a patch that are neither directives nor deletions.
fn plain_fields(fields: Object) -> Result<Object, Status> {
    let directive =
        |key: &str| key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    let kept = fields.into_iter().filter(|(key, value)| !value.is_null() && !directive(key));
    kept.map(|(key, value)| Ok((key, without_directives(value)?))).collect()
}

fn primitives(value: Value, key: &str) -> Result<Vec<Value>, Status> {
    match value {
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => Ok(items),
        _ => Err(Status::bad_request(format!(
            "invalid patch format of primitive list: {key:?} must be a list"
        ))),
    }
}

fn unknown_directive(directive: &Value) -> Status {
    Status::bad_request(format!("unknown patch type: {directive} in map"))
}
