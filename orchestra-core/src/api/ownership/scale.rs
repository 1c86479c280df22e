//! Ownership through the subresource `scale`: the count of replicas stands elsewhere in it than in the object.

use serde_json::Value;

use super::managers::{self, Manager, ManagersError};
use super::set::FieldSet;

const SCALE: &str = "autoscaling/v1";
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// Who owns the count of replicas of an object, as `managedFields` of its scale. `path` is where the object has it.
///
/// # Errors
/// When the object's `managedFields` cannot be read.
pub fn to_scale(held: &Value, path: &[&str]) -> Result<Value, ManagersError> {
    let mut owners = managers::read(held)?;
    owners.retain(|manager| manager.fields.has(path));
    for manager in &mut owners {
        manager.api_version = SCALE.into();
        manager.fields = FieldSet::of(REPLICAS);
    }
    Ok(managers::write(owners).unwrap_or_default())
}

/// Who owns what of an object whose scale was written: who owned the count and does not any more loses it, who owns it
/// now has it, in the version of the request. Kubernetes notes no time for those who are new.
///
/// # Errors
/// When one of the `managedFields` cannot be read.
pub fn to_parent(
    held: &Value,
    scale: &Value,
    path: &[&str],
    api_version: &str,
) -> Result<Option<Value>, ManagersError> {
    let mut scalers = managers::read(scale)?;
    let mut owners = managers::read(held)?;
    let count = FieldSet::of(path.iter().copied());
    for manager in owners.iter_mut().filter(|manager| manager.fields.has(path)) {
        let same = |scaler: &Manager<'_>| {
            (&scaler.name, scaler.operation, &scaler.subresource)
                == (&manager.name, manager.operation, &manager.subresource)
        };
        match scalers.iter().position(same) {
            Some(place) => drop(scalers.remove(place)),
            None => manager.fields = manager.fields.difference(&count),
        }
    }
    scalers.retain(|scaler| scaler.fields.has(&REPLICAS));
    for scaler in scalers {
        let scaler = Manager { api_version: api_version.into(), time: None, fields: count.clone(), ..scaler };
        match owners.iter_mut().find(|held| held.is(&scaler)) {
            Some(held) => held.fields = held.fields.union(&scaler.fields),
            None => owners.push(scaler),
        }
    }
    Ok(managers::write(owners))
}
