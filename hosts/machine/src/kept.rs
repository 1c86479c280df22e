//! Which runtime has the containers of a data directory: one, for as long as the directory exists.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orchestra_core::runtime;
use orchestra_runtime::cri::CriRuntime;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::native::{self, NativeRuntime};
use orchestra_runtime::process::{self, ProcessRuntime};

use crate::choice::Runtime;

/// The file that names the runtime.
const RUNTIME: &str = "runtime";

/// Where the native runtime keeps the images and containers of a data directory.
pub fn native_directory(directory: &Path) -> PathBuf {
    directory.join("native")
}

/// Where is kept what plugins of CNI answered of the pods that they connected.
pub fn plugins_directory(directory: &Path) -> PathBuf {
    directory.join("cni")
}

/// Where processes that are containers are written down.
pub(crate) fn process_directory(directory: &Path) -> PathBuf {
    directory.join("containers")
}

/// The runtime that has the containers of a directory, if one has.
pub(crate) fn runtime(directory: &Path) -> anyhow::Result<Option<Runtime>> {
    Ok(named(directory)?.as_deref().and_then(Runtime::of_name))
}

fn named(directory: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(directory.join(RUNTIME)) {
        Ok(name) => Ok(Some(name.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}/{RUNTIME}", directory.display())),
    }
}

/// Takes note of the runtime that has the containers of a directory from now on.
///
/// # Errors
/// When another has them: they would run on and nobody would look after them.
pub(crate) fn keep(directory: &Path, runtime: Runtime) -> anyhow::Result<()> {
    let name = runtime.name();
    match named(directory)? {
        Some(had) if had == name => Ok(()),
        Some(had) => bail!(
            "{0} has its containers in the runtime {had:?}, and {name:?} would not find them; start it with --runtime {had}, \
             or name another --data-dir. To move it, delete its pods, stop it, and remove {0}/{RUNTIME}",
            directory.display()
        ),
        None => {
            let path = directory.join(RUNTIME);
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| writeln!(file, "{name}"))
                .with_context(|| format!("cannot write {}", path.display()))
        }
    }
}

/// What runs the containers that were left in a directory, to have them removed; `None` if nothing can have left any.
///
/// # Errors
/// When it is not there.
pub async fn left_in(directory: &Path) -> anyhow::Result<Option<Arc<dyn runtime::Runtime>>> {
    let without =
        "its containers cannot be removed without it; start it, or remove them by hand and then the file";
    let file = directory.join(RUNTIME);
    Ok(match runtime(directory)? {
        Some(Runtime::Docker) => {
            let docker = DockerRuntime::connect().await;
            Some(Arc::new(
                docker.with_context(|| format!("no Docker daemon answers: {without} {}", file.display()))?,
            ))
        }
        Some(Runtime::Containerd) => {
            let cri = CriRuntime::connect().await;
            Some(Arc::new(
                cri.with_context(|| format!("no container runtime answers: {without} {}", file.display()))?,
            ))
        }
        Some(Runtime::Native) => {
            let config = native::Config::new(native_directory(directory));
            Some(Arc::new(
                NativeRuntime::open(config).await.context("its containers cannot be removed without runc")?,
            ))
        }
        _ if process_directory(directory).is_dir() => {
            let config = process::Config::new(process_directory(directory));
            Some(Arc::new(ProcessRuntime::open(config).await.context("its containers cannot be read")?))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stays_with_its_runtime() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(runtime(directory.path()).unwrap(), None);
        keep(directory.path(), Runtime::Process).unwrap();
        keep(directory.path(), Runtime::Process).unwrap();
        let error = keep(directory.path(), Runtime::Docker).unwrap_err().to_string();
        assert!(error.contains("--runtime process") && error.contains("--data-dir"), "{error}");
        assert_eq!(runtime(directory.path()).unwrap(), Some(Runtime::Process));
    }
}
