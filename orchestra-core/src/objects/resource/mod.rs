//! Devices: what there is (slices, by driver and pool), classes of them, and claims on them.
//!
//! Allocation itself is a scheduler's; here is what objects may say.

mod bounds;
mod claim;
mod class;
mod device;
mod requests;
mod results;
mod shown;
mod slice;

pub(super) use claim::{ResourceClaimRules, ResourceClaimTemplateRules};
pub(super) use class::DeviceClassRules;
pub(super) use slice::ResourceSliceRules;

use std::collections::HashSet;
use std::hash::Hash;

use k8s_openapi::api::resource::v1::OpaqueDeviceConfiguration;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Serialize;
use serde_json::Value;

use super::check::{self, say, shown as shown_value};
use super::{names, pod};
use crate::api::field::{Errors, Path, Problem};

/// The most bytes of a domain, of an identifier within it, and of the name of a pool.
const MAX_DOMAIN: usize = 63;
const MAX_IDENTIFIER: usize = 32;
const MAX_POOL: usize = 253;
/// The most selectors and configurations of a class or request, and the most bytes of an expression and of parameters.
const MAX_SELECTORS: usize = 32;
const MAX_CONFIGURATIONS: usize = 32;
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;

/// Checks each of a list that has a bound.
fn bounded<T>(
    list: &[T],
    most: usize,
    path: &Path,
    errors: &mut Errors,
    one: impl Fn(&T, &Path, &mut Errors),
) {
    if list.len() > most {
        errors.push(path, Problem::TooMany(list.len(), most));
        return;
    }
    for (index, item) in list.iter().enumerate() {
        one(item, &path.index(index), errors);
    }
}

/// The same, where no two may have the same key.
fn set<'t, T, K: Eq + Hash + Serialize>(
    list: &'t [T],
    most: usize,
    path: &Path,
    errors: &mut Errors,
    key: impl Fn(&'t T) -> K,
    one: impl Fn(&T, &Path, &mut Errors),
) {
    if list.len() > most {
        errors.push(path, Problem::TooMany(list.len(), most));
        return;
    }
    let mut seen = HashSet::new();
    for (index, item) in list.iter().enumerate() {
        let path = path.index(index);
        one(item, &path, errors);
        let key = key(item);
        let value = shown_value(&key);
        if !seen.insert(key) {
            errors.duplicate(&path, value);
        }
    }
}

/// The name of a driver: a domain, short enough to be part of other names.
fn driver_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    if name.len() > MAX_DOMAIN {
        errors.push(path, Problem::TooLong(MAX_DOMAIN));
    }
    say(errors, path, name, names::subdomain(&name.to_lowercase()));
}

/// The name of a pool: domains with slashes between them.
fn pool_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    if name.len() > MAX_POOL {
        errors.push(path, Problem::TooLong(MAX_POOL));
    }
    for part in name.split('/') {
        say(errors, path, part, names::subdomain(part));
    }
}

/// The name of an attribute or capacity, with the domain of the driver that it is of, or without.
fn qualified(name: &str, path: &Path, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [name] => identifier(name, path, errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.invalid(path, "", "the domain must not be empty");
            } else {
                driver_name(domain, path, errors);
            }
            if name.is_empty() {
                errors.invalid(path, "", "the name must not be empty");
            } else {
                identifier(name, path, errors);
            }
        }
        _ => {}
    }
}

/// The same, with its domain.
fn fully_qualified(name: &str, path: &Path, errors: &mut Errors) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path, name, detail);
    }
}

fn identifier(name: &str, path: &Path, errors: &mut Errors) {
    if name.len() > MAX_IDENTIFIER {
        errors.push(path, Problem::TooLong(MAX_IDENTIFIER));
    }
    say(errors, path, name, names::c_identifier(name));
}

/// What a driver is told, in its own terms.
fn configuration(opaque: Option<&OpaqueDeviceConfiguration>, path: &Path, errors: &mut Errors) {
    let path = path.child("opaque");
    let Some(opaque) = opaque else {
        errors.required(&path, "");
        return;
    };
    driver_name(&opaque.driver, &path.child("driver"), errors);
    raw(&opaque.parameters, MAX_PARAMETERS, &path.child("parameters"), errors);
}

/// JSON of somebody else's: an object of bounded size.
fn raw(extension: &RawExtension, most: usize, path: &Path, errors: &mut Errors) {
    match &extension.0 {
        Value::Null => errors.required(path, ""),
        value if value.to_string().len() > most => errors.push(path, Problem::TooLong(most)),
        Value::Object(_) => {}
        _ => errors.invalid(path, "<value omitted>", "must be a valid JSON object"),
    }
}
