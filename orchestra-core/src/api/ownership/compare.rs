//! What a write changes: the paths that are removed, changed and added.

use serde_json::Value;

use super::element::{Element, same};
use super::fault::Faults;
use super::set::{FieldSet, SetNode};
use super::types::{List, Map, NodeId, Relation, Schema, Shape};
use super::walk::{grouped, unfit};

/// The difference of two states of an object. No path is in two of its sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// What only the old state has.
    pub removed: FieldSet<'a>,
    /// What both have, with other values.
    pub modified: FieldSet<'a>,
    /// What only the new state has.
    pub added: FieldSet<'a>,
}

/// What becomes of one path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Removed,
    Modified,
    Added,
}

impl<'a> Comparison<'a> {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// The difference in what a filter lets through.
    pub(super) fn filtered(self, filter: impl Fn(FieldSet<'a>) -> FieldSet<'a>) -> Self {
        Self { removed: filter(self.removed), modified: filter(self.modified), added: filter(self.added) }
    }

    fn push(&mut self, element: Element<'a>, mark: Option<Mark>, below: Self) {
        let marked = |which: Mark| mark == Some(which);
        let sets = [
            (&mut self.removed, marked(Mark::Removed), below.removed),
            (&mut self.modified, marked(Mark::Modified), below.modified),
            (&mut self.added, marked(Mark::Added), below.added),
        ];
        let mut wanted =
            sets.into_iter().filter(|(_, member, below)| *member || !below.is_empty()).peekable();
        let mut element = Some(element);
        while let Some((set, member, below)) = wanted.next() {
            // Mostly there is but one.
            let element = if wanted.peek().is_some() { element.clone() } else { element.take() };
            set.nodes.extend(element.map(|element| SetNode { element, member, below }));
        }
    }

    fn join(self, other: Self) -> Self {
        Self {
            removed: self.removed.or(other.removed),
            modified: self.modified.or(other.modified),
            added: self.added.or(other.added),
        }
    }
}

/// Compares two states of an object.
///
/// # Errors
/// When one has a list with an element that nothing tells apart.
pub fn compare<'a>(
    schema: &'a Schema,
    node: NodeId,
    old: &'a Value,
    new: &'a Value,
) -> Result<Comparison<'a>, Faults> {
    Ok(walk(schema, node, Some(old), Some(new))?.1)
}

type Found<'a> = Result<(Option<Mark>, Comparison<'a>), Faults>;

fn walk<'a>(schema: &'a Schema, node: NodeId, old: Option<&'a Value>, new: Option<&'a Value>) -> Found<'a> {
    if let (Some(old), Some(new)) = (old, new)
        && old == new
    {
        return Ok((None, Comparison::default()));
    }
    let node = schema.node(node);
    let (before, after) = (node.of(old), node.of(new));
    let (leaf, mark, below) = match (old, new) {
        (_, None) => shape(schema, before.first(), old, new)?,
        (None, _) => shape(schema, after.first(), old, new)?,
        _ if before.equal(after) => shape(schema, after.first(), old, new)?,
        _ => {
            let (_, first, gone) = shape(schema, before.first(), old, new)?;
            let (leaf, second, come) = shape(schema, after.first(), old, new)?;
            (leaf, second.or(first), gone.join(come))
        }
    };
    let whole = match (old, new) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        _ => None,
    };
    Ok((mark.or(whole.filter(|_| !leaf)), below))
}

/// Whether it was taken for one value, what becomes of the path itself, and of those below.
fn shape<'a>(
    schema: &'a Schema,
    shape: Shape<'a>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
) -> Result<(bool, Option<Mark>, Comparison<'a>), Faults> {
    let leaf = || Ok((true, leaf(old, new), Comparison::default()));
    match shape {
        Shape::Scalar(scalar) => {
            let faults = [("lhs: ", old), ("rhs: ", new)].map(|(side, value)| {
                value.and_then(|value| unfit(scalar, value)).map(|why| format!("{side}{why}"))
            });
            match faults {
                [Some(old), Some(new)] => {
                    let mut faults = Faults::of(old);
                    faults.extend(Faults::of(new));
                    Err(faults)
                }
                _ => leaf(),
            }
        }
        Shape::Map(map) => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let nothing =
                |fields: Option<&serde_json::Map<_, _>>| fields.is_none_or(serde_json::Map::is_empty);
            if map.atomic || nothing(before) && nothing(after) {
                return leaf();
            }
            Ok((false, None, maps(schema, map, before, after)?))
        }
        Shape::List(list) => {
            let (before, after) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let nothing = |items: Option<&Vec<_>>| items.is_none_or(Vec::is_empty);
            if matches!(list.relation, Relation::Atomic) || nothing(before) && nothing(after) {
                return leaf();
            }
            let items = |list: Option<&'a Vec<Value>>| list.map_or(&[][..], |items| &items[..]);
            Ok((false, None, lists(schema, list, items(before), items(after))?))
        }
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Option<Mark> {
    match (old, new) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        (Some(old), Some(new)) => (!same(old, new)).then_some(Mark::Modified),
    }
}

type Fields = serde_json::Map<String, Value>;

fn maps<'a>(
    schema: &'a Schema,
    map: &'a Map,
    old: Option<&'a Fields>,
    new: Option<&'a Fields>,
) -> Result<Comparison<'a>, Faults> {
    let mut out = Comparison::default();
    let (mut before, mut after) =
        (old.into_iter().flatten().peekable(), new.into_iter().flatten().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return Ok(out),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let Some((name, _)) = old.or(new) else { return Ok(out) };
        let of = map.type_of(name).unwrap_or(NodeId::DEDUCED);
        let element = Element::field(name);
        let found = walk(schema, of, old.map(|(_, value)| value), new.map(|(_, value)| value));
        let (mark, below) = found.map_err(|faults| faults.below(&element))?;
        out.push(element, mark, below);
    }
}

fn lists<'a>(
    schema: &'a Schema,
    list: &'a List,
    old: &'a [Value],
    new: &'a [Value],
) -> Result<Comparison<'a>, Faults> {
    let mut out = Comparison::default();
    let mut before = grouped(schema, list, old)?.into_iter().peekable();
    let mut after = grouped(schema, list, new)?.into_iter().peekable();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return Ok(out),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let items = |side: &Option<(Element<'a>, Vec<&'a Value>)>| {
            side.as_ref().map(|(_, items)| items.clone()).unwrap_or_default()
        };
        let (ours, theirs) = (items(&old), items(&new));
        let Some((element, _)) = old.or(new) else { return Ok(out) };
        let one =
            |old, new| walk(schema, list.element, old, new).map_err(|faults: Faults| faults.below(&element));
        let (mark, below) = match (&*ours, &*theirs) {
            ([] | [_], [] | [_]) => one(ours.first().copied(), theirs.first().copied())?,
            ([_, _, ..], [_, _, ..]) => {
                let equal = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| same(a, b));
                ((!equal).then_some(Mark::Modified), Comparison::default())
            }
            // It stood there more than once and does no longer: what is left is new.
            ([_, _, ..], left) => {
                let (mark, below) = match left.first() {
                    Some(left) => one(None, Some(left))?,
                    None => (None, Comparison::default()),
                };
                out.push(element.clone(), mark, below);
                out.removed.descend(element).member = true;
                continue;
            }
            (left, _) => {
                let (mark, below) = match left.first() {
                    Some(left) => one(Some(left), None)?,
                    None => (None, Comparison::default()),
                };
                out.push(element.clone(), mark, below);
                out.added.descend(element).member = true;
                continue;
            }
        };
        out.push(element, mark, below);
    }
}
