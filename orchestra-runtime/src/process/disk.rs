//! The folders of one runtime: sandboxes and containers are made, found and removed here. What is in them, see
//! [`record`](super::record).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orchestra_core::runtime::{Filter, Result, RuntimeError, SandboxMeta};
use serde::Serialize;

use super::named::Named;
use super::record::{ContainerDir, ContainerRecord, SandboxRecord, failed, optional, read, write};
use crate::private;

/// The folders of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    root: PathBuf,
    owners: Arc<Owners>,
}

/// Whose the folders are, as far as somebody has asked.
#[derive(Debug, Default)]
struct Owners {
    sandboxes: Named<SandboxMeta>,
    /// By the name of the sandbox that they are in.
    containers: Named<String>,
}

impl Disk {
    /// Makes the folders, readable by nobody else: environments hold secrets. Drafts that a crash left go.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        private::folders(root, 0o700)?;
        for folder in ["sandboxes", "containers", "tmp"] {
            private::folder(&root.join(folder), 0o700)?;
        }
        let disk = Self { root: root.canonicalize()?, owners: Arc::default() };
        disk.sweep()?;
        Ok(disk)
    }

    /// Removes drafts whose maker is dead.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("tmp"))? {
            let path = entry?.path();
            let maker = path.extension().and_then(OsStr::to_str).and_then(|pid| pid.parse::<u32>().ok());
            let lives = maker.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists());
            if !lives {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// Does something in a folder for attempts.
    pub(super) fn scratch<T>(&self, attempt: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let scratch = self.root.join("tmp").join(format!("probe.{}", std::process::id()));
        fs::create_dir_all(&scratch).map_err(failed)?;
        let result = attempt(&scratch);
        fs::remove_dir_all(&scratch).map_err(failed)?;
        result
    }

    pub(crate) fn sandbox_dir(&self, id: &str) -> Result<PathBuf> {
        Ok(self.root.join("sandboxes").join(checked(id).ok_or_else(|| RuntimeError::no_sandbox(id))?))
    }

    pub(crate) fn sandbox(&self, id: &str) -> Result<SandboxRecord> {
        match optional(read(&self.sandbox_dir(id)?.join("sandbox.json"))).map_err(failed)? {
            Some(record) => Ok(record),
            None => Err(RuntimeError::no_sandbox(id)),
        }
    }

    pub(super) fn write_sandbox(&self, id: &str, record: &SandboxRecord) -> Result<()> {
        write(&self.sandbox_dir(id)?.join("sandbox.json"), record).map_err(failed)
    }

    /// The sandbox's own `resolv.conf` as a file, if it has one.
    pub(crate) fn resolv_conf(&self, id: &str, record: &SandboxRecord) -> Result<Option<PathBuf>> {
        let Some(text) = &record.resolv_conf else { return Ok(None) };
        let path = self.sandbox_dir(id)?.join("resolv.conf");
        if !path.exists() {
            fs::write(&path, text).and_then(|()| private::permit(&path, 0o644)).map_err(failed)?;
        }
        Ok(Some(path))
    }

    pub(crate) fn container(&self, id: &str) -> Result<(ContainerDir, ContainerRecord)> {
        let id = checked(id).ok_or_else(|| RuntimeError::no_container(id))?;
        let dir = ContainerDir(self.root.join("containers").join(id));
        match optional(dir.record()).map_err(failed)? {
            Some(record) => Ok((dir, record)),
            None => Err(RuntimeError::no_container(id)),
        }
    }

    /// Makes a sandbox's folder with its record; `false` when it is there already.
    pub(super) fn add_sandbox(&self, id: &str, record: &SandboxRecord) -> Result<bool> {
        self.add("sandboxes", id, "sandbox.json", record).map_err(failed)
    }

    /// Makes a container's folder with its record; `false` when it is there already.
    pub(super) fn add_container(&self, id: &str, record: &ContainerRecord) -> Result<bool> {
        self.add("containers", id, "container.json", record).map_err(failed)
    }

    fn add(&self, kind: &str, id: &str, file: &str, record: &impl Serialize) -> io::Result<bool> {
        let id = checked(id).ok_or(io::ErrorKind::InvalidInput)?;
        let draft = self.root.join("tmp").join(format!("{id}.{}", std::process::id()));
        fs::create_dir_all(&draft)?;
        write(&draft.join(file), record)?;
        match fs::rename(&draft, self.root.join(kind).join(id)) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                fs::remove_dir_all(&draft)?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a sandbox's folder.
    pub(super) fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.remove("sandboxes", id)?;
        self.owners.sandboxes.forget(id);
        Ok(())
    }

    /// Removes a container's folder.
    pub(super) fn remove_container(&self, id: &str) -> Result<()> {
        self.remove("containers", id)?;
        self.owners.containers.forget(id);
        Ok(())
    }

    fn remove(&self, kind: &str, id: &str) -> Result<()> {
        let Some(id) = checked(id) else { return Ok(()) };
        match fs::remove_dir_all(self.root.join(kind).join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// The sandboxes that are asked for, readable ones only.
    pub(super) fn sandboxes(&self, filter: &Filter) -> Result<Vec<(String, SandboxRecord)>> {
        let read = |path: &Path| read(&path.join("sandbox.json"));
        self.all("sandboxes", &self.owners.sandboxes, |meta| filter.matches(meta), SandboxRecord::meta, read)
    }

    /// The containers of those sandboxes that are asked for.
    pub(crate) fn containers(
        &self,
        of: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, ContainerDir, ContainerRecord)>> {
        let sandbox = |(_, record): &(ContainerDir, ContainerRecord)| record.sandbox.clone();
        let all = self.all(
            "containers",
            &self.owners.containers,
            |id| of(id),
            sandbox,
            |path| {
                let dir = ContainerDir(path.to_owned());
                dir.record().map(|record| (dir, record))
            },
        )?;
        Ok(all.into_iter().map(|(id, (dir, record))| (id, dir, record)).collect())
    }

    fn all<T, O>(
        &self,
        kind: &str,
        named: &Named<O>,
        wanted: impl Fn(&O) -> bool,
        owner: impl Fn(&T) -> O,
        read: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<Vec<(String, T)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join(kind)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if named.is(&name, &wanted) == Some(false) {
                continue;
            }
            match optional(read(&entry.path())) {
                Ok(Some(record)) => {
                    let owner = owner(&record);
                    if wanted(&owner) {
                        found.push((name.clone(), record));
                    }
                    named.note(&name, owner);
                }
                Ok(None) => {} // removed in this moment
                Err(error) => tracing::warn!(path = %entry.path().display(), %error, "unreadable record"),
            }
        }
        Ok(found)
    }
}

/// Ids are names of folders: one that could be a path is no id of ours.
fn checked(id: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!id.is_empty() && id.len() < 200 && id.bytes().all(plain)).then_some(id)
}

/// An id made of who it is, so that making the same twice is noticed: a readable part, and a hash of all of it.
pub(super) fn id(readable: &str, parts: &[&str]) -> String {
    // FNV-1a, 128 bits: stable between versions of this program, which std's hasher is not.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
    let kept: String = readable
        .chars()
        .take(40)
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    format!("{kept}-{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_of_the_dead_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let tmp = folder.path().join("tmp");
        Disk::open(folder.path()).unwrap();
        let ours = format!("web-1.{}", std::process::id());
        for name in ["web-2.4194304", "probe.4194304", "odd", &ours] {
            fs::create_dir_all(tmp.join(name).join("rootfs")).unwrap();
        }
        let disk = Disk::open(folder.path()).unwrap();
        disk.scratch(|path| {
            assert!(path.is_dir());
            Ok(())
        })
        .unwrap();
        let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [OsStr::new(&ours)]);
        use std::os::unix::fs::PermissionsExt;
        for path in [folder.path(), &tmp, &folder.path().join("containers")] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn ids_tell_apart_and_are_no_paths() {
        let one = id("web", &["default", "web", "u1", "0"]);
        assert_eq!(one, id("web", &["default", "web", "u1", "0"]));
        assert_ne!(one, id("web", &["default", "webu", "1", "0"]));
        assert_eq!(checked(&one), Some(one.as_str()));
        assert_eq!(checked(&id("../a.b", &["x"])).map(|id| id.starts_with("---a-b-")), Some(true));
        for bad in ["", "..", "a/b", "a.b", "a\0b"] {
            assert_eq!(checked(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn to_look_for_one_pod_reads_the_folders_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        let record = |uid: &str| -> SandboxRecord {
            serde_json::from_value(serde_json::json!({
                "namespace": "default", "pod": "web", "uid": uid, "attempt": 0, "owner": "n1", "hostname": "web",
                "host_network": true, "created_at": "2026-01-01T00:00:00Z", "boot_id": "b", "log_directory": "/logs",
                "ip": null, "netns": null, "ready": true,
            }))
            .unwrap()
        };
        let found = |uid: Option<&str>| -> Vec<String> {
            let filter = Filter { owner: None, pod_uid: uid.map(str::to_owned) };
            let mut found: Vec<String> =
                disk.sandboxes(&filter).unwrap().into_iter().map(|(id, _)| id).collect();
            found.sort();
            found
        };
        for name in ["a", "b"] {
            assert!(disk.add_sandbox(name, &record(name)).unwrap());
        }
        assert_eq!(found(Some("a")), ["a"]);
        assert_eq!(found(None), ["a", "b"]);
        // If it were read, it would be found.
        let other = disk.sandbox_dir("b").unwrap().join("sandbox.json");
        fs::write(&other, serde_json::to_vec(&record("a")).unwrap()).unwrap();
        assert_eq!(found(Some("a")), ["a"]);
        disk.remove_sandbox("a").unwrap();
        assert_eq!(found(Some("a")), [""; 0]);
        assert!(disk.add_sandbox("a", &record("a")).unwrap());
        assert_eq!(found(Some("a")), ["a"]);
    }
}
