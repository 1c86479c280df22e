//! The data directory of a cluster: readable by its owner alone, and of one runtime for as long as it exists.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use anyhow::{Context as _, bail};

/// The file that names the runtime whose containers the cluster has.
const RUNTIME: &str = "runtime";

/// Makes the directory, if it is not there, and takes it from everyone but its owner, whatever the umask: it holds
/// every Secret.
pub(crate) fn prepare(directory: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
        .with_context(|| format!("the data directory {} cannot be made", directory.display()))
}

/// The runtime that the cluster of a directory has had, if it has had any.
pub(crate) fn runtime(directory: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(directory.join(RUNTIME)) {
        Ok(name) => Ok(Some(name.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}/{RUNTIME}", directory.display())),
    }
}

/// Takes note of the runtime that the cluster has from now on.
///
/// # Errors
/// When it has had another: the containers of that one would run on and nobody would look after them.
pub(crate) fn keep_runtime(directory: &Path, name: &str) -> anyhow::Result<()> {
    match runtime(directory)? {
        Some(had) if had == name => Ok(()),
        Some(had) => bail!(
            "the cluster in {0} has its containers in the runtime {had:?}, and {name:?} would not find them; start it with \
             --runtime {had}, or name another --data-dir. To move it, delete its pods, stop it, and remove {0}/{RUNTIME}",
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

/// A range of Service addresses that this process alone uses on this machine, for as long as this is held.
pub(crate) struct Range(#[expect(dead_code, reason = "held, not read")] UnixListener);

impl Range {
    /// Takes a range; `None` if another cluster on this machine has it. Two of them would each serve a part of what
    /// connects there.
    pub(crate) fn take(range: &str) -> std::io::Result<Option<Self>> {
        // Such a name is known in one network only, as the addresses are, and goes with its process.
        let name = SocketAddr::from_abstract_name(format!("orchestra/services/{range}"))?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Some(Self(listener))),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let mode = || fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
        prepare(&directory).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        prepare(&directory).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_cluster_stays_with_its_runtime() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(runtime(directory.path()).unwrap(), None);
        keep_runtime(directory.path(), "process").unwrap();
        keep_runtime(directory.path(), "process").unwrap();
        let error = keep_runtime(directory.path(), "docker").unwrap_err().to_string();
        assert!(error.contains("--runtime process") && error.contains("--data-dir"), "{error}");
        assert_eq!(runtime(directory.path()).unwrap().as_deref(), Some("process"));
    }

    #[test]
    fn a_range_is_one_clusters_at_a_time() {
        let range = format!("test {}", std::process::id());
        let first = Range::take(&range).unwrap();
        assert!(first.is_some());
        assert!(Range::take(&range).unwrap().is_none());
        drop(first);
        assert!(Range::take(&range).unwrap().is_some());
    }
}
