//! The folder that a layer is unpacked into: things are made in it, and nowhere else.
//!
//! A path is walked one name at a time. Links that the layer (or one below it) has on the way are read and followed here,
//! with the folder for a root, and never by the kernel.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// How many links are followed on one path.
const LINKS: usize = 40;
/// What a name is opened for when it is not to be read.
const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whose something is, and what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// In seconds.
    pub(super) modified: i64,
}

/// The folder of a layer.
pub(super) struct Tree {
    root: OwnedFd,
    /// Those of the layers below, the uppermost first.
    below: Vec<OwnedFd>,
    /// Whether things can be given to others.
    gives: bool,
    /// Folders that are made anew in this layer, whatever is below.
    anew: HashSet<PathBuf>,
    /// When folders were changed, which is set last: making something in them changes it.
    times: Vec<(PathBuf, i64)>,
}

impl Tree {
    pub(super) fn open(root: &Path, below: &[PathBuf]) -> io::Result<Self> {
        let folder = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Self {
            root: folder(root)?,
            below: below.iter().map(|path| folder(path)).collect::<Result<_, _>>()?,
            gives: rustix::process::geteuid().is_root(),
            anew: HashSet::new(),
            times: Vec::new(),
        })
    }

    /// Says what is known of the root itself.
    pub(super) fn root(&mut self, meta: &Meta) -> io::Result<()> {
        self.give(&self.root, OsStr::new("."), meta)?;
        self.times.push((PathBuf::new(), meta.modified));
        Ok(())
    }

    /// Makes a folder, or changes the one that is there.
    pub(super) fn folder(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        let (parent, at, name) = self.parent(path)?;
        match kind(&parent, name)? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {}
            Some(found) => {
                self.remove(&parent, name)?;
                make_folder(&parent, name)?;
                if is_whiteout(&found) {
                    self.mark_anew(&at.join(name))?;
                }
            }
            None => make_folder(&parent, name)?,
        }
        self.give(&parent, name, meta)?;
        self.times.push((at.join(name), meta.modified));
        Ok(())
    }

    /// Makes an empty file.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<File> {
        let (parent, _, name) = self.cleared(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// Says what is known of a file that has been written.
    pub(super) fn finish_file(
        &self,
        file: File,
        meta: &Meta,
        attributes: &[(String, Vec<u8>)],
    ) -> io::Result<()> {
        if self.gives {
            rustix::fs::fchown(&file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
        }
        // After the change of owner, which takes away what makes a program run as its owner, and capabilities.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(meta.mode))?;
        for (name, value) in attributes {
            match rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => {}
                Err(Errno::PERM) if !self.gives => {}
                other => other?,
            }
        }
        Ok(rustix::fs::futimens(&file, &times(meta.modified))?)
    }

    pub(super) fn symlink(&mut self, path: &Path, target: &OsStr, meta: &Meta) -> io::Result<()> {
        let (parent, _, name) = self.cleared(path)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        if self.gives {
            self.own(&parent, name, meta)?;
        }
        let times = times(meta.modified);
        Ok(rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn fifo(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        let (parent, _, name) = self.cleared(path)?;
        rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        self.give(&parent, name, meta)
    }

    /// Gives another name to a file, of this layer or of one below. `false` when it is not there.
    pub(super) fn link(&mut self, path: &Path, to: &Path) -> io::Result<bool> {
        let Some((folder, at, name)) = self.existing_parent(to)? else { return Ok(false) };
        let source = at.join(name);
        let found = match kind(&folder, name)? {
            Some(found) if is_whiteout(&found) => return Ok(false),
            Some(found) => found,
            None => match self.below(&source)? {
                None => return Ok(false),
                Some((opened, found)) => {
                    self.copy_up(&opened, &found, &source)?;
                    found
                }
            },
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Ok(false);
        }
        if self.parent(path)?.1.join(path.file_name().unwrap_or_default()) == source {
            return Ok(true);
        }
        let (parent, _, link) = self.cleared(path)?;
        // Clearing may have taken away what was to be linked to, if it was below.
        match rustix::fs::linkat(&folder, name, &parent, link, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(false),
            other => other.map(|()| true).map_err(io::Error::from),
        }
    }

    /// Takes away what is below, if anything is. What this layer has there itself stays.
    pub(super) fn take_away(&mut self, path: &Path) -> io::Result<()> {
        let (parent, at, name) = self.parent(path)?;
        match kind(&parent, name)? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                self.mark_anew(&at.join(name))
            }
            Some(_) => Ok(()),
            // It would be a mark of nothing, and a mark is seen where layers are looked through.
            None if self.below(&at.join(name))?.is_none() => Ok(()),
            None => {
                let device = FileType::CharacterDevice;
                Ok(rustix::fs::mknodat(&parent, name, device, Mode::empty(), 0)?)
            }
        }
    }

    /// Has a folder show nothing of what is below.
    pub(super) fn begin_anew(&mut self, path: &Path) -> io::Result<()> {
        let (_, at) = self.walk(path, true)?.ok_or(Errno::NOENT)?;
        self.mark_anew(&at)
    }

    /// Sets what making things has changed.
    pub(super) fn finish(self) -> io::Result<()> {
        for (path, modified) in self.times.iter().rev() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            // It may have been replaced by something else since.
            match within(&self.root, path, PATH | OFlags::DIRECTORY) {
                Ok(opened) => rustix::fs::utimensat(&opened, "", &times(*modified), AtFlags::EMPTY_PATH)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn mark_anew(&mut self, at: &Path) -> io::Result<()> {
        let path = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        let opened = within(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        rustix::fs::fsetxattr(&opened, self.opaque(), b"y", XattrFlags::empty())?;
        self.anew.insert(at.to_owned());
        Ok(())
    }

    fn opaque(&self) -> &'static str {
        if self.gives { "trusted.overlay.opaque" } else { "user.overlay.opaque" }
    }

    /// The folder that something is to be made in, its path without links, and the name in it.
    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(OwnedFd, PathBuf, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let (folder, at) = self.walk(path.parent().unwrap_or(Path::new("")), true)?.ok_or(Errno::NOENT)?;
        Ok((folder, at, name))
    }

    /// The same for something that should be there.
    fn existing_parent<'a>(&mut self, path: &'a Path) -> io::Result<Option<(OwnedFd, PathBuf, &'a OsStr)>> {
        let Some(name) = path.file_name() else { return Ok(None) };
        let found = self.walk(path.parent().unwrap_or(Path::new("")), false)?;
        Ok(found.map(|(folder, at)| (folder, at, name)))
    }

    /// The same, with nothing of that name in the folder.
    fn cleared<'a>(&mut self, path: &'a Path) -> io::Result<(OwnedFd, PathBuf, &'a OsStr)> {
        let (parent, at, name) = self.parent(path)?;
        if kind(&parent, name)?.is_some() {
            self.remove(&parent, name)?;
        }
        Ok((parent, at, name))
    }

    fn remove(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => std::fs::remove_dir_all(by_descriptor(parent).join(name)),
            other => other.map_err(io::Error::from),
        }
    }

    /// Opens a folder of this layer. What a layer below has of the way is made here likewise, and, where all is to be `made`,
    /// what none has; else that is no folder. With it comes its path, without the links on the way.
    fn walk(&mut self, path: &Path, made: bool) -> io::Result<Option<(OwnedFd, PathBuf)>> {
        let mut rest: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let (mut here, mut at, mut links) = (self.root.try_clone()?, PathBuf::new(), 0);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                here =
                    within(&self.root, if at.as_os_str().is_empty() { Path::new(".") } else { &at }, PATH)?;
                continue;
            }
            let step = match self.step(&here, &at, &name, made)? {
                Some(step) => step,
                None => return Ok(None),
            };
            match step {
                Step::Folder(folder) => {
                    here = folder;
                    at.push(&name);
                }
                Step::Link(target) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        (here, at) = (self.root.try_clone()?, PathBuf::new());
                    }
                    parts(&target).rev().for_each(|part| rest.push_front(part));
                }
            }
        }
        Ok(Some((here, at)))
    }

    fn step(&mut self, here: &OwnedFd, at: &Path, name: &OsStr, made: bool) -> io::Result<Option<Step>> {
        let path = at.join(name);
        let Some(found) = kind(here, name)? else {
            let below = self.below(&path)?;
            let meta = match &below {
                Some((opened, found)) => match FileType::from_raw_mode(found.st_mode) {
                    FileType::Symlink => return Ok(Some(Step::Link(read_link(opened)?))),
                    FileType::Directory => Some(Meta::of(found)),
                    _ => None,
                },
                None => None,
            };
            if meta.is_none() && !made {
                return Ok(None);
            }
            make_folder(here, name)?;
            if let Some(meta) = &meta {
                self.give(here, name, meta)?;
            }
            return Ok(Some(Step::Folder(rustix::fs::openat(here, name, PATH, Mode::empty())?)));
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {}
            FileType::Symlink => {
                let opened = rustix::fs::openat(here, name, PATH, Mode::empty())?;
                return Ok(Some(Step::Link(read_link(&opened)?)));
            }
            _ if is_whiteout(&found) && made => {
                self.remove(here, name)?;
                make_folder(here, name)?;
                self.mark_anew(&path)?;
            }
            _ if made => return Err(Errno::NOTDIR.into()),
            _ => return Ok(None),
        }
        Ok(Some(Step::Folder(rustix::fs::openat(here, name, PATH, Mode::empty())?)))
    }

    /// What the layers below show at a path that has no link in it.
    fn below(&self, path: &Path) -> io::Result<Option<(OwnedFd, Stat)>> {
        if path.ancestors().any(|above| self.anew.contains(above)) {
            return Ok(None);
        }
        for layer in &self.below {
            match within(layer, path, PATH) {
                Ok(opened) => {
                    let found = rustix::fs::fstat(&opened)?;
                    return Ok((!is_whiteout(&found)).then_some((opened, found)));
                }
                Err(Errno::NOENT) if self.hides(layer, path)? => return Ok(None),
                Err(Errno::NOENT) => {}
                // Something that is no folder is in the way.
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Whether one of the folders on the way to a path begins anew in a layer.
    fn hides(&self, layer: &OwnedFd, path: &Path) -> io::Result<bool> {
        for above in path.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match within(layer, above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC) {
                Ok(folder) => {
                    if rustix::fs::fgetxattr(&folder, self.opaque(), &mut [0_u8; 8][..]) == Ok(1) {
                        return Ok(true);
                    }
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Makes in this layer what one below has, which is no folder.
    fn copy_up(&mut self, opened: &OwnedFd, found: &Stat, path: &Path) -> io::Result<()> {
        let meta = Meta::of(found);
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {
                let mut file = self.file(path)?;
                io::copy(&mut File::open(by_descriptor(opened))?, &mut file)?;
                self.finish_file(file, &meta, &[])
            }
            FileType::Symlink => self.symlink(path, read_link(opened)?.as_os_str(), &meta),
            FileType::Fifo => self.fifo(path, &meta),
            _ => Ok(()),
        }
    }

    fn give(&self, parent: &OwnedFd, name: &OsStr, meta: &Meta) -> io::Result<()> {
        if self.gives {
            self.own(parent, name, meta)?;
        }
        // No link is followed: what is called so was made a moment ago, and is none.
        Ok(rustix::fs::chmodat(parent, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?)
    }

    fn own(&self, parent: &OwnedFd, name: &OsStr, meta: &Meta) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl Meta {
    fn of(found: &Stat) -> Self {
        Self { mode: found.st_mode & 0o7777, uid: found.st_uid, gid: found.st_gid, modified: found.st_mtime }
    }
}

enum Step {
    Folder(OwnedFd),
    Link(PathBuf),
}

/// The names of a link's target, and its steps up.
fn parts(target: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    target.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn make_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    Ok(rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?)
}

/// What is called so in a folder, no link followed.
fn kind(parent: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

fn read_link(opened: &OwnedFd) -> io::Result<PathBuf> {
    Ok(OsString::from_vec(rustix::fs::readlinkat(opened, "", Vec::new())?.into_bytes()).into())
}

/// Opens what is at a path below a folder, if there is no link on the way. Of a link itself a handle can be had.
fn within(folder: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn by_descriptor(opened: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", opened.as_raw_fd()).into()
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
