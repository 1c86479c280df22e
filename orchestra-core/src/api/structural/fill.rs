use serde_json::Value;

use super::Schema;

impl Schema {
    /// Fills in what is missing and has a default, and drops nulls that may not be there. Idempotent.
    pub fn fill_in(&self, value: &mut Value) {
        drop_nulls(value, self);
        if self.has_defaults {
            fill(value, self);
        }
    }
}

/// Whether null stands where it may not.
fn is_misplaced_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

/// Drops nulls that may not be there and that no default will replace.
fn drop_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let Some(of) = schema.field(name) else { return true };
            if is_misplaced_null(value, of) && of.default.is_none() {
                return false;
            }
            drop_nulls(value, of);
            true
        }),
        Value::Array(items) => {
            if let Some(of) = schema.items() {
                items.iter_mut().for_each(|item| drop_nulls(item, of));
            }
        }
        _ => {}
    }
}

fn fill(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties.iter().filter(|(_, property)| property.has_defaults) {
                if let Some(default) = &property.default
                    && fields.get(&**name).is_none_or(|held| is_misplaced_null(held, property))
                {
                    fields.insert(name.to_string(), default.clone());
                }
                if let Some(value) = fields.get_mut(&**name) {
                    fill(value, property);
                }
            }
            if let Some(of) = schema.map_values().filter(|of| of.has_defaults) {
                let others =
                    fields.iter_mut().filter(|(name, _)| !schema.properties.contains_key(name.as_str()));
                others.for_each(|(_, value)| fill_element(value, of));
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.items().filter(|of| of.has_defaults) {
                items.iter_mut().for_each(|item| fill_element(item, of));
            }
        }
        _ => {}
    }
}

/// An element is not missing, but null may stand for it.
fn fill_element(value: &mut Value, schema: &Schema) {
    if is_misplaced_null(value, schema)
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    fill(value, schema);
}
