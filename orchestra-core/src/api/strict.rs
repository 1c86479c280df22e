//! Files by which parts of a cluster are configured, read as Kubernetes' programs read theirs: strictly, by the table of
//! types.

use serde_json::Value;

use super::decode::{faults, version_and_kind};
use super::group_version::split_api_version;
use super::schema::{Place, fit};
use super::yaml::{self, YamlError};

/// The first document of a text in YAML or JSON, and what stands twice in it.
///
/// # Errors
/// When it cannot be read, or does not say of which kind it is.
pub(crate) fn document(text: &[u8]) -> Result<(Value, Vec<String>), String> {
    let decoded = match yaml::decode(text) {
        Err(YamlError::Empty) => Default::default(),
        decoded => decoded.map_err(|error| error.to_string())?,
    };
    let missing = |what: &str| format!("Object '{what}' is missing in '{}'", String::from_utf8_lossy(text));
    if !decoded.value.is_null() {
        version_and_kind(&decoded.value)?;
    }
    for (field, what) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if decoded.value[field].as_str().unwrap_or_default().is_empty() {
            return Err(missing(what));
        }
    }
    Ok((decoded.value, faults(None, &[], &decoded.repeated)))
}

/// Drops the fields that a value of a type of the table does not have, and names them.
///
/// # Errors
/// When there is no such type, or a field is of another type; in Go's words.
pub(crate) fn fitted(api_version: &str, kind: &str, value: &mut Value) -> Result<Vec<String>, String> {
    let (group, version) = split_api_version(api_version);
    let unregistered = || format!("no kind {kind:?} is registered for version {api_version:?}");
    let place = Place::of_version(group, version, kind).ok_or_else(unregistered)?;
    version_and_kind(value)?;
    Ok(faults(None, &fit::fit(place, value)?, &[]))
}
