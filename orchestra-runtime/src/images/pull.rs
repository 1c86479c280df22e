//! Pulling: the manifest, the configuration, and what of the layers is not here yet.

use std::collections::BTreeSet;
use std::fs::File;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use orchestra_core::runtime::PullProgress;

use super::digest::Digest;
use super::error::{Result, invalid};
use super::index::Record;
use super::manifest::{self, Configuration, Descriptor, Manifest, Platform};
use super::reference::Reference;
use super::registry::{Credentials, Registry};
use super::{Draft, ImageError, Store, Stored};

/// How many layers are fetched at a time.
const AT_A_TIME: usize = 3;

impl Store {
    /// Pulls the image of a full name, and answers what it now is. What was fetched of one that could not be had altogether
    /// is there for the next attempt.
    pub async fn pull(&self, full: &str, credentials: Option<&Credentials>) -> Result<Stored> {
        self.pull_telling(full, credentials, &PullProgress::default()).await
    }

    /// The same, and tells how much has come of the layers that were not here.
    pub async fn pull_telling(
        &self,
        full: &str,
        credentials: Option<&Credentials>,
        progress: &PullProgress,
    ) -> Result<Stored> {
        let reference = Reference::parse(full)
            .ok_or_else(|| invalid(format!("{full} is not the name of an image that can be pulled")))?;
        let store = self.clone();
        let fetching = blocking(move || Ok(store.fetching()?)).await?;
        let mut registry = Registry::new(&reference, credentials, self.patience)?;
        let (digest, manifest) = self.manifest(&mut registry, &reference).await?;
        let Manifest::Image { config, layers } = manifest else {
            return Err(invalid("an index of indexes is no image"));
        };
        let id = config.digest()?;
        let configuration = registry.document(&config, self.limits.document).await?;
        let diffs = Configuration::parse(&configuration, &Platform::own())?.layers()?;
        if diffs.len() != layers.len() {
            let message =
                format!("the image says that it has {} layers, and has {}", diffs.len(), layers.len());
            return Err(invalid(message));
        }
        let chain = manifest::chain(&diffs);
        let absent = {
            let (store, layers, chain) = (self.clone(), layers.clone(), chain.clone());
            let absent = move || {
                layers
                    .iter()
                    .zip(&chain)
                    .filter(|(_, chain)| store.has_layer(chain).is_none())
                    .map(|(layer, _)| layer.size)
                    .sum()
            };
            blocking(move || Ok(absent())).await?
        };
        progress.set(0, absent);
        let size = self.fetch_layers(&registry, &layers, (&diffs, &chain), progress).await?;
        let record = Record {
            names: reference.name().into_iter().collect(),
            digests: BTreeSet::from([reference.with_digest(&digest)]),
            layers: chain.iter().map(|layer| layer.hex().to_owned()).collect(),
            size,
        };
        let store = self.clone();
        blocking(move || {
            let _fetching = fetching;
            store.add(&id, &configuration, record)
        })
        .await
    }

    /// The manifest for this machine, and the digest that the name has at the registry.
    async fn manifest(&self, registry: &mut Registry, reference: &Reference) -> Result<(Digest, Manifest)> {
        let bytes = registry.manifest(reference.wanted(), self.limits.document).await?;
        let digest = match &reference.digest {
            Some(wanted) => {
                let mut hasher = wanted.hasher();
                hasher.update(&bytes);
                let found = hasher.finish();
                if found != *wanted {
                    return Err(invalid(format!(
                        "the registry sent a manifest that is {found}, for {wanted}"
                    )));
                }
                found
            }
            None => Digest::of(&bytes),
        };
        let manifest = match Manifest::parse(&bytes, &self.limits)? {
            Manifest::Index(index) => {
                let chosen = manifest::choose(&index, &Platform::own())?;
                let bytes = registry.manifest_of(chosen, self.limits.document).await?;
                Manifest::parse(&bytes, &self.limits)?
            }
            image => image,
        };
        Ok((digest, manifest))
    }

    /// Fetches several layers at a time, and unpacks them one after the other, from the lowest.
    async fn fetch_layers(
        &self,
        registry: &Registry,
        layers: &[Descriptor],
        (diffs, chain): (&[Digest], &[Digest]),
        progress: &PullProgress,
    ) -> Result<u64> {
        let wanted = layers.iter().cloned().zip(chain.iter().cloned());
        let fetched =
            stream::iter(wanted).map(|(layer, chain)| self.have(registry, layer, chain, progress).boxed());
        let mut fetched = std::pin::pin!(fetched.buffered(AT_A_TIME));
        let (mut size, mut place) = (0, 0);
        while let Some(layer) = fetched.try_next().await? {
            size += match layer {
                Fetched::Here(size) => size,
                Fetched::Blob(draft) => {
                    let (store, diff) = (self.clone(), diffs[place].clone());
                    let (below, name) = (chain[..place].to_vec(), chain[place].clone());
                    blocking(move || store.add_layer(File::open(&draft.0)?, &diff, (&below, &name))).await?
                }
            };
            place += 1;
        }
        Ok(size)
    }

    async fn have(
        &self,
        registry: &Registry,
        layer: Descriptor,
        chain: Digest,
        progress: &PullProgress,
    ) -> Result<Fetched> {
        let store = self.clone();
        if let Some(size) = blocking(move || Ok(store.has_layer(&chain))).await? {
            return Ok(Fetched::Here(size));
        }
        let draft = Draft(self.draft("blob"));
        registry.blob(&layer, &draft.0, progress).await?;
        Ok(Fetched::Blob(draft))
    }
}

/// A layer that can be had from this machine.
enum Fetched {
    /// Unpacked, with its size.
    Here(u64),
    Blob(Draft),
}

/// Runs something that works on files.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ImageError::Io(std::io::Error::other(error))))
}

#[cfg(test)]
mod tests;
