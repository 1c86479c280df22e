//! References from an object to those that own it, as they are written.

use serde_json::{Value, json};

use crate::meta::{Object, OwnerRef};
use crate::watch::Entry;

/// The reference that makes an owner the controller of an object.
pub fn controller<O: Object>(owner: &Entry) -> Value {
    json!({
        "apiVersion": O::api_version(),
        "kind": O::KIND,
        "name": owner.name().name(),
        "uid": owner.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A reference as it stands in an object.
pub fn stored(owner: &OwnerRef) -> Value {
    let mut reference = json!({
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    });
    for (field, value) in
        [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)]
    {
        if value {
            reference[field] = true.into();
        }
    }
    reference
}
