//! Whether the defaults of a schema fit it.

use serde_json::Value;

use super::Schema;
use super::fill::taken;
use crate::api::field::{Errors, Path};

/// The most values that all defaults of a schema may be, with the defaults within them.
const MOST: usize = 100_000;

/// Says which defaults of a schema, and of those within it, do not fit what they are defaults of, or grow beyond measure
/// by the defaults within them.
pub fn check_defaults(schema: &Schema, at: &Path, errors: &mut Errors) {
    check(schema, at, errors);
    let mut left = MOST;
    if let Some(at) = too_large(schema, at, &mut left) {
        errors.forbidden(
            &at,
            format!("the defaults of a schema may be {MOST} values in all, with those within them"),
        );
    }
}

/// Where the default stands with which there are too many values.
fn too_large(schema: &Schema, at: &Path, left: &mut usize) -> Option<Path> {
    if !schema.has_defaults {
        return None;
    }
    if let Some(default) = &schema.default {
        let fits = taken(default, left).is_some_and(|mut whole| schema.fill_within(&mut whole, left));
        if !fits {
            return Some(at.child("default"));
        }
    }
    let below = [("items", schema.items()), ("additionalProperties", schema.map_values())];
    for (name, of) in below {
        if let Some(found) = of.and_then(|of| too_large(of, &at.child(name), left)) {
            return Some(found);
        }
    }
    let mut properties = schema.properties.iter();
    properties.find_map(|(name, of)| too_large(of, &at.child("properties").key(name), left))
}

fn check(schema: &Schema, at: &Path, errors: &mut Errors) {
    if let Some(default) = &schema.default {
        check_one(schema, default, &at.child("default"), errors);
    }
    if let Some(items) = schema.items() {
        check(items, &at.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        check(property, &at.child("properties").key(name), errors);
    }
}

fn check_one(schema: &Schema, default: &Value, at: &Path, errors: &mut Errors) {
    if !schema.prune_value(&mut default.clone()) {
        errors.invalid(at, default.clone(), "must not have unknown fields");
    }
    schema.validate(default, None).say(at, errors);
}
