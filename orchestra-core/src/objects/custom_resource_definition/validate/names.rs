//! What is wrong with the names of a kind.

use serde_json::Value;

use super::{list, text};
use crate::api::field::{Errors, Path};
use crate::api::names;

/// Says which names are none. A missing one is not.
pub(super) fn check(given: &Value, path: &Path, errors: &mut Errors) {
    let mut say = |path: &Path, name: &str, prefix: &str, checked: &str| {
        let wrong = names::label_1035(checked);
        if !wrong.is_empty() {
            errors.invalid(path, name, format!("{prefix}{}", wrong.join(",")));
        }
    };
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    for (field, prefix) in [("plural", ""), ("singular", ""), ("kind", MIXED), ("listKind", MIXED)] {
        let name = text(given, field);
        let checked = if prefix.is_empty() { name.to_owned() } else { name.to_lowercase() };
        if !name.is_empty() {
            say(&path.child(field), name, prefix, &checked);
        }
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in list(given, field).iter().filter_map(Value::as_str).enumerate() {
            say(&path.child(field).index(index), name, "", name);
        }
    }
    let (kind, list_kind) = (text(given, "kind"), text(given, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
}
