//! `orchestra reset`: takes off a machine what a cluster, a node or a master of a data directory has there, and nothing
//! else.
//!
//! It works also after a crash, and again where it was broken off: the directory, by which the rest is known, goes last.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orchestra_core::runtime::{Filter, Runtime, Sandbox};
use orchestra_core::store::redb::RedbStore;
use orchestra_machine::{left_in, plugins_directory};
use orchestra_net::{CniNetwork, Leftovers};
use orchestra_runtime::host::{Volumes, mounts};

use crate::backend::identity;
use crate::cli::Reset;

/// The file in which a node has its name, and which it locks while it runs.
const NODE: &str = "node";
/// The bridge that pods of processes are on.
const BRIDGE: &str = "orchestra0";
/// Of these a directory of ours has one at least.
const MARKS: [&str; 6] = ["store.redb", "pki", "containers", "native", NODE, "runtime"];

/// What there is to be taken away.
struct Found {
    runtime: Option<Arc<dyn Runtime>>,
    pods: Vec<Sandbox>,
    network: Leftovers,
    mounts: Vec<PathBuf>,
    directory: PathBuf,
    /// Held, so that nobody begins to use the directory meanwhile.
    _used: Used,
}

/// The directory, used by nobody else.
struct Used {
    _store: Option<RedbStore>,
    _node: Option<File>,
}

pub(crate) async fn run(options: &Reset) -> anyhow::Result<()> {
    // As the program itself has it: what it has on the machine is known by that.
    let directory = std::path::absolute(&options.data.data_dir)?;
    if !directory.is_dir() {
        bail!("there is no directory {}", directory.display());
    }
    if !MARKS.iter().any(|mark| directory.join(mark).exists()) {
        bail!("{} is no data directory of a cluster, a node or a master", directory.display());
    }
    let found = Found::look(&directory).await?;
    println!("{}", if options.dry_run { "Would be removed:" } else { "To be removed:" });
    found.lines().iter().for_each(|line| println!("  {line}"));
    if options.dry_run {
        return Ok(());
    }
    if !options.yes && !confirmed()? {
        bail!("nothing was removed");
    }
    found.remove().await?;
    println!("removed");
    Ok(())
}

fn confirmed() -> anyhow::Result<bool> {
    print!("All of it is lost then. Remove it? Type yes: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

impl Found {
    async fn look(directory: &Path) -> anyhow::Result<Self> {
        let used = Used::take(directory)?;
        let owner = owner(directory)?;
        let runtime = left_in(directory).await?;
        let pods = match &runtime {
            Some(runtime) => pods_of(&**runtime, &owner).await?,
            None => Vec::new(),
        };
        let network = Leftovers::of(&owner, BRIDGE).await.context("the machine's network cannot be read")?;
        const UNREAD: &str = "the machine's mounts cannot be read";
        let mut mounts = mounts::below(&fs::canonicalize(directory)?).context(UNREAD)?;
        for place in places_of_drivers(directory).await? {
            if mounts::is_mounted(&place).context(UNREAD)? {
                mounts.push(place);
            }
        }
        Ok(Self { runtime, pods, network, mounts, directory: directory.to_owned(), _used: used })
    }

    fn lines(&self) -> Vec<String> {
        let pods = self.pods.iter().map(|pod| {
            let (name, containers) = (&pod.meta.pod, pod.containers.len());
            format!("pod {}/{} with {containers} containers", name.namespace, name.name)
        });
        let network = self.network.lines().into_iter();
        let mounts = self.mounts.iter().map(|mount| format!("mount {}", mount.display()));
        let directory = format!("directory {} with all that is in it", self.directory.display());
        pods.chain(network).chain(mounts).chain([directory]).collect()
    }

    async fn remove(self) -> anyhow::Result<()> {
        for pod in &self.pods {
            if let Some(runtime) = &self.runtime {
                let name = &pod.meta.pod;
                runtime
                    .remove_sandbox(&pod.id)
                    .await
                    .with_context(|| format!("pod {}/{} cannot be removed", name.namespace, name.name))?;
            }
        }
        let connected = CniNetwork::remove_all(&plugins_directory(&self.directory)).await;
        connected
            .context("not all pods could be taken off the network by the plugins that connected them")?;
        // Anew: with the last pod the bridge may have become unused.
        let network = Leftovers::of(&owner(&self.directory)?, BRIDGE).await?;
        network.remove().await.context("not all could be taken from the machine's network")?;
        for place in places_of_drivers(&self.directory).await? {
            mounts::unmount(&place)
                .with_context(|| format!("what a driver shows at {} stays", place.display()))?;
        }
        // Or what is mounted would be removed with the directory.
        mounts::unmount_below(&fs::canonicalize(&self.directory)?)
            .context("a mount cannot be taken away; nothing below it was removed")?;
        fs::remove_dir_all(&self.directory)
            .with_context(|| format!("{} cannot be removed", self.directory.display()))
    }
}

/// Where drivers of the machine show volumes to the pods of the directory: none of these places is below it.
async fn places_of_drivers(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let places = Volumes::new(directory.join("volumes")).places_of_drivers().await;
    places.context("it cannot be read what drivers of volumes show")
}

impl Used {
    /// Takes the directory.
    ///
    /// # Errors
    /// When a program uses it.
    fn take(directory: &Path) -> anyhow::Result<Self> {
        let store = match directory.join("store.redb").exists() {
            true => Some(RedbStore::open(directory).context("stop the program that uses it first")?),
            false => None,
        };
        let node = File::open(directory.join(NODE)).ok();
        match node.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => {
                bail!("a node runs on {}; stop it first", directory.display())
            }
            Some(Err(TryLockError::Error(error))) => {
                return Err(error).context("a node's lock cannot be taken");
            }
            _ => {}
        }
        Ok(Self { _store: store, _node: node })
    }
}

/// The pods of all nodes of an owner: what an agent makes is known by its cluster and its name.
async fn pods_of(runtime: &dyn Runtime, owner: &str) -> anyhow::Result<Vec<Sandbox>> {
    let mut pods = runtime.list(&Filter::default()).await.context("its containers cannot be listed")?;
    pods.retain(|pod| pod.meta.owner.split_once('/').is_some_and(|(cluster, _)| cluster == owner));
    Ok(pods)
}

/// The word by which what is ours is known on the machine: a node's is its name.
fn owner(directory: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(directory.join(NODE)) {
        Ok(name) => Ok(name.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(identity(directory)),
        Err(error) => Err(error).with_context(|| format!("{}/{NODE} cannot be read", directory.display())),
    }
}
