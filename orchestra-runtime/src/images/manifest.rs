//! What an image is made of: indexes of platforms, manifests and configurations, as OCI and Docker write them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Result, invalid, too_large};

/// How much of an image is taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a manifest or a configuration.
    pub document: u64,
    /// Layers of an image.
    pub layers: usize,
    /// Bytes of a layer as it is sent.
    pub layer: u64,
    /// Bytes of all the files of a layer.
    pub unpacked: u64,
    /// Files, folders and links of a layer.
    pub entries: u64,
}

impl Default for Limits {
    /// More than images have, and less than does harm.
    fn default() -> Self {
        Self { document: 4 << 20, layers: 127, layer: 32 << 30, unpacked: 64 << 30, entries: 4_000_000 }
    }
}

/// What kinds of manifest are understood, as a registry is told.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A blob by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest)
            .ok_or_else(|| invalid(format!("{:?} is no digest that can be checked", self.digest)))
    }

    /// What the image is called, in an index that names images.
    pub(crate) fn name(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        let named = annotations.get("io.containerd.image.name");
        named.or_else(|| annotations.get("org.opencontainers.image.ref.name")).map(String::as_str)
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub(crate) fn own() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether images for the other run here. A variant that is not known here is taken for one that does only where there
    /// is no other.
    fn runs(&self, other: &Self) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// A manifest, or an index of manifests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// Manifests for several platforms, or of several images.
    Index(Vec<Descriptor>),
    /// One image.
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

impl Manifest {
    /// Reads a manifest or an index.
    pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("this is no manifest of an image: {error}")))?;
        if document.schema_version != 2 {
            return Err(invalid(format!(
                "a manifest of schema version {} cannot be read; push the image anew",
                document.schema_version
            )));
        }
        match document {
            Document { manifests: Some(manifests), .. } => Ok(Self::Index(manifests)),
            Document { config: Some(config), layers: Some(layers), .. } => {
                if layers.len() > limits.layers {
                    let most = limits.layers;
                    return Err(too_large(format!(
                        "the image has {} layers; {most} are taken",
                        layers.len()
                    )));
                }
                if let Some(large) = layers.iter().find(|layer| layer.size > limits.layer) {
                    return Err(too_large(format!("a layer has {} bytes, more than are taken", large.size)));
                }
                Ok(Self::Image { config, layers })
            }
            _ => Err(invalid("this manifest has neither layers nor manifests")),
        }
    }
}

/// The manifest of an index that runs on a platform.
pub(crate) fn choose<'a>(index: &'a [Descriptor], own: &Platform) -> Result<&'a Descriptor> {
    let fits = |one: &&Descriptor| one.platform.as_ref().is_some_and(|platform| own.runs(platform));
    let plain = |one: &&Descriptor| {
        let variant = one.platform.as_ref().and_then(|platform| platform.variant.as_deref());
        variant.is_none_or(|variant| variant == "v8")
    };
    let found = index.iter().filter(fits).find(plain).or_else(|| index.iter().find(fits));
    // Of an index that says nothing of platforms there is nothing to choose.
    let only = match index {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    found
        .or(only)
        .ok_or_else(|| invalid(format!("no matching manifest for {own} in the manifest list entries")))
}

/// The configuration of an image: what runs in it, and of which layers it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Configuration {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    pub(crate) config: Option<Defaults>,
    rootfs: RootFs,
}

/// What a container has of its image where it says nothing itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Defaults {
    pub(crate) user: String,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) working_dir: String,
    pub(crate) stop_signal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Configuration {
    /// Reads the configuration of an image that is to run on a platform.
    pub(crate) fn parse(bytes: &[u8], own: &Platform) -> Result<Self> {
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("the image's configuration cannot be read: {error}")))?;
        let platform =
            Platform { os: read.os.clone(), architecture: read.architecture.clone(), variant: None };
        if !own.runs(&platform) {
            return Err(invalid(format!("the image is for {platform}, and this machine is {own}")));
        }
        Ok(read)
    }

    /// The digests of its layers as they are when nothing is compressed, the lowest first.
    pub(crate) fn layers(&self) -> Result<Vec<Digest>> {
        let read = |text: &String| {
            Digest::parse(text).ok_or_else(|| invalid(format!("{text:?} is no digest that can be checked")))
        };
        self.rootfs.diff_ids.iter().map(read).collect()
    }
}

/// What layers are called with all that is below them, the lowest first.
pub(crate) fn chain(layers: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(layers.len());
    for layer in layers {
        let next = match chain.last() {
            Some(below) => Digest::of(format!("{below} {layer}").as_bytes()),
            None => layer.clone(),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> Vec<Descriptor> {
        let entry = |(place, (os, architecture, variant)): (usize, &(&str, &str, Option<&str>))| {
            let variant = variant.map_or(String::new(), |variant| format!(r#","variant":"{variant}""#));
            let digest = format!("sha256:{place:064}");
            serde_json::from_str(&format!(
                r#"{{"digest":"{digest}","size":1,"platform":{{"os":"{os}","architecture":"{architecture}"{variant}}}}}"#
            ))
            .unwrap()
        };
        platforms.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn the_platform_is_chosen() {
        let own = Platform { os: "linux".into(), architecture: "arm64".into(), variant: None };
        for (platforms, chosen) in [
            (&[("linux", "amd64", None), ("linux", "arm64", Some("v8"))][..], Some(1)),
            (
                &[("unknown", "unknown", None), ("linux", "arm64", Some("v9")), ("linux", "arm64", None)],
                Some(2),
            ),
            (&[("linux", "arm64", Some("v9"))], Some(0)),
            (&[("windows", "arm64", None), ("linux", "amd64", None)], None),
            (&[], None),
        ] {
            let index = index(platforms);
            let found = choose(&index, &own).ok().map(|one| one.digest.clone());
            assert_eq!(found, chosen.map(|place: usize| format!("sha256:{place:064}")), "{platforms:?}");
        }
        let refused = choose(&index(&[("linux", "s390x", None)]), &own).unwrap_err().to_string();
        assert_eq!(refused, "no matching manifest for linux/arm64 in the manifest list entries");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let limits = Limits { layers: 1, layer: 10, ..Limits::default() };
        let sum = format!("sha256:{}", "0".repeat(64));
        let layer = |size| format!(r#"{{"digest":"{sum}","size":{size}}}"#);
        let image =
            |layers: &str| format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, layer(1));
        assert!(matches!(Manifest::parse(image(&layer(10)).as_bytes(), &limits), Ok(Manifest::Image { .. })));
        for (text, says) in [
            ("{", "no manifest"),
            (r#"{"schemaVersion":1}"#, "schema version 1"),
            (r#"{"schemaVersion":2}"#, "neither layers nor manifests"),
            (image(&[layer(1), layer(1)].join(",")).as_str(), "2 layers; 1 are taken"),
            (image(&layer(11)).as_str(), "a layer has 11 bytes"),
        ] {
            let refused = Manifest::parse(text.as_bytes(), &limits).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn configurations_are_of_this_platform_and_name_their_layers() {
        let own = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let sum = format!("sha256:{}", "1".repeat(64));
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Env":null,"Cmd":["sh"]}},"rootfs":{{"diff_ids":["{sum}","{sum}"]}}}}"#
        );
        let read = Configuration::parse(text.as_bytes(), &own).unwrap();
        assert_eq!(read.config.as_ref().unwrap().cmd, Some(vec!["sh".to_owned()]));
        let chain = chain(&read.layers().unwrap());
        assert_eq!(chain[0].as_str(), sum);
        assert_eq!(chain[1], Digest::of(format!("{sum} {sum}").as_bytes()));
        let other = Configuration::parse(text.replace("amd64", "arm64").as_bytes(), &own).unwrap_err();
        assert_eq!(other.to_string(), "the image is for linux/arm64, and this machine is linux/amd64");
        let odd = text.replace(&sum, "sha256:../../x");
        assert!(Configuration::parse(odd.as_bytes(), &own).unwrap().layers().is_err());
    }
}
