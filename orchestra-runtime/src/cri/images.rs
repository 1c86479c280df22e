//! Images: looked up, pulled, listed, removed.

use super::proto::{
    AuthConfig, Image as Shown, ImageFsInfoRequest, ImageSpec, ImageStatusRequest, ListImagesRequest,
    PullImageRequest, RemoveImageRequest,
};
use orchestra_core::runtime::{Image, ImageRef, RegistryCredentials, Result, RuntimeError};

use super::CriRuntime;
use super::error::{self, About};

impl CriRuntime {
    pub(super) async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.image_by(image.full()).await
    }

    /// An image by its full name or its id.
    pub(super) async fn image_by(&self, name: &str) -> Result<Option<Image>> {
        let request = ImageStatusRequest { image: Some(named(name)), verbose: false };
        match self.ask(request).await {
            Ok(shown) => Ok(shown.image.map(read)),
            Err(status) if error::is_not_found(&status) => Ok(None),
            Err(status) => Err(error::of(About::Image(name), status)),
        }
    }

    pub(super) async fn pull_image(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Image> {
        let auth = credentials.map(|given| AuthConfig {
            username: given.username.clone(),
            password: given.password.clone(),
            server_address: given.server.clone(),
        });
        let request = PullImageRequest { image: Some(named(image.full())), auth };
        let pulled = self.ask(request).await;
        pulled.map_err(|status| error::of_pull(image.as_str(), status))?;
        let found = self.image(image).await?;
        found.ok_or_else(|| RuntimeError::ImageNotFound { image: image.as_str().to_owned() })
    }

    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let listed = self.ask(ListImagesRequest {}).await;
        let listed = listed.map_err(|status| error::of(About::Runtime, status))?;
        Ok(listed.images.into_iter().map(read).collect())
    }

    pub(super) async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        // What a container uses may be removed by the CRI, and only its name is then gone.
        let found = match image.as_str().starts_with("sha256:") {
            true => self.image_by(image.as_str()).await?,
            false => self.image(image).await?,
        };
        if let Some(found) = found {
            let used = self.containers(Default::default()).await?;
            let is_used = |id: &String| !id.is_empty() && (*id == found.id || found.digests.contains(id));
            let is_used = used.iter().any(|one| is_used(&one.image_ref) || is_used(&one.image_id));
            if is_used || self.is_shown(&found.id).await? {
                return Err(RuntimeError::InUse { what: "image", id: image.as_str().to_owned() });
            }
        }
        // An id reads as the name of an image that nobody has.
        let is_id = image.as_str().starts_with("sha256:");
        let name = if is_id { image.as_str() } else { image.full() };
        let request = RemoveImageRequest { image: Some(named(name)) };
        error::unless_gone(self.ask(request).await)
            .map_err(|status| error::of(About::Image(image.as_str()), status))
    }

    /// A folder on the disk where images and containers are.
    pub(super) async fn storage(&self) -> std::path::PathBuf {
        let shown = self.ask(ImageFsInfoRequest {}).await;
        let all = shown.map(|shown| shown.image_filesystems).unwrap_or_default();
        let folder = all.into_iter().find_map(|one| one.fs_id).map(|id| id.mountpoint);
        folder.map(std::path::PathBuf::from).filter(|path| path.exists()).unwrap_or_else(|| "/".into())
    }
}

fn named(name: &str) -> ImageSpec {
    ImageSpec { image: name.to_owned(), ..Default::default() }
}

fn read(shown: Shown) -> Image {
    Image {
        id: shown.id,
        tags: shown.repo_tags,
        digests: shown.repo_digests,
        size_bytes: shown.size,
        uid: shown.uid.map(|uid| uid.value),
        username: Some(shown.username).filter(|name| !name.is_empty()),
    }
}
