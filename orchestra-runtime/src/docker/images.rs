//! Images: looked up, pulled, listed, removed; and the one we make ourselves.

use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageInspect, ImageSummary};
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use orchestra_core::runtime::{Image, ImageRef, PullProgress, RegistryCredentials, Result, RuntimeError};
use std::collections::BTreeMap;
use std::time::Duration;

use super::error::{self, About};
use super::{DockerRuntime, pause};

/// What Docker Hub is called in credentials.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// How long the daemon may take to begin a pull: it speaks with the registry before it says a word to us.
const PULL_BEGINS: Duration = Duration::from_secs(600);

impl DockerRuntime {
    pub(super) async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        match self.docker.inspect_image(image.as_str()).await {
            Ok(shown) => Ok(Some(inspected(shown))),
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error::of(About::Image(image.as_str()), error)),
        }
    }

    pub(super) async fn pull_image(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
        progress: &PullProgress,
    ) -> Result<Image> {
        // With the tag filled in: Docker takes a name without one to mean every tag.
        let options = CreateImageOptions { from_image: Some(image.full().to_owned()), ..Default::default() };
        let credentials = credentials.map(|given| DockerCredentials {
            username: Some(given.username.clone()),
            password: Some(given.password.clone()),
            serveraddress: Some(
                if given.server.is_empty() { DOCKER_HUB } else { given.server.as_str() }.to_owned(),
            ),
            ..Default::default()
        });
        let patient = self.docker.clone().with_timeout(PULL_BEGINS);
        let mut layers = Layers::default();
        let told = patient.create_image(Some(options), None, credentials).inspect_ok(|told| {
            layers.take(told);
            progress.set(layers.done(), layers.total());
        });
        exhaust(told).await.map_err(|error| error::of_pull(image.as_str(), error))?;
        self.image(image)
            .await?
            .ok_or_else(|| RuntimeError::ImageNotFound { image: image.as_str().to_owned() })
    }

    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let listed = self.docker.list_images(None::<ListImagesOptions>).await;
        let listed = listed.map_err(|error| error::of(About::Daemon, error))?;
        Ok(listed.into_iter().map(listed_image).collect())
    }

    pub(super) async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        match self.docker.remove_image(image.as_str(), None::<RemoveImageOptions>, None).await {
            Err(error) if error::status(&error) != Some(404) => {
                Err(error::of(About::Image(image.as_str()), error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the pause image unless it is there. Made twice at the same time it is simply made twice.
    pub(super) async fn have_pause_image(&self) -> Result<()> {
        match self.docker.inspect_image(pause::IMAGE).await {
            Ok(_) => return Ok(()),
            Err(error) if error::status(&error) == Some(404) => {}
            Err(error) => return Err(error::of(About::Image(pause::IMAGE), error)),
        }
        let version = self.docker.version().await.map_err(|error| error::of(About::Daemon, error))?;
        let root = pause::root(version.arch.as_deref().unwrap_or_default())?;
        let (repo, tag) = pause::IMAGE.split_once(':').unwrap_or((pause::IMAGE, "latest"));
        let options = CreateImageOptions {
            from_src: Some("-".into()),
            repo: Some(repo.into()),
            tag: Some(tag.into()),
            changes: vec![r#"ENTRYPOINT ["/pause"]"#.into()],
            ..Default::default()
        };
        exhaust(self.docker.create_image(Some(options), Some(bollard::body_full(Bytes::from(root))), None))
            .await
            .map_err(|error| error::of(About::Daemon, error))
    }
}

/// The layers of an image that is pulled, as far as the daemon has told of them: how much has come, of how much.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    fn take(&mut self, told: &CreateImageInfo) {
        let Some(layer) = &told.id else { return };
        let detail = told.progress_detail.as_ref();
        let figure = |figure: Option<i64>| figure.map_or(0, size);
        match told.status.as_deref() {
            Some("Downloading") => {
                let (current, total) = (detail.and_then(|d| d.current), detail.and_then(|d| d.total));
                self.0.insert(layer.clone(), (figure(current), figure(total)));
            }
            // What is unpacked has come.
            Some("Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete") => {
                if let Some((done, total)) = self.0.get_mut(layer) {
                    *done = *total;
                }
            }
            _ => {}
        }
    }

    fn done(&self) -> u64 {
        self.0.values().map(|(done, _)| done).sum()
    }

    fn total(&self) -> u64 {
        self.0.values().map(|(_, total)| total).sum()
    }
}

async fn exhaust<T, E>(progress: impl Stream<Item = Result<T, E>>) -> Result<(), E> {
    progress.try_for_each(|_| std::future::ready(Ok(()))).await
}

fn inspected(shown: ImageInspect) -> Image {
    let user = shown.config.and_then(|config| config.user).unwrap_or_default();
    let (uid, username) = split_user(&user);
    Image {
        id: shown.id.unwrap_or_default(),
        tags: shown.repo_tags.unwrap_or_default(),
        digests: shown.repo_digests.unwrap_or_default(),
        size_bytes: size(shown.size.unwrap_or_default()),
        uid,
        username,
    }
}

fn listed_image(shown: ImageSummary) -> Image {
    let named = |names: Vec<String>| names.into_iter().filter(|name| !name.contains("<none>")).collect();
    Image {
        id: shown.id,
        tags: named(shown.repo_tags),
        digests: named(shown.repo_digests),
        size_bytes: size(shown.size),
        uid: None,
        username: None,
    }
}

fn size(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default()
}

/// An image's user, `uid[:group]` or `name[:group]`.
fn split_user(user: &str) -> (Option<i64>, Option<String>) {
    let user = user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(uid) => (Some(uid), None),
        Err(_) if user.is_empty() => (None, None),
        Err(_) => (None, Some(user.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_an_image_is_added_up() {
        let mut layers = Layers::default();
        let mut told = |id: &str, status: &str, detail: &str| {
            let text = format!(r#"{{"id":"{id}","status":"{status}","progressDetail":{detail}}}"#);
            layers.take(&serde_json::from_str(&text).unwrap());
            (layers.done(), layers.total())
        };
        assert_eq!(told("1.36", "Pulling from library/busybox", "{}"), (0, 0));
        assert_eq!(told("a", "Pulling fs layer", "{}"), (0, 0));
        assert_eq!(told("a", "Downloading", r#"{"current":10,"total":100}"#), (10, 100));
        assert_eq!(told("b", "Downloading", r#"{"current":5,"total":50}"#), (15, 150));
        assert_eq!(told("c", "Already exists", "{}"), (15, 150));
        assert_eq!(told("a", "Download complete", "{}"), (105, 150));
        assert_eq!(told("a", "Extracting", r#"{"current":1,"total":100}"#), (105, 150));
        assert_eq!(told("b", "Pull complete", "{}"), (150, 150));
    }

    #[test]
    fn users_of_images() {
        assert_eq!(split_user(""), (None, None));
        assert_eq!(split_user("0"), (Some(0), None));
        assert_eq!(split_user("1000:1000"), (Some(1000), None));
        assert_eq!(split_user("nginx:nginx"), (None, Some("nginx".into())));
    }
}
