//! What a schema declares to the expressions of its rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Additional, ListType, Schema, Type};
use crate::expression::{Declared, DeclaredField, DeclaredKind, Elements, escape};

/// The most bytes that a request has, by which the sizes of what is not bounded are estimated.
pub(super) const MAX_REQUEST: u64 = 3 * 1024 * 1024;

/// What a schema declares; `None` if nothing can be said of its values. At the root, and of an embedded object, a kind, a
/// version and a name are declared too.
pub(super) fn declare(schema: &Schema, object: bool) -> Option<Arc<Declared>> {
    let (kind, most, least_bytes) = if schema.int_or_string {
        (DeclaredKind::Dyn, text_length(schema), 1)
    } else {
        match schema.kind.as_ref()? {
            Type::Array => list(schema)?,
            Type::Object => return object_or_map(schema, object).map(Arc::new),
            Type::String => text(schema),
            Type::Boolean => (DeclaredKind::Bool, 1, 4),
            Type::Number => (DeclaredKind::Double, 1, 1),
            Type::Integer => (DeclaredKind::Int, 1, 1),
            Type::Other(_) => return None,
        }
    };
    Some(Arc::new(Declared { kind, most, least_bytes }))
}

fn at_least_zero(bound: i64) -> u64 {
    u64::try_from(bound).unwrap_or(0)
}

/// The most bytes of a text.
fn text_length(schema: &Schema) -> u64 {
    match schema.values().max_length {
        // A character has up to four.
        Some(length) => at_least_zero(length).saturating_mul(4),
        None => MAX_REQUEST - 2,
    }
}

fn text(schema: &Schema) -> (DeclaredKind, u64, u64) {
    let values = schema.values();
    match values.format.as_deref() {
        Some("byte") => {
            let most = values.max_length.map_or(MAX_REQUEST - 2, at_least_zero);
            (DeclaredKind::Bytes, most, 2)
        }
        Some("duration") => (DeclaredKind::Duration, 32, 3),
        Some("date") => (DeclaredKind::Timestamp, 12, 12),
        Some("date-time") => (DeclaredKind::Timestamp, 32, 21),
        _ => {
            let longest = values.enumeration.iter().filter_map(Value::as_str).map(str::len).max();
            let most = match longest {
                Some(longest) if values.max_length.is_none() => longest as u64,
                _ => text_length(schema),
            };
            (DeclaredKind::String, most, 2)
        }
    }
}

fn list(schema: &Schema) -> Option<(DeclaredKind, u64, u64)> {
    let of = schema.items()?;
    let of = declare(of, of.embedded)?;
    let most = match schema.values().max_items {
        Some(most) => at_least_zero(most),
        None => (MAX_REQUEST - 2) / (of.least_bytes + 1),
    };
    let elements = match schema.list {
        ListType::Atomic => Elements::InOrder,
        ListType::Set => Elements::Set,
        ListType::Map => {
            Elements::ByKeys(schema.list_keys.iter().filter_map(|key| escape(key)).map(Into::into).collect())
        }
    };
    Some((DeclaredKind::List(of, elements), most, 2))
}

fn object_or_map(schema: &Schema, object: bool) -> Option<Declared> {
    if let Additional::Of(of) = &schema.additional {
        let of = declare(of, of.embedded)?;
        let most = match schema.values().max_properties {
            Some(most) => at_least_zero(most),
            None => (MAX_REQUEST - 2) / (of.least_bytes + 6),
        };
        return Some(Declared { kind: DeclaredKind::Map(of), most, least_bytes: 2 });
    }
    let (mut fields, mut least_bytes) = (BTreeMap::new(), 2);
    for (name, property) in schema.properties() {
        let Some(of) = declare(property, property.embedded) else { continue };
        if schema.required().any(|required| required == name) && property.default.is_none() {
            least_bytes += name.len() as u64 + of.least_bytes + 4;
        }
        if let Some(escaped) = escape(name) {
            fields.insert(escaped.into(), DeclaredField { name: name.into(), of });
        }
    }
    if object {
        of_every_object(&mut fields);
    }
    Some(Declared { kind: DeclaredKind::Object(fields), most: 1, least_bytes })
}

fn of_every_object(fields: &mut BTreeMap<Arc<str>, DeclaredField>) {
    let text = Arc::new(Declared { kind: DeclaredKind::String, most: MAX_REQUEST - 2, least_bytes: 2 });
    let field = |name: &str, of: &Arc<Declared>| {
        (Arc::from(name), DeclaredField { name: name.into(), of: Arc::clone(of) })
    };
    let names = ["name", "generateName"].map(|name| field(name, &text)).into_iter().collect();
    let meta = Arc::new(Declared { kind: DeclaredKind::Object(names), most: 1, least_bytes: 2 });
    fields.extend([field("kind", &text), field("apiVersion", &text), field("metadata", &meta)]);
}
