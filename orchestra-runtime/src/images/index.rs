//! Which images there are, and what each is called: one file, which is replaced and never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reference::Reference;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Names with tags.
    pub(crate) names: BTreeSet<String>,
    /// Names with digests.
    pub(crate) digests: BTreeSet<String>,
    /// Names of its layers' folders, the lowest first.
    pub(crate) layers: Vec<String>,
    /// Bytes of its files.
    pub(crate) size: u64,
}

/// All images, by their ids: the digests of their configurations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) images: BTreeMap<String, Record>,
}

impl Index {
    /// Reads the file; none is an index without images.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file, for good.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// The image of a full name or an id.
    pub(crate) fn find(&self, full: &str) -> Option<&str> {
        let by = |is: &dyn Fn(&Record) -> bool| {
            self.images.iter().find(|(_, record)| is(record)).map(|(id, _)| id.as_str())
        };
        if let Some((id, _)) = self.images.get_key_value(full) {
            return Some(id);
        }
        let reference = Reference::parse(full)?;
        match (&reference.digest, reference.name()) {
            (Some(digest), _) => {
                let named = reference.with_digest(digest);
                by(&|record| record.digests.contains(&named))
            }
            (None, Some(name)) => by(&|record| record.names.contains(&name)),
            (None, None) => None,
        }
    }

    /// Adds an image, or names to one that is there. A name means one image: others lose it.
    pub(crate) fn add(&mut self, id: &Digest, record: Record) {
        for (other, held) in &mut self.images {
            if other != id.as_str() {
                held.names.retain(|name| !record.names.contains(name));
            }
        }
        match self.images.get_mut(id.as_str()) {
            Some(held) => {
                held.names.extend(record.names);
                held.digests.extend(record.digests);
            }
            None => drop(self.images.insert(id.to_string(), record)),
        }
    }

    /// Whether a layer is one of any image's.
    pub(crate) fn uses(&self, layer: &str) -> bool {
        self.images.values().any(|record| record.layers.iter().any(|held| held == layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &[&str], digests: &[&str], layers: &[&str]) -> Record {
        let set = |of: &[&str]| of.iter().map(|one| (*one).to_owned()).collect();
        Record {
            names: set(names),
            digests: set(digests),
            layers: set(layers).into_iter().collect(),
            size: 1,
        }
    }

    #[test]
    fn a_name_is_one_images() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let named = format!("r.example/a@{}", Digest::of(b"m"));
        let mut index = Index::default();
        index.add(&one, record(&["r.example/a:1"], &[&named], &["x", "y"]));
        index.add(&one, record(&["r.example/a:2"], &[], &["x", "y"]));
        assert_eq!(index.find("r.example/a:1"), Some(one.as_str()));
        for full in ["r.example/a:2", &named, one.as_str(), &named.replace("a@", "a:7@")] {
            assert_eq!(index.find(full), Some(one.as_str()), "{full}");
        }
        for full in ["r.example/a:3", "r.example/b:1", "nothing", two.as_str()] {
            assert_eq!(index.find(full), None, "{full}");
        }
        index.add(&two, record(&["r.example/a:1"], &[], &["y", "z"]));
        assert_eq!(index.find("r.example/a:1"), Some(two.as_str()));
        assert_eq!(index.images[one.as_str()].names.len(), 1);
        index.images.remove(one.as_str());
        assert_eq!(["x", "y", "z"].map(|layer| index.uses(layer)), [false, true, true]);
    }

    #[test]
    fn it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.json");
        assert_eq!(Index::read(&path).unwrap(), Index::default());
        let mut index = Index::default();
        index.add(&Digest::of(b"1"), record(&["a/b:1"], &[], &[]));
        index.write(&path).unwrap();
        assert_eq!(Index::read(&path).unwrap(), index);
        fs::write(&path, "{").unwrap();
        assert!(Index::read(&path).is_err(), "what cannot be read is not taken for nothing");
    }
}
