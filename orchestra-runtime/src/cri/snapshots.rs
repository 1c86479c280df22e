//! Images shown to pods as volumes, by snapshots of containerd: the CRI of most versions has nothing for it.
//!
//! A snapshot is made of the image's layers for each folder at which it is shown, and keeps them, whatever becomes of the
//! image. Its labels say whose it is, so that it is found again when the pod goes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use orchestra_core::runtime::{PodRef, Result, RuntimeError, labels};
use serde::Deserialize;
use tonic::{Code, Status};

use super::CriRuntime;
use super::error::{self, About};
use super::proto::{
    Call, ImageSpec, ImageStatusRequest, ListSnapshotsRequest, MountsRequest, RemoveSnapshotRequest,
    SnapshotInfo, SnapshotMount, StatusRequest, ViewSnapshotRequest,
};
use crate::image_mount;

/// Where containerd keeps what belongs to Kubernetes.
const NAMESPACE: (&str, &str) = ("containerd-namespace", "k8s.io");
/// The snapshots of most.
const USUAL: &str = "overlayfs";
/// Which image a snapshot is of.
const IMAGE: &str = "io.orchestra.image";
/// Says to containerd that a snapshot stays though nothing refers to it.
const ROOT: &str = "containerd.io/gc.root";

/// What containerd says of an image beside what the CRI knows.
#[derive(Deserialize)]
struct ImageInfo {
    #[serde(rename = "chainID")]
    chain: String,
}

/// What containerd says of how it was set up.
#[derive(Deserialize)]
struct Configuration {
    containerd: Containerd,
}

#[derive(Deserialize)]
struct Containerd {
    #[serde(default)]
    snapshotter: String,
}

impl CriRuntime {
    pub(super) async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        let refused = |status| error::of(About::Image(image), status);
        let snapshotter = self.snapshotter().await?;
        let key = format!("orchestra{}", at.display());
        let request = ViewSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: key.clone(),
            parent: self.chain(image).await?,
            labels: HashMap::from([
                (labels::POD_UID.to_owned(), pod.uid.clone()),
                (IMAGE.to_owned(), image.to_owned()),
                (ROOT.to_owned(), "true".to_owned()),
            ]),
        };
        let made = match self.ask_containerd(request).await {
            // By us, before we were started again.
            Err(status) if status.code() == Code::AlreadyExists => {
                self.ask_containerd(MountsRequest { snapshotter, key }).await
            }
            made => made,
        };
        image_mount::show(layers(&made.map_err(refused)?.mounts)?, at).await
    }

    pub(super) async fn release_images(&self, pod_uid: &str) -> Result<()> {
        let snapshotter = self.snapshotter().await?;
        for held in self.snapshots(&snapshotter, labels::POD_UID, pod_uid).await? {
            let request = RemoveSnapshotRequest { snapshotter: snapshotter.clone(), key: held.name };
            error::unless_gone(self.ask_containerd(request).await)
                .map_err(|status| error::of(About::Runtime, status))?;
        }
        Ok(())
    }

    /// Whether an image is shown to some pod.
    pub(super) async fn is_shown(&self, image: &str) -> Result<bool> {
        if !self.snapshots {
            return Ok(false);
        }
        let snapshotter = self.snapshotter().await?;
        Ok(!self.snapshots(&snapshotter, IMAGE, image).await?.is_empty())
    }

    async fn snapshots(&self, snapshotter: &str, label: &str, value: &str) -> Result<Vec<SnapshotInfo>> {
        let request = ListSnapshotsRequest {
            snapshotter: snapshotter.to_owned(),
            filters: vec![format!("labels.{label:?}=={value:?}")],
        };
        let refused = |status| error::of(About::Runtime, status);
        let mut told = self.listen_to(request, Some(NAMESPACE)).await.map_err(refused)?;
        let mut all = Vec::new();
        while let Some(some) = told.try_next().await.map_err(refused)? {
            all.extend(some.info);
        }
        Ok(all)
    }

    async fn snapshotter(&self) -> Result<String> {
        let said = self.ask(StatusRequest { verbose: true }).await;
        let said = said.map_err(|status| error::of(About::Runtime, status))?;
        let found = said.info.get("config").and_then(|text| serde_json::from_str::<Configuration>(text).ok());
        let name = found.map(|found| found.containerd.snapshotter).filter(|name| !name.is_empty());
        Ok(name.unwrap_or_else(|| USUAL.to_owned()))
    }

    /// What the layers of an image are called together.
    async fn chain(&self, image: &str) -> Result<String> {
        let spec = ImageSpec { image: image.to_owned(), ..Default::default() };
        let said = self.ask(ImageStatusRequest { image: Some(spec), verbose: true }).await;
        let said = said.map_err(|status| error::of(About::Image(image), status))?;
        if said.image.is_none() {
            return Err(RuntimeError::ImageNotFound { image: image.to_owned() });
        }
        let info = said.info.get("info").and_then(|text| serde_json::from_str::<ImageInfo>(text).ok());
        let unsaid =
            || RuntimeError::Failed { message: format!("containerd does not say what {image} is made of") };
        info.map(|info| info.chain).ok_or_else(unsaid)
    }

    async fn ask_containerd<Q: Call>(&self, question: Q) -> Result<Q::Answer, Status> {
        self.ask_in(question, Some(NAMESPACE)).await
    }
}

/// The folders of a snapshot's layers, the uppermost first.
fn layers(mounts: &[SnapshotMount]) -> Result<Vec<PathBuf>> {
    let odd = || RuntimeError::Failed {
        message: format!("snapshots that are mounted as {mounts:?} cannot be shown as volumes"),
    };
    let [mount] = mounts else { return Err(odd()) };
    match mount.r#type.as_str() {
        "bind" => Ok(vec![PathBuf::from(&mount.source)]),
        "overlay" => {
            let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir="));
            Ok(lower.ok_or_else(odd)?.split(':').map(PathBuf::from).collect())
        }
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_those_that_would_be_mounted() {
        let mount = |kind: &str, options: &[&str]| SnapshotMount {
            r#type: kind.into(),
            source: "/s".into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        let found = |mount: SnapshotMount| layers(&[mount]).unwrap();
        assert_eq!(found(mount("bind", &["ro"])), [PathBuf::from("/s")]);
        assert_eq!(
            found(mount("overlay", &["index=off", "lowerdir=/b:/a"])),
            [PathBuf::from("/b"), PathBuf::from("/a")]
        );
        assert!(layers(&[mount("ext4", &[])]).is_err() && layers(&[]).is_err());
    }
}
