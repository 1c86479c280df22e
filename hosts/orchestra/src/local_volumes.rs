//! Directories of this machine that were volumes.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use orchestra_core::controllers::local_path::Directories;

/// Removes what is under one directory of this machine, for the nodes that are on it.
#[derive(Debug)]
pub(crate) struct OwnDirectories {
    root: PathBuf,
    /// The nodes of this machine; `None` where containers run in name only and no node has directories.
    node: Option<String>,
}

impl OwnDirectories {
    pub(crate) fn new(root: PathBuf, node: Option<String>) -> Self {
        Self { root, node }
    }

    /// Whether a path is of a directory within the root.
    fn is_own(&self, path: &Path) -> bool {
        let within = path.strip_prefix(&self.root);
        within.is_ok_and(|rest| {
            let mut parts = rest.components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        })
    }
}

#[async_trait]
impl Directories for OwnDirectories {
    async fn remove(&self, node: &str, path: &str) -> Result<(), String> {
        let Some(own) = &self.node else { return Ok(()) };
        let directory = PathBuf::from(path);
        if own != node || !self.is_own(&directory) {
            return Err(format!(
                "the directory {path} on the node {node} is not removed from here: remove it there, then delete the volume"
            ));
        }
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
        match removed.map_err(|error| error.to_string())? {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("the directory {path} cannot be removed: {error}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_directories_within_the_root_go() {
        let held = tempfile::tempdir().unwrap();
        let root = held.path().join("volumes");
        let (volume, beside) = (root.join("pvc-1_n_data"), held.path().join("beside"));
        std::fs::create_dir_all(volume.join("deep")).unwrap();
        std::fs::create_dir_all(&beside).unwrap();
        let own = OwnDirectories::new(root.clone(), Some("here".to_owned()));
        let remove = async |node: &str, path: &Path| own.remove(node, path.to_str().unwrap()).await;
        assert!(remove("there", &volume).await.unwrap_err().contains("on the node there"));
        for path in [root.clone(), beside.clone(), root.join("../beside"), root.join("pvc-1_n_data/deep")] {
            assert!(remove("here", &path).await.is_err(), "{}", path.display());
        }
        assert!(volume.exists() && beside.exists());
        remove("here", &volume).await.unwrap();
        remove("here", &volume).await.unwrap();
        assert!(!volume.exists());
        assert_eq!(OwnDirectories::new(root, None).remove("any", "/").await, Ok(()));
    }
}
