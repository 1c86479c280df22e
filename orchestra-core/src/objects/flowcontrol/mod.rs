//! How requests share the API server: which flow a request is of, and what each level of priority may take.

mod bootstrap;
mod flow_schema;
mod priority_level;

pub(crate) use bootstrap::{AUTO_UPDATE, Bootstrap, flow_schemas, priority_levels};
pub(super) use flow_schema::FlowSchemaRules;
pub(super) use priority_level::PriorityLevelRules;

use std::collections::HashSet;

use super::{check, names};
use crate::api::field::{Errors, Path};

/// Conditions, each of which has a type that no other has.
fn conditions<'c>(types: impl Iterator<Item = Option<&'c String>>, errors: &mut Errors) {
    let (path, mut seen) = (Path::new("status.conditions"), HashSet::new());
    for (index, name) in types.enumerate() {
        let path = path.index(index).child("type");
        let name = name.map(String::as_str).unwrap_or_default();
        check::unique(errors, &mut seen, &path, name);
        if name.is_empty() {
            errors.required(&path, "");
        }
    }
}
