//! What a new object is owned by, written at once.
//!
//! Of an object that is made there is one manager, and it owns all that the object has beside what is nobody's. So
//! neither sets nor their difference are needed: one walk writes the text that [`update`](super::update()) comes to.
//! Creations are the most frequent of all writes with owners, and this is half of what they cost otherwise.

use serde_json::Value;

use super::element::{Element, push_escaped, push_text};
use super::kind::{Author, Ignored, Kind, unowned};
use super::managers::Operation;
use super::set::{FieldSet, SetNode};
use super::types::{Field, List, Map, NodeId, Relation, Schema, Shape};
use super::walk::{element_of, unfit};

/// `managedFields` of a new object as a text in JSON, its keys in any order; `None` where [`update`](super::update()) has to
/// find out: when a value does not fit its schema, or nothing is owned.
pub fn first(kind: &Kind<'_>, new: &Value, author: Author<'_>) -> Option<String> {
    let Ignored::These(ignored) = &kind.ignored else { return None };
    let mut out = Text(String::with_capacity(2048));
    out.0.push_str("[{\"apiVersion\":");
    out.text(kind.api_version);
    out.0.push_str(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{");
    let fields = out.0.len();
    let mut walk = Walk { schema: kind.schema, out };
    let none = Exempt { ignored: Some(ignored), unowned: Some(unowned()) };
    walk.value(kind.node, Some(kind.empty), new, none, None).ok()?;
    let mut out = walk.out;
    if out.0.len() == fields {
        return None;
    }
    out.0.push_str("},\"manager\":");
    out.text(if author.manager.is_empty() { "unknown" } else { author.manager });
    out.0.push_str(",\"operation\":");
    out.text(Operation::Update.as_str());
    if !author.subresource.is_empty() {
        out.0.push_str(",\"subresource\":");
        out.text(author.subresource);
    }
    out.0.push_str(",\"time\":");
    out.text(author.now);
    out.0.push_str("}]");
    Some(out.0)
}

/// That the long way has to be gone.
struct Unclear;

/// What of the paths at and below a place nobody owns.
#[derive(Clone, Copy)]
struct Exempt<'e> {
    /// A path that is in it is left out with all that is below.
    ignored: Option<&'e FieldSet<'e>>,
    /// Of this only the paths themselves are.
    unowned: Option<&'e FieldSet<'static>>,
}

/// What of one element nobody owns.
#[derive(Clone, Copy, Default)]
struct ExemptNode<'e> {
    ignored: Option<&'e SetNode<'e>>,
    unowned: Option<&'e SetNode<'static>>,
}

impl<'e> Exempt<'e> {
    const NOTHING: Self = Self { ignored: None, unowned: None };

    fn at(self, element: &Element<'_>) -> ExemptNode<'e> {
        ExemptNode {
            ignored: self.ignored.and_then(|set| set.get(element)),
            unowned: self.unowned.and_then(|set| set.get(element)),
        }
    }

    fn is_nothing(self) -> bool {
        self.ignored.is_none_or(FieldSet::is_empty) && self.unowned.is_none_or(FieldSet::is_empty)
    }
}

impl<'e> ExemptNode<'e> {
    fn below(self) -> Exempt<'e> {
        Exempt {
            ignored: self.ignored.map(|node| &node.below),
            unowned: self.unowned.map(|node| &node.below),
        }
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    out: Text,
}

impl<'s> Walk<'s> {
    /// Writes what is owned at and below a value, into an object that has been begun. The place itself is written with its
    /// key, if it has one, and what is in it goes into an object of its own.
    fn value(
        &mut self,
        node: NodeId,
        old: Option<&Value>,
        new: &'s Value,
        exempt: Exempt<'_>,
        place: Option<Place<'_>>,
    ) -> Result<(), Unclear> {
        if old == Some(new) {
            return Ok(());
        }
        let node = self.schema.node(node);
        let after = node.of(Some(new));
        if old.is_some() && !node.of(old).equal(after) {
            return Err(Unclear);
        }
        let shape = after.first();
        let is_leaf = is_leaf(shape, old, new)?;
        let Some(place) = place else {
            return if is_leaf { Ok(()) } else { self.below(shape, old, new, exempt) };
        };
        if is_leaf {
            if !place.unowned {
                self.out.begin(place.key);
                self.out.0.push('}');
            }
            return Ok(());
        }
        let start = self.out.begin(place.key);
        let body = self.out.0.len();
        let owned = old.is_none() && !place.unowned;
        if owned {
            self.out.0.push_str("\".\":{}");
        }
        let head = self.out.0.len();
        self.below(shape, old, new, exempt)?;
        self.out.end(start, body, head, owned);
        Ok(())
    }

    fn below(
        &mut self,
        shape: Shape<'s>,
        old: Option<&Value>,
        new: &'s Value,
        exempt: Exempt<'_>,
    ) -> Result<(), Unclear> {
        match (shape, new) {
            (Shape::Map(map), Value::Object(fields)) => self.fields(map, old, fields, exempt),
            (Shape::List(list), Value::Array(items)) => self.items(list, items, exempt),
            _ => Err(Unclear),
        }
    }

    fn fields(
        &mut self,
        map: &'s Map,
        old: Option<&Value>,
        new: &'s serde_json::Map<String, Value>,
        exempt: Exempt<'_>,
    ) -> Result<(), Unclear> {
        let old = old.and_then(Value::as_object).filter(|old| !old.is_empty());
        let mut hint = 0;
        for (name, value) in new {
            let element = Element::field(name);
            let field = map.fields.get_after(&mut hint, name);
            let of = field.map(|field| field.of).or(map.element).unwrap_or(NodeId::DEDUCED);
            let before = old.and_then(|old| old.get(name));
            let is_word = field.is_some_and(Field::is_word);
            self.element(Key { element: &element, is_word }, of, before, value, exempt)?;
        }
        Ok(())
    }

    fn items(&mut self, list: &'s List, items: &'s [Value], exempt: Exempt<'_>) -> Result<(), Unclear> {
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            found.push((element_of(self.schema, list, item).map_err(|_| Unclear)?, item));
        }
        // What stands there twice is owned as one, without what is in it.
        if found.len() > 1 {
            let mut ordered: Vec<&Element<'_>> = found.iter().map(|(element, _)| element).collect();
            ordered.sort_unstable();
            if ordered.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Unclear);
            }
        }
        for (element, item) in &found {
            self.element(Key { element, is_word: false }, list.element, None, item, exempt)?;
        }
        Ok(())
    }

    fn element(
        &mut self,
        key: Key<'_>,
        of: NodeId,
        old: Option<&Value>,
        new: &'s Value,
        exempt: Exempt<'_>,
    ) -> Result<(), Unclear> {
        let node = if exempt.is_nothing() { ExemptNode::default() } else { exempt.at(key.element) };
        if node.ignored.is_some_and(|node| node.member) {
            return Ok(());
        }
        let unowned = node.unowned.is_some_and(|node| node.member);
        let place = Place { key, unowned };
        let below = if exempt.is_nothing() { Exempt::NOTHING } else { node.below() };
        self.value(of, old, new, below, Some(place))
    }
}

/// By what a value stands where it does.
#[derive(Clone, Copy)]
struct Key<'e> {
    element: &'e Element<'e>,
    /// Whether nothing in it needs an escape: [`Field::is_word`].
    is_word: bool,
}

/// Where a value stands.
struct Place<'e> {
    key: Key<'e>,
    /// Whether nobody owns the place itself.
    unowned: bool,
}

/// Whether a value is taken as one.
fn is_leaf(shape: Shape<'_>, old: Option<&Value>, new: &Value) -> Result<bool, Unclear> {
    let nothing = |value: &Value| match (shape, value) {
        (Shape::Map(_), Value::Object(fields)) => fields.is_empty(),
        (Shape::List(_), Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    match shape {
        Shape::Scalar(scalar) => match old.and_then(|old| unfit(scalar, old)) {
            Some(_) => Err(Unclear),
            None => Ok(true),
        },
        Shape::Map(map) => Ok(map.atomic || nothing(new) && old.is_none_or(nothing)),
        // What was there and is compared by element is none of a new object's.
        Shape::List(_) if !old.is_none_or(nothing) => Err(Unclear),
        Shape::List(list) => Ok(matches!(list.relation, Relation::Atomic) || nothing(new)),
    }
}

/// A text in JSON that grows.
struct Text(String);

impl Text {
    fn text(&mut self, text: &str) {
        push_text(text, &mut self.0);
    }

    /// Begins the object of an element, and says where.
    fn begin(&mut self, key: Key<'_>) -> usize {
        let start = self.0.len();
        if self.0.as_bytes().last() != Some(&b'{') {
            self.0.push(',');
        }
        match key.element {
            Element::Field(name) if key.is_word => {
                self.0.push_str("\"f:");
                self.0.push_str(name);
                self.0.push_str("\":{");
                return start;
            }
            Element::Field(name) => {
                self.0.push_str("\"f:");
                push_escaped(name, &mut self.0);
            }
            other => {
                self.0.push('"');
                push_escaped(&other.to_key(), &mut self.0);
            }
        }
        self.0.push_str("\":{");
        start
    }

    /// Ends it. What has nothing in it and is not owned has not been begun.
    fn end(&mut self, start: usize, body: usize, head: usize, owned: bool) {
        if self.0.len() == head {
            self.0.truncate(if owned { body } else { start });
            if !owned {
                return;
            }
        }
        self.0.push('}');
    }
}
