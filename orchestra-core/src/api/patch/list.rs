//! The lists of a strategic merge patch: what tells their elements apart, and in which order they end up.

use serde_json::Value;

use crate::api::Status;
use crate::api::schema::Field;

/// What the elements of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// Values that stand for themselves.
    Primitive,
    /// Objects, told apart by this field.
    Keyed(&'static str),
}

impl Element {
    /// What the elements of a list and of the patch to it are.
    ///
    /// # Errors
    /// When they are not all of one sort, are lists, or are objects that nothing tells apart.
    pub(super) fn of(facts: Option<Field>, held: &[Value], patch: &[Value]) -> Result<Self, Status> {
        let mut items = held.iter().chain(patch);
        let key = facts.and_then(|facts| facts.merge_key);
        let Some(first) = items.next() else { return Ok(key.map_or(Self::Primitive, Self::Keyed)) };
        if items.clone().chain([first]).any(Value::is_array) {
            return Err(Status::bad_request("lists of lists are not supported in strategic merge patch"));
        }
        if items.any(|item| item.is_object() != first.is_object()) {
            return Err(mixed());
        }
        match (first.is_object(), key) {
            (false, _) => Ok(Self::Primitive),
            (true, Some(key)) => Ok(Self::Keyed(key)),
            // Nothing is merged in such a list; it only must not claim an order of its own.
            (true, None) => Err(Status::bad_request("cannot merge lists without merge key")),
        }
    }

    fn same(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Primitive => left == right,
            Self::Keyed(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        }
    }

    fn position(self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|held| self.same(held, item))
    }
}

/// The value that tells an element apart.
pub(super) fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, Status> {
    item.get(key)
        .ok_or_else(|| Status::bad_request(format!("map: {item} does not contain declared merge key: {key}")))
}

pub(super) fn mixed() -> Status {
    Status::bad_request("list element types are not identical")
}

/// Puts the elements that `order` names in its order, and the others between them as `before` had them.
pub(super) fn reorder(merged: Vec<Value>, order: &[Value], before: &[Value], element: Element) -> Vec<Value> {
    let (mut named, mut others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| element.position(order, item).is_some());
    named.sort_by_key(|item| element.position(order, item));
    others.sort_by_key(|item| element.position(before, item).unwrap_or(usize::MAX));
    let mut all = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(name), Some(other)) = (named.peek(), others.peek()) {
        let places = (element.position(before, other), element.position(before, name));
        let other_first = matches!(places, (Some(other), Some(name)) if other < name);
        all.extend(if other_first { others.next() } else { named.next() });
    }
    all.extend(named);
    all.extend(others);
    all
}

/// Sees that the elements of a patch stand in the order that it sets.
pub(super) fn check_order(patch: &[Value], order: &[Value], element: Element) -> Result<(), Status> {
    let mut left = order.iter();
    for item in patch.iter().filter(|item| item.get("$patch").is_none()) {
        if !left.any(|named| element.same(named, item)) {
            let render = |list: &[Value]| serde_json::to_string(list).unwrap_or_default();
            let message = format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                render(patch),
                render(order)
            );
            return Err(Status::bad_request(message));
        }
    }
    Ok(())
}
