use serde_json::Value;

use super::Schema;

/// The most values that defaults add to an object. Defaults within defaults may double at each level, so that a small
/// schema could ask for more than there is room for.
const MOST: usize = 250_000;

impl Schema {
    /// Fills in what is missing and has a default, and drops nulls that may not be there. Idempotent. What would grow
    /// beyond all measure is left [unfilled](Self::is_filled).
    pub fn fill_in(&self, value: &mut Value) {
        self.fill_within(value, &mut MOST.clone());
    }

    /// The same, of so many values at most, of which it says how many are left. Answers whether that was enough.
    pub(super) fn fill_within(&self, value: &mut Value, left: &mut usize) -> bool {
        drop_nulls(value, self);
        !self.has_defaults || fill(value, self, left).is_some()
    }

    /// Whether nothing is missing that has a default.
    pub fn is_filled(&self, value: &Value) -> bool {
        !self.has_defaults || filled(value, self)
    }
}

/// How many values a value is.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// A default, if there is room for it.
pub(super) fn taken(default: &Value, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(count(default))?;
    Some(default.clone())
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

/// `None` when there is no room for more.
fn fill(value: &mut Value, schema: &Schema, left: &mut usize) -> Option<()> {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties.iter().filter(|(_, property)| property.has_defaults) {
                if let Some(default) = &property.default
                    && fields.get(&**name).is_none_or(|held| is_misplaced_null(held, property))
                {
                    fields.insert(name.to_string(), taken(default, left)?);
                }
                if let Some(value) = fields.get_mut(&**name) {
                    fill(value, property, left)?;
                }
            }
            if let Some(of) = schema.map_values().filter(|of| of.has_defaults) {
                let others =
                    fields.iter_mut().filter(|(name, _)| !schema.properties.contains_key(name.as_str()));
                for (_, value) in others {
                    fill_element(value, of, left)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.items().filter(|of| of.has_defaults) {
                for item in items {
                    fill_element(item, of, left)?;
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// An element is not missing, but null may stand for it.
fn fill_element(value: &mut Value, schema: &Schema, left: &mut usize) -> Option<()> {
    if is_misplaced_null(value, schema)
        && let Some(default) = &schema.default
    {
        *value = taken(default, left)?;
    }
    fill(value, schema, left)
}

fn filled(value: &Value, schema: &Schema) -> bool {
    match value {
        Value::Object(fields) => {
            let property = |name: &str, property: &Schema| match fields.get(name) {
                None => property.default.is_none(),
                Some(value) => filled_element(value, property),
            };
            let mut others = fields.iter().filter(|(name, _)| !schema.properties.contains_key(name.as_str()));
            let mut with_defaults = schema.properties.iter().filter(|(_, property)| property.has_defaults);
            with_defaults.all(|(name, of)| property(name, of))
                && schema.map_values().is_none_or(|of| others.all(|(_, value)| filled_element(value, of)))
        }
        Value::Array(items) => {
            schema.items().is_none_or(|of| items.iter().all(|item| filled_element(item, of)))
        }
        _ => true,
    }
}

fn filled_element(value: &Value, schema: &Schema) -> bool {
    !schema.has_defaults
        || !(is_misplaced_null(value, schema) && schema.default.is_some()) && filled(value, schema)
}
