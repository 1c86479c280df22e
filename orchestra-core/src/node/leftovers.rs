//! What is on the node of pods that nobody has in mind: pods that were removed while no agent watched, and what a
//! runtime made after it was told to give up.
//!
//! Here it is only found. Whether a pod is known is asked when it is found and not before, and whatever is left is
//! removed by a loop of its pod like any other, so that no pod is ever worked on from two sides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::context::Context;
use crate::meta::Revision;
use crate::runtime::{Filter, PodRef, RuntimeError, Sandbox, SandboxId};
use crate::watch::{Entry, EntryError, IndexedFields};

/// How soon a runtime that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// A pod of which something is on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) uid: String,
    name: String,
    namespace: String,
    containers: BTreeSet<String>,
}

impl Leftover {
    /// As much of the pod's object as can be told.
    pub(super) fn entry(&self) -> Result<Entry, EntryError> {
        let containers: Vec<_> = self.containers.iter().map(|name| json!({"name": name})).collect();
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": self.uid},
            "spec": {"containers": containers},
        });
        Entry::read(Entry::encode(&pod)?, Revision::ZERO, &IndexedFields::default())
    }
}

/// Every pod of which the node has a sandbox or files. Asks until the runtime answers. With `free_addresses` it has the
/// network forget those of sandboxes that are no more.
pub(super) async fn find(ctx: &Context, free_addresses: bool) -> Vec<Leftover> {
    let sandboxes = loop {
        match sandboxes(ctx, free_addresses).await {
            Ok(sandboxes) => break sandboxes,
            Err(error) => tracing::debug!(node = ctx.name, %error, "cannot see what is on the node yet"),
        }
        ctx.clock().sleep(RETRY).await;
    };
    let mut found: BTreeMap<String, Leftover> = BTreeMap::new();
    for sandbox in sandboxes {
        let PodRef { uid, name, namespace } = sandbox.meta.pod;
        let leftover = found.entry(uid.clone()).or_insert_with(|| Leftover {
            uid,
            name,
            namespace,
            containers: BTreeSet::new(),
        });
        leftover.containers.extend(sandbox.containers.into_iter().map(|container| container.meta.name));
    }
    match ctx.volumes.pods().await {
        Ok(uids) => {
            for uid in uids {
                found.entry(uid.clone()).or_insert_with(|| only_files(uid));
            }
        }
        Err(error) => tracing::warn!(node = ctx.name, %error, "files of unknown pods were not looked for"),
    }
    found.into_values().collect()
}

fn only_files(uid: String) -> Leftover {
    Leftover { name: uid.clone(), uid, namespace: String::new(), containers: BTreeSet::new() }
}

async fn sandboxes(ctx: &Context, free_addresses: bool) -> Result<Vec<Sandbox>, RuntimeError> {
    let mine = Filter::owner(ctx.owner());
    if !free_addresses {
        return ctx.runtime.list(&mine).await;
    }
    // No sandbox is given an address between the two steps: it would not be in the list.
    let _attaching = ctx.attaching.write().await;
    let sandboxes = ctx.runtime.list(&mine).await?;
    let ids: Vec<SandboxId> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
    if let Err(error) = ctx.network.retain(&ids).await {
        tracing::warn!(node = ctx.name, %error, "addresses that nobody uses were not given back");
    }
    Ok(sandboxes)
}
