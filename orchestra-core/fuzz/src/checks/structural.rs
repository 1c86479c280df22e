use serde_json::{Value, json};

use crate::api::field::{Errors, Path};
use crate::api::ownership::{self, field_set};
use crate::api::structural::{
    Checked, RuleSet, Schema, check_defaults, check_lists, check_properties, check_rules, check_structure,
};

/// A schema, and an object that it is asked about: `{"schema": …, "object": …}`.
pub(super) fn check(input: &[u8]) {
    let Ok(Value::Object(mut input)) = serde_json::from_slice(input) else { return };
    let mut part = |name: &str| input.remove(name).unwrap_or_default();
    let (document, object) = (part("schema"), part("object"));
    let Ok(schema) = Schema::read(&document) else { return };
    let (mut errors, path) = (Errors::new(), Path::new("schema"));
    check_structure(&document, &path, &mut errors);
    if errors.is_empty() {
        check_defaults(&schema, &path, &mut errors);
    }
    check_properties(&document, Checked { types: true }, &path, &mut errors);
    if !errors.is_empty() {
        // Such a schema is refused, and no object is ever asked about it.
        return;
    }
    check_rules(&schema, &document, &path, &|rule| rule.clone().into(), &mut errors);
    if errors.is_empty() {
        settles(&schema, object);
    }
}

/// What is pruned has nothing more to prune, and what is filled in nothing more to fill in.
fn settles(schema: &Schema, mut object: Value) {
    let whole = json!({"apiVersion": "v1", "kind": "T"});
    if !object.is_object() {
        object = whole;
    }
    let _ = schema.coerce_embedded(&mut object);
    schema.prune(&mut object);
    assert_eq!(schema.prune(&mut object), [""; 0], "pruned twice");
    schema.fill_in(&mut object);
    let filled = object.clone();
    assert!(
        schema.is_filled(&filled),
        "a definition that is accepted asks for no more than there is room for"
    );
    schema.fill_in(&mut object);
    assert_eq!(object, filled, "filled in twice");
    let mut errors = Errors::new();
    schema.validate(&object, None).say(&Path::root(), &mut errors);
    schema.check_embedded(&object, &mut errors);
    check_lists(schema, &object, &mut errors);
    if !errors.is_empty() {
        return;
    }
    if let Some(rules) = RuleSet::compile(schema) {
        rules.check(schema, &object, None, &mut errors);
        rules.check(schema, &object, Some(&object), &mut errors);
    }
    let (merged, node) = ownership::Schema::structural(schema);
    let set = field_set(&merged, node, &object);
    assert_eq!(ownership::FieldSet::read(&set.write()).as_ref(), Ok(&set));
}
