//! What must be known of a kind's fields to merge objects of it: which lists are sets, which maps are one value.
//!
//! A schema is a table of shapes that refer to each other by number, so that types can hold themselves. That of
//! Kubernetes' own kinds is made once from the table of types ([`Schema::builtin`]); that of a custom kind is built with
//! a [`SchemaBuilder`]; a kind that nothing is known of has [`Schema::deduced`].

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use crate::api::by_name::{ByName, Named};

/// The shapes of a kind's values.
#[derive(Debug)]
pub struct Schema {
    nodes: Vec<Node>,
    /// Whether it may have been another when the owners of an object were noted.
    changes: bool,
}

/// A shape of a schema, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// A value of any shape, that is one value as a whole.
    pub const ATOMIC: Self = Self(0);
    /// A value of any shape: maps are merged, lists are one value.
    pub const DEDUCED: Self = Self(1);
    /// What is any scalar.
    pub const SCALAR: Self = Self(2);
    /// A number.
    pub const NUMERIC: Self = Self(3);
    /// A text.
    pub const STRING: Self = Self(4);
    /// A boolean.
    pub const BOOLEAN: Self = Self(5);
    const OF_EVERY_SCHEMA: usize = 6;

    pub(super) const fn at(place: usize) -> Self {
        Self(place as u32)
    }

    /// Whether every schema has it, at the same place.
    pub(super) const fn is_of_every_schema(self) -> bool {
        (self.0 as usize) < Self::OF_EVERY_SCHEMA
    }
}

/// What a value may be: one or more of a scalar, a list and a map.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// It may be a scalar.
    pub scalar: Option<Scalar>,
    /// It may be a list.
    pub list: Option<List>,
    /// It may be a map or an object.
    pub map: Option<Map>,
}

/// Which scalars fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Whole numbers and fractions.
    Numeric,
    /// Texts.
    String,
    /// Booleans.
    Boolean,
    /// Any.
    Untyped,
}

/// A list.
#[derive(Clone, Debug)]
pub struct List {
    /// The shape of its elements.
    pub element: NodeId,
    /// How two writers meet in it.
    pub relation: Relation,
}

/// How a list behaves when two writers meet in it.
#[derive(Clone, Debug)]
pub enum Relation {
    /// It is one value.
    Atomic,
    /// Each element stands for itself.
    Set,
    /// Elements are told apart by these fields.
    Keyed(Box<[Cow<'static, str>]>),
}

/// A map or an object.
#[derive(Clone, Debug)]
pub struct Map {
    /// The fields that have names in the schema, ordered by them.
    pub fields: ByName<Field>,
    /// The shape of all others; `None` if there are no others.
    pub element: Option<NodeId>,
    /// Whether it is one value.
    pub atomic: bool,
}

/// A field that has a name in the schema.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its shape.
    pub of: NodeId,
    /// What it is when it is missing, if it is a key of a list.
    pub default: Option<Box<Value>>,
}

impl Field {
    /// Whether its name is one of the program's own, and so a word in which nothing needs an escape. Those of custom kinds
    /// are made while it runs, and may be any text.
    pub(super) fn is_word(&self) -> bool {
        matches!(self.name, Cow::Borrowed(_))
    }
}

impl Named for Field {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Map {
    /// The field of that name, if the schema names it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.named(name)
    }

    /// The shape of the field or entry of that name.
    pub(super) fn type_of(&self, name: &str) -> Option<NodeId> {
        self.field(name).map(|field| field.of).or(self.element)
    }
}

impl Node {
    pub(super) fn scalar(scalar: Scalar) -> Self {
        Self { scalar: Some(scalar), ..Self::default() }
    }

    /// What it is in the case of a value; several, if the value does not tell or does not fit.
    pub(super) fn of(&self, value: Option<&Value>) -> Shapes<'_> {
        let all = Shapes { scalar: self.scalar, list: self.list.as_ref(), map: self.map.as_ref() };
        let none = Shapes { scalar: None, list: None, map: None };
        match value {
            None | Some(Value::Null) => all,
            Some(Value::Array(_)) if all.list.is_some() => Shapes { list: all.list, ..none },
            Some(Value::Object(_)) if all.map.is_some() => Shapes { map: all.map, ..none },
            Some(Value::Array(_) | Value::Object(_)) => all,
            Some(_) if all.scalar.is_some() => Shapes { scalar: all.scalar, ..none },
            Some(_) => all,
        }
    }

    /// Whether nothing is known of it but that maps are merged.
    pub(super) fn is_deduced(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.fields.is_empty() && map.element == Some(NodeId::DEDUCED))
    }

    /// Whether it is one value, and not just a scalar.
    pub(super) fn is_atomic(&self) -> bool {
        match (&self.map, &self.list) {
            (Some(map), _) => map.atomic,
            (None, Some(list)) if self.scalar.is_none() => matches!(list.relation, Relation::Atomic),
            _ => false,
        }
    }
}

/// What a value is, of what it may be.
#[derive(Clone, Copy)]
pub(super) struct Shapes<'s> {
    pub(super) scalar: Option<Scalar>,
    pub(super) list: Option<&'s List>,
    pub(super) map: Option<&'s Map>,
}

/// What of it is looked at: maps before scalars before lists.
#[derive(Clone, Copy)]
pub(super) enum Shape<'s> {
    Map(&'s Map),
    Scalar(Scalar),
    List(&'s List),
}

impl<'s> Shapes<'s> {
    pub(super) fn first(self) -> Shape<'s> {
        match (self.map, self.scalar, self.list) {
            (Some(map), ..) => Shape::Map(map),
            (None, Some(scalar), _) => Shape::Scalar(scalar),
            (None, None, Some(list)) => Shape::List(list),
            (None, None, None) => Shape::Scalar(Scalar::Untyped),
        }
    }

    /// Whether two values of one node are of the same shapes.
    pub(super) fn equal(self, other: Self) -> bool {
        self.scalar == other.scalar
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }
}

impl Schema {
    /// The schema of a kind that nothing is known of: maps are merged, lists are replaced. It begins at
    /// [`NodeId::DEDUCED`].
    pub fn deduced() -> &'static Self {
        static DEDUCED: LazyLock<Schema> = LazyLock::new(|| SchemaBuilder::new().build());
        &DEDUCED
    }

    /// The same, as one that never changes.
    pub(super) fn fixed(self) -> Self {
        Self { changes: false, ..self }
    }

    pub(super) fn changes(&self) -> bool {
        self.changes
    }

    pub(super) fn node(&self, node: NodeId) -> &Node {
        static ANY: Node = Node { scalar: Some(Scalar::Untyped), list: None, map: None };
        self.nodes.get(node.0 as usize).unwrap_or(&ANY)
    }
}

/// Builds a schema.
#[derive(Debug)]
pub struct SchemaBuilder {
    nodes: Vec<Node>,
}

impl Default for SchemaBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl SchemaBuilder {
    /// A schema with the shapes that every schema has.
    pub fn new() -> Self {
        let any = |element: NodeId, atomic: bool| Node {
            scalar: Some(Scalar::Untyped),
            list: Some(List { element: NodeId::ATOMIC, relation: Relation::Atomic }),
            map: Some(Map { fields: ByName::default(), element: Some(element), atomic }),
        };
        let scalars = [Scalar::Untyped, Scalar::Numeric, Scalar::String, Scalar::Boolean].map(Node::scalar);
        let mut nodes = vec![any(NodeId::ATOMIC, true), any(NodeId::DEDUCED, false)];
        nodes.extend(scalars);
        debug_assert_eq!(nodes.len(), NodeId::OF_EVERY_SCHEMA);
        Self { nodes }
    }

    /// Adds a shape.
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId::at(self.nodes.len() - 1)
    }

    /// Sets a shape that was added before, as one that holds itself.
    pub fn set(&mut self, place: NodeId, node: Node) {
        if let Some(held) = self.nodes.get_mut(place.0 as usize) {
            *held = node;
        }
    }

    /// The schema.
    pub fn build(mut self) -> Schema {
        self.nodes.shrink_to_fit();
        Schema { nodes: self.nodes, changes: true }
    }
}
