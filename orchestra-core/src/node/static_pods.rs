//! Pods that no API gives: what a manifest on the machine makes of one. Pure.
//!
//! A static pod is known by a hash of its manifest, which is its uid here: a manifest that changes is another pod. In the
//! API a *mirror* stands for it, which only shows how it is (see `mirror`).

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::ports::Manifest;
use crate::api::field::Errors;
use crate::api::schema::{Place, canonical};
use crate::api::{Resource, names, yaml};
use crate::meta::{ObjectName, Revision};
use crate::objects;
use crate::watch::{Entry, IndexedFields};

/// Where a pod comes from: `file` or `http`, and `api` or nothing for one that the API gave.
const SOURCE: &str = "kubernetes.io/config.source";
/// The hash of the manifest.
const HASH: &str = "kubernetes.io/config.hash";
/// When the node first saw the manifest.
const SEEN: &str = "kubernetes.io/config.seen";
/// On a mirror: the hash of the manifest of the pod that it stands for.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// What a manifest may not do, because it needs an API that may not be there.
const OF_THE_API: [&str; 3] = ["serviceAccountName", "resourceClaims", "ephemeralContainers"];

/// How far the revision of a pod that is to end is beyond the one before.
const ENDING: u64 = 1 << 32;

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {why}")]
pub(super) struct Refused {
    origin: String,
    why: String,
}

/// The names of the pods that a node of this name makes of a manifest.
///
/// # Errors
/// When it is none, or something in it is not as it should be.
pub fn check_manifest(manifest: &Manifest, node: &str) -> Result<Vec<ObjectName>, ManifestError> {
    let made = pods(manifest, "http", node, Timestamp::UNIX_EPOCH);
    made.map(|pods| pods.iter().map(|pod| pod.name().clone()).collect())
        .map_err(|refused| ManifestError(refused.to_string()))
}

/// Why a manifest cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

/// The pods of one manifest, as a node of this name runs them.
pub(super) fn pods(
    manifest: &Manifest,
    source: &str,
    node: &str,
    now: Timestamp,
) -> Result<Vec<Arc<Entry>>, Refused> {
    let refused = |why: String| Refused { origin: manifest.origin.clone(), why };
    let documents = yaml::read(&manifest.text).map_err(|error| refused(error.to_string()))?;
    let table = objects::builtin();
    let row = table.by_kind("v1", "Pod").ok_or_else(|| refused("this node knows no pods".into()))?;
    let mut entries = Vec::new();
    for document in documents {
        let items = match document["kind"].as_str() {
            Some("PodList" | "List") => document["items"].as_array().cloned().unwrap_or_default(),
            _ => vec![document],
        };
        for object in items {
            let pod = pod(row, object, (&manifest.origin, source, node), now).map_err(refused)?;
            let entry =
                Entry::of(&pod, &IndexedFields::none()).map_err(|error| refused(error.to_string()))?;
            entries.push(Arc::new(entry.at(Revision::ZERO.next())));
        }
    }
    Ok(entries)
}

/// One pod: checked by the rules of its kind, with what only its node knows.
fn pod(
    row: &Resource,
    mut object: Value,
    (origin, source, node): (&str, &str, &str),
    now: Timestamp,
) -> Result<Value, String> {
    if !object["kind"].is_string() || object["kind"] != "Pod" || object["apiVersion"] != "v1" {
        return Err("it is not a Pod of v1".into());
    }
    let place = Place::of_kind("v1", "Pod").ok_or("this node knows no pods")?;
    canonical::reduce(place, &mut object).map_err(|error| error.to_string())?;
    let unknown = row.rules.check(&mut object)?;
    if let Some(unknown) = unknown.first() {
        return Err(format!("unknown field {unknown:?}"));
    }
    let hash = hash(&[origin.as_bytes(), node.as_bytes(), object.to_string().as_bytes()]);
    let meta = object["metadata"].as_object_mut().ok_or("it has no metadata")?;
    let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(why) = names::subdomain(&name).into_iter().next() {
        return Err(format!("metadata.name: {why}"));
    }
    meta.insert("name".into(), format!("{name}-{node}").to_lowercase().into());
    let namespace = meta.entry("namespace").or_insert_with(|| "default".into()).as_str().unwrap_or_default();
    if let Some(why) = names::label(namespace).into_iter().next() {
        return Err(format!("metadata.namespace: {why}"));
    }
    meta.insert("uid".into(), hash.clone().into());
    meta.insert("creationTimestamp".into(), whole(now).into());
    let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
    for (key, value) in [(HASH, hash.as_str()), (SEEN, &now.to_string()), (SOURCE, source)] {
        annotations[key] = value.into();
    }
    let spec = object["spec"].as_object_mut().ok_or("it has no spec")?;
    if let Some(field) = OF_THE_API.into_iter().find(|field| spec.contains_key(*field)) {
        return Err(format!("a static pod may not have spec.{field}"));
    }
    spec.insert("nodeName".into(), node.into());
    // It is there for as long as its manifest is, whatever becomes of the node.
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        tolerations.push(json!({ "operator": "Exists", "effect": "NoExecute" }));
    }
    row.rules.default(&mut object);
    canonical::complete(place, &mut object);
    let mut errors = Errors::new();
    row.rules.validate(&object, &mut errors).map_err(|error| error.to_string())?;
    if let Some(first) = errors.iter().next() {
        return Err(format!("{}: {}", first.path.as_str(), first.cause().message.unwrap_or_default()));
    }
    refers_to_nothing(&object)?;
    Ok(object)
}

/// A static pod may not need objects of the API.
fn refers_to_nothing(object: &Value) -> Result<(), String> {
    const OF_VOLUMES: [&str; 5] =
        ["configMap", "secret", "persistentVolumeClaim", "ephemeral", "serviceAccountToken"];
    const OF_VARIABLES: [&str; 4] = ["configMapKeyRef", "secretKeyRef", "configMapRef", "secretRef"];
    let items = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for volume in items(&object["spec"], "volumes") {
        let projected = items(&volume["projected"], "sources");
        found.extend(projected.iter().chain([&volume]).find_map(|held| held_of(held, &OF_VOLUMES)));
    }
    for container in ["initContainers", "containers"].iter().flat_map(|list| items(&object["spec"], list)) {
        let values = items(&container, "env").into_iter().map(|variable| variable["valueFrom"].clone());
        let all: Vec<Value> = values.chain(items(&container, "envFrom")).collect();
        found.extend(all.iter().find_map(|held| held_of(held, &OF_VARIABLES)));
    }
    match found.first() {
        Some(field) => Err(format!("a static pod may not refer to objects of the API, by {field}")),
        None => Ok(()),
    }
}

fn held_of(object: &Value, fields: &[&'static str]) -> Option<&'static str> {
    fields.iter().find(|field| object.get(**field).is_some()).copied()
}

fn whole(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// Whether a pod is one that no API gave.
pub(super) fn is_static(entry: &Entry) -> bool {
    annotation(entry, SOURCE).is_some_and(|source| source != "api") && annotation(entry, MIRROR).is_none()
}

/// The same of a pod that has been read.
pub(super) fn is_static_pod(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let has = |key: &str| annotations.and_then(|all| all.get(key));
    has(SOURCE).is_some_and(|source| source != "api") && has(MIRROR).is_none()
}

/// The hash of the manifest that a pod of the API stands for, if it is a mirror.
pub(super) fn mirrored(entry: &Entry) -> Option<String> {
    annotation(entry, MIRROR)
}

fn annotation(entry: &Entry, key: &str) -> Option<String> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct View {
        metadata: Meta,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Meta {
        annotations: std::collections::BTreeMap<String, String>,
    }
    // Hardly any pod has one, and each is asked often.
    if !entry.mentions(key) {
        return None;
    }
    entry.peek::<View>().ok()?.metadata.annotations.remove(key)
}

/// The same pod, which is to end within its grace: its manifest is gone.
pub(super) fn ending(entry: &Entry, now: Timestamp) -> Option<Arc<Entry>> {
    // Far beyond whatever was written of it meanwhile.
    let ending = changed(entry, |object| {
        let grace = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        object["metadata"]["deletionTimestamp"] = whole(now).into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    })?;
    Some(Arc::new(ending.at(Revision(entry.revision().0 + ENDING))))
}

/// The same pod with something of it changed.
pub(super) fn changed(entry: &Entry, change: impl FnOnce(&mut Value)) -> Option<Arc<Entry>> {
    let mut object = entry.to_value().ok()?;
    change(&mut object);
    let changed = Entry::of(&object, &IndexedFields::none()).ok()?;
    Some(Arc::new(changed.at(entry.revision().next())))
}

/// 128 bits in hexadecimal digits, the same at every start and for every version of this program.
fn hash(parts: &[&[u8]]) -> String {
    let fnv = |basis: u64| {
        let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
        bytes.fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let mut text = String::with_capacity(32);
    for basis in [0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142] {
        let _ = write!(text, "{:016x}", fnv(basis));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Arc<Entry>>, String> {
        let manifest = Manifest { origin: "/m/web.yaml".into(), text: text.as_bytes().to_vec() };
        pods(&manifest, "file", "node-1", Timestamp::UNIX_EPOCH).map_err(|refused| refused.to_string())
    }

    const WEB: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: a:1}]}\n";

    #[test]
    fn a_manifest_becomes_a_pod_of_its_node() {
        let pods = read(WEB).unwrap();
        let pod = pods[0].to_value().unwrap();
        assert_eq!((pods[0].name().namespace(), pods[0].name().name()), (Some("default"), "web-node-1"));
        assert_eq!(pod["spec"]["nodeName"], "node-1");
        assert_eq!(pod["spec"]["restartPolicy"], "Always", "what may be left out is filled in");
        assert_eq!(pod["spec"]["tolerations"][0], json!({"operator": "Exists", "effect": "NoExecute"}));
        assert_eq!(pod["metadata"]["annotations"][SOURCE], "file");
        assert_eq!(pod["metadata"]["annotations"][HASH], pod["metadata"]["uid"]);
        assert!(is_static(&pods[0]) && mirrored(&pods[0]).is_none());
        assert_eq!(read(WEB).unwrap()[0].uid(), pods[0].uid(), "the same manifest is the same pod");
        let other = read(&WEB.replace("a:1", "a:2")).unwrap();
        assert_ne!(other[0].uid(), pods[0].uid());
        let ending = ending(&pods[0], Timestamp::UNIX_EPOCH).unwrap();
        assert!(ending.is_deleting() && ending.revision() > pods[0].revision());
    }

    #[test]
    fn several_pods_may_be_in_one_manifest() {
        let two = format!("{WEB}---\n{}", WEB.replace("name: web", "name: db"));
        assert_eq!(read(&two).unwrap().len(), 2);
        let list =
            format!("kind: PodList\napiVersion: v1\nitems:\n- {}", WEB.trim_end().replace('\n', "\n  "));
        assert_eq!(read(&list).unwrap().len(), 1);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name_of_the_file() {
        for (text, why) in [
            ("a: [", "/m/web.yaml: "),
            ("kind: Deployment\napiVersion: apps/v1", "it is not a Pod of v1"),
            (&WEB.replace("image: a:1", "imagine: a:1"), "unknown field \"spec.containers[0].imagine\""),
            (&WEB.replace("name: web", "name: ../web"), "metadata.name: "),
            (&WEB.replace("name: web", "name: web, namespace: a/b"), "metadata.namespace: "),
            (&WEB.replace("name: a,", "name: A_,"), "spec.containers[0].name: Invalid value"),
            (
                &WEB.replace("spec: {", "spec: {serviceAccountName: x, "),
                "may not have spec.serviceAccountName",
            ),
            (
                &WEB.replace("spec: {", "spec: {volumes: [{name: v, configMap: {name: c}}], "),
                "may not refer to objects of the API, by configMap",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.starts_with("/m/web.yaml: ") && said.contains(why), "{said}");
        }
    }
}
