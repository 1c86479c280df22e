use serde_json::Value;

use super::{Additional, Schema, Spot};

/// What every object has, whatever its schema says.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Drops the fields of an object that its schema does not know, and names them, in order of the alphabet.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        prune(object, Some(self), true, &Spot::ROOT, &mut unknown);
        unknown.sort();
        unknown
    }

    /// The same of a value within an object: its metadata are not spared.
    pub(super) fn prune_value(&self, value: &mut Value) -> bool {
        let mut unknown = Vec::new();
        prune(value, Some(self), self.embedded, &Spot::ROOT, &mut unknown);
        unknown.is_empty()
    }
}

/// `embedded` is whether the value is an object of a kind, at the root or within.
fn prune(
    value: &mut Value,
    schema: Option<&Schema>,
    embedded: bool,
    at: &Spot<'_>,
    unknown: &mut Vec<String>,
) {
    if let Some(schema) = schema.filter(|schema| schema.preserve) {
        return prune_known(value, schema, embedded, at, unknown);
    }
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let at = at.field(name);
            if embedded && OF_EVERY_OBJECT.contains(&name.as_str()) {
                return true;
            }
            match schema.map(|schema| (schema, schema.properties.get(name.as_str()), &schema.additional)) {
                Some((_, Some(property), _)) => prune(value, Some(property), property.embedded, &at, unknown),
                Some((_, None, Additional::Of(of))) => prune(value, Some(of), of.embedded, &at, unknown),
                Some((_, None, Additional::Any | Additional::Forbidden)) => {
                    prune(value, None, false, &at, unknown);
                }
                Some((_, None, Additional::Unsaid)) | None => {
                    unknown.push(at.text());
                    return false;
                }
            }
            true
        }),
        Value::Array(items) => {
            let of = schema.and_then(Schema::items);
            for (index, item) in items.iter_mut().enumerate() {
                prune(item, of, of.is_some_and(|of| of.embedded), &at.index(index), unknown);
            }
        }
        _ => {}
    }
}

/// Prunes what is declared within what keeps everything.
fn prune_known(value: &mut Value, schema: &Schema, embedded: bool, at: &Spot<'_>, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if embedded && OF_EVERY_OBJECT.contains(&name.as_str()) {
                    continue;
                }
                if let Some(of) = schema.field(name) {
                    prune(value, Some(of), of.embedded, &at.field(name), unknown);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.items() {
                for (index, item) in items.iter_mut().enumerate() {
                    prune_known(item, of, of.embedded, &at.index(index), unknown);
                }
            }
        }
        _ => {}
    }
}
