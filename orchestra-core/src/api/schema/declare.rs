//! What Kubernetes' types declare to expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Field, Kind, Place, Shape, Type};
use crate::expression::{Declared, DeclaredField, DeclaredKind, Elements, escape};

/// The most bytes that a request has: nothing in it is larger.
const MOST: u64 = 3 * 1024 * 1024;

/// What is declared of objects of a kind; `None` if it is not one of Kubernetes' own.
pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<Arc<Declared>> {
    let Place::Type(held) = Place::of_kind(api_version, kind)? else { return None };
    Some(of_type(held, &mut Vec::new()))
}

fn value(kind: DeclaredKind) -> Arc<Declared> {
    let most = match &kind {
        DeclaredKind::Bool | DeclaredKind::Int | DeclaredKind::Double | DeclaredKind::Object(_) => 1,
        _ => MOST,
    };
    Arc::new(Declared { kind, most, least_bytes: 1 })
}

/// A type that holds itself, as schemas do, is declared as far as to where it begins again.
fn of_type(held: &'static Type, within: &mut Vec<&'static str>) -> Arc<Declared> {
    if within.contains(&held.name()) {
        return value(DeclaredKind::Dyn);
    }
    within.push(held.name());
    let mut fields = BTreeMap::new();
    let mut add = |name: &str, of: Arc<Declared>| {
        if let Some(known) = escape(name) {
            fields.insert(Arc::from(known), DeclaredField { name: name.into(), of });
        }
    };
    if held.is_kind() {
        for name in ["apiVersion", "kind"] {
            add(name, value(DeclaredKind::String));
        }
    }
    for field in held.fields() {
        add(field.name, of_field(field, within));
    }
    within.pop();
    value(DeclaredKind::Object(fields))
}

fn of_field(field: &Field, within: &mut Vec<&'static str>) -> Arc<Declared> {
    let one = match field.of {
        Kind::Bool => value(DeclaredKind::Bool),
        Kind::Int32 | Kind::Int64 => value(DeclaredKind::Int),
        Kind::Float64 => value(DeclaredKind::Double),
        Kind::String => value(DeclaredKind::String),
        Kind::Bytes => value(DeclaredKind::Bytes),
        Kind::Time | Kind::MicroTime => value(DeclaredKind::Timestamp),
        Kind::Message(of) => of_type(of.get(), within),
        Kind::Quantity | Kind::IntOrString | Kind::Raw | Kind::Either(..) => value(DeclaredKind::Dyn),
    };
    let list = |of| value(DeclaredKind::List(of, Elements::InOrder));
    match field.shape {
        Shape::Plain | Shape::Pointer => one,
        Shape::List => list(one),
        Shape::Map => value(DeclaredKind::Map(one)),
        Shape::MapOfLists => value(DeclaredKind::Map(list(one))),
    }
}
