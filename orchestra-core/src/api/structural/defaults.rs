//! Whether the defaults of a schema fit it.

use serde_json::Value;

use super::Schema;
use crate::api::field::{Errors, Path};

/// Says which defaults of a schema, and of those within it, do not fit what they are defaults of.
pub fn check_defaults(schema: &Schema, at: &Path, errors: &mut Errors) {
    check(schema, at, errors);
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
