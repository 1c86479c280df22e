//! A pod's volumes: what has to be on disk, and where a container sees it.
//!
//! What files a volume holds is a pure function of the pod and of what it refers to. Putting them on disk is the
//! business of [`VolumeHost`](super::VolumeHost).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, SecretVolumeSource,
    Volume, VolumeProjection,
};

use super::csi_volume::Csi;
use super::fields::{self, Facts, FieldError};
use super::sources::Sources;

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An empty directory, with the pod and gone with it.
    EmptyDir(EmptyDir),
    /// A path of the machine.
    HostPath {
        /// The path.
        path: String,
        /// What it has to be: `Directory`, `FileOrCreate` …; empty for no check.
        kind: String,
    },
    /// A directory of the machine that was made to be a volume.
    Local {
        /// The directory.
        path: String,
    },
    /// A device of the machine.
    Device {
        /// Where it is.
        path: String,
    },
    /// A directory of another machine.
    Nfs(Nfs),
    /// What a driver of the Container Storage Interface shows.
    Csi(Csi),
    /// Files made here, replaced all at once when one changes.
    Files(Files),
}

/// A directory of another machine, by NFS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nfs {
    /// The machine.
    pub server: String,
    /// The directory.
    pub path: String,
    /// It cannot be written.
    pub read_only: bool,
    /// Options of the mount, such as `nfsvers=4.1`.
    pub options: Vec<String>,
}

/// An empty directory to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmptyDir {
    /// In memory instead of on disk.
    pub memory: bool,
    /// Most bytes.
    pub size_limit: Option<u64>,
    /// The group it belongs to: the pod's `fsGroup`.
    pub group: Option<u32>,
}

/// Files by path within the volume.
pub type Files = BTreeMap<String, FileContent>;

/// One file made here.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    /// What it holds.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

impl std::fmt::Debug for FileContent {
    /// The size, not the data: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {:04o}", self.data.len(), self.mode)
    }
}

/// Why a volume cannot be made. The text becomes the message of a `FailedMount` event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// An object that is not optional is not there.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object is there and the key is not.
    #[error("references non-existent {kind} key: {key}")]
    MissingKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A field or resource cannot be given.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// This agent cannot make such volumes.
    #[error("no volume plugin matched")]
    Unsupported,
}

const DEFAULT_MODE: i32 = 0o644;

/// What a volume is made of. `tokens` are those asked for by service account projections, by audience and path.
pub fn content(
    pod: &Pod,
    volume: &Volume,
    facts: &Facts,
    sources: &Sources,
    tokens: &BTreeMap<String, String>,
) -> Result<Content, VolumeError> {
    if let Some(dir) = &volume.empty_dir {
        let size = dir.size_limit.as_ref().and_then(|q| crate::quantity::Quantity::parse(&q.0).ok());
        return Ok(Content::EmptyDir(EmptyDir {
            memory: dir.medium.as_deref() == Some("Memory"),
            size_limit: size.and_then(|q| u64::try_from(q.value()).ok()),
            group: fs_group(pod),
        }));
    }
    if let Some(host) = &volume.host_path {
        return Ok(Content::HostPath {
            path: host.path.clone(),
            kind: host.type_.clone().unwrap_or_default(),
        });
    }
    if let Some(nfs) = &volume.nfs {
        return Ok(Content::Nfs(Nfs {
            server: nfs.server.clone(),
            path: nfs.path.clone(),
            read_only: nfs.read_only == Some(true),
            options: Vec::new(),
        }));
    }
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        add_config_map(&mut files, sources, source)?;
    } else if let Some(source) = &volume.secret {
        add_secret(&mut files, sources, source)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        add_downward(&mut files, pod, facts, source.items.as_deref().unwrap_or_default(), mode)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in source.sources.iter().flatten() {
            add_projection(&mut files, pod, facts, sources, tokens, projection, mode)?;
        }
    } else {
        return Err(VolumeError::Unsupported);
    }
    if fs_group(pod).is_some() {
        files.values_mut().for_each(|file| file.mode |= READABLE_BY_GROUP);
    }
    Ok(Content::Files(files))
}

/// What a pod's `fsGroup` adds to the mode of files that containers only read.
const READABLE_BY_GROUP: u32 = 0o440;

/// The group that a pod's volumes belong to.
pub fn fs_group(pod: &Pod) -> Option<u32> {
    let security = pod.spec.as_ref()?.security_context.as_ref()?;
    security.fs_group.and_then(|group| u32::try_from(group).ok())
}

fn add_config_map(
    files: &mut Files,
    sources: &Sources,
    source: &ConfigMapVolumeSource,
) -> Result<(), VolumeError> {
    let optional = source.optional == Some(true);
    let Some(found) = sources.config_maps.get(&source.name) else {
        return absent("configmap", &source.name, optional);
    };
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    add_keys(files, "config", &config_map_data(found), source.items.as_deref(), mode, optional)
}

fn add_secret(files: &mut Files, sources: &Sources, source: &SecretVolumeSource) -> Result<(), VolumeError> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let Some(found) = sources.secrets.get(name) else { return absent("secret", name, optional) };
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    add_keys(files, "secret", &secret_data(found), source.items.as_deref(), mode, optional)
}

fn absent(kind: &'static str, name: &str, optional: bool) -> Result<(), VolumeError> {
    if optional { Ok(()) } else { Err(VolumeError::Missing { kind, name: name.into() }) }
}

fn config_map_data(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect()
}

/// All keys under their own names, or only those of `items` under the paths these say.
fn add_keys(
    files: &mut Files,
    kind: &'static str,
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(data.iter().map(|(key, value)| ((*key).to_owned(), file(value.to_vec(), mode))));
        return Ok(());
    };
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => {
                files.insert(item.path.clone(), file(value.to_vec(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(VolumeError::MissingKey { kind, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn file(data: Vec<u8>, mode: i32) -> FileContent {
    FileContent { data, mode: mode.unsigned_abs() & 0o777 }
}

fn add_downward(
    files: &mut Files,
    pod: &Pod,
    facts: &Facts,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
) -> Result<(), VolumeError> {
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field(pod, facts, &field.field_path)?,
            (None, Some(resource)) => fields::resource(pod, facts, "", resource)?,
            (None, None) => continue,
        };
        files.insert(item.path.clone(), file(value.into_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(())
}

fn add_projection(
    files: &mut Files,
    pod: &Pod,
    facts: &Facts,
    sources: &Sources,
    tokens: &BTreeMap<String, String>,
    projection: &VolumeProjection,
    mode: i32,
) -> Result<(), VolumeError> {
    if let Some(source) = &projection.config_map {
        let optional = source.optional == Some(true);
        match sources.config_maps.get(&source.name) {
            Some(found) => {
                add_keys(files, "config", &config_map_data(found), source.items.as_deref(), mode, optional)?;
            }
            None => absent("configmap", &source.name, optional)?,
        }
    }
    if let Some(source) = &projection.secret {
        let optional = source.optional == Some(true);
        match sources.secrets.get(&source.name) {
            Some(found) => {
                add_keys(files, "secret", &secret_data(found), source.items.as_deref(), mode, optional)?;
            }
            None => absent("secret", &source.name, optional)?,
        }
    }
    if let Some(source) = &projection.downward_api {
        add_downward(files, pod, facts, source.items.as_deref().unwrap_or_default(), mode)?;
    }
    if let Some(source) = &projection.service_account_token {
        let token = tokens.get(&source.path).cloned().unwrap_or_default();
        files.insert(source.path.clone(), file(token.into_bytes(), mode));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(volume: Value) -> Result<Content, VolumeError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "250m"}}}]},
        }))
        .unwrap();
        let map = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"raw": "/wA="}});
        let secret = json!({"data": {"key": "c2VjcmV0"}});
        let sources = Sources {
            config_maps: [("conf".to_owned(), serde_json::from_value(map).unwrap())].into(),
            secrets: [("key".to_owned(), serde_json::from_value(secret).unwrap())].into(),
            services: Vec::new(),
        };
        let volume: Volume = serde_json::from_value(volume).unwrap();
        content(&pod, &volume, &Facts::default(), &sources, &[("token".to_owned(), "t0k".to_owned())].into())
    }

    fn files(volume: Value) -> Vec<(String, String, u32)> {
        match made(volume).unwrap() {
            Content::Files(files) => files
                .into_iter()
                .map(|(path, file)| (path, String::from_utf8_lossy(&file.data).into_owned(), file.mode))
                .collect(),
            other => panic!("no files: {other:?}"),
        }
    }

    #[test]
    fn keys_become_files() {
        let all = files(json!({"name": "v", "configMap": {"name": "conf"}}));
        assert_eq!(
            all.iter().map(|(path, _, mode)| (path.as_str(), *mode)).collect::<Vec<_>>(),
            [("a", 0o644), ("b", 0o644), ("raw", 0o644)]
        );
        let some = files(json!({"name": "v", "configMap": {"name": "conf", "defaultMode": 0o400, "items": [
            {"key": "a", "path": "dir/one"}, {"key": "b", "path": "two", "mode": 0o755},
        ]}}));
        assert_eq!(some, [("dir/one".into(), "1".into(), 0o400), ("two".into(), "2".into(), 0o755)]);
        let secret = files(json!({"name": "v", "secret": {"secretName": "key"}}));
        assert_eq!(secret, [("key".into(), "secret".into(), 0o644)]);
    }

    #[test]
    fn projections_are_laid_over_each_other() {
        let all = files(json!({"name": "v", "projected": {"defaultMode": 0o440, "sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"secret": {"name": "key"}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "mode": 0o400, "resourceFieldRef": {
                    "containerName": "app", "resource": "requests.cpu", "divisor": "1m"}},
            ]}},
        ]}}));
        let expected = [
            ("ca.crt", "1", 0o440),
            ("cpu", "250", 0o400),
            ("key", "secret", 0o440),
            ("labels", "app=\"web\"", 0o440),
            ("namespace", "shop", 0o440),
            ("token", "t0k", 0o440),
        ];
        assert_eq!(all, expected.map(|(path, data, mode)| (path.to_owned(), data.to_owned(), mode)));
    }

    #[test]
    fn directories_and_what_is_missing() {
        assert_eq!(
            made(json!({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}})).unwrap(),
            Content::EmptyDir(EmptyDir { memory: true, size_limit: Some(64 << 20), group: None })
        );
        assert_eq!(
            made(json!({"name": "v", "hostPath": {"path": "/srv", "type": "Directory"}})).unwrap(),
            Content::HostPath { path: "/srv".into(), kind: "Directory".into() }
        );
        assert_eq!(
            made(json!({"name": "v", "nfs": {"server": "s", "path": "/x", "readOnly": true}})).unwrap(),
            Content::Nfs(Nfs { server: "s".into(), path: "/x".into(), read_only: true, options: Vec::new() })
        );
        for (volume, message) in [
            (json!({"configMap": {"name": "x"}}), "configmap \"x\" not found"),
            (json!({"secret": {"secretName": "x"}}), "secret \"x\" not found"),
            (
                json!({"configMap": {"name": "conf", "items": [{"key": "k", "path": "k"}]}}),
                "references non-existent config key: k",
            ),
            (json!({"iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0}}), "no volume plugin matched"),
        ] {
            let mut volume = volume;
            volume["name"] = json!("v");
            assert_eq!(made(volume).unwrap_err().to_string(), message);
        }
        assert!(files(json!({"name": "v", "configMap": {"name": "x", "optional": true}})).is_empty());
    }
}
