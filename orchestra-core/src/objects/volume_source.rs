//! The storage systems that a volume may be in: what a pod and a PersistentVolume may both name. Kubernetes reaches few of
//! them itself any more, and still looks into all.

use serde_json::Value;

use super::check::{self, say};
use super::names;
use crate::api::field::{Errors, Path, Problem};

/// What names a source. What stands in a PersistentVolume is of no namespace, so it must say of which its secrets are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// A pod, or a template of one.
    Pod,
    /// The PersistentVolume of this name.
    PersistentVolume(&'a str),
}

/// What errors call a source, and the fields that must be there.
struct Known {
    field: &'static str,
    called: &'static str,
    required: &'static [&'static str],
}

const fn source(field: &'static str, required: &'static [&'static str]) -> Known {
    Known { field, called: field, required }
}

const KNOWN: &[Known] = &[
    Known { called: "persistentDisk", ..source("gcePersistentDisk", &["pdName"]) },
    source("awsElasticBlockStore", &["volumeID"]),
    source("glusterfs", &["endpoints", "path"]),
    source("flocker", &[]),
    source("nfs", &["server", "path"]),
    source("rbd", &["monitors", "image"]),
    source("quobyte", &[]),
    source("cephfs", &["monitors"]),
    source("iscsi", &["targetPortal"]),
    source("cinder", &["volumeID"]),
    source("fc", &[]),
    source("flexVolume", &["driver"]),
    source("azureFile", &["secretName", "shareName"]),
    source("vsphereVolume", &["volumePath"]),
    source("photonPersistentDisk", &["pdID"]),
    source("portworxVolume", &["volumeID"]),
    source("azureDisk", &["diskName", "diskURI"]),
    source("scaleIO", &["gateway", "system", "volumeName"]),
    source("storageos", &["volumeName"]),
];

/// Says that a source may not be there because another one is.
pub(super) fn one_too_many(field: &str, volume: &Path, errors: &mut Errors) {
    // Two are called otherwise here than elsewhere, one of them by mistake.
    let called = match field {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    };
    errors.forbidden(&volume.child(called), "may not specify more than 1 volume type");
}

/// Says what is wrong with the source of a volume that stands in a field. Of other fields it says nothing.
pub(super) fn validate(field: &str, held: &Value, owner: Owner<'_>, volume: &Path, errors: &mut Errors) {
    let Some(known) = KNOWN.iter().find(|known| known.field == field) else { return };
    let path = volume.child(known.called);
    for field in known.required {
        required(field, held, &path, errors);
    }
    match field {
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(held, &path, errors),
        "glusterfs" => endpoints_namespace(held, &path, errors),
        "flocker" => flocker(held, &path, errors),
        "nfs" if !text(held, "path").starts_with('/') => {
            errors.invalid(&path.child("path"), text(held, "path"), "must be an absolute path");
        }
        "quobyte" => quobyte(held, &path, errors),
        "iscsi" => iscsi(held, owner, &path, errors),
        "cinder" => secret(held, owner, &path, errors),
        "fc" => fibre_channel(held, &path, errors),
        "flexVolume" => options(held, &path.child("options"), errors),
        "azureFile" if held["secretNamespace"] == "" => errors.required(&path.child("secretNamespace"), ""),
        "azureDisk" => azure_disk(held, &path, errors),
        "storageos" => storage_os(held, owner, &path, errors),
        _ => {}
    }
}

fn text<'v>(held: &'v Value, field: &str) -> &'v str {
    held[field].as_str().unwrap_or_default()
}

fn required(field: &str, held: &Value, path: &Path, errors: &mut Errors) {
    let is_empty = match &held[field] {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if is_empty {
        errors.required(&path.child(field), "");
    }
}

/// None is a partition too, and the error does not say so.
fn partition(held: &Value, path: &Path, errors: &mut Errors) {
    let partition = held["partition"].as_i64().unwrap_or_default();
    if !(0..=255).contains(&partition) {
        errors.invalid(&path.child("partition"), partition, "must be between 1 and 255, inclusive");
    }
}

fn endpoints_namespace(held: &Value, path: &Path, errors: &mut Errors) {
    let Some(namespace) = held["endpointsNamespace"].as_str() else { return };
    let path = path.child("endpointsNamespace");
    match namespace {
        "" => {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.invalid(&path, "", detail);
        }
        _ => say(errors, &path, namespace, names::label(namespace)),
    }
}

fn flocker(held: &Value, path: &Path, errors: &mut Errors) {
    let (name, id) = (text(held, "datasetName"), text(held, "datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(path, "resource", detail);
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(held: &Value, path: &Path, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(held, "registry");
    if registry.is_empty() {
        errors.required(&path.child("registry"), PAIRS);
    } else if text(held, "tenant").len() > 64 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&path.child("tenant"), detail);
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.invalid(&path.child("registry"), registry, PAIRS);
        }
    }
    required("volume", held, path, errors);
}

/// A host and a port as they stand in an address: a host with colons in it stands in brackets, others have none.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']'),
        None => Some(host).filter(|host| !host.contains(':')),
    };
    !port.contains(['[', ']']) && inner.is_some_and(|inner| !inner.contains(['[', ']']))
}

fn iscsi(held: &Value, owner: Owner<'_>, path: &Path, errors: &mut Errors) {
    let portal = text(held, "targetPortal");
    let initiator = held["initiatorName"].as_str();
    if let Owner::PersistentVolume(name) = owner
        && initiator.is_some()
        && is_too_long_for_iscsi(name, portal)
    {
        errors.invalid(&path.child("targetportal"), portal, TOO_LONG_FOR_ISCSI);
    }
    match text(held, "iqn") {
        "" => errors.required(&path.child("iqn"), ""),
        name => iscsi_name(name, owner, &path.child("iqn"), errors),
    }
    check::within(errors, &path.child("lun"), held["lun"].as_i64().unwrap_or_default(), 0, 255);
    let authenticates = held["chapAuthDiscovery"] == true || held["chapAuthSession"] == true;
    if authenticates && held["secretRef"].is_null() {
        errors.required(&path.child("secretRef"), "");
    }
    let without_name = held["secretRef"].is_object() && text(&held["secretRef"], "name").is_empty();
    if without_name && owner != Owner::Pod {
        errors.required(&path.child("secretRef.name"), "");
    }
    if let Some(name) = initiator {
        iscsi_name(name, owner, &path.child("initiatorname"), errors);
    }
}

/// What is said of a volume whose name and portal make no name of an interface.
pub(super) const TOO_LONG_FOR_ISCSI: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                                             iscsi.initiatorName is specified.";

/// Whether the name of a volume and its portal are longer than a name of an interface may be.
pub(super) fn is_too_long_for_iscsi(volume: &str, portal: &str) -> bool {
    volume.len() + 1 + portal.len() > 64
}

fn iscsi_name(name: &str, owner: Owner<'_>, path: &Path, errors: &mut Errors) {
    if is_iscsi_name(name) {
        return;
    }
    let is_known = ["iqn", "eui", "naa"].iter().any(|kind| name.starts_with(kind));
    let detail = match owner {
        Owner::Pod if !is_known => "must be valid format starting with iqn, eui, or naa",
        _ => "must be valid format",
    };
    errors.invalid(path, name, detail);
}

/// A name as `iqn.2001-04.com.example:disk`, `eui.` with 16 letters or `naa.` with 32.
fn is_iscsi_name(name: &str) -> bool {
    let letters =
        |text: &str, count| text.len() == count && text.bytes().all(|letter| letter.is_ascii_alphanumeric());
    let of = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.get(1..));
    if let Some(rest) = of("eui") {
        return letters(rest, 16);
    }
    if let Some(rest) = of("naa") {
        return letters(rest, 32);
    }
    let Some((date, rest)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|digit| digit.is_ascii_digit());
    let is_date = date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let (authority, label) = rest.split_once(':').map_or((rest, None), |(first, rest)| (first, Some(rest)));
    let in_authority = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    let in_label = |letter: char| !letter.is_whitespace() && !",;*&$|".contains(letter);
    is_date
        && !authority.is_empty()
        && authority.chars().all(in_authority)
        && label.is_some_and(|label| !label.is_empty() && label.chars().all(in_label))
}

/// A secret that must have a name if it is there, and in a PersistentVolume a namespace.
fn secret(held: &Value, owner: Owner<'_>, path: &Path, errors: &mut Errors) {
    let held = &held["secretRef"];
    if held.is_null() {
        return;
    }
    required("name", held, &path.child("secretRef"), errors);
    if owner != Owner::Pod {
        required("namespace", held, &path.child("secretRef"), errors);
    }
}

fn fibre_channel(held: &Value, path: &Path, errors: &mut Errors) {
    let has = |field: &str| held[field].as_array().is_some_and(|list| !list.is_empty());
    let at = path.child("targetWWNs");
    match (has("targetWWNs"), has("wwids")) {
        (false, false) => errors.required(&at, "must specify either targetWWNs or wwids, but not both"),
        (true, true) => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&at, held["targetWWNs"].clone(), detail);
        }
        _ => {}
    }
    match held["lun"].as_i64() {
        _ if !has("targetWWNs") => {}
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) => check::within(errors, &path.child("lun"), lun, 0, 255),
    }
}

/// Options of a driver may have no names of Kubernetes' own.
fn options(held: &Value, path: &Path, errors: &mut Errors) {
    for name in held["options"].as_object().into_iter().flat_map(|options| options.keys()) {
        let domain = name.split_once('/').map_or(name.as_str(), |(domain, _)| domain).to_lowercase();
        let domain = format!(".{domain}");
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.key(name), name.as_str(), detail);
        }
    }
}

fn azure_disk(held: &Value, path: &Path, errors: &mut Errors) {
    let choices =
        [("cachingMode", &["None", "ReadOnly", "ReadWrite"]), ("kind", &["Dedicated", "Managed", "Shared"])];
    for (field, supported) in choices {
        if let Some(given) = held[field].as_str() {
            check::supported(errors, &path.child(field), given, supported);
        }
    }
    let (begins, form) = match held["kind"].as_str() {
        None => return,
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => {
            ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
        }
    };
    let uri = text(held, "diskURI");
    if !uri.starts_with(begins) {
        errors.not_supported(&path.child("diskURI"), uri, &[form]);
    }
}

fn storage_os(held: &Value, owner: Owner<'_>, path: &Path, errors: &mut Errors) {
    for field in ["volumeName", "volumeNamespace"] {
        let name = text(held, field);
        if !name.is_empty() {
            say(errors, &path.child(field), name, names::label(name));
        }
    }
    secret(held, owner, path, errors);
}

/// Says what is wrong with the name of a driver of storage.
pub(super) fn driver_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 63 {
        errors.push(path, Problem::TooLong(63));
    }
    say(errors, path, name, names::subdomain(&name.to_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::{is_host_and_port, is_iscsi_name};

    #[test]
    fn names_of_iscsi_are_of_three_forms() {
        for name in [
            "iqn.2001-04.com.example:storage.kube.sys1.xyz",
            "eui.0123456789abcdef",
            &format!("naa.{}", "0".repeat(32)),
        ] {
            assert!(is_iscsi_name(name), "{name}");
        }
        for name in ["iqn.2001-04.com.example", "iqn.01-04.a:b", "eui.0", "naa.", "x", "iqn.2001-04.com:a b"]
        {
            assert!(!is_iscsi_name(name), "{name}");
        }
    }

    #[test]
    fn a_host_with_colons_stands_in_brackets() {
        for pair in ["registry:7861", "[::1]:7861", ":1", "a:"] {
            assert!(is_host_and_port(pair), "{pair}");
        }
        for pair in ["", "registry", "::1:7861", "[::1]", "[::1", "a]:1", "a:1]"] {
            assert!(!is_host_and_port(pair), "{pair}");
        }
    }
}
