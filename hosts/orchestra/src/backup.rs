//! A running cluster written to a file, and a file made a cluster again.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use orchestra_core::store::backup;
use orchestra_core::store::redb::RedbStore;
use orchestra_http::{Kubeconfig, Remote};

use crate::cli::{Access, Backup, Restore};
use crate::progress::Progress;

/// The cluster that the options mean.
pub(crate) fn connect(access: &Access) -> anyhow::Result<Arc<Remote>> {
    let path: PathBuf = access.kubeconfig.clone().unwrap_or_else(|| access.data.data_dir.join("kubeconfig"));
    let config = Kubeconfig::read(&path).with_context(|| {
        format!("no cluster is known by {}; name another with --data-dir or --kubeconfig", path.display())
    })?;
    Ok(Remote::connect(config)?)
}

pub(crate) async fn run(options: &Backup) -> anyhow::Result<()> {
    let remote = connect(&options.access)?;
    let progress = Progress::new();
    progress.begin("Reading", "what the cluster holds");
    let made = remote.backup(&options.file).await;
    progress.close();
    let made = made?;
    println!("{}: {} records as of revision {}", options.file.display(), made.records, made.revision);
    println!(
        "It holds the cluster's Secrets, and not its certificates: those are in the data directory, in pki."
    );
    Ok(())
}

pub(crate) async fn restore(options: &Restore) -> anyhow::Result<()> {
    let directory = &options.data.data_dir;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("the data directory {} cannot be made", directory.display()))?;
    let store = RedbStore::open(directory)?;
    let progress = Progress::new();
    progress.begin("Writing", "what the backup holds");
    let made = backup::restore(&store, &options.file).await;
    progress.close();
    let made = made?;
    println!("{} records of revision {} are in {}", made.records, made.revision, directory.display());
    println!("  orchestra up --data-dir {}", directory.display());
    Ok(())
}
