//! Volumes as folders of this machine.
//!
//! ```text
//! <root>/<pod uid>/volumes/<volume>/             an emptyDir, or
//! <root>/<pod uid>/volumes/<volume>/..data       a link to the current set of files
//!                                  /..<time>     a set of files
//!                                  /<name>       a link to ..data/<name>
//! <root>/<pod uid>/files/<name>                  single files
//! ```
//!
//! Sets of files are changed as a kubelet does it: a new set is written beside the old one, and `..data` is renamed over
//! itself. A container that mounts the folder sees either all of the old or all of the new.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use orchestra_core::node::volumes::Files;
use orchestra_core::node::{EmptyDir, HostError, VolumeHost};
use orchestra_core::runtime::PodRef;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, UnmountFlags};

/// What the link to the current set of files is called.
const DATA: &str = "..data";

/// Volumes as folders of this machine, below one root.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// Keeps everything below this folder, which is made when it is first needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn pod(&self, uid: &str) -> Result<PathBuf, HostError> {
        Ok(self.root.join(plain(uid)?))
    }

    fn volume(&self, pod: &PodRef, name: &str) -> Result<PathBuf, HostError> {
        Ok(self.pod(&pod.uid)?.join("volumes").join(plain(name)?))
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
        let (path, directory) = (self.volume(pod, volume)?, *directory);
        blocking(path, move |path| {
            let made = !path.exists();
            make_folder(path, 0o777)?;
            let is_root = rustix::process::geteuid().is_root();
            if directory.memory && (made || !is_mount_point(path)?) && is_root {
                let size = directory.size_limit.map_or(String::new(), |bytes| format!(",size={bytes}"));
                let options = std::ffi::CString::new(format!("mode=777{size}"))?;
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                match rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str()) {
                    Ok(()) | Err(rustix::io::Errno::PERM) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(group) = directory.group {
                give_to_group(path, group, 0o2777)?;
            }
            Ok(path.to_owned())
        })
        .await
    }

    async fn host_path(&self, path: &Path, kind: &str) -> Result<PathBuf, HostError> {
        let (path, kind) = (path.to_owned(), kind.to_owned());
        let at = path.clone();
        let checked = tokio::task::spawn_blocking(move || check_host_path(&path, &kind)).await;
        checked.unwrap_or_else(|error| Err(io_error(&at, io::Error::other(error))))
    }

    async fn files(
        &self,
        pod: &PodRef,
        volume: &str,
        files: &Files,
        group: Option<u32>,
    ) -> Result<PathBuf, HostError> {
        let (path, files) = (self.volume(pod, volume)?, files.clone());
        for name in files.keys() {
            relative(name).ok_or_else(|| HostError::SubPathEscapes { sub_path: name.clone() })?;
        }
        blocking(path, move |path| {
            make_folder(path, 0o755)?;
            if let Some(group) = group {
                give_to_group(path, group, 0o2755)?;
            }
            if !is_current(path, &files, group)? {
                replace(path, &files, group)?;
            }
            Ok(path.to_owned())
        })
        .await
    }

    async fn sub_path(&self, volume: &Path, sub_path: &str) -> Result<PathBuf, HostError> {
        let escapes = || HostError::SubPathEscapes { sub_path: sub_path.to_owned() };
        let wanted = relative(sub_path).ok_or_else(escapes)?;
        let volume = volume.to_owned();
        let found = {
            let (volume, wanted) = (volume.clone(), wanted.clone());
            tokio::task::spawn_blocking(move || resolve_or_make(&volume, &wanted)).await
        };
        match found.map_err(io::Error::other).flatten() {
            Ok(path) => Ok(path),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
                Err(escapes())
            }
            Err(error) => Err(io_error(&volume.join(wanted), error)),
        }
    }

    async fn pod_file(
        &self,
        pod: &PodRef,
        name: &str,
        content: &[u8],
        replace: bool,
    ) -> Result<PathBuf, HostError> {
        let (path, content) = (self.file(pod, name)?, content.to_vec());
        blocking(path, move |path| {
            match fs::read(path) {
                Ok(present) if !replace || present == content => return Ok(path.to_owned()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_folder(path.parent().unwrap_or(path), 0o755)?;
                }
                Err(error) => return Err(error),
            }
            // In place: a container has this very file mounted, and would go on seeing one that was renamed away.
            fs::write(path, content)?;
            // Containers of any user write their termination message here.
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
            Ok(path.to_owned())
        })
        .await
    }

    async fn read_pod_file(&self, pod: &PodRef, name: &str, most: usize) -> Result<Vec<u8>, HostError> {
        let path = self.file(pod, name)?;
        blocking(path, move |path| {
            let mut content = Vec::new();
            match fs::File::open(path) {
                Ok(file) => {
                    io::Read::read_to_end(&mut io::Read::take(file, most as u64), &mut content)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            Ok(content)
        })
        .await
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), HostError> {
        let path = self.pod(uid)?;
        blocking(path, |path| {
            let volumes = match fs::read_dir(path.join("volumes")) {
                Ok(volumes) => volumes.collect::<io::Result<Vec<_>>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            for volume in volumes {
                if is_mount_point(&volume.path())? {
                    rustix::mount::unmount(volume.path(), UnmountFlags::DETACH)?;
                }
            }
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn pods(&self) -> Result<Vec<String>, HostError> {
        blocking(self.root.clone(), |root| match fs::read_dir(root) {
            Ok(pods) => pods.map(|pod| Ok(pod?.file_name().to_string_lossy().into_owned())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, HostError> {
    let at = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.map_err(io::Error::other).flatten().map_err(|error| io_error(&at, error))
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

/// Makes a folder with exactly these permissions, whatever the umask; its parents are passable.
fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    Ok(rustix::fs::lstat(path)?.st_dev != rustix::fs::lstat(parent)?.st_dev)
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

/// Finds a path within a volume, following links only as far as they stay in it, or makes it.
fn resolve_or_make(volume: &Path, wanted: &Path) -> io::Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    let (mut here, mut walked) = (root, PathBuf::new());
    for part in wanted.components() {
        walked.push(part);
        let open =
            || rustix::fs::openat2(&here, part.as_os_str(), flags, Mode::empty(), ResolveFlags::BENEATH);
        let next = match open() {
            Err(rustix::io::Errno::NOENT) => {
                match rustix::fs::mkdirat(&here, part.as_os_str(), Mode::from_raw_mode(0o750)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open()?
            }
            other => other?,
        };
        here = next;
    }
    let real = fs::canonicalize(volume.join(&walked))?;
    match real.starts_with(fs::canonicalize(volume)?) {
        true => Ok(real),
        false => Err(rustix::io::Errno::XDEV.into()),
    }
}

/// Whether the files of a set are what they should be, and no others.
fn is_current(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    let data = volume.join(DATA);
    if !data.exists() {
        return Ok(false);
    }
    let mut present = BTreeSet::new();
    collect(&data, Path::new(""), &mut present)?;
    if present.len() != files.len() {
        return Ok(false);
    }
    for (name, file) in files {
        let Some(path) = relative(name).filter(|path| present.contains(path)) else { return Ok(false) };
        let path = data.join(path);
        let found = fs::metadata(&path)?;
        let as_it_should_be =
            found.mode() & 0o7777 == file.mode && group.is_none_or(|group| found.gid() == group);
        if !as_it_should_be || fs::read(&path)? != file.data {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), &path, found)?,
            false => drop(found.insert(path)),
        }
    }
    Ok(())
}

/// Makes a file or folder belong to a group, with this mode.
fn give_to_group(path: &Path, group: u32, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.gid() != group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot be given to fsGroup {group}: {error}"))
        })?;
    }
    // Changing the group takes the bit away that hands it on.
    if found.mode() & 0o7777 != mode || found.gid() != group {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn replace(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let new = PathBuf::from(format!("..{}", jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f")));
    let folder = volume.join(&new);
    make_folder(&folder, 0o755)?;
    if let Some(group) = group {
        give_to_group(&folder, group, 0o2755)?;
    }
    let mut tops = BTreeSet::new();
    for (name, file) in files {
        let Some(path) = relative(name) else { continue };
        tops.extend(path.components().next().map(|top| PathBuf::from(top.as_os_str())));
        let at = folder.join(&path);
        make_folder(at.parent().unwrap_or(&folder), 0o755)?;
        fs::write(&at, &file.data)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(file.mode))?;
        if let Some(group) = group {
            give_to_group(&at, group, file.mode)?;
        }
    }
    let draft = volume.join("..data_tmp");
    let _ = fs::remove_file(&draft);
    std::os::unix::fs::symlink(&new, &draft)?;
    fs::rename(&draft, volume.join(DATA))?;
    for top in &tops {
        let link = volume.join(top);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new(DATA).join(top), link)?;
        }
    }
    // What is not of the new set goes: links to what is no more, the set before, and what a crash left.
    for entry in fs::read_dir(volume)? {
        let name = PathBuf::from(entry?.file_name());
        if name == Path::new(DATA) || name == new || tops.contains(&name) {
            continue;
        }
        let path = volume.join(&name);
        match fs::symlink_metadata(&path)?.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}
