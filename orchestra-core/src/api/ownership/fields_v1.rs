//! `fieldsV1`: how a set of paths is written in an object.

use serde_json::{Map, Value};

use super::element::{Element, ParseElementError};
use super::set::FieldSet;

const SELF: &str = ".";

impl<'a> FieldSet<'a> {
    /// Reads `fieldsV1`. What a later version may have added is left out.
    ///
    /// # Errors
    /// When a key is damaged, or stands where none can.
    pub fn read(fields: &'a Value) -> Result<Self, ParseElementError> {
        Ok(read(fields)?.0)
    }

    /// The set as `fieldsV1`.
    pub fn write(&self) -> Value {
        write(self, false)
    }

    /// The set as the text of `fieldsV1`, its keys in Kubernetes' order.
    pub fn write_text(&self) -> String {
        let mut out = String::new();
        write_text(self, false, &mut out);
        out
    }
}

/// What is below, and whether the path to here is in the set itself: it is if nothing is below.
fn read(fields: &Value) -> Result<(FieldSet<'_>, bool), ParseElementError> {
    let mut set = FieldSet::default();
    let mut member = false;
    let fields = match fields {
        Value::Object(fields) => fields,
        Value::Null => return Ok((set, true)),
        _ => return Err(ParseElementError::Malformed("expected an object".to_owned())),
    };
    for (key, value) in fields {
        if key == SELF {
            member = true;
            continue;
        }
        let element = match Element::parse(key) {
            Err(ParseElementError::Unknown) => continue,
            element => element?,
        };
        let (below, is_member) = read(value)?;
        // Keys stand mostly in their order, and then this is the last place.
        let node = set.descend(element);
        node.member |= is_member;
        node.below = below;
    }
    member |= set.is_empty();
    Ok((set, member))
}

fn write(set: &FieldSet<'_>, with_self: bool) -> Value {
    let mut out = Map::new();
    if with_self {
        out.insert(SELF.to_owned(), Map::new().into());
    }
    for node in &set.nodes {
        let below = write(&node.below, node.member && !node.below.is_empty());
        out.insert(node.element.to_key(), below);
    }
    out.into()
}

fn write_text(set: &FieldSet<'_>, with_self: bool, out: &mut String) {
    out.push('{');
    if with_self {
        out.push_str("\".\":{}");
    }
    for (place, node) in set.nodes.iter().enumerate() {
        if with_self || place > 0 {
            out.push(',');
        }
        out.push_str(&Value::String(node.element.to_key()).to_string());
        out.push(':');
        write_text(&node.below, node.member && !node.below.is_empty(), out);
    }
    out.push('}');
}
