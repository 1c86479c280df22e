//! Volumes as folders of this machine.
//!
//! ```text
//! <root>/<pod uid>/volumes/<volume>/             an emptyDir, or
//! <root>/<pod uid>/volumes/<volume>/..data       a link to the current set of files
//!                                  /..<time>     a set of files
//!                                  /<name>       a link to ..data/<name>
//! <root>/<pod uid>/files/<name>                  single files
//! <root>/<pod uid>/sub-paths/<container>/<n>     what a container sees of a path within a volume, bound here
//! ```
//!
//! Nobody but this program's user and group gets below `<root>`; containers see what is mounted into them. What may be
//! a secret is in memory (a tmpfs at the volume's folder) where we may mount, which takes root; without it is on disk.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
#[cfg(feature = "csi")]
use orchestra_core::node::{Csi, CsiDriver, ShownVolume};
use orchestra_core::node::{EmptyDir, FileSet, HostError, Nfs, PodFile, SubPath, VolumeHost, VolumeUsage};
use orchestra_core::runtime::PodRef;
use rustix::mount::MountFlags;

#[cfg(feature = "csi")]
use crate::host::csi;
use crate::host::group;
use crate::{mounts, private};

#[cfg(feature = "csi")]
mod driven;
mod nfs;
mod sets;
mod sub_path;
mod usage;

/// What the link to the current set of files is called.
const DATA: &str = "..data";
/// How much of the machine's hosts file is read.
const MOST_HOSTS: u64 = 1 << 20;
/// The permissions of the folders above volumes.
const PRIVATE: u32 = 0o750;

/// Volumes as folders of this machine, below one root.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
    own_rights: bool,
    /// Where drivers register, and show volumes.
    #[cfg(feature = "csi")]
    kubelet: PathBuf,
    #[cfg(feature = "csi")]
    registered: csi::Registered,
}

impl Volumes {
    /// Keeps everything below this folder, which is made when it is first needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            own_rights: false,
            #[cfg(feature = "csi")]
            kubelet: csi::KUBELET.into(),
            #[cfg(feature = "csi")]
            registered: csi::Registered::default(),
        }
    }

    /// Says that containers have no more rights than this program: processes without root.
    ///
    /// A path within a volume is then handed out as a path, since whoever leads it astray gets nothing that was not
    /// theirs. Otherwise it has to be bound, and is refused where this program may not mount: a daemon that has more
    /// rights than we would follow the path wherever a container leads it.
    pub fn containers_have_own_rights(mut self) -> Self {
        self.own_rights = true;
        self
    }

    fn pod(&self, uid: &str) -> Result<PathBuf, HostError> {
        Ok(self.root.join(plain(uid)?))
    }

    /// A folder of the pod, made with all above it that is ours.
    fn place(&self, pod: &PodRef, kind: &str) -> Result<PathBuf, HostError> {
        let (above, path) = (self.pod(&pod.uid)?, self.pod(&pod.uid)?.join(kind));
        let made = private::folders(&self.root, PRIVATE)
            .and_then(|()| private::folder(&above, PRIVATE))
            .and_then(|()| private::folder(&path, PRIVATE));
        // Without links in it, as the kernel shows what is mounted.
        made.and_then(|()| fs::canonicalize(&path)).map_err(|error| io_error(&path, error))
    }

    fn volume(&self, pod: &PodRef, name: &str) -> Result<PathBuf, HostError> {
        Ok(self.place(pod, "volumes")?.join(plain(name)?))
    }

    fn file(&self, pod: &PodRef, name: &str) -> Result<PathBuf, HostError> {
        let within = relative(name).ok_or_else(|| HostError::SubPathEscapes { sub_path: name.to_owned() })?;
        Ok(self.pod(&pod.uid)?.join("files").join(within))
    }
}

#[async_trait]
impl VolumeHost for Volumes {
    /// Memory and size limits take the right to mount; without it the folder is an ordinary one.
    async fn empty_dir(
        &self,
        pod: &PodRef,
        volume: &str,
        directory: &EmptyDir,
    ) -> Result<PathBuf, HostError> {
        let (this, pod, name, wanted) = (self.clone(), pod.clone(), volume.to_owned(), *directory);
        blocking(move || {
            let path = this.volume(&pod, &name)?;
            let mode = if wanted.group.is_some() { 0o2777 } else { 0o777 };
            let EmptyDir { memory, size_limit, group } = wanted;
            let made = have_volume(&path, Folder { mode, group, memory, size_limit });
            made.map(|()| path.clone()).map_err(|error| io_error(&path, error))
        })
        .await
    }

    async fn host_path(&self, path: &Path, kind: &str) -> Result<PathBuf, HostError> {
        let (path, kind) = (path.to_owned(), kind.to_owned());
        blocking(move || check_host_path(&path, &kind)).await
    }

    async fn nfs(&self, pod: &PodRef, volume: &str, nfs: &Nfs) -> Result<PathBuf, HostError> {
        let (this, pod, name) = (self.clone(), pod.clone(), volume.to_owned());
        let place = blocking(move || {
            let path = this.volume(&pod, &name)?;
            let made = private::folder(&path, PRIVATE).and_then(|()| mounts::is_mounted(&path));
            made.map(|mounted| (path.clone(), mounted)).map_err(|error| io_error(&path, error))
        });
        let (path, mounted) = place.await?;
        if !mounted {
            nfs::mount(nfs, &path).await?;
        }
        Ok(path)
    }

    #[cfg(feature = "csi")]
    async fn csi(&self, pod: &PodRef, volume: &str, csi: &Csi) -> Result<PathBuf, HostError> {
        self.show(pod, volume, csi).await
    }

    #[cfg(feature = "csi")]
    async fn grow(&self, pod: &PodRef, volume: &str, csi: &Csi, bytes: i64) -> Result<bool, HostError> {
        self.let_grow(pod, volume, csi, bytes).await
    }

    #[cfg(feature = "csi")]
    async fn csi_drivers(&self) -> Result<Vec<CsiDriver>, HostError> {
        Ok(self.registered.drivers(&self.kubelet).await)
    }

    #[cfg(feature = "csi")]
    async fn csi_shown(&self) -> Result<Vec<ShownVolume>, HostError> {
        let noted = self.noted().await?;
        Ok(noted.into_iter().map(|(uid, shown)| shown.of_pod(uid)).collect())
    }

    #[cfg(feature = "csi")]
    async fn take_back(&self, uid: &str) -> Result<(), HostError> {
        self.drivers_take_back(uid).await
    }

    async fn give_to_group(
        &self,
        directory: &Path,
        group: u32,
        unless_root_is: bool,
    ) -> Result<(), HostError> {
        let directory = directory.to_owned();
        blocking(move || {
            group::give(&directory, group, unless_root_is).map_err(|error| io_error(&directory, error))
        })
        .await
    }

    async fn image_place(&self, pod: &PodRef, volume: &str) -> Result<PathBuf, HostError> {
        let (this, pod, name) = (self.clone(), pod.clone(), volume.to_owned());
        blocking(move || {
            let path = this.volume(&pod, &name)?;
            let made = match path.is_dir() {
                // Something may be shown there, which cannot be written.
                true => Ok(()),
                false => private::folder(&path, 0o755),
            };
            made.map(|()| path.clone()).map_err(|error| io_error(&path, error))
        })
        .await
    }

    async fn files(&self, pod: &PodRef, volume: &str, set: &FileSet<'_>) -> Result<PathBuf, HostError> {
        for name in set.files.keys() {
            relative(name).ok_or_else(|| HostError::SubPathEscapes { sub_path: name.clone() })?;
        }
        let (this, pod, name) = (self.clone(), pod.clone(), volume.to_owned());
        let (files, memory, group) = (set.files.clone(), set.memory, set.group);
        blocking(move || {
            let path = this.volume(&pod, &name)?;
            let made = (|| {
                let mode = sets::folder_mode(group);
                have_volume(&path, Folder { mode, group, memory, size_limit: None })?;
                own(&path, mode, group)?;
                match sets::is_current(&path, &files, group)? {
                    true => Ok(()),
                    false => sets::replace(&path, &files, group),
                }
            })();
            made.map(|()| path.clone()).map_err(|error| io_error(&path, error))
        })
        .await
    }

    async fn sub_path(&self, pod: &PodRef, wanted: &SubPath<'_>) -> Result<PathBuf, HostError> {
        let escapes = HostError::SubPathEscapes { sub_path: wanted.path.to_owned() };
        let Some(within) = relative(wanted.path) else { return Err(escapes) };
        let (this, pod, volume) = (self.clone(), pod.clone(), wanted.volume.to_owned());
        let (container, index) = (plain(wanted.container)?.to_owned(), wanted.index.to_string());
        blocking(move || {
            let opened = sub_path::open(&volume, &within).map_err(|error| match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::XDEV.raw_os_error() => escapes,
                _ => io_error(&volume.join(&within), error),
            })?;
            if this.own_rights {
                return sub_path::path_of(&opened).map_err(|error| io_error(&volume.join(&within), error));
            }
            let folder = this.place(&pod, "sub-paths")?.join(container);
            let place = folder.join(index);
            let bound = private::folder(&folder, PRIVATE).and_then(|()| sub_path::bind(&opened, &place));
            bound.map(|()| place.clone()).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => HostError::Unsupported { what: NO_RIGHT_TO_BIND },
                _ => io_error(&place, error),
            })
        })
        .await
    }

    async fn pod_file(&self, pod: &PodRef, file: &PodFile<'_>) -> Result<PathBuf, HostError> {
        let (path, content) = (self.file(pod, file.name)?, file.content.to_vec());
        let (this, pod, mode, replace) = (self.clone(), pod.clone(), file.mode, file.replace);
        blocking(move || {
            this.place(&pod, "files")?;
            write_pod_file(&path, &content, mode, replace).map_err(|error| io_error(&path, error))?;
            Ok(path)
        })
        .await
    }

    async fn hosts_file(&self) -> Result<String, HostError> {
        blocking(|| {
            let path = Path::new("/etc/hosts");
            let mut content = Vec::new();
            let read = fs::File::open(path)
                .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, MOST_HOSTS), &mut content));
            match read {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
                _ => Ok(String::from_utf8_lossy(&content).into_owned()),
            }
        })
        .await
    }

    async fn read_pod_file(&self, pod: &PodRef, name: &str, most: usize) -> Result<Vec<u8>, HostError> {
        let path = self.file(pod, name)?;
        blocking(move || {
            let mut content = Vec::new();
            let read = fs::File::open(&path)
                .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, most as u64), &mut content));
            match read {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path, error)),
                _ => Ok(content),
            }
        })
        .await
    }

    async fn usage(&self, pod: &PodRef) -> Result<Vec<VolumeUsage>, HostError> {
        let path = self.pod(&pod.uid)?.join("volumes");
        blocking(move || usage::of_volumes(&path).map_err(|error| io_error(&path, error))).await
    }

    async fn size_of(&self, folder: &Path) -> Result<u64, HostError> {
        let folder = folder.to_owned();
        blocking(move || {
            let size = usage::of(&folder).map_err(|error| io_error(&folder, error))?;
            Ok(size.bytes)
        })
        .await
    }

    /// What is mounted below goes first; while something of it stays, nothing is removed.
    async fn remove_pod(&self, uid: &str) -> Result<(), HostError> {
        #[cfg(feature = "csi")]
        self.drivers_take_back(uid).await?;
        let path = self.pod(uid)?;
        blocking(move || {
            let removed = match fs::canonicalize(&path) {
                Ok(real) => mounts::unmount_below(&real).and_then(|()| fs::remove_dir_all(&path)),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path, error)),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn pods(&self) -> Result<Vec<String>, HostError> {
        let root = self.root.clone();
        blocking(move || {
            let names = match fs::read_dir(&root) {
                Ok(pods) => pods.map(|pod| Ok(pod?.file_name().to_string_lossy().into_owned())).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            };
            names.map_err(|error| io_error(&root, error))
        })
        .await
    }
}

const NO_RIGHT_TO_BIND: &str = "subPath mounts: to keep a container from leading one out of its volume takes the right \
                                to mount (run the node as root, or mount the whole volume)";

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(HostError::Io { path: "volumes".into(), message: error.to_string() }),
    }
}

fn io_error(path: &Path, error: io::Error) -> HostError {
    HostError::Io { path: path.display().to_string(), message: error.to_string() }
}

/// A name that is one step of a path, and no other.
fn plain(name: &str) -> Result<&Path, HostError> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(Path::new(name)),
        _ => Err(HostError::SubPathEscapes { sub_path: name.to_owned() }),
    }
}

/// A path that leads down and nowhere else.
fn relative(path: &str) -> Option<PathBuf> {
    Path::new(path)
        .components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| match component {
            Component::Normal(part) => Some(PathBuf::from(part)),
            _ => None,
        })
        .collect()
}

/// A volume's folder.
#[derive(Clone, Copy)]
struct Folder {
    mode: u32,
    group: Option<u32>,
    memory: bool,
    size_limit: Option<u64>,
}

/// Makes a volume's folder, in memory where that is asked for and we may mount. One that is there stays as its containers
/// have made it, permissions included.
fn have_volume(path: &Path, folder: Folder) -> io::Result<()> {
    if !path.exists() {
        // Under another name until it is as it should be.
        let mut name = std::ffi::OsString::from(".new-");
        name.push(path.file_name().unwrap_or_default());
        let draft = path.with_file_name(name);
        private::folder(&draft, 0o700)?;
        own(&draft, folder.mode, folder.group)?;
        fs::rename(&draft, path)?;
    }
    if !folder.memory || !rustix::process::geteuid().is_root() || mounts::is_mounted(path)? {
        return Ok(());
    }
    let size = folder.size_limit.map_or(String::new(), |bytes| format!(",size={bytes}"));
    let group = folder.group.map_or(String::new(), |group| format!(",gid={group}"));
    let settings = std::ffi::CString::new(format!("mode={:o}{size}{group}", folder.mode))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    match rustix::mount::mount("tmpfs", path, "tmpfs", flags, settings.as_c_str()) {
        Err(error) if error != rustix::io::Errno::PERM => Err(error.into()),
        _ => Ok(()),
    }
}

/// Gives a folder its group and permissions.
fn own(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    give_to(path, group)?;
    private::permit(path, mode)
}

/// Gives something to a group. Without root all containers run as the owner of everything here, and need no group.
fn give_to(path: &Path, group: Option<u32>) -> io::Result<()> {
    let Some(group) = group else { return Ok(()) };
    match std::os::unix::fs::chown(path, None, Some(group)) {
        Err(error) if rustix::process::geteuid().is_root() => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file in place: a container has this very file mounted, and would go on seeing one that was renamed away.
fn write_pod_file(path: &Path, content: &[u8], mode: u32, replace: bool) -> io::Result<()> {
    match fs::read(path) {
        Ok(present) if !replace || present == content => {}
        Ok(_) => fs::write(path, content)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                private::folders(folder, PRIVATE)?;
            }
            fs::write(path, content)?;
        }
        Err(error) => return Err(error),
    }
    private::permit(path, mode)
}

fn check_host_path(path: &Path, kind: &str) -> Result<PathBuf, HostError> {
    let failed = |error| io_error(path, error);
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
        }
        "FileOrCreate" if !path.exists() => {
            fs::File::options().create(true).append(true).mode(0o644).open(path).map_err(failed)?;
        }
        _ => {}
    }
    let found = fs::metadata(path).map(|found| found.file_type()).ok();
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(test);
    let (holds, expected) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        // No check; but what is not there cannot be mounted, and Docker makes a folder of it.
        _ if found.is_none() => {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
            (true, "")
        }
        _ => (true, ""),
    };
    match holds {
        true => Ok(path.to_owned()),
        false => Err(HostError::HostPathType { path: path.display().to_string(), expected }),
    }
}
