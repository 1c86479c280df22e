//! What is left on the node of pods that the API does not know: pods that were removed while no agent watched.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::agent::mine;
use super::context::Context;
use crate::runtime::{RuntimeError, Sandbox, SandboxId};

/// What a container gets whose pod nobody knows any more.
const GRACE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(1);

/// Removes sandboxes and files of pods that are not among the known. Tries until the runtime lets it.
pub(super) async fn remove(ctx: Arc<Context>, known: BTreeSet<String>) {
    while let Err(error) = sweep(&ctx, &known).await {
        tracing::debug!(node = ctx.name, %error, "cannot remove what is left of unknown pods yet");
        ctx.clock().sleep(AGAIN).await;
    }
}

async fn sweep(ctx: &Context, known: &BTreeSet<String>) -> Result<(), RuntimeError> {
    let (ours, orphans): (Vec<Sandbox>, Vec<Sandbox>) = ctx
        .runtime
        .list(&mine(ctx))
        .await?
        .into_iter()
        .partition(|sandbox| known.contains(&sandbox.meta.pod.uid));
    let standing: Vec<SandboxId> = ours.into_iter().map(|sandbox| sandbox.id).collect();
    for sandbox in &orphans {
        tracing::info!(pod = %sandbox.meta.pod, "removing a pod that the API does not know");
        end(ctx, sandbox).await?;
    }
    if let Err(error) = ctx.network.retain(&standing).await {
        tracing::warn!(node = ctx.name, %error, "addresses that nobody uses were not given back");
    }
    let kept = ctx.volumes.pods().await.unwrap_or_default();
    for uid in kept.iter().filter(|uid| !known.contains(*uid)) {
        if let Err(error) = ctx.volumes.remove_pod(uid).await {
            tracing::warn!(uid, %error, "files of an unknown pod were not removed");
        }
    }
    Ok(())
}

async fn end(ctx: &Context, sandbox: &Sandbox) -> Result<(), RuntimeError> {
    for container in sandbox.containers.iter().filter(|container| container.state.is_running()) {
        ctx.runtime.stop_container(&container.id, GRACE).await?;
    }
    ctx.runtime.remove_sandbox(&sandbox.id).await?;
    if let Err(error) = ctx.network.detach(&sandbox.id, &sandbox.meta.pod).await {
        tracing::warn!(pod = %sandbox.meta.pod, %error, "the pod's addresses were not given back");
    }
    Ok(())
}
