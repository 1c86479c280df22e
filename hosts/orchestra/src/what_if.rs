//! What would happen if: the state of a cluster is read, a change is made in a fork of it here, and what is other in the
//! end is told. The cluster itself is touched by nothing but the reading.

use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use orchestra_core::api::yaml;
use orchestra_core::cluster::Fork;
use orchestra_core::store::backup;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::what_if::{Intervention, Question, ask};
use orchestra_http::SchedulerOptions;

use crate::backup::connect;
use crate::cli::{Access, Told, WhatIf};
use crate::progress::Progress;

pub(crate) async fn run(options: &WhatIf) -> anyhow::Result<()> {
    let changes = changes(options)?;
    if changes.is_empty() {
        bail!("nothing is asked; say what would be done, as with --lose-node NODE or -f change.yaml");
    }
    let progress = Progress::new();
    progress.begin("Reading", "what the cluster holds");
    let fork = fork(&options.access, &options.scheduler).await?;
    progress.begin("Living", "through it in a copy, in a time of its own");
    let answer = ask(fork, Question::new(changes)).await;
    progress.close();
    let answer = answer?;
    match options.output {
        Told::Text => print!("{answer}"),
        Told::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
    }
    Ok(())
}

/// What the cluster holds now. It is read as a backup is, and what was written of it to disk is gone when this returns.
pub(crate) async fn fork(access: &Access, scheduler: &SchedulerOptions) -> anyhow::Result<Fork> {
    // A directory that nobody else may look into: it holds the cluster's Secrets.
    let directory = tempfile::tempdir().context("there is no room for a copy of the cluster's state")?;
    let file = directory.path().join("state");
    connect(access)?.backup(&file).await?;
    let store = MemoryStore::new();
    backup::restore(&store, &file).await?;
    let fork = Fork::of_store(store, Timestamp::now());
    Ok(scheduler.configuration()?.into_iter().fold(fork, Fork::scheduler))
}

fn changes(options: &WhatIf) -> anyhow::Result<Vec<Intervention>> {
    let mut changes = Vec::new();
    for file in &options.file {
        changes.extend(manifests(file)?);
    }
    for scaled in &options.scale {
        let (object, replicas) = scaled.split_once('=').with_context(|| unclear(scaled))?;
        let (kind, name) = object.split_once('/').with_context(|| unclear(scaled))?;
        let replicas = replicas.parse().with_context(|| unclear(scaled))?;
        let (kind, name, namespace) = (kind.to_owned(), name.to_owned(), options.namespace.clone());
        changes.push(Intervention::Scale { kind, namespace, name, replicas });
    }
    for deleted in &options.delete {
        let (kind, name) =
            deleted.split_once('/').with_context(|| format!("{deleted:?} is not KIND/NAME"))?;
        let (kind, name, namespace) = (kind.to_owned(), name.to_owned(), options.namespace.clone());
        changes.push(Intervention::Delete { kind, namespace, name });
    }
    changes.extend(options.cordon.iter().cloned().map(Intervention::Cordon));
    changes.extend(options.uncordon.iter().cloned().map(Intervention::Uncordon));
    changes.extend(options.drain.iter().cloned().map(Intervention::Drain));
    changes.extend(options.upgrade.iter().cloned().map(Intervention::Upgrade));
    changes.extend(options.lose_node.iter().cloned().map(Intervention::LoseNode));
    Ok(changes)
}

fn unclear(scaled: &str) -> String {
    format!("{scaled:?} does not say what to scale; write KIND/NAME=N, such as deploy/web=40")
}

/// What a file would have applied; each object of a `List` by itself.
fn manifests(file: &Path) -> anyhow::Result<Vec<Intervention>> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let documents = yaml::read(&text).with_context(|| format!("{} is no manifest", file.display()))?;
    let mut changes = Vec::new();
    for document in documents {
        match document.get("items").and_then(|items| items.as_array()) {
            Some(items) => changes.extend(items.iter().cloned().map(Intervention::Apply)),
            None => changes.push(Intervention::Apply(document)),
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn asked(words: &[&str]) -> anyhow::Result<Vec<String>> {
        let words = [&["orchestra", "what-if"], words].concat();
        let Command::WhatIf(options) = Cli::try_parse_from(words)?.command else { unreachable!() };
        Ok(changes(&options)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_asked_is_what_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("change.yaml");
        let text = "kind: Pod\nmetadata: {name: a}\n---\nkind: List\nitems:\n- {kind: Service, metadata: {name: b}}\n";
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let all = ["--scale", "deploy/web=40", "--drain", "n1", "--lose-node=n2", "-n", "shop", "-f", file];
        let all = [&all[..], &["--upgrade", "n3"]].concat();
        let expected = [
            "apply Pod a",
            "apply Service b",
            "scale deploy shop/web to 40",
            "drain the node n1",
            "upgrade the node n3",
            "lose the node n2",
        ];
        assert_eq!(asked(&all).unwrap(), expected);
        for wrong in
            [&["--scale", "web=3"][..], &["--scale", "deploy/web"], &["--delete", "web"], &["-f", "/none"]]
        {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }
}
