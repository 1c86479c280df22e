//! The schema of Kubernetes' own kinds, out of the table of types.

use std::sync::LazyLock;

use serde_json::Value;

use super::types::{Field, List, Map, Node, NodeId, Relation, Schema, SchemaBuilder};
use crate::api::by_name::ByName;
use crate::api::schema::{self, Kind, ListType, Place, Shape, Type, TypeRef};

struct Builtin {
    schema: Schema,
    /// Where the types stand in the schema, by their places in the table.
    types: Vec<NodeId>,
    /// An object of which only the metadata are known.
    object: NodeId,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(build);

impl Schema {
    /// The schema of Kubernetes' own kinds, and where a place stands in it.
    pub fn builtin(place: Place) -> (&'static Self, NodeId) {
        let node = match place {
            Place::Type(held) => BUILTIN.types.get(held.at().index()).copied().unwrap_or(NodeId::DEDUCED),
            Place::Object => BUILTIN.object,
            Place::Plain => NodeId::DEDUCED,
        };
        (&BUILTIN.schema, node)
    }
}

fn build() -> Builtin {
    let mut builder = SchemaBuilder::new();
    // Types refer to later ones, so each has its place first.
    let types: Vec<NodeId> = Type::all().map(|_| builder.add(Node::default())).collect();
    let mut work = Work { builder, types };
    for held in Type::all() {
        let node = work.message(held, held.is_atomic());
        let place = work.types[held.at().index()];
        work.builder.set(place, node);
    }
    let metadata = match Place::Object.step("metadata").place {
        Place::Type(held) => work.types[held.at().index()],
        _ => NodeId::DEDUCED,
    };
    let field = |name, of| Field { name, of, default: None };
    let fields = [
        field("apiVersion".into(), NodeId::STRING),
        field("kind".into(), NodeId::STRING),
        field("metadata".into(), metadata),
    ];
    let map = Map { fields: fields.into_iter().collect(), element: Some(NodeId::DEDUCED), atomic: false };
    let object = work.builder.add(Node { map: Some(map), ..Node::default() });
    Builtin { schema: work.builder.build().fixed(), types: work.types, object }
}

struct Work {
    builder: SchemaBuilder,
    types: Vec<NodeId>,
}

impl Work {
    fn message(&mut self, of: &Type, atomic: bool) -> Node {
        let fields = of.fields().iter().map(|field| Field {
            name: field.name.into(),
            of: self.field(field),
            default: default(field).map(Box::new),
        });
        let mut fields: Vec<Field> = fields.collect();
        if of.is_kind() {
            for name in ["apiVersion", "kind"] {
                fields.push(Field { name: name.into(), of: NodeId::STRING, default: None });
            }
        }
        let map = Map { fields: fields.into_iter().collect(), element: None, atomic };
        Node { map: Some(map), ..Node::default() }
    }

    fn field(&mut self, field: &schema::Field) -> NodeId {
        let single = |work: &mut Self| work.value(field.of, field.atomic && field.shape != Shape::List);
        match field.shape {
            Shape::Plain | Shape::Pointer => single(self),
            Shape::List => {
                let element = self.value(field.of, false);
                let relation = match &field.list {
                    ListType::Atomic => Relation::Atomic,
                    ListType::Set => Relation::Set,
                    ListType::Map(keys) => Relation::Keyed(keys.iter().map(|key| (*key).into()).collect()),
                };
                self.builder.add(Node { list: Some(List { element, relation }), ..Node::default() })
            }
            Shape::Map => {
                let element = self.value(field.of, false);
                self.map_of(element, field.atomic)
            }
            Shape::MapOfLists => {
                let element = self.value(field.of, false);
                let list = List { element, relation: Relation::Atomic };
                let list = self.builder.add(Node { list: Some(list), ..Node::default() });
                self.map_of(list, field.atomic)
            }
        }
    }

    fn map_of(&mut self, element: NodeId, atomic: bool) -> NodeId {
        let map = Map { fields: ByName::default(), element: Some(element), atomic };
        self.builder.add(Node { map: Some(map), ..Node::default() })
    }

    fn value(&mut self, of: Kind, atomic: bool) -> NodeId {
        match of {
            Kind::Bool => NodeId::BOOLEAN,
            Kind::Int32 | Kind::Int64 | Kind::Float64 => NodeId::NUMERIC,
            Kind::String | Kind::Bytes => NodeId::STRING,
            Kind::Quantity | Kind::IntOrString | Kind::Time | Kind::MicroTime => NodeId::SCALAR,
            Kind::Raw => NodeId::ATOMIC,
            Kind::Either(..) if atomic => NodeId::ATOMIC,
            Kind::Either(..) => NodeId::DEDUCED,
            Kind::Message(of) => self.reference(of, atomic),
        }
    }

    fn reference(&mut self, of: TypeRef, atomic: bool) -> NodeId {
        let place = self.types[of.index()];
        if !atomic || of.get().is_atomic() {
            return place;
        }
        let node = self.message(of.get(), true);
        self.builder.add(node)
    }
}

/// What a field is when a document leaves it out: zero, where Go writes it always.
fn default(field: &schema::Field) -> Option<Value> {
    if let Some(default) = field.default {
        return Some(default.into());
    }
    match (field.shape, field.of) {
        _ if !field.always_written() => None,
        (Shape::Plain, Kind::String) => Some("".into()),
        (Shape::Plain, Kind::Int32 | Kind::Int64) => Some(0.into()),
        _ => None,
    }
}
