//! The images as the port has them, and which of them containers use.

use std::path::{Path, PathBuf};

use orchestra_core::runtime::{
    Image, ImageRef, PodRef, PullFailure, PullProgress, RegistryCredentials, Result, RuntimeError,
};

use crate::images::{Credentials, ImageError, Store, Stored};
use crate::process::blocking;
use crate::process::disk::Disk;
use crate::process::record::{self, How};
use crate::{image_mount, private};

/// The folder in which it is noted which images are shown to which pods.
const SHOWN: &str = "shown";

/// The images of a native runtime, whether it runs or not. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    root: PathBuf,
    store: Store,
}

impl Images {
    /// Opens the images of a runtime that keeps things in this folder.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        blocking(move || {
            let store = Store::open(root.join("images")).map_err(|error| failed("", error))?;
            Ok(Self { root, store })
        })
        .await
    }

    /// Where they are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Loads the images of an archive; a `name` is given to the only one that is in it.
    pub async fn load(&self, archive: &Path, name: Option<&ImageRef>) -> Result<Vec<Stored>, ImageError> {
        let (store, archive, name) = (self.store.clone(), archive.to_owned(), name.cloned());
        tokio::task::spawn_blocking(move || store.load(&archive, name.as_ref()))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }

    /// Takes a name from an image, and removes it with its last name, unless a container uses it. Answers whether it went.
    pub async fn untag(&self, full: &str) -> Result<bool, ImageError> {
        let (images, full) = (self.clone(), full.to_owned());
        tokio::task::spawn_blocking(move || images.store.untag(&full, |id| images.in_use(id)))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }

    pub(super) async fn find(&self, image: &ImageRef) -> Result<Option<Image>> {
        let (images, name) = (self.clone(), image.clone());
        blocking(move || {
            let found = images.store.find(name.full()).map_err(|error| failed(name.as_str(), error))?;
            found.map(|found| images.shown(found)).transpose()
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Vec<Image>> {
        let images = self.clone();
        blocking(move || {
            let all = images.store.list().map_err(|error| failed("", error))?;
            Ok(all.into_iter().filter_map(|one| images.shown(one).ok()).collect())
        })
        .await
    }

    pub(super) async fn pull(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
        progress: &PullProgress,
    ) -> Result<Image> {
        let credentials = credentials
            .map(|given| Credentials { username: given.username.clone(), password: given.password.clone() });
        let pulled = self.store.pull_telling(image.full(), credentials.as_ref(), progress).await;
        let pulled = pulled.map_err(|error| not_pulled(image.as_str(), error))?;
        let images = self.clone();
        blocking(move || images.shown(pulled)).await
    }

    pub(super) async fn remove(&self, image: &ImageRef) -> Result<()> {
        let (images, name) = (self.clone(), image.clone());
        blocking(move || {
            // An id reads as the name of an image that nobody has.
            let found = images.store.find(name.full()).map_err(|error| failed(name.as_str(), error))?;
            let full = if found.is_some() { name.full() } else { name.as_str() };
            let removed = images.store.remove(full, |id| images.in_use(id));
            removed.map_err(|error| failed(name.as_str(), error))
        })
        .await
    }

    /// Shows the files of an image at a folder. It is in use until it is released.
    pub(super) async fn show(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        let (images, image, place) = (self.clone(), image.to_owned(), self.shown_to(&pod.uid)?);
        let at = at.to_owned();
        blocking(move || {
            let held = images.store.hold(&image).map_err(|error| failed(&image, error))?;
            let held = held.ok_or_else(|| RuntimeError::ImageNotFound { image: image.clone() })?;
            let noted = private::folders(&place, 0o700)
                .and_then(|()| std::fs::write(place.join(held.id.replacen(':', "-", 1)), ""));
            noted.and_then(|()| image_mount::mount(&held.layers, &at)).map_err(|error| RuntimeError::Failed {
                message: format!("the image was not mounted: {error}"),
            })
        })
        .await
    }

    /// Notes that nothing is shown to a pod any more.
    pub(super) async fn release(&self, pod_uid: &str) -> Result<()> {
        let place = self.shown_to(pod_uid)?;
        blocking(move || match std::fs::remove_dir_all(place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(record::failed(error)),
            _ => Ok(()),
        })
        .await
    }

    /// Where it is noted which images are shown to a pod.
    fn shown_to(&self, pod_uid: &str) -> Result<PathBuf> {
        let is_name = Path::new(pod_uid).file_name().is_some_and(|name| name == pod_uid);
        match is_name {
            true => Ok(self.root.join(SHOWN).join(pod_uid)),
            false => Err(RuntimeError::InvalidSpec { message: format!("{pod_uid:?} is no uid of a pod") }),
        }
    }

    /// Whether a container is of an image, or a pod is shown it.
    fn in_use(&self, id: &str) -> Result<bool, ImageError> {
        let note = id.replacen(':', "-", 1);
        let pods = std::fs::read_dir(self.root.join(SHOWN)).into_iter().flatten().flatten();
        if pods.into_iter().any(|pod| pod.path().join(&note).exists()) {
            return Ok(true);
        }
        if !self.root.join("containers").is_dir() {
            return Ok(false);
        }
        let containers = Disk::open(&self.root)?.containers(|_| true);
        let containers = containers.map_err(|error| std::io::Error::other(error.to_string()))?;
        let is_of = |how: &How| matches!(how, How::Bundle(bundle) if bundle.image == id);
        Ok(containers.iter().any(|(_, _, record)| is_of(&record.how)))
    }

    fn shown(&self, stored: Stored) -> Result<Image> {
        let configuration =
            self.store.configuration(&stored.id).map_err(|error| failed(&stored.id, error))?;
        let user = configuration.config.unwrap_or_default().user;
        let user = user.split(':').next().unwrap_or_default();
        let uid: Option<i64> = user.parse().ok();
        Ok(Image {
            uid,
            username: (uid.is_none() && !user.is_empty()).then(|| user.to_owned()),
            id: stored.id,
            tags: stored.names,
            digests: stored.digests,
            size_bytes: stored.size,
        })
    }
}

/// Why an image could not be pulled, as the port has it.
fn not_pulled(image: &str, error: ImageError) -> RuntimeError {
    let why = match &error {
        ImageError::NotFound(_) => PullFailure::NotFound,
        ImageError::Unauthorized(_) => PullFailure::Unauthorized,
        ImageError::Unreachable(_) => PullFailure::Unreachable,
        ImageError::Io(_) => return failed(image, error),
        _ => PullFailure::Other,
    };
    RuntimeError::Pull { image: image.to_owned(), why, message: error.to_string() }
}

/// What went wrong with an image, as the port has it.
pub(super) fn failed(image: &str, error: ImageError) -> RuntimeError {
    match error {
        ImageError::InUse(_) => RuntimeError::InUse { what: "image", id: image.to_owned() },
        ImageError::Io(error) => crate::process::record::failed(error),
        other => RuntimeError::Failed { message: other.to_string() },
    }
}
