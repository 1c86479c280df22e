//! The schema of a custom kind, out of the structural schema of one of its versions.

use std::collections::HashMap;

use super::types::{Field, List, Map, Node, NodeId, Relation, Scalar, Schema, SchemaBuilder};
use crate::api::schema::Place;
use crate::api::structural::{self, ListType, Type};

impl Schema {
    /// The schema of a custom kind in a version, and where objects begin in it. It may have been another when the owners
    /// of an object were noted.
    pub fn structural(of: &structural::Schema) -> (Self, NodeId) {
        let mut work = Work { metadata: NodeId::DEDUCED, builder: SchemaBuilder::new() };
        work.metadata = work.object_metadata();
        let root = work.node(of, true, false);
        (work.builder.build(), root)
    }
}

struct Work {
    builder: SchemaBuilder,
    /// The metadata that every object has, also one within an object.
    metadata: NodeId,
}

impl Work {
    /// `kept` says whether unknown fields are kept here because an outer schema says so: that holds for all below.
    fn add(&mut self, of: &structural::Schema, kept: bool) -> NodeId {
        match of.kind() {
            Some(Type::Boolean) => NodeId::BOOLEAN,
            Some(Type::Integer | Type::Number) => NodeId::NUMERIC,
            Some(Type::String) => match of.values().format.as_deref() {
                None | Some("byte") => NodeId::STRING,
                // A format may be one that other types have too.
                Some(_) => NodeId::SCALAR,
            },
            _ => self.node(of, of.embedded, kept),
        }
    }

    /// A list, an object, or a value of any type. `object` says whether it is a whole object of a kind.
    fn node(&mut self, of: &structural::Schema, object: bool, kept: bool) -> NodeId {
        let kept = kept || of.preserves_unknown_fields();
        let node = match of.kind() {
            Some(Type::Array) => Node { list: Some(self.list(of, kept)), ..Node::default() },
            Some(_) => Node { map: Some(self.map(of, object, kept)), ..Node::default() },
            None if object => Node { map: Some(self.map(of, object, kept)), ..Node::default() },
            None => Node {
                scalar: Some(Scalar::Untyped),
                list: Some(self.list(of, kept)),
                map: Some(self.map(of, object, kept)),
            },
        };
        self.builder.add(node)
    }

    fn list(&mut self, of: &structural::Schema, kept: bool) -> List {
        let element = of.items().map_or(NodeId::ATOMIC, |items| self.add(items, kept));
        let relation = match of.list_type() {
            ListType::Atomic => Relation::Atomic,
            ListType::Set => Relation::Set,
            ListType::Map => Relation::Keyed(of.list_keys().map(|key| key.to_owned().into()).collect()),
        };
        List { element, relation }
    }

    fn map(&mut self, of: &structural::Schema, object: bool, kept: bool) -> Map {
        let of_object =
            [("apiVersion", NodeId::STRING), ("kind", NodeId::STRING), ("metadata", self.metadata)];
        let of_object: &[_] = if object { &of_object } else { &[] };
        let mut fields = Vec::new();
        for (name, property) in of.properties() {
            if !of_object.iter().any(|(other, _)| *other == name) {
                let default = property.default_value().cloned().map(Box::new);
                let of = self.add(property, kept);
                fields.push(Field { name: name.to_owned().into(), of, default });
            }
        }
        let own = of_object.iter().map(|(name, of)| Field { name: (*name).into(), of: *of, default: None });
        fields.extend(own);
        let element = match (of.map_values(), &of.additional) {
            (Some(values), _) => Some(self.add(values, kept)),
            (None, structural::Additional::Any) => Some(NodeId::DEDUCED),
            (None, structural::Additional::Unsaid) if kept || fields.is_empty() => Some(NodeId::DEDUCED),
            (None, _) => None,
        };
        Map { fields: fields.into_iter().collect(), element, atomic: of.is_atomic_map() }
    }

    /// Kubernetes' own type of metadata, with what it refers to.
    fn object_metadata(&mut self) -> NodeId {
        let (schema, object) = Schema::builtin(Place::Object);
        let metadata = schema.node(object).map.as_ref().and_then(|map| map.field("metadata"));
        metadata.map_or(NodeId::DEDUCED, |field| self.take(schema, field.of, &mut HashMap::new()))
    }

    /// Takes a shape out of another schema, with all that it holds.
    fn take(&mut self, from: &Schema, node: NodeId, taken: &mut HashMap<NodeId, NodeId>) -> NodeId {
        if node.is_of_every_schema() {
            return node;
        }
        if let Some(place) = taken.get(&node) {
            return *place;
        }
        let place = self.builder.add(Node::default());
        taken.insert(node, place);
        let mut held = from.node(node).clone();
        if let Some(list) = &mut held.list {
            list.element = self.take(from, list.element, taken);
        }
        if let Some(map) = &mut held.map {
            map.element = map.element.map(|element| self.take(from, element, taken));
            let fields = map.fields.iter().cloned();
            let taken = fields.map(|field| Field { of: self.take(from, field.of, taken), ..field });
            map.fields = taken.collect();
        }
        self.builder.set(place, held);
        place
    }
}
