//! The lists of a strategic merge patch: what tells their elements apart, and in which order they end up.

use std::collections::HashMap;

use serde_json::Value;

use super::refusal::{Refusal, go, go_list};
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
    pub(super) fn of(
        facts: Option<&'static Field>,
        held: &[Value],
        patch: &[Value],
    ) -> Result<Self, Refusal> {
        let mut items = held.iter().chain(patch);
        let key = facts.and_then(|facts| facts.merge_key);
        let Some(first) = items.next() else { return Ok(key.map_or(Self::Primitive, Self::Keyed)) };
        if items.clone().chain([first]).any(Value::is_array) {
            return Err(Refusal::Unfit);
        }
        if items.any(|item| item.is_object() != first.is_object()) {
            return Err(mixed(held, patch));
        }
        match (first.is_object(), key) {
            (false, _) => Ok(Self::Primitive),
            (true, Some(key)) => Ok(Self::Keyed(key)),
            // Nothing is merged in such a list; it only must not claim an order of its own.
            (true, None) => {
                let field = facts.map_or("", |facts| facts.name);
                Err(Refusal::Unforeseen(format!("cannot merge lists without merge key for {field}")))
            }
        }
    }

    /// What tells an element from the others, as JSON text.
    pub(super) fn identity(self, item: &Value) -> Option<String> {
        match self {
            Self::Primitive => Some(item.to_string()),
            Self::Keyed(key) => item.get(key).map(Value::to_string),
        }
    }
}

/// Where the elements of a list stand. Lists of a hundred thousand elements fit in a request, so nothing here may
/// compare each with each.
pub(super) struct Index {
    element: Element,
    at: HashMap<String, usize>,
}

impl Index {
    /// The first place of each element.
    pub(super) fn of(list: &[Value], element: Element) -> Self {
        let mut index = Self { element, at: HashMap::with_capacity(list.len()) };
        for (place, item) in list.iter().enumerate() {
            index.add(item, place);
        }
        index
    }

    /// Adds an element, unless it is there already.
    pub(super) fn add(&mut self, item: &Value, place: usize) {
        if let Some(identity) = self.element.identity(item) {
            self.at.entry(identity).or_insert(place);
        }
    }

    /// Where an element stands.
    pub(super) fn get(&self, item: &Value) -> Option<usize> {
        self.at.get(&self.element.identity(item)?).copied()
    }
}

/// The value that tells an element apart.
pub(super) fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, Refusal> {
    item.get(key).ok_or_else(|| {
        Refusal::Unforeseen(format!("map: {} does not contain declared merge key: {key}", go(item)))
    })
}

pub(super) fn mixed(held: &[Value], patch: &[Value]) -> Refusal {
    Refusal::Unforeseen(format!(
        "list element types are not identical: [{} {}]",
        go_list(held),
        go_list(patch)
    ))
}

/// Puts the elements that `order` names in its order, and the others between them as `before` had them.
pub(super) fn reorder(merged: Vec<Value>, order: &[Value], before: &[Value], element: Element) -> Vec<Value> {
    let (order, before) = (Index::of(order, element), Index::of(before, element));
    let (mut named, mut others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| order.get(item).is_some());
    named.sort_by_cached_key(|item| order.get(item));
    others.sort_by_cached_key(|item| before.get(item).unwrap_or(usize::MAX));
    let mut all = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(name), Some(other)) = (named.peek(), others.peek()) {
        let places = (before.get(other), before.get(name));
        let other_first = matches!(places, (Some(other), Some(name)) if other < name);
        all.extend(if other_first { others.next() } else { named.next() });
    }
    all.extend(named);
    all.extend(others);
    all
}

/// Sees that the elements of a patch stand in the order that it sets.
pub(super) fn check_order(patch: &[Value], order: &[Value], element: Element) -> Result<(), Refusal> {
    let mut left = order.iter();
    for item in patch.iter().filter(|item| item.get("$patch").is_none()) {
        let identity = element.identity(item);
        if !left.any(|named| identity.is_some() && element.identity(named) == identity) {
            return Err(Refusal::Unforeseen(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                go_list(patch),
                go_list(order)
            )));
        }
    }
    Ok(())
}
