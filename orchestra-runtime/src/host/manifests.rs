//! Manifests of static pods: in a folder or a file, and at a URL.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::node::{HostError, Manifest, Manifests};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::process::readable;

/// How often a place is looked at though nothing says that it changed.
const PERIOD: Duration = Duration::from_secs(20);
/// How soon after the last change a folder is read: an editor makes several in a row.
const SETTLED: Duration = Duration::from_millis(50);
/// Most bytes of a manifest.
const MOST: u64 = 10 << 20;

/// The manifests of a folder, or of one file. Names that begin with a dot are not looked at, nor folders in the folder.
///
/// A change is seen at once where the kernel tells of it, and after a [period](Self::period) in any case.
#[derive(Debug)]
pub struct ManifestPath {
    path: PathBuf,
    period: Duration,
    changes: Option<AsyncFd<OwnedFd>>,
}

impl ManifestPath {
    /// Looks at this path. Must be called within a tokio runtime.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let changes = match follow(&path) {
            Ok(changes) => Some(changes),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "changes of manifests are seen only now and then");
                None
            }
        };
        Self { path, period: PERIOD, changes }
    }

    /// Looks so often though nothing says that something changed.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }
}

/// Has the kernel tell of changes: of the folder, or of the one in which the file is, as files are replaced by others.
fn follow(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(Path::new("/")),
    };
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB;
    inotify::add_watch(&changes, folder, flags)?;
    readable(changes)
}

/// Takes everything that the kernel has told. Whether it told anything.
fn drain(changes: &OwnedFd) -> bool {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(changes, &mut buffer);
    let mut any = false;
    while reader.next().is_ok() {
        any = true;
    }
    any
}

#[async_trait]
impl Manifests for ManifestPath {
    fn source(&self) -> &'static str {
        "file"
    }

    async fn read(&self) -> Result<Vec<Manifest>, HostError> {
        let path = self.path.clone();
        let read = move || read(&path).map_err(|error| failed(&path.display().to_string(), error));
        match tokio::task::spawn_blocking(read).await {
            Ok(manifests) => manifests,
            Err(error) => Err(failed(&self.path.display().to_string(), io::Error::other(error))),
        }
    }

    async fn changed(&self) {
        let Some(changes) = &self.changes else { return tokio::time::sleep(self.period).await };
        let told = async {
            loop {
                let Ok(mut ready) = changes.readable().await else { return std::future::pending().await };
                let any = drain(changes.get_ref());
                ready.clear_ready();
                if any {
                    break;
                }
            }
            tokio::time::sleep(SETTLED).await;
            drain(changes.get_ref());
        };
        tokio::select! {
            () = told => {}
            () = tokio::time::sleep(self.period) => {}
        }
    }
}

/// The manifests at a path; none if nothing is there.
fn read(path: &Path) -> io::Result<Vec<Manifest>> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    if !found.is_dir() {
        return Ok(vec![manifest(path)?]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().and_then(OsStr::to_str).is_none_or(|name| name.starts_with('.'));
        if !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut manifests = Vec::new();
    for path in paths {
        match manifest(&path) {
            Ok(manifest) => manifests.push(manifest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(manifests)
}

fn manifest(path: &Path) -> io::Result<Manifest> {
    let file = fs::File::open(path)?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MOST), &mut text)?;
    Ok(Manifest { origin: path.display().to_string(), text })
}

fn failed(path: &str, error: io::Error) -> HostError {
    HostError::Io { path: path.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(manifests: &[Manifest]) -> Vec<&str> {
        manifests.iter().map(|one| one.origin.rsplit('/').next().unwrap_or_default()).collect()
    }

    #[tokio::test]
    async fn a_folder_is_read_whole_and_its_changes_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.yaml"), "b").unwrap();
        fs::write(folder.path().join(".hidden.yaml"), "no").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let place = ManifestPath::new(folder.path()).period(Duration::from_secs(3600));
        assert_eq!(names(&place.read().await.unwrap()), ["b.yaml"]);
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        place.changed().await;
        let all = place.read().await.unwrap();
        assert_eq!((names(&all), all[0].text.as_slice()), (vec!["a.yaml", "b.yaml"], &b"a"[..]));
        fs::rename(folder.path().join("a.yaml"), folder.path().join(".a")).unwrap();
        place.changed().await;
        assert_eq!(names(&place.read().await.unwrap()), ["b.yaml"]);
        fs::remove_file(folder.path().join("b.yaml")).unwrap();
        place.changed().await;
        assert!(place.read().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_file_may_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.yaml");
        let place = ManifestPath::new(&path).period(Duration::from_secs(3600));
        assert!(place.read().await.unwrap().is_empty());
        fs::write(folder.path().join("draft"), "x").unwrap();
        fs::rename(folder.path().join("draft"), &path).unwrap();
        place.changed().await;
        assert_eq!(place.read().await.unwrap()[0].text, b"x");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_again_though_nothing_changed() {
        let folder = tempfile::tempdir().unwrap();
        let began = tokio::time::Instant::now();
        ManifestPath::new(folder.path()).changed().await;
        assert!(began.elapsed() >= PERIOD);
    }
}
