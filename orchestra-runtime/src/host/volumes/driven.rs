//! Volumes that drivers of this machine show.

use std::fs;
use std::path::PathBuf;

use orchestra_core::node::{Csi, HostError, VolumeHost};
use orchestra_core::runtime::PodRef;

use super::{Volumes, blocking, io_error, plain};
use crate::host::csi::{self, FOLDER, Shown};

impl Volumes {
    /// Has CSI drivers register, and show volumes, below another folder than the kubelet's.
    #[must_use]
    pub fn kubelet_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.kubelet = folder.into();
        self
    }

    /// Where drivers show volumes to pods of this node and have them ready, outside of our folder.
    ///
    /// # Errors
    /// When what is noted cannot be read.
    pub async fn places_of_drivers(&self) -> Result<Vec<PathBuf>, HostError> {
        let noted = self.noted().await?;
        Ok(noted.into_iter().flat_map(|(_, shown)| shown.into_places()).collect())
    }

    pub(super) async fn show(&self, pod: &PodRef, volume: &str, csi: &Csi) -> Result<PathBuf, HostError> {
        plain(volume)?;
        {
            let (this, pod) = (self.clone(), pod.clone());
            blocking(move || this.place(&pod, "volumes")).await?
        };
        let mut shown = Shown::of(csi, &self.kubelet, &self.root, &pod.uid, volume);
        let folder = self.pod(&pod.uid)?.join(FOLDER);
        csi::show(&self.kubelet, csi, &mut shown, |shown| shown.note(&folder, volume)).await?;
        Ok(shown.target().to_owned())
    }

    pub(super) async fn let_grow(
        &self,
        pod: &PodRef,
        volume: &str,
        csi: &Csi,
        bytes: i64,
    ) -> Result<bool, HostError> {
        let _ = (plain(&pod.uid)?, plain(volume)?);
        let shown = Shown::of(csi, &self.kubelet, &self.root, &pod.uid, volume);
        csi::grow(&self.kubelet, csi, &shown, bytes).await
    }

    /// What is noted of all pods, each with the pod's uid.
    pub(super) async fn noted(&self) -> Result<Vec<(String, Shown)>, HostError> {
        let mut all = Vec::new();
        for uid in self.pods().await? {
            let folder = self.pod(&uid)?.join(FOLDER);
            let noted = csi::noted(&folder).map_err(|error| io_error(&folder, error))?;
            all.extend(noted.into_iter().map(|(_, shown)| (uid.clone(), shown)));
        }
        Ok(all)
    }

    /// Has drivers take back what they show to a pod.
    pub(super) async fn drivers_take_back(&self, uid: &str) -> Result<(), HostError> {
        let folder = self.pod(uid)?.join(FOLDER);
        let noted = csi::noted(&folder).map_err(|error| io_error(&folder, error))?;
        for (note, shown) in noted {
            csi::take_back(&self.kubelet, &shown, !shown.is_shared(&self.root)).await?;
            fs::remove_file(&note).map_err(|error| io_error(&note, error))?;
        }
        Ok(())
    }
}
