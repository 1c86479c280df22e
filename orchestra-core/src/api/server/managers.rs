//! Who wrote an object: an entry of `metadata.managedFields` for each manager, whoever wrote last at the end.
//!
//! Of whom which field is, the entries do not say: that is what server-side apply will add.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::draft::{Part, metadata};
use super::prepare::timestamp;
use crate::api::Resource;
use crate::api::request::{User, WriteOptions};
use crate::store::Durability;

/// How many managers are remembered, as in Kubernetes; the one that has been silent for longest is forgotten.
const MOST: usize = 10;
/// The longest name of a manager in bytes, as in Kubernetes.
const LONGEST: usize = 128;

/// Who writes.
pub(super) struct Author<'a> {
    manager: &'a str,
    subresource: Option<&'a str>,
}

impl<'a> Author<'a> {
    /// The manager that the write names, else the user.
    pub(super) fn of(user: &'a User, part: Part<'a>, options: &'a WriteOptions) -> Self {
        let named = options.field_manager.as_deref().filter(|name| !name.is_empty());
        let manager = named.unwrap_or(&user.name);
        let manager = &manager[..manager.floor_char_boundary(LONGEST)];
        Self { manager, subresource: part.map(|part| &*part.name) }
    }

    /// Takes note that this is who makes the object what it is now. Of objects that are written all the time and not
    /// kept, nothing is noted.
    pub(super) fn sign(&self, resource: &Resource, object: &mut Value, now: Timestamp) {
        if resource.durability != Durability::Durable {
            return;
        }
        let mut entry = json!({
            "manager": self.manager,
            "operation": "Update",
            "apiVersion": resource.api_version(),
            "time": timestamp(now),
            "fieldsType": "FieldsV1",
            "fieldsV1": {},
        });
        if let Some(subresource) = self.subresource {
            entry["subresource"] = subresource.into();
        }
        let meta = metadata(object);
        let mut entries = match meta.remove("managedFields") {
            Some(Value::Array(entries)) => entries,
            _ => Vec::new(),
        };
        entries.retain(|held| {
            held["manager"] != entry["manager"] || held["subresource"] != entry["subresource"]
        });
        entries.push(entry);
        entries.drain(..entries.len().saturating_sub(MOST));
        meta.insert("managedFields".to_owned(), entries.into());
    }
}
