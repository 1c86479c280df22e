//! What containers leave in their termination message files.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Container as Wanted, Pod};

use super::context::Context;
use super::model::{Memory, Observed, containers, ephemeral};
use super::translate::pod_ref;
use crate::runtime::{Container, ContainerMeta, LogOptions};

/// Most bytes of a message.
const MOST: usize = 4096;
/// Most of the log that stands in for a message.
const LOG_LINES: u64 = 80;
const LOG_BYTES: usize = 2048;

/// Where a container's message is kept, within its pod's files.
pub(super) fn file_name(meta: &ContainerMeta) -> String {
    format!("containers/{}/{}", meta.name, meta.attempt)
}

/// Reads the messages of containers that have ended since the last time.
pub(super) async fn collect(ctx: &Context, pod: &Pod, seen: &Observed, memory: &mut Memory) {
    let Some(spec) = &pod.spec else { return };
    let usual = containers(spec).map(|(_, wanted)| wanted.clone());
    for wanted in &usual.chain(ephemeral(spec)).collect::<Vec<_>>() {
        for life in seen.lives(&wanted.name).into_iter().take(2) {
            let Some(exit) = life.state.exit() else { continue };
            if memory.messages.contains_key(&life.id) {
                continue;
            }
            let message = read(ctx, pod, wanted, life, exit.code != 0).await;
            memory.messages.insert(life.id.clone(), message);
        }
    }
    memory.messages.retain(|id, _| seen.containers().any(|life| life.id == *id));
    memory.given.retain(|id, _| seen.containers().any(|life| life.id == *id));
    memory.unresized.retain(|id, _| seen.containers().any(|life| life.id == *id));
}

async fn read(ctx: &Context, pod: &Pod, wanted: &Wanted, life: &Container, failed: bool) -> String {
    let left =
        ctx.volumes.read_pod_file(&pod_ref(pod), &file_name(&life.meta), MOST).await.unwrap_or_default();
    let fallback = wanted.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if left.is_empty() && failed && fallback {
        return log_tail(ctx, life).await.unwrap_or_default();
    }
    String::from_utf8_lossy(&left).into_owned()
}

async fn log_tail(ctx: &Context, life: &Container) -> Option<String> {
    let options = LogOptions { tail_lines: Some(LOG_LINES), ..LogOptions::default() };
    let stream = ctx.runtime.logs(&life.id, &options).await.ok()?;
    let bytes = stream.try_fold(Vec::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    let bytes = bytes.await.ok()?;
    let tail = &bytes[bytes.len().saturating_sub(LOG_BYTES)..];
    Some(String::from_utf8_lossy(tail).into_owned())
}
