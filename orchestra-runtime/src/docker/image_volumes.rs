//! Images shown to pods as volumes: their layers are mounted from here, which Docker cannot do. A container that is never started
//! keeps the image meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, DriverData};
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions};
use orchestra_core::runtime::{PodRef, Result, RuntimeError, labels};

use super::DockerRuntime;
use super::error::{self, About};
use crate::image_mount;

/// [`labels::KIND`] of such a container.
const KIND: &str = "image-volume";

impl DockerRuntime {
    pub(super) async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        let volume = at.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = format!("k8s_image_{volume}_{}_{}_{}", pod.name, pod.namespace, pod.uid);
        let keeper = ContainerCreateBody {
            image: Some(image.to_owned()),
            // It is not run, and an image of files alone says nothing that could be.
            entrypoint: Some(vec!["/none".to_owned()]),
            labels: Some(HashMap::from([
                (labels::KIND.to_owned(), KIND.to_owned()),
                (labels::POD_UID.to_owned(), pod.uid.clone()),
            ])),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        match self.docker.create_container(Some(options), keeper).await {
            Ok(_) => {}
            // By us, before we were started again.
            Err(error) if error::status(&error) == Some(409) => {}
            Err(error) => return Err(error::of_create("container", &name, image, error)),
        }
        let shown = self.docker.inspect_image(image).await;
        let shown = shown.map_err(|error| error::of(About::Image(image), error))?;
        let layers = shown.graph_driver.as_ref().map(layers).filter(|layers| !layers.is_empty());
        let layers = layers.ok_or_else(|| RuntimeError::Failed {
            message: format!("Docker does not say where the layers of {image} are"),
        })?;
        image_mount::show(layers, at).await
    }

    pub(super) async fn release_images(&self, pod_uid: &str) -> Result<()> {
        let wanted = vec![format!("{}={KIND}", labels::KIND), format!("{}={pod_uid}", labels::POD_UID)];
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), wanted)])),
            ..Default::default()
        };
        let held = self.docker.list_containers(Some(options)).await;
        for keeper in held.map_err(|error| error::of(About::Daemon, error))? {
            self.remove(&keeper.id.unwrap_or_default()).await?;
        }
        Ok(())
    }
}

/// The folders of an image's layers, the uppermost first.
fn layers(driver: &DriverData) -> Vec<PathBuf> {
    let said = |key: &str| driver.data.get(key).map(String::as_str).unwrap_or_default();
    let all = said("UpperDir").split(':').chain(said("LowerDir").split(':'));
    all.filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_where_the_driver_says() {
        let driver = |data: &[(&str, &str)]| DriverData {
            name: "overlay2".into(),
            data: data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let found = layers(&driver(&[("UpperDir", "/c/diff"), ("LowerDir", "/b/diff:/a/diff")]));
        assert_eq!(found, ["/c/diff", "/b/diff", "/a/diff"].map(PathBuf::from));
        assert_eq!(layers(&driver(&[("UpperDir", "/c")])), [PathBuf::from("/c")]);
        assert!(layers(&driver(&[])).is_empty());
    }
}
