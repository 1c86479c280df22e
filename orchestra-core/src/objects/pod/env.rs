//! What is wrong with the environment of a container.

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};

use crate::api::field::{Errors, Path};
use crate::objects::check::say;
use crate::objects::names;
use crate::quantity::Quantity;

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const UNITS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn variables(variables: &[EnvVar], path: &Path, errors: &mut Errors) {
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            say(errors, &path.child("name"), &variable.name, names::environment(&variable.name));
        }
        if let Some(source) = &variable.value_from {
            let has_value = variable.value.as_deref().is_some_and(|value| !value.is_empty());
            value_from(source, has_value, &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &EnvVarSource, has_value: bool, path: &Path, errors: &mut Errors) {
    let mut given = 0;
    if let Some(field) = &source.field_ref {
        given += 1;
        field_ref(field, FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        given += 1;
        resource_ref(resource, false, &path.child("resourceFieldRef"), errors);
    }
    if let Some(entry) = &source.config_map_key_ref {
        given += 1;
        key_ref(&entry.name, &entry.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(entry) = &source.secret_key_ref {
        given += 1;
        key_ref(&entry.name, &entry.key, &path.child("secretKeyRef"), errors);
    }
    given += usize::from(source.file_key_ref.is_some());
    if given == 0 {
        errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if given > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key_ref(name: &str, key: &str, path: &Path, errors: &mut Errors) {
    say(errors, &path.child("name"), name, names::subdomain(name));
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        say(errors, &path.child("key"), key, names::data_key(key));
    }
}

/// A field of the pod whose value is taken.
pub(super) fn field_ref(field: &ObjectFieldSelector, supported: &[&str], path: &Path, errors: &mut Errors) {
    let at = path.child("fieldPath");
    let given = field.field_path.as_str();
    match field.api_version.as_deref().unwrap_or_default() {
        "" => return errors.required(&path.child("apiVersion"), ""),
        _ if given.is_empty() => return errors.required(&at, ""),
        "v1" => {}
        other => {
            return errors.invalid(
                &at,
                given,
                format!("error converting fieldPath: unsupported pod version: {other}"),
            );
        }
    }
    if let Some((map, key)) = given.strip_suffix("']").and_then(|inner| inner.split_once("['")) {
        match map {
            "metadata.annotations" => say(errors, path, key, names::qualified(&key.to_lowercase())),
            "metadata.labels" => say(errors, path, key, names::qualified(key)),
            _ => errors.invalid(
                &at,
                given,
                format!("error converting fieldPath: field label does not support subscript: {given}"),
            ),
        }
    } else if !FIELDS.contains(&given) && !matches!(given, "metadata.annotations" | "metadata.labels") {
        errors.invalid(&at, given, format!("error converting fieldPath: field label not supported: {given}"));
    } else if !supported.contains(&given) {
        errors.not_supported(&at, given, supported);
    }
}

/// A resource of a container whose amount is taken.
pub(super) fn resource_ref(
    resource: &ResourceFieldSelector,
    in_volume: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let name = resource.resource.as_str();
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if in_volume && resource.container_name.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if name.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&name) && !huge {
        errors.not_supported(&path.child("resource"), name, RESOURCES);
    }
    let divisor = resource.divisor.as_ref().map_or("", |divisor| divisor.0.as_str());
    if Quantity::parse(divisor).is_ok_and(|amount| amount.is_zero()) || divisor.is_empty() {
        return;
    }
    let (supported, what) = match name {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"][..], "cpu"),
        "limits.memory" | "requests.memory" => (UNITS, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (UNITS, "local ephemeral storage"),
        _ if huge => (UNITS, "hugepages"),
        _ => return,
    };
    if !supported.contains(&divisor) {
        let list =
            if what == "cpu" { "values 1m and 1".to_owned() } else { format!("values {}", UNITS.join(", ")) };
        errors.invalid(
            &path.child("divisor"),
            name,
            format!("only divisor's {list} are supported with the {what} resource"),
        );
    }
}

pub(super) fn sources(sources: &[EnvFromSource], path: &Path, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        let at = path.index(index);
        if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            say(errors, &at.child("prefix"), prefix, names::environment(prefix));
        }
        let given = [
            ("configMapRef", source.config_map_ref.as_ref().map(|reference| &reference.name)),
            ("secretRef", source.secret_ref.as_ref().map(|reference| &reference.name)),
        ];
        for (field, name) in given {
            match name.map(String::as_str) {
                Some("") => errors.required(&at.child(field).child("name"), ""),
                Some(name) => say(errors, &at.child(field).child("name"), name, names::subdomain(name)),
                None => {}
            }
        }
        match given.iter().filter(|(_, name)| name.is_some()).count() {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}
