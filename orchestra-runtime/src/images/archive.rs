//! Images from a file: what `docker save` writes, or the layout of OCI in an archive, compressed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use orchestra_core::runtime::ImageRef;
use serde::Deserialize;

use super::digest::Digest;
use super::error::{Result, invalid, too_large};
use super::guarded::Guarded;
use super::index::Record;
use super::manifest::{self, Configuration, Descriptor, Manifest, Platform};
use super::{Draft, Store, Stored};

/// How many files an archive may have.
const MEMBERS: usize = 100_000;
/// How many links lead to one.
const LINKS: usize = 8;
/// How deep indexes are looked into.
const DEPTH: usize = 3;

/// An image, as `docker save` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// Where in an archive a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File { at: u64, size: u64 },
    Link(String),
}

impl Store {
    /// Loads the images of an archive, and answers what they are now called. A `name` is given to the only one that is in it.
    pub fn load(&self, path: &Path, name: Option<&ImageRef>) -> Result<Vec<Stored>> {
        let _fetching = self.fetching()?;
        let (archive, _draft) = self.plain(path)?;
        let archive = Archive::open(archive)?;
        let images = match archive.document("manifest.json", self.limits.document)? {
            Some(bytes) => saved(&bytes)?,
            None => self.laid_out(&archive)?,
        };
        if images.is_empty() {
            return Err(invalid("there is no image in it"));
        }
        if name.is_some() && images.len() > 1 {
            return Err(invalid(format!("there are {} images in it, and one name for them", images.len())));
        }
        images.into_iter().map(|image| self.load_image(&archive, image, name)).collect()
    }

    /// The archive itself, from what may be compressed.
    fn plain(&self, path: &Path) -> Result<(File, Option<Draft>)> {
        let mut file = BufReader::new(File::open(path)?);
        if !file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return Ok((File::open(path)?, None));
        }
        let draft = Draft(self.draft("archive"));
        let mut plain = File::options().create_new(true).read(true).write(true).open(&draft.0)?;
        let limit = self.limits.unpacked;
        let copied = io::copy(&mut MultiGzDecoder::new(file).take(limit), &mut plain)
            .map_err(|error| invalid(format!("this is no archive: {error}")))?;
        plain.rewind()?;
        match copied < limit {
            true => Ok((plain, Some(draft))),
            false => Err(too_large(format!("the archive has more than {limit} bytes"))),
        }
    }

    fn load_image(&self, archive: &Archive, image: Listed, name: Option<&ImageRef>) -> Result<Stored> {
        let missing = |path: &str| invalid(format!("the archive has no {path}"));
        let configuration = archive
            .document(&image.configuration, self.limits.document)?
            .ok_or_else(|| missing(&image.configuration))?;
        let id = Digest::of(&configuration);
        let diffs = Configuration::parse(&configuration, &Platform::own())?.layers()?;
        if diffs.len() != image.layers.len() || diffs.len() > self.limits.layers {
            let (said, found) = (diffs.len(), image.layers.len());
            return Err(invalid(format!("the image says that it has {said} layers, and has {found}")));
        }
        let chain = manifest::chain(&diffs);
        let mut size = 0;
        for (place, (layer, diff)) in image.layers.iter().zip(&diffs).enumerate() {
            size += match self.has_layer(&chain[place]) {
                Some(size) => size,
                None => {
                    let blob = archive.member(layer)?.ok_or_else(|| missing(layer))?;
                    self.add_layer(blob, diff, (&chain[..place], &chain[place]))?
                }
            };
        }
        let names = name.map(|name| vec![name.full().to_owned()]).unwrap_or(image.names);
        let record = Record {
            names: names.into_iter().collect(),
            digests: BTreeSet::new(),
            layers: chain.iter().map(|layer| layer.hex().to_owned()).collect(),
            size,
        };
        self.add(&id, &configuration, record)
    }

    /// The images of the layout of OCI.
    fn laid_out(&self, archive: &Archive) -> Result<Vec<Listed>> {
        let bytes = archive.document("index.json", self.limits.document)?.ok_or_else(|| {
            invalid("this is no archive of images: it has neither manifest.json nor index.json")
        })?;
        let Manifest::Index(index) = Manifest::parse(&bytes, &self.limits)? else {
            return Err(invalid("index.json is no index"));
        };
        // Which of one image for several platforms an index names, or which of several images.
        index.iter().map(|one| self.described(archive, one, DEPTH)).collect()
    }

    fn described(&self, archive: &Archive, one: &Descriptor, depth: usize) -> Result<Listed> {
        let digest = one.digest()?;
        let path = blob(&digest);
        let bytes = archive
            .document(&path, self.limits.document)?
            .ok_or_else(|| invalid(format!("the archive has no {path}")))?;
        if Digest::of(&bytes) != digest {
            return Err(invalid(format!("{path} is something else")));
        }
        let mut listed = match Manifest::parse(&bytes, &self.limits)? {
            Manifest::Image { config, layers } => Listed {
                configuration: blob(&config.digest()?),
                layers: layers.iter().map(|layer| Ok(blob(&layer.digest()?))).collect::<Result<_>>()?,
                names: Vec::new(),
            },
            Manifest::Index(_) if depth == 0 => return Err(invalid("there are indexes in indexes in it")),
            Manifest::Index(index) => {
                self.described(archive, manifest::choose(&index, &Platform::own())?, depth - 1)?
            }
        };
        // What is a tag alone is no name.
        let named = one.name().filter(|name| name.contains(['/', ':']));
        listed
            .names
            .extend(named.and_then(|name| ImageRef::parse(name).ok()).map(|name| name.full().to_owned()));
        Ok(listed)
    }
}

/// An image of an archive: where its parts are, and what it is called.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    configuration: String,
    layers: Vec<String>,
    names: Vec<String>,
}

fn saved(bytes: &[u8]) -> Result<Vec<Listed>> {
    let all: Vec<Saved> = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("manifest.json cannot be read: {error}")))?;
    let listed = |saved: Saved| {
        let names = saved.repo_tags.unwrap_or_default();
        let names = names.iter().map(|name| match ImageRef::parse(name) {
            Ok(name) => Ok(name.full().to_owned()),
            Err(error) => Err(invalid(error.to_string())),
        });
        Ok(Listed { configuration: saved.config, layers: saved.layers, names: names.collect::<Result<_>>()? })
    };
    all.into_iter().map(listed).collect()
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

/// An archive whose files can be read in any order.
struct Archive {
    file: File,
    members: BTreeMap<String, Member>,
}

impl Archive {
    fn open(file: File) -> Result<Self> {
        let unreadable = |error: io::Error| invalid(format!("this is no archive: {error}"));
        let (reader, budget) = Guarded::new(file.try_clone()?);
        let mut archive = tar::Archive::new(reader);
        let mut members = BTreeMap::new();
        for entry in archive.entries_with_seek().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            budget.headers();
            let Some(name) = plain(&String::from_utf8_lossy(&entry.path_bytes())) else { continue };
            let kind = entry.header().entry_type();
            let member = match entry.link_name_bytes() {
                Some(target) if kind.is_symlink() => {
                    let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
                    plain(&folder.join(String::from_utf8_lossy(&target).as_ref()).to_string_lossy())
                        .map(Member::Link)
                }
                Some(target) if kind.is_hard_link() => {
                    plain(&String::from_utf8_lossy(&target)).map(Member::Link)
                }
                _ if kind.is_file() => {
                    Some(Member::File { at: entry.raw_file_position(), size: entry.size() })
                }
                _ => None,
            };
            members.extend(member.map(|member| (name, member)));
            if members.len() > MEMBERS {
                return Err(too_large(format!("the archive has more than {MEMBERS} files")));
            }
        }
        Ok(Self { file, members })
    }

    /// A file of it, to be read.
    fn member(&self, name: &str) -> Result<Option<impl Read + use<>>> {
        let Some((at, size)) = self.find(name) else { return Ok(None) };
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(at))?;
        Ok(Some(file.take(size)))
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = plain(name)?;
        for _ in 0..LINKS {
            match self.members.get(&name)? {
                Member::File { at, size } => return Some((*at, *size)),
                Member::Link(to) => name.clone_from(to),
            }
        }
        None
    }

    /// A file of it that is read into memory.
    fn document(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.find(name) {
            Some((_, size)) if size > limit => Err(too_large(format!("{name} has {size} bytes"))),
            Some(_) => {
                let mut bytes = Vec::new();
                self.member(name)?
                    .into_iter()
                    .try_for_each(|mut file| file.read_to_end(&mut bytes).map(drop))?;
                Ok(Some(bytes))
            }
            None => Ok(None),
        }
    }
}

/// A name within an archive, with the steps up taken; none for one that leads out of it.
fn plain(name: &str) -> Option<String> {
    let mut path = PathBuf::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if !path.pop() {
                    return None;
                }
            }
            part => path.push(part),
        }
    }
    path.to_str().filter(|path| !path.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
