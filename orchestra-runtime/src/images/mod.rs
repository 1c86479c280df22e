//! Images on the disk of this machine: pulled from a registry or loaded from a file, and unpacked once.
//!
//! ```text
//! <root>/index.json                which images there are: names, layers, sizes; see `index.rs`
//!        configs/<digest>.json     the configuration of each
//!        layers/<chain>/fs/        the files of a layer over those below it, as overlayfs wants them
//!                       size       how many bytes they are
//!        tmp/                      what is being fetched or unpacked, by its maker's number
//!        lock, fetching            held while the index is changed, and while something is fetched
//! ```
//!
//! Several programs may work with one store. A layer appears complete or not at all. An image is in the index only when all
//! of it is on the disk for good; a layer that no image has goes when nobody fetches anything, so whoever is killed leaves
//! nothing that is not found.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

mod archive;
mod challenge;
mod digest;
mod error;
mod frames;
mod guarded;
mod index;
mod manifest;
mod pull;
mod reference;
mod registry;
mod tree;
mod unpack;

pub use error::{ImageError, Result};
pub use manifest::Limits;
pub use registry::{Credentials, Patience};

pub(crate) use manifest::Defaults;

use digest::Digest;
use index::{Index, Record};
use manifest::{Configuration, Platform};
use reference::Reference;

use crate::private;

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The digest of its configuration.
    pub id: String,
    /// Names with tags.
    pub names: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// Bytes of its files.
    pub size: u64,
}

impl Stored {
    fn new(id: &str, record: &Record) -> Self {
        let list = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect();
        Self {
            id: id.to_owned(),
            names: list(&record.names),
            digests: list(&record.digests),
            size: record.size,
        }
    }
}

/// The images of a folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    limits: Limits,
    patience: Patience,
}

/// An image that is held.
pub(crate) struct Held {
    pub(crate) id: String,
    /// What a container of it has where the pod says nothing.
    pub(crate) defaults: Defaults,
    /// The folders of its layers, the uppermost first.
    pub(crate) layers: Vec<PathBuf>,
    _lock: File,
}

/// Held while something is fetched: what no image has yet stays meanwhile.
pub(super) struct Fetching(#[expect(dead_code, reason = "held, not read")] File);

impl Store {
    /// Opens the images of a folder, which is made if it is not there, and removes what others left unfinished.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        private::folders(&root, 0o700)?;
        for folder in ["configs", "layers", "tmp"] {
            private::folder(&root.join(folder), 0o700)?;
        }
        let root = root.canonicalize()?;
        let store = Self { root, limits: Limits::default(), patience: Patience::default() };
        store.sweep()?;
        Ok(store)
    }

    /// Takes no more of an image than this.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Waits no longer for a registry than this.
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Every image, in the order of their ids.
    pub fn list(&self) -> Result<Vec<Stored>> {
        let index = self.index()?;
        Ok(index.images.iter().map(|(id, record)| Stored::new(id, record)).collect())
    }

    /// The image of a full name, such as `docker.io/library/nginx:latest`, or of an id.
    pub fn find(&self, full: &str) -> Result<Option<Stored>> {
        let index = self.index()?;
        Ok(index.find(full).map(|id| Stored::new(id, &index.images[id])))
    }

    /// Removes an image by any of its names or its id; one that is not there is gone already. `in_use` says of an id whether
    /// a container has it, and is asked while nothing else is done with the images.
    pub fn remove(&self, full: &str, in_use: impl FnOnce(&str) -> Result<bool>) -> Result<()> {
        self.change(|index| {
            let Some(id) = index.find(full).map(str::to_owned) else { return Ok(()) };
            if in_use(&id)? {
                return Err(ImageError::InUse(full.to_owned()));
            }
            index.images.remove(&id);
            Ok(())
        })?;
        self.sweep()
    }

    /// Takes a name from an image; the last one takes the image with it, as [`remove`](Self::remove) does. Answers whether
    /// the image went.
    pub fn untag(&self, full: &str, in_use: impl FnOnce(&str) -> Result<bool>) -> Result<bool> {
        let untagged = self.change(|index| {
            let Some(id) = index.find(full).map(str::to_owned) else {
                return Err(ImageError::NotFound(format!("there is no image {full}")));
            };
            let name = Reference::parse(full).and_then(|reference| reference.name());
            match index.images.get_mut(&id) {
                Some(record) if record.names.len() > 1 => {
                    Ok(name.is_some_and(|name| record.names.remove(&name)))
                }
                _ => Ok(false),
            }
        })?;
        if !untagged {
            self.remove(full, in_use)?;
        }
        Ok(!untagged)
    }

    /// What an image is made of, for as long as it is held: nothing is removed meanwhile. `None` when it is not there.
    pub(crate) fn hold(&self, full: &str) -> Result<Option<Held>> {
        let lock = self.lock()?;
        let index = self.index()?;
        let Some(id) = index.find(full) else { return Ok(None) };
        let layers = index.images[id].layers.iter().rev().map(|layer| self.layer(layer).join("fs")).collect();
        let defaults = self.configuration(id)?.config.unwrap_or_default();
        Ok(Some(Held { id: id.to_owned(), defaults, layers, _lock: lock }))
    }

    /// The configuration of an image.
    pub(crate) fn configuration(&self, id: &str) -> Result<Configuration> {
        let digest = Digest::parse(id).ok_or_else(|| error::invalid(format!("{id} is no id of an image")))?;
        Configuration::parse(&fs::read(self.config(&digest))?, &Platform::own())
    }

    fn index(&self) -> Result<Index> {
        Ok(Index::read(&self.root.join("index.json"))?)
    }

    fn lock(&self) -> io::Result<File> {
        let file = self.lock_file("lock")?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.root.join(name))
    }

    /// Changes the index, alone.
    fn change<T>(&self, change: impl FnOnce(&mut Index) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let before = self.index()?;
        let mut index = before.clone();
        let done = change(&mut index)?;
        if index != before {
            index.write(&self.root.join("index.json"))?;
        }
        Ok(done)
    }

    /// Begins to fetch something.
    pub(super) fn fetching(&self) -> io::Result<Fetching> {
        let file = self.lock_file("fetching")?;
        rustix::fs::flock(&file, FlockOperation::LockShared)?;
        Ok(Fetching(file))
    }

    /// Removes what no image has, unless somebody is fetching.
    fn sweep(&self) -> Result<()> {
        let fetching = self.lock_file("fetching")?;
        if rustix::fs::flock(&fetching, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        for entry in fs::read_dir(self.root.join("tmp"))? {
            remove_all(&entry?.path())?;
        }
        let _lock = self.lock()?;
        let index = self.index()?;
        for entry in fs::read_dir(self.root.join("layers"))? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|layer| index.uses(layer)) {
                // Away from its place first, so that half of one is never found there.
                let aside = self.draft("removed");
                fs::rename(entry.path(), &aside)?;
                remove_all(&aside)?;
            }
        }
        for entry in fs::read_dir(self.root.join("configs"))? {
            let path = entry?.path();
            let id = path.file_stem().and_then(OsStr::to_str).map(|id| id.replacen('-', ":", 1));
            if !id.is_some_and(|id| index.images.contains_key(&id)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// A name for something that is being made.
    pub(super) fn draft(&self, what: &str) -> PathBuf {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{what}.{}.{number}", std::process::id()))
    }

    fn config(&self, id: &Digest) -> PathBuf {
        self.root.join("configs").join(format!("{}.json", id.as_str().replacen(':', "-", 1)))
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.root.join("layers").join(name)
    }

    /// The bytes of a layer that is there; it is named by its chain.
    pub(super) fn has_layer(&self, chain: &Digest) -> Option<u64> {
        fs::read_to_string(self.layer(chain.hex()).join("size")).ok()?.trim().parse().ok()
    }

    /// Unpacks a layer from a file, over those of the chain below it, the lowest first.
    pub(super) fn add_layer(
        &self,
        blob: impl io::Read,
        digest: &Digest,
        (below, chain): (&[Digest], &Digest),
    ) -> Result<u64> {
        let draft = Draft(self.draft("layer"));
        private::folder(&draft.0, 0o700)?;
        private::folder(&draft.0.join("fs"), 0o755)?;
        let folders: Vec<PathBuf> =
            below.iter().rev().map(|below| self.layer(below.hex()).join("fs")).collect();
        let blob = BufReader::with_capacity(256 * 1024, blob);
        let unpacked = unpack::layer(blob, digest, &draft.0.join("fs"), &folders, &self.limits)?;
        fs::write(draft.0.join("size"), unpacked.bytes.to_string())?;
        match fs::rename(&draft.0, self.layer(chain.hex())) {
            Ok(()) => Ok(unpacked.bytes),
            // Somebody else was faster.
            Err(_) if self.has_layer(chain).is_some() => Ok(unpacked.bytes),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds an image whose layers are all there.
    pub(super) fn add(&self, id: &Digest, configuration: &[u8], record: Record) -> Result<Stored> {
        let draft = self.draft("config");
        fs::write(&draft, configuration)?;
        fs::rename(draft, self.config(id))?;
        // All of it, before anybody is told that it is there.
        rustix::fs::syncfs(File::open(&self.root)?).map_err(io::Error::from)?;
        self.change(|index| {
            index.add(id, record);
            Ok(Stored::new(id.as_str(), &index.images[id.as_str()]))
        })
    }
}

/// Something that is being made, and goes unless it was moved to its place.
pub(super) struct Draft(pub(super) PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = remove_all(&self.0);
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
