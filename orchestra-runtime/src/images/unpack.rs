//! A layer's archive, unpacked as overlayfs wants a layer: what it takes away is a device of number 0, and a folder that
//! begins anew says so by an attribute.
//!
//! Archives are written by strangers. Every name is walked from the root one folder at a time and no link is ever followed
//! by the kernel (see `tree.rs`), so nothing is written outside the root. Devices are left out: containers are given theirs
//! by the runtime. Of the attributes of files only those are kept that mean nothing to overlayfs.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::{Entry, EntryType};

use super::digest::{Digest, Hashing};
use super::error::{ImageError, Result, invalid, too_large};
use super::frames::{self, Frames};
use super::guarded::Guarded;
use super::manifest::Limits;
use super::tree::{Meta, Tree};

/// What takes away a file of a lower layer.
const WHITEOUT: &[u8] = b".wh.";
/// What makes a folder begin anew.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of the machinery of an older file system, which mean nothing here.
const MACHINERY: &[u8] = b".wh..wh.";

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unpacked {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Unpacks a layer, compressed or not, into an empty folder, and checks that it is the layer of this digest. `below` are
/// the folders of the layers under it, the uppermost first.
pub(crate) fn layer(
    mut blob: impl BufRead,
    digest: &Digest,
    root: &Path,
    below: &[PathBuf],
    limits: &Limits,
) -> Result<Unpacked> {
    let tar: Box<dyn Read + '_> = match blob.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(blob)),
        first if frames::begins(first) => Box::new(Frames::new(blob)),
        _ => Box::new(blob),
    };
    let mut tar = Hashing::new(tar, digest.hasher());
    let unpacked = archive(&mut tar, root, below, limits)?;
    // What follows the end of the archive is part of what the digest is of.
    let trailing = io::copy(&mut tar.by_ref().take(limits.unpacked), &mut io::sink()).map_err(unreadable)?;
    if trailing >= limits.unpacked {
        return Err(too_large("the layer does not end"));
    }
    let found = tar.finish();
    match found == *digest {
        true => Ok(unpacked),
        false => Err(invalid(format!("a layer is {found} when unpacked, and should be {digest}"))),
    }
}

/// Unpacks an archive into a folder.
pub(crate) fn archive(tar: impl Read, root: &Path, below: &[PathBuf], limits: &Limits) -> Result<Unpacked> {
    let (tar, budget) = Guarded::new(tar);
    let mut archive = tar::Archive::new(tar);
    let mut unpacker = Unpacker { tree: Tree::open(root, below)?, limits, done: Unpacked::default() };
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        budget.open();
        unpacker.take(&mut entry)?;
        budget.headers();
    }
    unpacker.tree.finish()?;
    Ok(unpacker.done)
}

/// What cannot be read of an archive is the archive's fault, and not the disk's.
fn unreadable(error: io::Error) -> ImageError {
    invalid(format!("a layer cannot be read: {error}"))
}

struct Unpacker<'a> {
    tree: Tree,
    limits: &'a Limits,
    done: Unpacked,
}

impl Unpacker<'_> {
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(too_large(format!("a layer has more than {} files", self.limits.entries)));
        }
        let kind = entry.header().entry_type();
        if !kind.is_pax_global_extensions() {
            let path = relative(&entry.path_bytes())?;
            match path.file_name() {
                Some(name) if name.as_bytes().starts_with(WHITEOUT) => self.take_away(&path, name)?,
                Some(_) => self.make(entry, kind, &path)?,
                None if kind == EntryType::Directory => self.tree.root(&meta(entry)?)?,
                None => {}
            }
        }
        // What is left of it counts too.
        self.copy(entry, &mut io::sink())
    }

    fn take_away(&mut self, path: &Path, name: &OsStr) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let hidden = match name.as_bytes() {
            OPAQUE => return Ok(self.tree.begin_anew(folder)?),
            name if name.starts_with(MACHINERY) => return Ok(()),
            name => name.get(WHITEOUT.len()..).unwrap_or_default(),
        };
        match hidden {
            b"" | b"." | b".." => Err(invalid(format!("{} takes away nothing that can be", path.display()))),
            hidden => Ok(self.tree.take_away(&folder.join(OsStr::from_bytes(hidden)))?),
        }
    }

    fn make(&mut self, entry: &mut Entry<'_, impl Read>, kind: EntryType, path: &Path) -> Result<()> {
        let meta = meta(entry)?;
        match kind {
            EntryType::Directory => self.tree.folder(path, &meta)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let attributes = attributes(entry)?;
                let mut file = self.tree.file(path)?;
                self.copy(entry, &mut file)?;
                self.tree.finish_file(file, &meta, &attributes)?;
            }
            EntryType::Symlink => self.tree.symlink(path, &target(entry, path)?, &meta)?,
            EntryType::Link => {
                let to = relative(target(entry, path)?.as_bytes())?;
                if !self.tree.link(path, &to)? {
                    let (path, to) = (path.display(), to.display());
                    return Err(invalid(format!("{path} is a link to {to}, which is not there")));
                }
            }
            EntryType::Fifo => self.tree.fifo(path, &meta)?,
            // Devices, and what is not known.
            _ => {}
        }
        Ok(())
    }

    /// Copies what an entry holds, within what is left of the limit.
    fn copy(&mut self, entry: &mut impl Read, to: &mut impl io::Write) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = entry.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return Ok(());
            }
            self.done.bytes += read as u64;
            if self.done.bytes > self.limits.unpacked {
                let most = self.limits.unpacked;
                return Err(too_large(format!("a layer has more than {most} bytes when unpacked")));
            }
            to.write_all(&buffer[..read])?;
        }
    }
}

fn meta(entry: &Entry<'_, impl Read>) -> Result<Meta> {
    let header = entry.header();
    let number = |number: io::Result<u64>| -> Result<u32> {
        let number = number.map_err(unreadable)?;
        u32::try_from(number).map_err(|_| invalid(format!("{number} is no user or group")))
    };
    Ok(Meta {
        mode: header.mode().map_err(unreadable)? & 0o7777,
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        modified: header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default(),
    })
}

/// The attributes of a file that are kept: its capabilities, and those of no meaning to the system.
fn attributes(entry: &mut Entry<'_, impl Read>) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(extensions) = entry.pax_extensions().map_err(unreadable)? else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    for extension in extensions {
        let extension = extension.map_err(unreadable)?;
        let name = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."));
        let wanted = |name: &str| {
            name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."))
        };
        if let Some(name) = name.filter(|name| wanted(name)) {
            kept.push((name.to_owned(), extension.value_bytes().to_owned()));
        }
    }
    Ok(kept)
}

fn target(entry: &Entry<'_, impl Read>, path: &Path) -> Result<OsString> {
    let target = entry.link_name_bytes().filter(|target| !target.is_empty());
    let target = target.ok_or_else(|| invalid(format!("{} is a link to nothing", path.display())))?;
    Ok(OsString::from_vec(target.into_owned()))
}

/// A name as a path below the root: `./a//b` and `/a/b` are `a/b`. One with steps up is refused.
fn relative(name: &[u8]) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(invalid(format!("{:?} leads out of the image", String::from_utf8_lossy(name))));
            }
            part if part.contains(&0) => return Err(invalid("the name of a file is none")),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

#[cfg(test)]
pub(super) mod tests;
